//! stage -> shape: whatever happened to the rows, the tables are what a naive replay of the events gives.

use std::collections::{BTreeMap, HashMap};

use model::{cell::Cell, envelope::Op};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    fixture::Lake,
    topic::{ColumnSpec, NUMERIC_10_2, Topic},
};
use crate::{layers, memory_catalog::Fault};

const COLUMNS: [ColumnSpec; 3] =
    [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true), ("amount", 1700, "numeric", NUMERIC_10_2, false)];
/// `numeric(12,2)`'s typmod.
const NUMERIC_12_2: i32 = ((12 << 16) | 2) + 4;
/// What becomes of the table: a column more, wider columns (one of them the key), a column less.
const ALTERED: [&[ColumnSpec]; 4] = [
    &COLUMNS,
    &[COLUMNS[0], COLUMNS[1], COLUMNS[2], NOTE],
    &[("id", 20, "int8", -1, false), COLUMNS[1], ("amount", 1700, "numeric", NUMERIC_12_2, false), NOTE],
    &[("id", 20, "int8", -1, false), ("amount", 1700, "numeric", NUMERIC_12_2, false), NOTE],
];
const NOTE: ColumnSpec = ("note", 25, "text", -1, true);

#[derive(Debug, Clone, Copy)]
enum Step {
    Upsert {
        key: u8,
        value: u8,
        op: u8,
    },
    Delete {
        key: u8,
    },
    /// The key of a row changes: its old one ends, the new one begins, be it in another partition.
    Rekey {
        from: u8,
        to: u8,
        value: u8,
    },
    Truncate,
    /// The table's next form.
    Alter,
    Flush {
        markers: u8,
    },
    Pass,
    Fault(Fault),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_u8..40, any::<u8>(), 0_u8..3).prop_map(|(key, value, op)| Step::Upsert { key, value, op }),
        3 => (0_u8..40).prop_map(|key| Step::Delete { key }),
        2 => (0_u8..40, 0_u8..40, any::<u8>()).prop_map(|(from, to, value)| Step::Rekey { from, to, value }),
        1 => Just(Step::Truncate),
        1 => Just(Step::Alter),
        3 => (0_u8..3).prop_map(|markers| Step::Flush { markers }),
        2 => Just(Step::Pass),
        1 => prop::sample::select(vec![Fault::Conflict, Fault::AnswerLost, Fault::RequestLost]).prop_map(Step::Fault),
    ]
}

/// Name, amount and note of a row.
type Row = (Option<String>, String, Option<String>);

/// What a simple reader of the events would hold.
#[derive(Default)]
struct Replay {
    current: BTreeMap<u8, Row>,
    /// Versions of each key: (valid from, valid to), seconds since the start.
    versions: HashMap<u8, Vec<(i64, Option<i64>)>>,
    clock: i64,
    partitions: i32,
    /// Which of the table's forms events have.
    form: usize,
}

impl Replay {
    fn end_version(&mut self, key: u8) {
        let clock = self.clock;
        if let Some((_, to @ None)) = self.versions.entry(key).or_default().last_mut() {
            *to = Some(clock);
        }
    }
}

fn apply(step: Step, topic: &mut Topic, replay: &mut Replay) {
    match step {
        Step::Upsert { key, value, op } => {
            upsert(key, value, [Op::Create, Op::Update, Op::Read][usize::from(op)], topic, replay)
        }
        Step::Delete { key } => delete(key, topic, replay),
        Step::Rekey { from, to, value } => {
            delete(from, topic, replay);
            upsert(to, value, Op::Create, topic, replay);
        }
        Step::Truncate => {
            replay.clock += 1;
            let keys: Vec<u8> = replay.current.keys().copied().collect();
            keys.into_iter().for_each(|key| replay.end_version(key));
            replay.current.clear();
            // It has no key: any partition may get it.
            topic.event((replay.clock % i64::from(replay.partitions)) as i32, Op::Truncate, None, None);
        }
        _ => {}
    }
}

