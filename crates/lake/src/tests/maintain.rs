//! Maintenance over files on disk: what is needed stays, what is not goes, rows and progress are as before.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use async_trait::async_trait;
use iceberg::TableIdent;
use model::{cell::Cell, envelope::Op};
use serde_json::{Value, json};

use super::{
    fixture::Lake,
    topic::{ColumnSpec, Topic},
};
use crate::{
    error::Result,
    layers,
    maintenance::{
        Maintenance, Steps,
        expire::Retention,
        warehouse::{Stored, Warehouse},
    },
    memory_catalog::Fault,
    tables::TableState,
};

const COLUMNS: [ColumnSpec; 2] = [("id", 23, "int4", -1, false), ("name", 25, "text", -1, true)];
const ALL: Steps = Steps { dry_run: false, files_min: 2, without_key: true, orphans: true, measure: true };

/// Files on disk.
struct Disk;

#[async_trait]
impl Warehouse for Disk {
    async fn list(&self, folder: &str) -> Result<Vec<Stored>> {
        let mut found = Vec::new();
        walk(Path::new(folder.strip_prefix("file://").unwrap()), &mut found);
        Ok(found)
    }
}

fn walk(folder: &Path, found: &mut Vec<Stored>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, metadata) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        if metadata.is_dir() {
            walk(&path, found);
            continue;
        }
        let modified = metadata.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let location = format!("file://{}", path.display());
        found.push(Stored { location, bytes: metadata.len(), modified_ms: Some(modified) });
    }
}

fn maintenance(lake: &Lake, age: Duration, snapshots_min: usize, orphan_age: Duration) -> Maintenance {
    let retention = Retention::new(age, snapshots_min);
    Maintenance::new(lake.shape.tables.clone(), Arc::new(Disk), retention, orphan_age, 10)
}

fn at_once(lake: &Lake) -> Maintenance {
    maintenance(lake, Duration::ZERO, 1, Duration::ZERO)
}

/// Forty keys, each pass changes two.
async fn busy(lake: &Lake, passes: i32) -> Topic {
    let mut topic = Topic::new("things", &COLUMNS);
    for n in 0..passes {
        for id in [n % 40, (n * 7) % 40] {
            let (id, name) = (id.to_string(), format!("n{n}"));
            topic.event(
                id.len() as i32,
                Op::Update,
                None,
                Some(&[Cell::Text(id.as_bytes()), Cell::Text(name.as_bytes())]),
            );
        }
        lake.raw.flush(&mut topic, 0);
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
    }
    topic
}

fn idents(topic: &Topic) -> [TableIdent; 3] {
    let name = &topic.name;
    [layers::stage_table(name), layers::shape_table(name), layers::history_table(name)].map(Option::unwrap)
}

async fn rows(lake: &Lake) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for sql in [
        "SELECT * FROM stage.things ORDER BY _partition, _offset",
        "SELECT * FROM shape.things ORDER BY id",
        "SELECT * FROM shape.things_history ORDER BY _partition, _offset",
    ] {
        all.push(lake.sql(sql).await);
    }
    all
}

/// Files in the table's folder that the state does not need, and needed ones that are not there.
fn astray(state: &TableState) -> (Vec<String>, Vec<String>) {
    let mut stored = Vec::new();
    walk(Path::new(state.metadata().location().strip_prefix("file://").unwrap()), &mut stored);
    let stored: BTreeSet<String> = stored.into_iter().map(|file| file.location).collect();
    let mut needed: BTreeSet<String> = state.live().map(|live| live.path.to_owned()).collect();
    needed.extend(state.manifests.iter().map(|(file, _)| file.manifest_path.clone()));
    needed.extend(state.metadata().snapshots().map(|snapshot| snapshot.manifest_list().to_owned()));
    (stored.difference(&needed).cloned().collect(), needed.difference(&stored).cloned().collect())
}

#[tokio::test]
async fn after_maintenance_the_same_rows_lie_in_few_files_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(dir.path(), 10);
    let mut topic = busy(&lake, 30).await;
    let before = rows(&lake).await;
    let maintenance = at_once(&lake);
    for ident in idents(&topic) {
        let old = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        let offsets = crate::offsets::NextOffsets::of(old.metadata()).unwrap();
        let report = maintenance.table(&ident, ALL).await.unwrap();
        assert_eq!(
            (report.before.rows, report.before.snapshots),
            (report.after.rows, old.metadata().snapshots().len())
        );
        assert_eq!(report.after.snapshots, 1, "{ident}");
        assert!(report.files_deleted > 20, "{report:?}");
        assert!(report.after.files < report.before.files || report.before.files < 5, "{report:?}");
        let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        assert_eq!(astray(&state), (vec![], vec![]), "{ident}");
        assert_eq!(crate::offsets::NextOffsets::of(state.metadata()).unwrap(), offsets);
        // Nothing is left to do.
        let again = maintenance.table(&ident, ALL).await.unwrap();
        assert!(!again.did_something(), "{again:?}");
    }
    assert_eq!(rows(&lake).await, before);
    // Life goes on, for this process and for one that has nothing cached.
    let other = lake.another();
    for lake in [&lake, &other] {
        topic.event(1, Op::Update, None, Some(&[Cell::Text(b"1"), Cell::Text(b"later")]));
        lake.raw.flush(&mut topic, 0);
        lake.stage_all(&topic.name).await;
        lake.shape_all(&topic.name).await;
    }
    assert_eq!(lake.sql("SELECT name FROM shape.things WHERE id = 1").await, vec![json!(["later"])]);
    assert_eq!(lake.sql("SELECT COUNT(*) FROM stage.things").await, vec![json!([62])]);
}

