//! Encryption, access list and credentials, as the requests that reach the store show them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::{HttpFault, HttpFaults, HttpRequest, wait_until};
use tokio::io::AsyncReadExt as _;

use crate::fixture::World;

/// A store behind a proxy that keeps what was asked.
struct Watched {
    proxy: HttpFaults,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl Watched {
    async fn start(world: &World) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        let proxy = HttpFaults::start(world.objects_port(), move |request| {
            kept.lock().unwrap().push(request.clone());
            HttpFault::None
        })
        .await;
        Self { proxy, requests }
    }

    /// The first request with this method below this folder.
    async fn first(&self, method: &str, folder: &str) -> HttpRequest {
        wait_until("the store is asked", Duration::from_secs(60), async || {
            let requests = self.requests.lock().unwrap();
            requests.iter().find(|request| request.method == method && request.path.contains(folder)).cloned()
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_and_access_list_stand_in_the_requests() {
    const KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    const KEY_MD5: &str = "KYvwGXoFFJ42a2u2GDWhwQ==";
    let mut world = World::new().await;
    let watched = Watched::start(&world).await;
    let url = watched.proxy.url();
    let sink = world.sink(&[]).await;
    world.send(3, 0, true);
    let sse = "x-amz-server-side-encryption";
    let customer = |part: &str| format!("{sse}-customer-{part}");
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<(String, Option<&'a str>)>);
    let cases: Vec<Case<'_>> = vec![
        ("plain", vec![], vec![(sse.into(), None), ("x-amz-acl".into(), None)]),
        ("s3", vec![("s3.ssea.name", "AES256")], vec![(sse.into(), Some("AES256"))]),
        (
            "kms",
            vec![("s3.ssea.name", "aws:kms"), ("s3.sse.kms.key.id", "arn:aws:kms:us-east-1:1:key/k")],
            vec![
                (sse.into(), Some("aws:kms")),
                (format!("{sse}-aws-kms-key-id"), Some("arn:aws:kms:us-east-1:1:key/k")),
            ],
        ),
        (
            "customer",
            vec![("s3.sse.customer.key", KEY)],
            vec![
                (sse.into(), None),
                (customer("algorithm"), Some("AES256")),
                (customer("key"), Some(KEY)),
                (customer("key-md5"), Some(KEY_MD5)),
            ],
        ),
        (
            "acl",
            vec![("s3.acl.canned", "bucket-owner-full-control")],
            vec![("x-amz-acl".into(), Some("bucket-owner-full-control"))],
        ),
    ];
    for (name, settings, headers) in cases {
        let mut changes = vec![("store.url", url.as_str()), ("topics.dir", name)];
        changes.extend(settings);
        world.register_as(&sink, name, &changes).await;
        let put = watched.first("PUT", &format!("/{name}/")).await;
        for (header, value) in headers {
            assert_eq!(put.header(&header), value, "{name}: {header}");
        }
        assert_eq!(put.header("if-none-match"), Some("*"), "{name}");
        if name == "customer" {
            let head = watched.first("HEAD", &format!("/{name}/")).await;
            assert_eq!(head.header(&customer("key")), Some(KEY), "what was encrypted is asked for with its key");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_configuration_environment_and_profile_in_this_order() {
    let mut world = World::new().await;
    let watched = Watched::start(&world).await;
    let url = watched.proxy.url();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("credentials");
    let profiles = "[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n\
        [sink]\naws_access_key_id = minio\naws_secret_access_key = minio123\n";
    std::fs::write(&file, profiles).unwrap();
    let file = file.to_str().unwrap();
    // The default provider: the seed's reads the environment alone.
    let chain = ("s3.credentials.provider.class", "com.amazonaws.auth.DefaultAWSCredentialsProviderChain");
    let profile = [("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "sink"), ("AWS_CONFIG_FILE", "/nowhere")];
    world.send(9, 0, true);

    let sink = world.sink(&profile).await;
    world.register(&sink, &[("store.url", &url), chain]).await;
    world.check().await;
    assert_eq!(world.call(&sink, reqwest::Method::DELETE, "").await, 204);
    assert!(sink.binary.stop().await);
    let signed = watched.first("PUT", "/kafka/").await;
    assert!(signed.header("authorization").unwrap().contains("Credential=minio/"), "{signed:?}");

    let mut environment = profile.to_vec();
    environment.extend([
        ("AWS_ACCESS_KEY_ID", "from-env"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
        ("AWS_SESSION_TOKEN", "t0ken"),
    ]);
    let sink = world.sink(&environment).await;
    let other = [("store.url", url.as_str()), chain, ("topics.dir", "environment")];
    world.register_as(&sink, "environment", &other).await;
    let asked = watched.first("HEAD", "/environment/").await;
    assert!(asked.header("authorization").unwrap().contains("Credential=from-env/"), "{asked:?}");
    assert_eq!(asked.header("x-amz-security-token"), Some("t0ken"));

    let given = [("aws.access.key.id", "minio"), ("aws.secret.access.key", "minio123"), ("topics.dir", "given")];
    let given: Vec<_> = given.into_iter().chain([("store.url", url.as_str()), chain]).collect();
    world.register_as(&sink, "given", &given).await;
    let put = watched.first("PUT", "/given/").await;
    assert!(put.header("authorization").unwrap().contains("Credential=minio/"), "{put:?}");
    assert_eq!(put.header("x-amz-security-token"), None);

    let anonymous = ("s3.credentials.provider.class", "com.amazonaws.auth.AnonymousAWSCredentials");
    let nobody = [("store.url", url.as_str()), anonymous, ("topics.dir", "nobody")];
    let sink = world.sink(&[("AWS_PROFILE", "sink")]).await;
    world.register_as(&sink, "nobody", &nobody).await;
    assert_eq!(watched.first("HEAD", "/nobody/").await.header("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_identity_is_taken_to_the_token_service() {
    let mut world = World::new().await;
    world.send(3, 0, true);
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a.web.token").unwrap();
    // The service is reached by TLS alone: a proxy sees who is asked for, and nothing of it.
    let proxy = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut head = vec![0; 1024];
        let read = client.read(&mut head).await.unwrap();
        String::from_utf8_lossy(&head[..read]).into_owned()
    });
    let environment = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/sink"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_CONFIG_FILE", "/nowhere"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
        ("HTTPS_PROXY", &address),
    ];
    let sink = world.sink(&environment).await;
    let chain = ("s3.credentials.provider.class", "com.amazonaws.auth.WebIdentityTokenCredentialsProvider");
    world.register(&sink, &[chain]).await;
    let asked = tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap().unwrap();
    assert!(asked.starts_with("CONNECT sts.") && asked.contains("amazonaws.com:443"), "{asked}");
}
