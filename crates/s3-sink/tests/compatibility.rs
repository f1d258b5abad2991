//! `schema.compatibility`: which values share an object, in which form, and every record once.

use std::collections::BTreeMap;
use std::time::Duration;

use apache_avro::types::Value as Avro;
use s3_sink::failpoint::{OBJECT_WRITTEN, PLAN_WRITTEN, RANGE_WRITTEN};
use testkit::wait_until;

use crate::fixture::{World, avro_ids};

/// Long enough for all records to be in one file.
const SLOW: [(&str, &str); 2] = [("rotate.schedule.interval.ms", "1500"), ("tasks.max", "1")];

/// Schemas of a partition's objects, in order.
async fn schemas(world: &World, partition: i32) -> Vec<u32> {
    let objects = world.objects().await;
    objects.iter().filter(|(raw, ..)| raw.partition == partition).map(|(_, metadata, _)| metadata.schema_id).collect()
}

/// `n` of each record, where its object has that field.
async fn numbers(world: &World) -> BTreeMap<i64, Option<i64>> {
    let mut found = BTreeMap::new();
    for (.., key) in world.objects().await {
        let bytes = world.store.get(&key).await.unwrap();
        for value in apache_avro::Reader::new(bytes.as_ref()).unwrap() {
            let Avro::Record(fields) = value.unwrap() else { panic!("no record") };
            let number = |index: usize| match fields.get(index) {
                Some((_, Avro::Long(number))) => Some(*number),
                _ => None,
            };
            found.insert(number(0).unwrap(), number(1));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn backward_takes_older_values_into_the_newer_schema_and_a_newer_one_begins_an_object() {
    let mut world = World::new().await;
    for schema in [0, 1, 0, 1] {
        world.send(9, schema, true);
    }
    let sink = world.sink(&[]).await;
    let mut changes = SLOW.to_vec();
    changes.extend([("schema.compatibility", "BACKWARD"), ("flush.size", "1000")]);
    world.register(&sink, &changes).await;
    world.check().await;
    world.check_committed().await;
    assert_eq!(schemas(&world, 0).await, [1, 2], "the first nine are of schema 1 alone");
    // Of the third transaction, written without `n`: its default.
    let expected = |id: i64| match id / 9 {
        0 => None,
        2 => Some(0),
        _ => Some(-id),
    };
    assert_eq!(numbers(&world).await, (0..36).map(|id| (id, expected(id))).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_takes_newer_values_into_the_older_schema() {
    let mut world = World::new().await;
    for schema in [1, 0, 1] {
        world.send(9, schema, true);
    }
    let sink = world.sink(&[]).await;
    let mut changes = SLOW.to_vec();
    changes.extend([("schema.compatibility", "FORWARD"), ("flush.size", "1000")]);
    world.register(&sink, &changes).await;
    world.check().await;
    assert_eq!(schemas(&world, 0).await, [2, 1]);
    let expected = |id: i64| if id < 9 { Some(-id) } else { None };
    assert_eq!(numbers(&world).await, (0..27).map(|id| (id, expected(id))).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_step_with_schemas_mixed_every_record_comes_once() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    let changes = [
        ("partitioner.class", "io.confluent.connect.storage.partitioner.TimeBasedPartitioner"),
        ("locale", "en-US"),
        ("partition.duration.ms", "200"),
        ("path.format", "'s'=ss/'ms'=SSS"),
        ("schema.compatibility", "FULL"),
        ("tasks.max", "1"),
        ("flush.size", "40"),
        ("rotate.schedule.interval.ms", "400"),
    ];
    world.register(&sink, &changes).await;
    drop(sink);
    let mut turn = 0;
    for step in [PLAN_WRITTEN, OBJECT_WRITTEN, RANGE_WRITTEN] {
        for round in 1..=2 {
            let mut sink = world.failing_sink(step, round).await;
            wait_until("the sink dies", Duration::from_secs(60), async || {
                turn += 1;
                world.send(30, turn % 2, true);
                sink.binary.ended().is_some()
            })
            .await;
        }
    }
    let _sink = world.sink(&[]).await;
    world.send(30, 0, true);
    world.check_layout(avro_ids, |_| None).await;
    world.check_plans().await;
}
