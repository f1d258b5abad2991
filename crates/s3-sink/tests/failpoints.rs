//! The sink dies at each of its failpoints, early and late, in the layout where an object speaks for itself and in one
//! where ranges are written down: each record once, and the group stands where the objects end.

use std::time::Duration;

use s3_sink::failpoint::{Failpoint, OF_EACH_RANGE, OF_REVOCATION, PLAN_WRITTEN, RECORD_TAKEN};
use testkit::wait_until;

use crate::fixture::{WITH_TIME, World, avro_ids};

/// Folders change every 200 ms: what is made again after a crash would lie elsewhere.
const BY_THE_CLOCK: [(&str, &str); 4] = [
    ("partitioner.class", "io.confluent.connect.storage.partitioner.TimeBasedPartitioner"),
    ("locale", "en-US"),
    ("partition.duration.ms", "200"),
    ("path.format", "'s'=ss/'ms'=SSS"),
];

/// A member that takes partitions over, dies there, and is sent records until it does.
async fn dies_at(world: &mut World, point: Failpoint, turn: u64, schema: usize) {
    let mut sink = world.failing_sink(point, turn).await;
    // Partitions are taken away when somebody else joins; they have to be its own by then.
    let (mut other, before) = (None, world.keys().await.len());
    wait_until(&format!("the sink dies at {} ({turn})", point.0), Duration::from_secs(120), async || {
        world.send(30, schema, true);
        if OF_REVOCATION.contains(&point) && other.is_none() && world.keys().await.len() > before + 3 {
            other = Some(world.sink(&[]).await);
        }
        sink.binary.ended().is_some()
    })
    .await;
    assert!(sink.binary.log_tail().contains(point.0), "it died of something else: {}", sink.binary.log_tail());
}

/// The n-th time that a point is passed, early and late.
fn turns(point: Failpoint) -> [u64; 2] {
    if point == RECORD_TAKEN { [1, 47] } else { [1, 3] }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_dies_at_each_step_where_an_object_speaks_for_itself() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    world.register(&sink, &[("tasks.max", "1")]).await;
    drop(sink);
    for point in OF_EACH_RANGE {
        for turn in turns(point) {
            // Positions are found once in a life.
            dies_at(&mut world, point, if point.0.starts_with("assign") { 1 } else { turn }, 0).await;
        }
    }
    for point in OF_REVOCATION {
        dies_at(&mut world, point, 1, 0).await;
    }
    let _sink = world.sink(&[]).await;
    world.send(30, 0, true);
    world.check().await;
    world.check_committed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_dies_at_each_step_where_ranges_are_written_down_even_by_the_clock() {
    let mut world = World::new().await;
    let sink = world.sink(&[]).await;
    let mut changes = BY_THE_CLOCK.to_vec();
    changes.extend([("tasks.max", "1"), ("flush.size", "40"), ("rotate.schedule.interval.ms", "400")]);
    world.register(&sink, &changes).await;
    drop(sink);
    for point in OF_EACH_RANGE.into_iter().chain([PLAN_WRITTEN]).filter(|point| !point.0.starts_with("assign")) {
        for turn in turns(point) {
            dies_at(&mut world, point, turn, WITH_TIME).await;
        }
    }
    for point in OF_REVOCATION {
        dies_at(&mut world, point, 1, WITH_TIME).await;
    }
    let _sink = world.sink(&[]).await;
    world.send(30, WITH_TIME, true);
    world.check_layout(avro_ids, |_| None).await;
    world.check_plans().await;
}
