//! The relay's records in `connect_offsets`: Debezium's entry for the position, and entries of our own for a snapshot.
//!
//! Debezium's entry has the key `["<connector>",{"server":"<prefix>"}]` and holds its fields, so that Debezium can go on
//! from it; ours adds `relay_*` fields, which Debezium passes over. A running snapshot keeps its plan and the progress of
//! its chunks under further keys of the same connector; they are deleted when it is complete. Pure.

use std::collections::BTreeMap;

use model::lsn::Lsn;
use serde_json::{Map, Value};
use topics::ConnectOffset;

use crate::{
    adhoc::state::AdHocState,
    position::{Partial, Position},
    snapshot::plan::{ChunkId, Plan, Progress},
};

/// Which entries are ours: one connector, one topic prefix.
#[derive(Debug, Clone)]
pub struct OffsetKeys {
    pub connector: String,
    pub topic_prefix: String,
}

/// Everything the offsets topic says about this connector.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stored {
    pub main: Option<MainOffset>,
    pub plan: Option<Plan>,
    pub progress: BTreeMap<ChunkId, Progress>,
}

/// Debezium's entry.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one is read per start")]
pub enum MainOffset {
    /// A snapshot began and is not complete.
    Snapshotting,
    Streaming(StreamOffset),
}

/// Debezium's entry while streaming.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamOffset {
    pub position: Position,
    /// The last event, for readers of the entry.
    pub last: LastEvent,
    /// Identity of the database cluster the LSN belongs to; unknown when Debezium wrote the entry.
    pub system_id: Option<String>,
    /// What signals asked for and is not done.
    pub ad_hoc: AdHocState,
}

/// What Debezium's entry tells of the last event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastEvent {
    pub lsn: Lsn,
    pub tx_id: Option<i64>,
    /// Commit time, microseconds since the Unix epoch.
    pub ts_us: i64,
    /// Debezium's operation name: `INSERT`, `UPDATE`, `DELETE`, `TRUNCATE`.
    pub kind: &'static str,
}

/// An entry of this connector that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the stored offset {key} cannot be read: {reason}")]
pub struct OffsetError {
    key: String,
    reason: String,
}

const SERVER: &str = "server";
/// Our own entries carry this in their partition; its value says what they are.
const SNAPSHOT_PART: &str = "relay_snapshot";
/// Marks the records of [`OffsetKeys::fence`].
const FENCE_PART: &str = "relay_fence";
const PLAN_PART: &str = "plan";
const CHUNK_PART: &str = "chunk";

impl OffsetKeys {
    /// The position while streaming.
    #[must_use]
    pub fn streaming(&self, offset: &StreamOffset) -> ConnectOffset {
        let StreamOffset { position, last, system_id, ad_hoc } = offset;
        let mut map = Map::new();
        // A complete position is Debezium's state right after a COMMIT; one inside a transaction names the last event.
        let (kind, lsn) = match position.partial {
            None => ("COMMIT", position.commit_end),
            Some(_) => (last.kind, last.lsn),
        };
        map.insert("lsn_proc".into(), lsn.0.into());
        map.insert("messageType".into(), kind.into());
        map.insert("lsn_commit".into(), position.commit_end.0.into());
        map.insert("lsn".into(), lsn.0.into());
        if let Some(tx_id) = last.tx_id {
            map.insert("txId".into(), tx_id.into());
        }
        map.insert("ts_usec".into(), last.ts_us.into());
        if let Some(Partial::Events { commit_start, events }) = position.partial {
            map.insert("relay_tx_lsn".into(), commit_start.0.into());
            map.insert("relay_tx_events".into(), events.into());
        }
        if let Some(system_id) = system_id {
            map.insert("relay_system_id".into(), system_id.as_str().into());
        }
        ad_hoc.store(&mut map);
        self.entry(self.partition(), Some(map))
    }

    /// The entry while a snapshot runs: Debezium, started on it, begins its snapshot anew.
    #[must_use]
    pub fn snapshotting(&self, plan: &Plan) -> ConnectOffset {
        let map = Map::from_iter([
            ("snapshot".to_owned(), Value::from("INITIAL")),
            ("snapshot_completed".to_owned(), false.into()),
            ("lsn".to_owned(), plan.consistent_lsn.into()),
            ("ts_usec".to_owned(), plan.ts_us.into()),
        ]);
        self.entry(self.partition(), Some(map))
    }

