//! kill -9 at any moment: what was acknowledged is there and whole, and nothing else is visible in part.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use opendal::Operator;
use testkit::wait_until;

use crate::server::Server;

const ROUNDS: u32 = 8;
const WRITERS: u32 = 6;

/// A body that can be told from its key and version: sizes from nothing to several portions of a body.
fn body(key: &str, version: u32) -> Vec<u8> {
    let seed = crc(key).wrapping_add(version);
    let size = match seed % 5 {
        0 => 0,
        1 => 10,
        2 => 70_000,
        3 => 300_000,
        _ => 1_500_000,
    };
    let mut bytes = format!("{key} {version}\n").into_bytes();
    bytes.extend((0..size).map(|at: u32| (at.wrapping_mul(31).wrapping_add(seed) % 251) as u8));
    bytes
}

fn crc(text: &str) -> u32 {
    text.bytes().fold(17, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

/// Versions of each key: the last acknowledged and the last tried.
type Versions = Arc<Mutex<BTreeMap<String, (Option<u32>, u32)>>>;

/// Writes until told to stop or the server is gone: new keys, and again and again one key of its own.
async fn write(raw: Operator, round: u32, writer: u32, versions: Versions, stop: Arc<AtomicBool>) {
    for at in 0.. {
        let key = if at % 2 == 0 { format!("new/{round}-{writer}-{at}") } else { format!("again/{writer}") };
        let version = {
            let mut versions = versions.lock().unwrap();
            let entry = versions.entry(key.clone()).or_default();
            entry.1 += 1;
            entry.1
        };
        let written = raw.write(&key, body(&key, version)).await;
        if written.is_err() || stop.load(Ordering::Relaxed) {
            if written.is_ok() {
                versions.lock().unwrap().entry(key).and_modify(|entry| entry.0 = Some(version));
            }
            return;
        }
        versions.lock().unwrap().entry(key).and_modify(|entry| entry.0 = Some(version));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_writes_it_keeps_what_it_acknowledged_and_shows_nothing_torn() {
    let mut server = Server::start().await;
    let versions = Versions::default();
    for round in 0..ROUNDS {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged =
            |versions: &Versions| versions.lock().unwrap().values().filter(|entry| entry.0.is_some()).count();
        let before = acknowledged(&versions);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(server.client("raw"), round, writer, versions.clone(), stop.clone())))
            .collect();
        // At a moment that differs from round to round.
        let until = before + 10 + (round as usize * 7) % 30;
        wait_until("some writes are acknowledged", Duration::from_secs(60), async || acknowledged(&versions) >= until)
            .await;
        server.kill().await;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        server.restart().await;
        let written = versions.lock().unwrap().clone();
        check(&server.client("raw"), &written).await;
    }
    let staging = std::fs::read_dir(server.dir.path().join("objects/staging")).unwrap().count();
    assert_eq!(staging, 0, "leftovers are removed at start");
    assert!(!server.dir.path().join("objects/damaged").exists(), "nothing was found damaged");
}

async fn check(raw: &Operator, versions: &BTreeMap<String, (Option<u32>, u32)>) {
    let entries = raw.list_with("").recursive(true).await.unwrap();
    let visible: HashMap<_, _> =
        entries.iter().map(|entry| (entry.path(), entry.metadata().content_length())).collect();
    for (key, (acknowledged, tried)) in versions {
        let Some(length) = visible.get(key.as_str()) else {
            assert_eq!(*acknowledged, None, "{key} was acknowledged and is lost");
            continue;
        };
        let bytes = raw.read(key).await.unwrap().to_vec();
        assert_eq!(*length, bytes.len() as u64, "{key}: listing and object differ");
        let fits = (acknowledged.unwrap_or(1)..=*tried).any(|version| body(key, version) == bytes);
        assert!(fits, "{key} is not a version from the last acknowledged {acknowledged:?} to the last tried {tried}");
    }
    assert!(visible.keys().all(|key| versions.contains_key(*key)), "something is visible that nobody wrote");
}
