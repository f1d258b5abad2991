//! Objects larger than a part: each once and whole, whatever happens to their parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testkit::{HttpFault, HttpFaults, HttpRequest, wait_until};

use crate::fixture::{HEAVY, World};

/// Files of 11 MB in parts of 5 MiB: two whole ones and a rest.
const SETTINGS: [(&str, &str); 6] = [
    ("s3.part.size", "5242880"),
    ("haus.file.bytes.max", "11000000"),
    ("flush.size", "100000"),
    // Room for all, or files would end early and their rests not at all.
    ("haus.buffer.bytes.max", "200000000"),
    ("s3.retry.backoff.ms", "20"),
    ("rotate.schedule.interval.ms", "-1"),
];
/// Records of a transaction, spread over three partitions: a file for each.
const RECORDS: i64 = 3 * 110;

fn is_part(request: &HttpRequest, number: u32) -> bool {
    request.method == "PUT" && request.path.contains(&format!("partNumber={number}&"))
}

fn is_completion(request: &HttpRequest) -> bool {
    request.method == "POST" && request.path.contains("uploadId=")
}

async fn register(world: &World, sink: &crate::fixture::Sink, url: &str, more: &[(&str, &str)]) {
    let mut changes = SETTINGS.to_vec();
    changes.push(("store.url", url));
    changes.extend(more);
    world.register(sink, &changes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn second_parts_that_fail_and_completions_whose_answers_are_lost_leave_each_record_once() {
    let mut world = World::new().await;
    let (parts, completions) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (seen_parts, seen_completions) = (Arc::clone(&parts), Arc::clone(&completions));
    let proxy = HttpFaults::start(world.objects_port(), move |request| {
        if is_part(request, 2) {
            // One more than s3.part.retries in a row: the first upload is given up and begun anew.
            return match seen_parts.fetch_add(1, Ordering::Relaxed) {
                0 | 2 => HttpFault::CutBody,
                1 => HttpFault::LoseAnswer,
                3 => HttpFault::Answer(503, "SlowDown"),
                6 => HttpFault::CutAnswer,
                _ => HttpFault::None,
            };
        }
        if is_completion(request) {
            return match seen_completions.fetch_add(1, Ordering::Relaxed) {
                0 => HttpFault::LoseAnswer,
                1 => HttpFault::CutAnswer,
                3 => HttpFault::Refuse,
                _ => HttpFault::None,
            };
        }
        HttpFault::None
    })
    .await;
    let sink = world.sink(&[]).await;
    register(&world, &sink, &proxy.url(), &[("tasks.max", "1")]).await;
    for _ in 0..2 {
        world.send(RECORDS, HEAVY, true);
    }
    world.check().await;
    world.check_committed().await;
    assert!(parts.load(Ordering::Relaxed) >= 10 && completions.load(Ordering::Relaxed) >= 6, "went up in parts");
    assert_eq!(world.objects().await.len(), 6);
    assert_eq!(world.uploads(), 0, "what was given up is aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_killed_between_parts_begins_the_object_anew_and_a_connector_that_stops_aborts_its_upload() {
    let mut world = World::new().await;
    let held = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&held);
    let proxy = HttpFaults::start(world.objects_port(), move |request| {
        // Longer than uploads are waited for when partitions go away, shorter than a request may still take after that.
        let first = is_part(request, 2) && seen.fetch_add(1, Ordering::Relaxed) < 6;
        if first { HttpFault::Delay(Duration::from_secs(13)) } else { HttpFault::None }
    })
    .await;
    let mut sink = world.sink(&[]).await;
    register(&world, &sink, &proxy.url(), &[("tasks.max", "1")]).await;
    world.send(RECORDS, HEAVY, true);
    let held_up = async |at_least: u32| {
        wait_until("a second part is on its way", Duration::from_secs(60), async || {
            held.load(Ordering::Relaxed) >= at_least
        })
        .await;
    };
    held_up(1).await;
    sink.binary.kill().await;
    let left = world.uploads();
    assert!(left > 0, "a killed sink cannot abort");
    let sink = world.sink(&[]).await;
    held_up(4).await;
    assert!(world.uploads() > left);
    assert_eq!(world.call(&sink, reqwest::Method::PUT, "/stop").await, 204);
    wait_until("the connector's uploads are aborted", Duration::from_secs(30), async || world.uploads() <= left).await;
    assert_eq!(world.call(&sink, reqwest::Method::PUT, "/resume").await, 202);
    world.check().await;
    world.check_committed().await;
    assert!(world.uploads() <= left);
}