fn upsert(key: u8, value: u8, op: Op, topic: &mut Topic, replay: &mut Replay) {
    replay.clock += 1;
    replay.end_version(key);
    let columns = ALTERED[replay.form];
    let has = |name: &str| columns.iter().any(|column| column.0 == name);
    let (name, note) = (has("name").then(|| format!("n{value}")), has("note").then(|| format!("note {value}")));
    let (id, amount) = (key.to_string(), format!("{value}.50"));
    let row: Vec<Cell<'_>> = columns
        .iter()
        .map(|column| match column.0 {
            "id" => Cell::Text(id.as_bytes()),
            "amount" => Cell::Text(amount.as_bytes()),
            "name" => name.as_ref().map_or(Cell::Null, |name| Cell::Text(name.as_bytes())),
            _ => note.as_ref().map_or(Cell::Null, |note| Cell::Text(note.as_bytes())),
        })
        .collect();
    topic.event(i32::from(key) % replay.partitions, op, None, Some(&row));
    replay.versions.entry(key).or_default().push((replay.clock, None));
    replay.current.insert(key, (name, amount, note));
}

fn delete(key: u8, topic: &mut Topic, replay: &mut Replay) {
    replay.clock += 1;
    replay.end_version(key);
    let id = key.to_string();
    let row: Vec<Cell<'_>> = ALTERED[replay.form]
        .iter()
        .map(|column| match column.0 {
            "id" => Cell::Text(id.as_bytes()),
            "amount" => Cell::Text(b"0"),
            _ => Cell::Null,
        })
        .collect();
    topic.event(i32::from(key) % replay.partitions, Op::Delete, Some(&row), None);
    replay.current.remove(&key);
}

async fn play(steps: Vec<Step>, file_rows: usize, partitions: i32) {
    let lake = Lake::new(file_rows);
    let mut topic = Topic::new("things", &COLUMNS);
    let mut replay = Replay { partitions, ..Replay::default() };
    for step in steps.into_iter().chain([Step::Flush { markers: 0 }, Step::Pass]) {
        match step {
            Step::Flush { markers } => lake.raw.flush(&mut topic, i64::from(markers)),
            Step::Fault(fault) => lake.catalog.fail_next(&[fault]),
            Step::Alter if replay.form + 1 < ALTERED.len() => {
                // An object has one schema: the sink ends it before the next one.
                lake.raw.flush(&mut topic, 0);
                replay.form += 1;
                topic = topic.altered(ALTERED[replay.form]);
            }
            Step::Pass => {
                lake.stage_all(&topic.name).await;
                lake.shape_all(&topic.name).await;
            }
            event => apply(event, &mut topic, &mut replay),
        }
    }
    if replay.clock == 0 {
        return;
    }
    check_current(&lake, &replay).await;
    check_history(&lake, &replay).await;
    check_files(&lake, &topic, file_rows).await;
}

async fn check_current(lake: &Lake, replay: &Replay) {
    let shape =
        lake.shape.tables.load(&layers::shape_table("storefront.public.things").unwrap()).await.unwrap().unwrap();
    let column = |name: &'static str| shape.metadata().current_schema().field_by_name(name).map_or("NULL", |_| name);
    let (name, note) = (column("name"), column("note"));
    let rows = lake.sql(&format!("SELECT id, {name}, amount, {note} FROM shape.things ORDER BY id")).await;
    let expected: Vec<Value> =
        replay.current.iter().map(|(key, (name, amount, note))| json!([key, name, amount, note])).collect();
    assert_eq!(rows, expected);
}