    /// The plan of a running snapshot; `None` deletes it.
    #[must_use]
    pub fn plan(&self, plan: Option<&Plan>) -> ConnectOffset {
        let mut partition = self.partition();
        partition.insert(SNAPSHOT_PART.into(), PLAN_PART.into());
        let text = plan.map(|plan| serde_json::to_string(plan).unwrap_or_default());
        // Connect allows only flat values in an offset, so the plan is a text.
        self.entry(partition, text.map(|text| Map::from_iter([(PLAN_PART.to_owned(), text.into())])))
    }

    /// The progress of one chunk; `None` deletes it.
    #[must_use]
    pub fn chunk(&self, id: ChunkId, progress: Option<Progress>) -> ConnectOffset {
        let mut partition = self.partition();
        partition.insert(SNAPSHOT_PART.into(), CHUNK_PART.into());
        partition.insert("table".into(), id.table.into());
        partition.insert("chunk".into(), id.chunk.into());
        let map = progress.map(|progress| {
            let (name, value) = match progress {
                Progress::Done => ("done", true.into()),
                Progress::Upto(place) => ("upto", Value::from(place.to_string())),
            };
            Map::from_iter([(name.to_owned(), value)])
        });
        self.entry(partition, map)
    }

    /// Key of the record that marks one partition as read back completely; `start` is different at every start.
    #[must_use]
    pub fn fence(&self, start: &str, partition: i32) -> Vec<u8> {
        let mut map = self.partition();
        map.insert(FENCE_PART.into(), start.into());
        map.insert("partition".into(), partition.into());
        self.entry(map, None).key_bytes()
    }

    /// Takes one record of the topic into `stored`; records of others are passed over.
    ///
    /// # Errors
    /// When an entry of this connector holds what this program does not understand.
    pub fn read(&self, entry: &ConnectOffset, stored: &mut Stored) -> Result<(), OffsetError> {
        if entry.connector != self.connector
            || entry.partition.get(SERVER).and_then(Value::as_str) != Some(&self.topic_prefix)
        {
            return Ok(());
        }
        let fail = |reason: &str| OffsetError {
            key: String::from_utf8_lossy(&entry.key_bytes()).into_owned(),
            reason: reason.to_owned(),
        };
        if entry.partition.contains_key(FENCE_PART) {
            return Ok(());
        }
        match entry.partition.get(SNAPSHOT_PART).and_then(Value::as_str) {
            None => stored.main = entry.offset.as_ref().map(main_offset).transpose().map_err(fail)?,
            Some(PLAN_PART) => {
                let text =
                    entry.offset.as_ref().map(|map| map.get(PLAN_PART).and_then(Value::as_str).unwrap_or_default());
                let plan = text.map(serde_json::from_str).transpose();
                stored.plan = plan.map_err(|error| fail(&error.to_string()))?;
            }
            Some(_) => {
                let number = |name: &str| entry.partition.get(name).and_then(Value::as_u64);
                let (Some(table), Some(chunk)) = (number("table"), number("chunk")) else {
                    return Err(fail("a chunk without numbers"));
                };
                let id = ChunkId {
                    table: usize::try_from(table).map_err(|_| fail("table out of range"))?,
                    chunk: u32::try_from(chunk).map_err(|_| fail("chunk out of range"))?,
                };
                match entry.offset.as_ref().map(chunk_progress).transpose().map_err(fail)? {
                    Some(progress) => stored.progress.insert(id, progress),
                    None => stored.progress.remove(&id),
                };
            }
        }
        Ok(())
    }

    fn partition(&self) -> Map<String, Value> {
        Map::from_iter([(SERVER.to_owned(), Value::from(self.topic_prefix.as_str()))])
    }

    fn entry(&self, partition: Map<String, Value>, offset: Option<Map<String, Value>>) -> ConnectOffset {
        ConnectOffset { connector: self.connector.clone(), partition, offset }
    }
}

