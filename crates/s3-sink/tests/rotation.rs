//! When objects appear, and what they cover.

use std::time::Duration;

use testkit::wait_until;

use crate::fixture::World;

#[tokio::test(flavor = "multi_thread")]
async fn records_reach_objects_by_size_and_the_rest_by_the_clock() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    for _ in 0..7 {
        world.send(15, 0, true);
    }
    world.check().await;
    assert!(
        world.objects().await.iter().any(|(_, metadata, _)| metadata.record_count == 10),
        "flush.size ended a file"
    );
    world.check_committed().await;
    drop(sink);
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_records_and_markers_lie_inside_an_objects_range() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    world.send(9, 0, true);
    world.send(9, 0, false);
    world.send(9, 0, true);
    world.check().await;
    world.send(9, 0, false);
    world.send(9, 0, true);
    world.check().await;
    world.check_committed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_schema_begins_a_new_object() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[("rotate.schedule.interval.ms", "1000")]).await;
    for schema in [0, 1, 0] {
        world.send(9, schema, true);
    }
    world.check().await;
    let schemas: Vec<u32> = world
        .objects()
        .await
        .iter()
        .filter(|(raw, ..)| raw.partition == 0)
        .map(|(_, metadata, _)| metadata.schema_id)
        .collect();
    assert_eq!(schemas, [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_fail_the_task_by_default_and_are_counted_when_ignored() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[]).await;
    world.send(3, 0, true);
    world.send_tombstone();
    world.send(3, 0, true);
    let failed = async || {
        let status = world.status(&sink).await;
        let trace = |task: &serde_json::Value| {
            task["trace"].as_str().is_some_and(|trace| trace.contains("behavior.on.null.values"))
        };
        status["tasks"].as_array().is_some_and(|tasks| tasks.iter().any(trace))
    };
    wait_until("a task fails and names the cure", Duration::from_secs(30), failed).await;
    let config = world.config(&[("behavior.on.null.values", "ignore")]);
    let url = format!("{}/connectors/{}/config", sink.url, world.connector);
    assert_eq!(world.http.put(url).json(&config).send().await.unwrap().status(), 200);
    world.check().await;
    assert_eq!(world.objects().await.iter().map(|(_, metadata, _)| metadata.tombstone_count).sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_appear_later_are_read_soon() {
    let mut world = World::new().await;
    let later = testkit::fresh_name("later");
    let sink = world.sink(&[]).await;
    let topics = format!("{later},{}", world.topic);
    world.register(&sink, &[("topics", &topics)]).await;
    world.send(9, 0, true);
    world.check().await;
    world.topic_appears(&later).await;
    world.send(9, 0, true);
    world.check().await;
}
