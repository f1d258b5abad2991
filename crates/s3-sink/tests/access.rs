//! Encryption, access list and credentials, as the requests that reach the store show them.

use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::{
    pkey::PKey,
    ssl::{SslAcceptor, SslMethod},
    x509::X509,
};
use testkit::certificates::{Authority, Issued};
use testkit::{HttpFault, HttpFaults, HttpRequest, wait_until};

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
async fn a_web_identity_becomes_the_credentials_that_the_token_service_gives_for_it() {
    let mut world = World::new().await;
    let watched = Watched::start(&world).await;
    let url = watched.proxy.url();
    world.send(9, 0, true);
    let folder = tempfile::tempdir().unwrap();
    let (token, trusted) = (folder.path().join("token"), folder.path().join("authority.pem"));
    std::fs::write(&token, "a.web.token").unwrap();
    let authority = Authority::new("an authority");
    std::fs::write(&trusted, authority.pem()).unwrap();
    let service = TokenService::start(&authority.issue("sts", &["sts.amazonaws.com", "sts.us-east-1.amazonaws.com"]));
    let environment = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/sink"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_CONFIG_FILE", "/nowhere"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
        ("SSL_CERT_FILE", trusted.to_str().unwrap()),
        ("HTTPS_PROXY", &service.proxy),
    ];
    let sink = world.sink(&environment).await;
    let chain = ("s3.credentials.provider.class", "com.amazonaws.auth.WebIdentityTokenCredentialsProvider");
    world.register(&sink, &[("store.url", &url), chain]).await;
    world.check().await;
    let (tunnel, request) = service.asked.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(tunnel.starts_with("CONNECT sts.") && tunnel.contains("amazonaws.com:443"), "{tunnel}");
    for part in ["Action=AssumeRoleWithWebIdentity", "WebIdentityToken=a.web.token", "role%2Fsink"] {
        assert!(request.contains(part), "{part}: {request}");
    }
    let put = watched.first("PUT", "/kafka/").await;
    assert!(put.header("authorization").unwrap().contains("Credential=minio/"), "{put:?}");
    assert_eq!(put.header("x-amz-security-token"), Some("for-a-while"));
}

/// AWS's token service, found through a proxy that is the service itself: it is reached by TLS alone, at a fixed name.
struct TokenService {
    proxy: String,
    /// The request to the proxy, and that to the service.
    asked: std::sync::mpsc::Receiver<(String, String)>,
}

impl TokenService {
    const ANSWER: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
        <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>minio</AccessKeyId>\
        <SecretAccessKey>minio123</SecretAccessKey><SessionToken>for-a-while</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>\
        </AssumeRoleWithWebIdentityResponse>";

    fn start(identity: &Issued) -> Self {
        let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        tls.set_certificate(&X509::from_pem(identity.certificate.as_bytes()).unwrap()).unwrap();
        tls.set_private_key(&PKey::private_key_from_pem(identity.key.as_bytes()).unwrap()).unwrap();
        let (tls, listener) = (tls.build(), TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let proxy = format!("http://{}", listener.local_addr().unwrap());
        let (said, asked) = std::sync::mpsc::channel();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let mut client = client.unwrap();
                let tunnel = request(&mut client);
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                // A client that thinks better of it is no failure here: the test waits for its credentials.
                let Ok(mut client) = tls.accept(client) else { continue };
                let request = request(&mut client);
                let length = Self::ANSWER.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{}", Self::ANSWER);
                let _ = client.write_all(answer.as_bytes());
                let _ = said.send((tunnel, request));
            }
        });
        Self { proxy, asked }
    }
}

/// A request with its body.
fn request(client: &mut impl Read) -> String {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(b"\r\n\r\n") && client.read(&mut byte).unwrap_or(0) == 1 {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body).unwrap();
    String::from_utf8_lossy(&[bytes, body].concat()).into_owned()
}
