//! Every record once: killed between put and commit, racing for partitions, reset and registered again.

use std::time::Duration;

use reqwest::Method;
use testkit::wait_until;

use crate::fixture::World;

#[tokio::test(flavor = "multi_thread")]
async fn sinks_killed_under_load_lose_and_double_nothing() {
    let mut world = World::new().await;
    let first = world.sink(&[]).await;
    world.register(&first, &[("flush.size", "25")]).await;
    drop(first);
    for _ in 0..5 {
        let mut sink = world.sink(&[]).await;
        let before = world.record_count().await;
        for _ in 0..30 {
            world.send(60, 0, true);
        }
        wait_until("something was published", Duration::from_secs(60), async || world.record_count().await > before)
            .await;
        sink.binary.kill().await;
    }
    let _sink = world.sink(&[]).await;
    world.check().await;
    world.check_committed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sinks_share_one_group_and_members_come_and_go_under_load() {
    let mut world = World::new().await;
    let first = world.sink(&[]).await;
    world.register(&first, &[("flush.size", "20")]).await;
    for round in 0..4 {
        let mut second = world.sink(&[]).await;
        for _ in 0..20 {
            world.send(60, 0, true);
        }
        // Every other time it leaves without saying so.
        if round % 2 == 0 {
            second.binary.kill().await
        } else {
            assert!(second.binary.stop().await)
        }
        for _ in 0..20 {
            world.send(60, 0, true);
        }
    }
    world.check().await;
    world.check_committed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reset_to_the_beginning_and_a_connector_registered_again_make_no_new_objects() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    for _ in 0..5 {
        world.send(25, 0, true);
    }
    world.check().await;
    let before = world.objects().await;
    assert_eq!(world.call(&sink, Method::DELETE, "").await, 204);
    world.reset_group().await;
    // Other rotation, so that files written anew would have other bounds.
    world.register(&sink, &[("flush.size", "7")]).await;
    world.check_committed().await;
    assert_eq!(world.objects().await, before);
    world.send(25, 0, true);
    world.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_set_into_the_middle_of_an_object_goes_on_at_its_end() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    world.send(60, 0, true);
    world.check().await;
    assert_eq!(world.call(&sink, Method::PUT, "/stop").await, 204);
    let body = serde_json::json!({ "offsets": [{
        "partition": { "kafka_topic": world.topic, "kafka_partition": 0 }, "offset": { "kafka_offset": 3 },
    }] });
    let url = format!("{}/connectors/{}/offsets", sink.url, world.connector);
    wait_until("the offset is set", Duration::from_secs(30), async || {
        world.http.patch(&url).json(&body).send().await.unwrap().status() == 200
    })
    .await;
    assert_eq!(world.call(&sink, Method::PUT, "/resume").await, 202);
    world.send(60, 0, true);
    world.check().await;
    world.check_committed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_a_definite_error_that_names_it() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[("s3.bucket.name", "no-such-bucket")]).await;
    world.send(30, 0, true);
    let failed = async || {
        let status = world.status(&sink).await;
        let named =
            |task: &serde_json::Value| task["trace"].as_str().is_some_and(|trace| trace.contains("no-such-bucket"));
        status["tasks"].as_array().is_some_and(|tasks| tasks.iter().any(named))
    };
    wait_until("a task fails and names the bucket", Duration::from_secs(30), failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_server_that_is_away_is_waited_for_and_nothing_is_committed_meanwhile() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    world.send(60, 0, true);
    world.check().await;
    world.stop_objects().await;
    for _ in 0..10 {
        world.send(60, 0, true);
    }
    let away = async || sink.binary.log_tail().contains("is not answering");
    wait_until("the log says who is away", Duration::from_secs(60), away).await;
    assert_eq!(world.status(&sink).await["tasks"][0]["state"], "RUNNING");
    world.start_objects().await;
    world.check().await;
    world.check_committed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_a_person_deleted_are_made_again_after_a_reset_and_the_others_stay() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    for _ in 0..4 {
        world.send(90, 0, true);
    }
    world.check().await;
    assert_eq!(world.call(&sink, Method::DELETE, "").await, 204);
    let before = world.objects().await;
    for (_, _, key) in before.iter().step_by(3) {
        world.store.delete(key).await.unwrap();
    }
    world.reset_group().await;
    // Other rotation: what is made again must still end where the next object begins.
    world.register(&sink, &[("flush.size", "100")]).await;
    world.check().await;
    for object in before.iter().enumerate().filter(|(index, _)| index % 3 != 0).map(|(_, object)| object) {
        assert!(world.objects().await.contains(object), "{} is as it was", object.2);
    }
}
