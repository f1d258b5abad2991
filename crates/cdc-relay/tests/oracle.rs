//! A model test: several sessions write at random while the relay is killed at random; afterwards the topics must equal
//! the committed history.
//!
//! Postgres is the oracle ([`history`]): triggers write down each change in the transaction that makes it, so what is rolled
//! back is not there, and a second slot tells the order of commits. A run follows from its seed but for the threads' own
//! timing; a failure names the seed, and `RELAY_MODEL_SEED=<seed>` runs it again. `RELAY_MODEL_RUNS` says how many there
//! are (`make test-model`).

mod history;
mod traffic;

use std::{collections::BTreeMap, time::Duration};

use cdc_relay::failpoint::OF_STREAM;
use model::lsn::Lsn;
use rand::{Rng, SeedableRng, rngs::StdRng};
use testkit::{postgres, wait_until};

use self::history::{Change, History};
use crate::{
    events::{Event, Events},
    rig::{LONG, Rig},
};

const RUNS_DEFAULT: u64 = 2;
const SESSIONS: u64 = 4;
const TRANSACTIONS: usize = 40;

/// What a seed decides about a run as a whole.
#[derive(Debug)]
struct Plan {
    seed: u64,
    /// With one partition the order of a whole table is compared, else that of each key.
    partitions: usize,
    snapshot: bool,
    batch_bytes: usize,
    kills: usize,
    /// A truncate rewrites a table, which an interrupted snapshot refuses, and has no key that orders it.
    truncates: bool,
}