impl StreamOffset {
    /// The furthest position the slot may stand at without changes being lost. Debezium confirms the last event's LSN,
    /// which lies behind the last commit.
    #[must_use]
    pub fn slot_limit(&self) -> Lsn {
        match self.position.partial {
            Some(Partial::UpToLsn { lsn, .. }) => lsn.max(self.position.commit_end),
            Some(Partial::Events { .. }) | None => self.position.commit_end,
        }
    }
}

fn main_offset(map: &Map<String, Value>) -> Result<MainOffset, &'static str> {
    let flag = |name: &str| map.get(name).is_some_and(|value| value == &Value::Bool(true));
    let number = |name: &str| map.get(name).and_then(Value::as_u64).map(Lsn);
    if map.contains_key("snapshot") && !flag("snapshot_completed") && !flag("last_snapshot_record") {
        return Ok(MainOffset::Snapshotting);
    }
    let lsn = number("lsn").or_else(|| number("lsn_proc"));
    let commit_end = number("lsn_commit");
    let partial = match map.get("messageType").and_then(Value::as_str) {
        Some("INSERT" | "UPDATE" | "DELETE" | "TRUNCATE" | "MESSAGE") => {
            match (number("relay_tx_lsn"), map.get("relay_tx_events").and_then(Value::as_u64)) {
                (Some(commit_start), Some(events)) => Some(Partial::Events { commit_start, events }),
                _ => {
                    let at_lsn = map.get("lsn_events_processed").and_then(Value::as_u64).unwrap_or(1).max(1);
                    lsn.map(|lsn| Partial::UpToLsn { lsn, at_lsn })
                }
            }
        }
        _ => None,
    };
    let commit_end = match (commit_end, partial) {
        (Some(commit_end), _) => commit_end,
        // Debezium inside the first transaction after its snapshot: there is no commit yet.
        (None, Some(_)) => Lsn::ZERO,
        (None, None) => lsn.ok_or("it has no LSN")?,
    };
    Ok(MainOffset::Streaming(StreamOffset {
        position: Position { commit_end, partial },
        last: LastEvent {
            lsn: lsn.unwrap_or(commit_end),
            tx_id: map.get("txId").and_then(Value::as_i64),
            ts_us: map.get("ts_usec").and_then(Value::as_i64).unwrap_or_default(),
            kind: "COMMIT",
        },
        system_id: map.get("relay_system_id").and_then(Value::as_str).map(str::to_owned),
        ad_hoc: AdHocState::read(map)?,
    }))
}