async fn check_history(lake: &Lake, replay: &Replay) {
    let start = "TIMESTAMP '2024-05-05 00:00:00'";
    let seconds = |column: &str| format!("CAST(date_part('epoch', CAST({column} AS TIMESTAMP) - {start}) AS BIGINT)");
    let sql = format!(
        "SELECT id, {}, {}, is_current FROM shape.things_history ORDER BY id, _partition, _offset",
        seconds("valid_from"),
        seconds("valid_to")
    );
    let rows = lake.sql(&sql).await;
    let mut keys: Vec<&u8> = replay.versions.keys().collect();
    keys.sort();
    let expected: Vec<Value> = keys
        .into_iter()
        .flat_map(|key| replay.versions[key].iter().map(move |(from, to)| json!([key, from, to, to.is_none()])))
        .collect();
    assert_eq!(rows, expected);
}

/// Ranges of a current-state table's files do not overlap, and no file is much larger than its target.
async fn check_files(lake: &Lake, topic: &Topic, file_rows: usize) {
    let state = lake.shape.tables.load(&layers::shape_table(&topic.name).unwrap()).await.unwrap().unwrap();
    let id = state.metadata().current_schema().field_id_by_name("id").unwrap();
    let bound = |bounds: &HashMap<i32, iceberg::spec::Datum>| bounds[&id].to_human_string().parse::<i64>().unwrap();
    let mut ranges: Vec<(i64, i64)> = state
        .files
        .iter()
        .map(|file| (bound(file.data_file().lower_bounds()), bound(file.data_file().upper_bounds())))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "{ranges:?}");
    assert!(state.files.iter().all(|file| file.record_count() <= (file_rows + file_rows / 2) as u64));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn shape_equals_a_replay_of_the_events(
        steps in prop::collection::vec(step(), 0..120),
        file_rows in 1_usize..12,
        partitions in 1_i32..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps, file_rows, partitions));
    }
}

#[tokio::test]
async fn an_update_that_leaves_a_large_value_alone_keeps_it() {
    let lake = Lake::new(100);
    let mut topic = Topic::new("things", &COLUMNS);
    let row = |name: Cell<'static>, amount: &'static str| [Cell::Text(b"1"), name, Cell::Text(amount.as_bytes())];
    topic.event(1, Op::Create, None, Some(&row(Cell::Text(b"large"), "1.00")));
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    topic.event(1, Op::Update, None, Some(&row(Cell::Unchanged, "2.00")));
    topic.event(1, Op::Update, None, Some(&row(Cell::Unchanged, "3.00")));
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    assert_eq!(lake.sql("SELECT name, amount FROM shape.things").await, vec![json!(["large", "3.00"])]);
    let versions = lake.sql("SELECT name, amount FROM shape.things_history ORDER BY valid_from").await;
    assert_eq!(versions, vec![json!(["large", "1.00"]), json!(["large", "2.00"]), json!(["large", "3.00"])]);
}

#[tokio::test]
async fn a_small_change_rewrites_one_file_of_many() {
    let lake = Lake::new(10);
    let mut topic = Topic::new("things", &COLUMNS);
    for key in 0..100 {
        let id = key.to_string();
        topic.event(0, Op::Read, None, Some(&[Cell::Text(id.as_bytes()), Cell::Null, Cell::Text(b"1")]));
    }
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    let ident = layers::shape_table(&topic.name).unwrap();
    let paths = |state: &crate::tables::TableState| -> std::collections::BTreeSet<String> {
        state.files.iter().map(|file| file.file_path().to_owned()).collect()
    };
    let before = paths(&lake.shape.tables.load(&ident).await.unwrap().unwrap());
    topic.event(0, Op::Update, None, Some(&[Cell::Text(b"55"), Cell::Null, Cell::Text(b"2")]));
    lake.raw.flush(&mut topic, 0);
    lake.stage_all(&topic.name).await;
    lake.shape_all(&topic.name).await;
    let after = paths(&lake.shape.tables.load(&ident).await.unwrap().unwrap());
    assert!(before.len() >= 9);
    assert_eq!(after.difference(&before).count(), 1);
}