#[tokio::test]
async fn a_tagged_snapshot_keeps_every_file_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(dir.path(), 10);
    let topic = busy(&lake, 20).await;
    for ident in idents(&topic) {
        let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        let mut ids: Vec<(i64, i64)> =
            state.metadata().snapshots().map(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id())).collect();
        ids.sort_unstable();
        let tagged = ids[9].1;
        lake.catalog.tag(&ident, "lesson", tagged).await;
        at_once(&lake).table(&ident, ALL).await.unwrap();
        let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        let snapshot = state.metadata().snapshot_for_ref("lesson").expect("the tag is there");
        assert_eq!(state.metadata().snapshots().len(), 2);
        let fresh = lake.another().shape.tables;
        let manifests = fresh.manifests_of(&state.table, snapshot).await.unwrap();
        let live = manifests.iter().flat_map(|(_, manifest)| manifest.entries()).filter(|entry| entry.is_alive());
        let mut files = 0;
        for entry in live {
            assert!(fresh.file_io().exists(entry.file_path()).await.unwrap(), "{}", entry.file_path());
            files += 1;
        }
        assert!(files > 0);
    }
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(dir.path(), 10);
    let topic = busy(&lake, 12).await;
    let ident = layers::shape_table(&topic.name).unwrap();
    let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
    let lost = format!("{}/data/lost.parquet", state.metadata().location());
    lake.shape.tables.file_io().new_output(&lost).unwrap().write("lost".into()).await.unwrap();
    let mut before = Vec::new();
    walk(dir.path(), &mut before);
    let dry = Steps { dry_run: true, ..ALL };
    assert!(at_once(&lake).table(&layers::stage_table(&topic.name).unwrap(), dry).await.unwrap().would_rewrite);
    let report = at_once(&lake).table(&ident, dry).await.unwrap();
    let mut after = Vec::new();
    walk(dir.path(), &mut after);
    assert_eq!(before, after);
    assert_eq!(report.snapshots_expired, report.before.snapshots - 1);
    assert_eq!((report.orphans, report.orphan_bytes, report.files_deleted), (1, 4, 0));
    // Younger than the age, it is none.
    let careful = maintenance(&lake, Duration::ZERO, 1, Duration::from_secs(3600));
    assert_eq!(careful.table(&ident, ALL).await.unwrap().orphans, 0);
    assert!(lake.shape.tables.file_io().exists(&lost).await.unwrap());
    assert_eq!(at_once(&lake).table(&ident, ALL).await.unwrap().orphans, 1);
    assert!(!lake.shape.tables.file_io().exists(&lost).await.unwrap());
}

#[tokio::test]
async fn lost_answers_and_faster_writers_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(dir.path(), 10);
    let topic = busy(&lake, 12).await;
    let before = rows(&lake).await;
    let all = [Fault::AnswerLost, Fault::Conflict, Fault::RequestLost];
    for ident in idents(&topic) {
        for faults in [[all[0], all[0], all[0]], [all[1], all[2], all[0]], [all[2], all[1], all[1]]] {
            lake.catalog.fail_next(&faults);
            at_once(&lake).table(&ident, ALL).await.unwrap();
        }
        let report = at_once(&lake).table(&ident, ALL).await.unwrap();
        assert_eq!(report.after.snapshots, 1);
        let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        assert_eq!(astray(&state), (vec![], vec![]), "{ident}");
    }
    assert_eq!(rows(&lake).await, before);
}

#[tokio::test]
async fn a_busy_table_and_two_maintainers_at_once_end_with_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(dir.path(), 10);
    let other = lake.another();
    let topic = Topic::new("things", &COLUMNS);
    let maintainers = [at_once(&lake), at_once(&other)];
    // An orphan must be old: what a commit under way has written is young.
    let steps = Steps { orphans: false, measure: false, ..ALL };
    let maintain = async |maintenance: &Maintenance| {
        for _ in 0..15 {
            for ident in idents(&topic) {
                match maintenance.table(&ident, steps).await {
                    Ok(_) | Err(crate::error::LakeError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::join!(busy(&lake, 30), maintain(&maintainers[0]), maintain(&maintainers[1]));
    lake.shape.tables.refresh().await;
    assert_eq!(
        lake.sql("SELECT COUNT(*), COUNT(DISTINCT _partition * 1000 + _offset) FROM stage.things").await,
        vec![json!([60, 60])]
    );
    let alone = Lake::new(10);
    busy(&alone, 30).await;
    assert_eq!(rows(&lake).await, rows(&alone).await);
    for ident in idents(&topic) {
        maintainers[0].table(&ident, ALL).await.unwrap();
        let state = lake.shape.tables.load(&ident).await.unwrap().unwrap();
        assert_eq!(astray(&state), (vec![], vec![]), "{ident}");
    }
}