fn chunk_progress(map: &Map<String, Value>) -> Result<Progress, &'static str> {
    if map.contains_key("done") {
        return Ok(Progress::Done);
    }
    let place = map.get("upto").and_then(Value::as_str).and_then(|text| text.parse().ok());
    place.map(Progress::Upto).ok_or("neither done nor a ctid")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::snapshot::plan::{PlannedTable, RowPlace};

    fn keys() -> OffsetKeys {
        OffsetKeys { connector: "storefront-source".into(), topic_prefix: "storefront".into() }
    }

    fn read(entries: &[ConnectOffset]) -> Stored {
        let mut stored = Stored::default();
        for entry in entries {
            // Through bytes, as the topic would hand it out.
            let value = entry.value_bytes();
            let entry = ConnectOffset::parse(&entry.key_bytes(), value.as_deref()).unwrap();
            keys().read(&entry, &mut stored).unwrap();
        }
        stored
    }

    fn streaming(position: Position) -> StreamOffset {
        let last = LastEvent { lsn: Lsn(77), tx_id: Some(5), ts_us: 9, kind: "INSERT" };
        StreamOffset { position, last, system_id: Some("42".into()), ad_hoc: AdHocState::default() }
    }

    fn position_of(stored: &Stored) -> Position {
        match &stored.main {
            Some(MainOffset::Streaming(offset)) => offset.position,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_key_is_connects_own() {
        let entry = keys().streaming(&streaming(Position::at(Lsn(1))));
        assert_eq!(entry.key_bytes(), br#"["storefront-source",{"server":"storefront"}]"#);
    }

    #[test]
    fn a_complete_position_reads_as_debeziums_after_a_commit() {
        let entry = keys().streaming(&streaming(Position::at(Lsn(26_949_088))));
        let value = String::from_utf8(entry.value_bytes().unwrap()).unwrap();
        assert_eq!(
            value,
            r#"{"lsn_proc":26949088,"messageType":"COMMIT","lsn_commit":26949088,"lsn":26949088,"txId":5,"ts_usec":9,"relay_system_id":"42"}"#
        );
        assert_eq!(position_of(&read(&[entry])), Position::at(Lsn(26_949_088)));
    }

    #[test]
    fn a_position_inside_a_transaction_comes_back() {
        let partial = Some(Partial::Events { commit_start: Lsn(200), events: 3 });
        let position = Position { commit_end: Lsn(100), partial };
        assert_eq!(position_of(&read(&[keys().streaming(&streaming(position))])), position);
    }

    #[test]
    fn debeziums_entry_of_the_golden_data_is_understood() {
        let key = br#"["storefront-source",{"server":"storefront"}]"#;
        let value = br#"{"lsn_proc":26938128,"messageType":"INSERT","lsn_commit":26938128,"lsn":26938128,"txId":790,"ts_usec":1795353659152579}"#;
        let entry = ConnectOffset::parse(key, Some(value)).unwrap();
        let position = position_of(&read(&[entry]));
        assert_eq!(
            position,
            Position {
                commit_end: Lsn(26_938_128),
                partial: Some(Partial::UpToLsn { lsn: Lsn(26_938_128), at_lsn: 1 })
            }
        );
    }

    #[test]
    fn a_later_debeziums_count_of_events_at_one_lsn_is_read() {
        let key = br#"["storefront-source",{"server":"storefront"}]"#;
        let value = br#"{"messageType":"INSERT","lsn_commit":100,"lsn":120,"lsn_events_processed":7,"ts_usec":1}"#;
        let entry = ConnectOffset::parse(key, Some(value)).unwrap();
        let partial = Some(Partial::UpToLsn { lsn: Lsn(120), at_lsn: 7 });
        assert_eq!(position_of(&read(&[entry])), Position { commit_end: Lsn(100), partial });
    }

    #[test]
    fn a_snapshot_under_way_is_known_with_its_plan_and_progress() {
        let table = PlannedTable {
            schema: "public".into(),
            name: "orders".into(),
            heap: 1,
            filenode: 2,
            pages: 3,
            rows: -1,
            select: Some("SELECT * FROM orders".into()),
            filter: None,
        };
        let plan = Plan {
            consistent_lsn: 7,
            pg_snapshot: "1:1:".into(),
            ts_us: 3,
            chunk_pages: 10,
            tables: vec![table],
            blocking: false,
        };
        let (a, b) = (ChunkId { table: 0, chunk: 0 }, ChunkId { table: 0, chunk: 1 });
        let place = Progress::Upto(RowPlace { page: 4, line: 2 });
        let entries = [
            keys().snapshotting(&plan),
            keys().plan(Some(&plan)),
            keys().chunk(a, Some(Progress::Done)),
            keys().chunk(b, Some(place)),
        ];
        let stored = read(&entries);
        assert_eq!(stored.main, Some(MainOffset::Snapshotting));
        assert_eq!(stored.plan, Some(plan));
        assert_eq!(stored.progress, BTreeMap::from([(a, Progress::Done), (b, place)]));
    }

    #[test]
    fn deleted_entries_are_forgotten() {
        let id = ChunkId { table: 0, chunk: 0 };
        let stored = read(&[keys().chunk(id, Some(Progress::Done)), keys().chunk(id, None), keys().plan(None)]);
        assert_eq!(stored, Stored::default());
    }

    #[test]
    fn fences_are_no_entries_and_differ_from_start_to_start() {
        let fence = |start| ConnectOffset::parse(&keys().fence(start, 3), None).unwrap();
        assert_eq!(read(&[fence("a")]), Stored::default());
        assert_ne!(fence("a").key_bytes(), fence("b").key_bytes());
    }

    #[test]
    fn entries_of_other_connectors_are_passed_over() {
        let other = OffsetKeys { connector: "other".into(), ..keys() };
        assert_eq!(read(&[other.streaming(&streaming(Position::at(Lsn(1))))]), Stored::default());
    }
}
