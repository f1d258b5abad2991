//! What S3 clients rely on.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use opendal::{ErrorKind, options::ListOptions};
use testkit::wait_until;

use crate::server::{Server, spawn};

#[tokio::test]
async fn objects_keep_their_bytes_metadata_and_neighbours() {
    let server = Server::start().await;
    let raw = server.client("raw");
    raw.write_with("x", "0123456789")
        .user_metadata([("first-offset".to_owned(), "7".to_owned())])
        .content_type("application/avro")
        .await
        .unwrap();
    // S3 has no folders: a key may continue another.
    raw.write("x/y", "beside").await.unwrap();
    let long = format!("long/{}", "k".repeat(900));
    raw.write(&long, "long").await.unwrap();
    raw.write("odd/ü %+&=?#.avro", "odd").await.unwrap();

    let about = raw.stat("x").await.unwrap();
    assert_eq!((about.content_length(), about.content_type()), (10, Some("application/avro")));
    assert_eq!(about.etag(), Some("\"781e5e245d69b566979b86e28d23f2c7\""));
    assert_eq!(about.user_metadata().unwrap()["first-offset"], "7");
    assert_eq!(raw.read_with("x").range(2..6).await.unwrap().to_vec(), b"2345");
    assert_eq!(raw.read("x/y").await.unwrap().to_vec(), b"beside");
    assert_eq!(raw.read(&long).await.unwrap().to_vec(), b"long");
    assert_eq!(raw.read("odd/ü %+&=?#.avro").await.unwrap().to_vec(), b"odd");

    raw.delete("x").await.unwrap();
    assert_eq!(raw.stat("x").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(raw.read("x/y").await.unwrap().to_vec(), b"beside");
}

#[tokio::test]
async fn a_large_object_is_uploaded_in_parts() {
    let server = Server::start().await;
    let lake = server.client("lakehouse");
    let body: Vec<u8> = (0..23_000_000_u32).map(|at| (at % 251) as u8).collect();
    let mut writer = lake.writer_with("data/large").chunk(8 << 20).concurrent(3).await.unwrap();
    for portion in body.chunks(1 << 20) {
        writer.write(portion.to_vec()).await.unwrap();
    }
    writer.close().await.unwrap();
    assert!(lake.stat("data/large").await.unwrap().etag().unwrap().ends_with("-3\""));
    assert!(lake.read("data/large").await.unwrap().to_vec() == body);
    assert_eq!(
        lake.read_with("data/large").range(8_388_600..8_388_620).await.unwrap().to_vec(),
        body[8_388_600..8_388_620]
    );
}

#[tokio::test]
async fn of_many_racing_conditional_writers_exactly_one_wins() {
    let server = Server::start().await;
    let raw = server.client("raw");
    for round in 0..200 {
        let key = format!("race/{round}");
        let writers = (0..8).map(|writer| {
            let (raw, key) = (raw.clone(), key.clone());
            tokio::spawn(async move {
                raw.write_with(&key, format!("writer {writer}")).if_not_exists(true).await.map(|_| writer)
            })
        });
        let results: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();
        let winners: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(
            results
                .iter()
                .filter_map(|result| result.as_ref().err())
                .all(|error| error.kind() == ErrorKind::ConditionNotMatch)
        );
        assert_eq!(raw.read(&key).await.unwrap().to_vec(), format!("writer {}", winners[0]).into_bytes());
    }
}

#[tokio::test]
async fn a_listing_starts_behind_a_key_and_pages_in_byte_order() {
    let server = Server::start().await;
    let raw = server.client("raw");
    let keys: Vec<_> = (0..2345).map(|at| format!("kafka/t/partition=0/t+0+{at:010}.avro")).collect();
    stream::iter(&keys).map(|key| raw.write(key, "r")).buffer_unordered(32).try_collect::<Vec<_>>().await.unwrap();
    raw.write("kafka/u/other", "r").await.unwrap();

    let all = raw.list("kafka/t/partition=0/").await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.path().to_owned()).collect::<Vec<_>>(), keys);
    let after = ListOptions { start_after: Some(keys[2000].clone()), ..ListOptions::default() };
    let behind = raw.list_options("kafka/t/partition=0/", after).await.unwrap();
    assert_eq!(behind.first().unwrap().path(), keys[2001]);
    assert_eq!(behind.len(), 344);
    let folders: Vec<_> = raw.list("kafka/").await.unwrap().into_iter().map(|entry| entry.path().to_owned()).collect();
    assert_eq!(folders, ["kafka/t/", "kafka/u/"]);
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_only_objects_of_public_buckets_are_read_without_one() {
    let server = Server::start().await;
    server.client("raw").write("open", "for all").await.unwrap();
    let forged = server.client_with_secret("raw", "guessed");
    assert_eq!(forged.read("open").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    assert_eq!(forged.write("open", "mine").await.unwrap_err().kind(), ErrorKind::PermissionDenied);

    let answer = reqwest::get(server.url("/raw/open")).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "for all");
    let anonymous = reqwest::Client::new();
    assert_eq!(anonymous.get(server.url("/raw?list-type=2")).send().await.unwrap().status(), 403);
    assert_eq!(anonymous.get(server.url("/")).send().await.unwrap().status(), 403);
    assert_eq!(anonymous.put(server.url("/raw/new")).body("x").send().await.unwrap().status(), 403);
    assert_eq!(anonymous.delete(server.url("/raw/open")).send().await.unwrap().status(), 403);
    let metrics = anonymous.get(server.url("/-/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("object_server_requests_total") && !metrics.contains("minio123"));
}

#[tokio::test]
async fn conditions_on_reads_and_writes_hold() {
    let server = Server::start().await;
    let raw = server.client("raw");
    raw.write("x", "one").await.unwrap();
    let tag = raw.stat("x").await.unwrap().etag().unwrap().to_owned();
    assert_eq!(raw.read_with("x").if_match("\"other\"").await.unwrap_err().kind(), ErrorKind::ConditionNotMatch);
    assert_eq!(raw.read_with("x").if_none_match(&tag).await.unwrap_err().kind(), ErrorKind::ConditionNotMatch);
    assert_eq!(raw.read_with("x").if_match(&tag).await.unwrap().to_vec(), b"one");
    raw.write_with("x", "two").if_match(&tag).await.unwrap();
    assert_eq!(raw.write_with("x", "three").if_match(&tag).await.unwrap_err().kind(), ErrorKind::ConditionNotMatch);
    assert_eq!(raw.read("x").await.unwrap().to_vec(), b"two");
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let server = Server::start().await;
    let mut second = spawn(server.dir.path().join("objects"), testkit::free_port());
    wait_until("the second server gives up", Duration::from_secs(20), async || second.ended()).await;
    assert!(second.log_tail().contains("another object server uses"), "{}", second.log_tail());
}
