//! kill -9 and cut connections under commits: an acknowledged commit stays, none happens twice.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::wait_until;

use crate::stack::{Stack, snapshot_commit};

#[derive(Default)]
struct Seen {
    acknowledged: BTreeSet<i64>,
    tried: BTreeSet<i64>,
    /// Refused or unavailable: must not have happened.
    refused: BTreeSet<i64>,
    next: i64,
}

/// Commits snapshots with ids of their own until told to stop. Errors of the connection are the test's purpose.
async fn commit_snapshots(url: String, seen: Arc<Mutex<Seen>>, stop: Arc<AtomicBool>) {
    let http = reqwest::Client::new();
    while !stop.load(Ordering::Relaxed) {
        let table = wait_until("the catalog answers", Duration::from_secs(60), async || load(&http, &url).await).await;
        let id = {
            let mut seen = seen.lock().unwrap();
            seen.next += 1;
            let id = seen.next;
            seen.tried.insert(id);
            id
        };
        let body = snapshot_commit(&table["metadata"], id);
        match http.post(&url).json(&body).send().await.map(|answer| answer.status().as_u16()) {
            Ok(200) => drop(seen.lock().unwrap().acknowledged.insert(id)),
            // These say that nothing happened.
            Ok(409 | 503) => drop(seen.lock().unwrap().refused.insert(id)),
            Ok(500) | Err(_) => {}
            Ok(other) => panic!("a commit was answered {other}"),
        }
    }
}

async fn load(http: &reqwest::Client, url: &str) -> Option<Value> {
    let answer = http.get(url).send().await.ok().filter(|answer| answer.status().is_success())?;
    answer.json().await.ok()
}

fn check(table: &Value, seen: &Seen) {
    let snapshots: Vec<_> = table["metadata"]["snapshots"].as_array().into_iter().flatten().collect();
    let ids: Vec<_> = snapshots.iter().map(|snapshot| snapshot["snapshot-id"].as_i64().unwrap()).collect();
    let unique: BTreeSet<_> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "a snapshot was committed twice");
    assert!(seen.acknowledged.is_subset(&unique), "an acknowledged commit is lost");
    assert!(unique.is_subset(&seen.tried), "a snapshot nobody committed");
    assert!(unique.is_disjoint(&seen.refused), "a commit that was refused has happened");
    let mut numbers: Vec<_> = snapshots.iter().map(|snapshot| snapshot["sequence-number"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=ids.len() as i64).collect::<Vec<_>>(), "the history has a gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_commits_it_loses_none_and_doubles_none() {
    run(6, async |stack| {
        stack.kill().await;
        stack.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_from_postgres_under_commits_it_tells_the_truth() {
    run(15, async |stack| {
        stack.gate.cut();
        stack.wait_healthy().await;
    })
    .await;
}

async fn run(rounds: usize, disturb: impl AsyncFn(&mut Stack)) {
    tokio::task::LocalSet::new().run_until(run_with_writers(rounds, disturb)).await;
}

async fn run_with_writers(rounds: usize, disturb: impl AsyncFn(&mut Stack)) {
    let mut stack = Stack::start().await;
    stack.create_table("t", json!({})).await;
    let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
    let url = stack.url("/v1/namespaces/shape/tables/t");
    let writers: Vec<_> =
        (0..6).map(|_| tokio::task::spawn_local(commit_snapshots(url.clone(), seen.clone(), stop.clone()))).collect();
    for round in 0..rounds {
        let until = seen.lock().unwrap().acknowledged.len() + 5 + round % 4;
        wait_until("some commits are acknowledged", Duration::from_secs(60), async || {
            seen.lock().unwrap().acknowledged.len() >= until
        })
        .await;
        disturb(&mut stack).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    check(&stack.load("t").await, &seen.lock().unwrap());
}