impl Plan {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (partitions, snapshot) = (if random.random() { 1 } else { 3 }, random.random());
        Self {
            seed,
            partitions,
            snapshot,
            batch_bytes: [3_000, 20_000, 4_000_000][random.random_range(0..3)],
            kills: random.random_range(2..6),
            truncates: partitions == 1 && !snapshot,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes; make test-model"]
async fn the_topics_equal_the_committed_history() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let (first, runs) = match number("RELAY_MODEL_SEED") {
        Some(seed) => (seed, 1),
        None => (rand::rng().random_range(0..1 << 32), number("RELAY_MODEL_RUNS").unwrap_or(RUNS_DEFAULT)),
    };
    let mut changes = 0;
    for seed in first..first + runs {
        let plan = Plan::new(seed);
        println!("RELAY_MODEL_SEED={seed}: {plan:?}");
        changes += run(&plan).await;
    }
    println!("{runs} runs, {changes} changes compared");
}

async fn run(plan: &Plan) -> usize {
    let mut random = StdRng::seed_from_u64(plan.seed + 1);
    let mut rig = Rig::start().await;
    let history = History::begin(&rig.sql).await;
    traffic::fill(&rig.sql).await;
    let (partitions, bytes) = (plan.partitions.to_string(), plan.batch_bytes.to_string());
    let settings = [
        ("table.include.list", "public\\.(acc|led|bag)"),
        ("topic.creation.default.partitions", partitions.as_str()),
        ("batch.bytes.max", bytes.as_str()),
        ("skipped.operations", "none"),
        ("snapshot.max.threads", "3"),
        ("snapshot.mode", if plan.snapshot { "initial" } else { "no_data" }),
    ];
    rig.connect(&settings).await;
    if !plan.snapshot {
        rig.wait_until_streaming().await;
    }
    let begun: String = rig.sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
    let mut sessions = Vec::new();
    for session in 0..SESSIONS {
        let client = postgres().await.connect(&rig.database).await;
        let seed = plan.seed.wrapping_mul(31).wrapping_add(session);
        sessions.push(tokio::spawn(traffic::session(client, session, seed, TRANSACTIONS, plan.truncates)));
    }
    for _ in 0..plan.kills {
        die(&mut rig, &mut random).await;
    }
    for session in sessions {
        session.await.unwrap();
    }
    // A snapshot that began behind the traffic has a slot that is drained from the start.
    rig.wait_until_streaming().await;
    rig.wait_until_drained().await;
    let history = history.committed(&rig.sql).await;
    let compared = compare(plan, &rig, &history, begun.parse().unwrap()).await;
    rig.clean().await;
    compared
}

/// Killed from outside after a while, or at a random step.
async fn die(rig: &mut Rig, random: &mut StdRng) {
    let pause = Duration::from_millis(random.random_range(50..800));
    if random.random() {
        tokio::time::sleep(pause).await;
    } else {
        let point = OF_STREAM[random.random_range(0..OF_STREAM.len())];
        rig.kill_and_arm(point, random.random_range(1..40)).await;
        let begun = std::time::Instant::now();
        // It may never come by so often: then it is killed as it is.
        wait_until("a death", LONG, async || rig.relay.ended().is_some() || begun.elapsed() > 3 * pause).await;
    }
    rig.kill_and_restart().await;
}

/// Compares every table's topic with the history behind the point where the stream began.
async fn compare(plan: &Plan, rig: &Rig, history: &[Change], begun: Lsn) -> usize {
    let mut compared = 0;
    let mut reader = Events::new(&rig.registry);
    for table in &traffic::TABLES {
        let records = rig.records(table.name).await;
        let context = format!("RELAY_MODEL_SEED={}, {}", plan.seed, table.name);
        let (mut events, mut reads, mut tombstones) = (Vec::new(), Vec::new(), 0);
        for record in &records {
            match reader.event(record).await {
                Some(event) if event.op == "r" => reads.push(event),
                Some(event) => events.push(event),
                None => tombstones += 1,
            }
        }
        // Without a snapshot the stream began before the traffic did.
        let start = reads.first().map_or(begun, |event| Lsn(u64::try_from(event.lsn).unwrap()));
        let mine: Vec<&Change> = history.iter().filter(|change| change.table == table.name).collect();
        let (before, after): (Vec<&Change>, Vec<&Change>) = mine.into_iter().partition(|c| c.commit_end <= start);
        if plan.snapshot {
            check_reads(&context, table, &before, &after, &reads);
        } else {
            assert!(reads.is_empty(), "{context}: rows were read");
        }
        let expected: Vec<Expected> = after.iter().flat_map(|change| expected(table, change)).collect();
        let deletes = expected.iter().filter(|event| event.op == 'd').count();
        assert_eq!(tombstones, deletes, "{context}: tombstones");
        compared += expected.len() + reads.len();
        let expected = grouped(plan, expected.into_iter().map(|event| (event.key.clone(), event)));
        let actual = grouped(plan, events.into_iter().map(|event| (key_of(table, &event), event)));
        assert_eq!(expected.keys().collect::<Vec<_>>(), actual.keys().collect::<Vec<_>>(), "{context}: keys");
        for (key, expected) in &expected {
            let actual = &actual[key];
            for (index, (expected, actual)) in expected.iter().zip(actual).enumerate() {
                assert!(expected.is(actual), "{context} {key}, event {index}: {expected:?} was {actual:?}");
            }
            assert_eq!(expected.len(), actual.len(), "{context} {key}: events");
        }
    }
    compared
}

/// An event as it must come.
#[derive(Debug)]
struct Expected {
    op: char,
    tx_id: i64,
    key: String,
    before: Option<Row>,
    after: Option<Row>,
    /// Columns that did not change, of which only a placeholder may be known.
    unchanged: Vec<String>,
}

type Row = BTreeMap<String, String>;

/// What stands for a value outside of its row that did not change.
const PLACEHOLDER: &str = "__debezium_unavailable_value";

impl Expected {
    fn is(&self, event: &Event) -> bool {
        let before = match (&self.before, &event.before) {
            // Columns beside the replica identity are filled in as Debezium does.
            (Some(expected), Some(actual)) => expected.iter().all(|(name, value)| actual.get(name) == Some(value)),
            (None, None) => true,
            _ => false,
        };
        let after = match (&self.after, &event.after) {
            (Some(expected), Some(actual)) => {
                expected.len() == actual.len()
                    && expected.iter().all(|(name, value)| {
                        let actual = &actual[name];
                        actual == value || actual == PLACEHOLDER && self.unchanged.contains(name)
                    })
            }
            (None, None) => true,
            _ => false,
        };
        event.op == self.op.to_string() && event.tx_id == self.tx_id && before && after
    }
}

/// The events a change becomes: a change of the key is a delete and an insert.
fn expected(table: &traffic::Table, change: &Change) -> Vec<Expected> {
    let unchanged: Vec<String> = match (&change.old, &change.new) {
        (Some(old), Some(new)) => {
            old.iter().filter(|(name, value)| new.get(*name) == Some(value)).map(|(name, _)| name.clone()).collect()
        }
        _ => Vec::new(),
    };
    let event = |op, key: &Row, before: Option<&Row>, after: Option<&Row>| Expected {
        op,
        tx_id: change.tx_id,
        key: named(table, key),
        before: before.cloned(),
        after: after.cloned(),
        unchanged: unchanged.clone(),
    };
    let identity = |row: &Row| -> Row {
        let columns = row.iter().filter(|(name, _)| table.full || table.key.contains(&name.as_str()));
        columns.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    match (&change.old, &change.new) {
        (None, Some(new)) => vec![event('c', new, None, Some(new))],
        (Some(old), None) => vec![event('d', old, Some(&identity(old)), None)],
        (Some(old), Some(new)) if table.key.iter().any(|column| old[*column] != new[*column]) => {
            vec![event('d', old, Some(&identity(old)), None), event('c', new, None, Some(new))]
        }
        (Some(old), Some(new)) => {
            let before = identity(old);
            vec![event('u', new, table.full.then_some(&before), Some(new))]
        }
        (None, None) => vec![event('t', &Row::new(), None, None)],
    }
}

fn named(table: &traffic::Table, row: &Row) -> String {
    table.key.iter().map(|column| row.get(*column).cloned().unwrap_or_default()).collect::<Vec<_>>().join("/")
}

fn key_of(table: &traffic::Table, event: &Event) -> String {
    let row = if event.op == "d" { &event.before } else { &event.after };
    row.as_ref().map_or_else(|| named(table, &Row::new()), |row| named(table, row))
}

/// By key, or all together where one partition keeps the order of all. A table without a key is spread over the
/// partitions, so its events are put into the order of their transactions.
fn grouped<T: std::fmt::Debug + Ordered>(
    plan: &Plan,
    events: impl Iterator<Item = (String, T)>,
) -> BTreeMap<String, Vec<T>> {
    let mut groups: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (key, event) in events {
        let key = if plan.partitions == 1 { String::new() } else { key };
        groups.entry(key).or_default().push(event);
    }
    if plan.partitions > 1
        && let Some(keyless) = groups.get_mut("")
    {
        keyless.sort_by_cached_key(Ordered::order);
    }
    groups
}

/// A place among the events of a table without a key that does not need the order of the log.
trait Ordered {
    fn order(&self) -> String;
}

impl Ordered for Expected {
    fn order(&self) -> String {
        format!("{} {} {:?} {:?}", self.tx_id, self.op, self.before, self.after)
    }
}

impl Ordered for Event {
    fn order(&self) -> String {
        format!("{} {} {:?} {:?}", self.tx_id, self.op, self.before, self.after)
    }
}

/// Rows read are those of the state where the stream begins. One that changed while the snapshot was interrupted may be
/// missing, since the stream brings it; nothing is read twice.
fn check_reads(context: &str, table: &traffic::Table, before: &[&Change], after: &[&Change], reads: &[Event]) {
    // Rows without a key are told apart by a column that the traffic keeps unique.
    let name = |row: &Row| if table.key.is_empty() { row["n"].clone() } else { named(table, row) };
    let mut state: BTreeMap<String, Row> = BTreeMap::new();
    for change in before {
        if let Some(old) = &change.old {
            state.remove(&name(old));
        }
        if let Some(new) = &change.new {
            state.insert(name(new), new.clone());
        }
    }
    for event in reads {
        let row = event.after.as_ref().unwrap();
        let expected = state.remove(&name(row));
        assert_eq!(expected.as_ref(), Some(row), "{context}: read, against the state at the start");
    }
    for missing in state.keys() {
        let touched = after.iter().any(|change| change.old.as_ref().is_some_and(|old| name(old) == *missing));
        assert!(touched, "{context}: {missing} was neither read nor changed since");
    }
}
