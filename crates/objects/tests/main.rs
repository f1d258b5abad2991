//! The adapter against the real object server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use model::secret::Secret;
use objects::{Metadata, ObjectError, PutOutcome, Store};
use testkit::{Binary, free_port};

struct Server {
    url: String,
    _binary: Binary,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let environment =
            [("S3_PORT", port.to_string()), ("OBJECT_SERVER_DIR", dir.path().to_str().unwrap().to_owned())];
        let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
        let mut binary = Binary::spawn("object-server", &environment);
        binary.wait_port(port).await;
        Self { url: format!("http://127.0.0.1:{port}"), _binary: binary, _dir: dir }
    }

    fn store(&self, secret: &str, bucket: &str) -> Store {
        Store::new(&self.url, "us-east-1", "minio", &Secret::new(secret), bucket).unwrap()
    }
}

fn metadata(value: &str) -> Metadata {
    Metadata::from([("haus-next-offset".to_owned(), value.to_owned())])
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_written_read_listed_and_deleted() {
    let server = Server::start().await;
    let store = server.store("minio123", "raw");
    for offset in [0, 10, 5] {
        let key = format!("kafka/a.b.c/partition=0/a.b.c+0+{offset:010}.avro");
        let pieces = vec![bytes::Bytes::from_static(b"hello "), bytes::Bytes::from(format!("{offset}"))];
        assert_eq!(store.put_if_absent(&key, pieces, metadata("7")).await, Ok(PutOutcome::Created));
    }
    store.put("kafka/other/x", b"x".to_vec(), Metadata::new()).await.unwrap();
    let prefix = "kafka/a.b.c/partition=0/";
    let all: Vec<_> = store.list_after(prefix, "").try_collect().await.unwrap();
    let keys: Vec<_> = all.iter().map(|object| &object.key[prefix.len()..]).collect();
    assert_eq!(keys, ["a.b.c+0+0000000000.avro", "a.b.c+0+0000000005.avro", "a.b.c+0+0000000010.avro"]);
    let later: Vec<_> = store.list_after(prefix, &all[0].key).try_collect().await.unwrap();
    assert_eq!(later, all[1..]);
    assert_eq!(store.list_after(prefix, &all[2].key).try_collect::<Vec<_>>().await, Ok(vec![]));

    let head = store.head(&all[2].key).await.unwrap().unwrap();
    assert_eq!((head.size, head.metadata["haus-next-offset"].as_str()), (8, "7"));
    assert_eq!(all[2].size, 8);
    assert_eq!(store.get(&all[2].key).await.unwrap().as_ref(), b"hello 10");
    assert_eq!(store.get_range(&all[2].key, 6..8).await.unwrap().as_ref(), b"10");

    store.delete(&all[2].key).await.unwrap();
    store.delete(&all[2].key).await.unwrap();
    assert_eq!(store.head(&all[2].key).await, Ok(None));
    assert!(matches!(store.get(&all[2].key).await, Err(ObjectError::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_writers_of_one_key_exactly_one_wins_and_its_object_stays() {
    let server = Server::start().await;
    let store = Arc::new(server.store("minio123", "raw"));
    for round in 0..20 {
        let key = format!("race/{round}");
        let racers = (0..8).map(|racer| {
            let (store, key) = (Arc::clone(&store), key.clone());
            tokio::spawn(async move {
                let outcome = store.put_if_absent(&key, vec![racer; 1000], metadata(&racer.to_string())).await.unwrap();
                (racer, outcome)
            })
        });
        let outcomes = futures::future::join_all(racers).await;
        let winners: Vec<u8> = outcomes
            .into_iter()
            .map(Result::unwrap)
            .filter(|(_, outcome)| *outcome == PutOutcome::Created)
            .map(|(racer, _)| racer)
            .collect();
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(store.get(&key).await.unwrap().as_ref(), vec![winners[0]; 1000]);
        assert_eq!(store.head(&key).await.unwrap().unwrap().metadata, metadata(&winners[0].to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_and_a_wrong_secret_are_definite_and_say_what_to_do() {
    let server = Server::start().await;
    let missing = server.store("minio123", "no-such-bucket");
    for error in [
        missing.put_if_absent("k", b"x".to_vec(), Metadata::new()).await.unwrap_err(),
        missing.list_after("a/", "").try_collect::<Vec<_>>().await.unwrap_err(),
    ] {
        assert!(matches!(error, ObjectError::MissingBucket { .. }), "{error}");
    }
    let wrong = server.store("wrong-secret", "raw");
    let error = wrong.put_if_absent("k", b"x".to_vec(), Metadata::new()).await.unwrap_err();
    assert!(matches!(error, ObjectError::AccessDenied { .. }), "{error:?}");
    assert!(!error.to_string().contains("wrong-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_to_be_retried() {
    let port = free_port();
    let store = Store::new(&format!("http://127.0.0.1:{port}"), "us-east-1", "a", &Secret::new("b"), "raw").unwrap();
    let put = store.put_if_absent("k", b"x".to_vec(), Metadata::new());
    let error = tokio::time::timeout(Duration::from_secs(20), put).await.unwrap().unwrap_err();
    assert!(matches!(error, ObjectError::Retry { .. }), "{error:?}");
}
