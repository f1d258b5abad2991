//! What signals have asked for and is not done yet, as it is stored with the position.
//!
//! Debezium's keys hold the tables that are left, so that each of the two goes on with the other's snapshot, from the
//! beginning of the table it is in: where Debezium is inside a table is a serialised Java object. Our own keys (`relay_*`)
//! say that exactly. Pure.

use serde_json::{Map, Value, json};

use super::signal::{SnapshotRequest, any_matches};

/// The stored state of everything asked for by signals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdHocState {
    /// Tables of the incremental snapshot, the first being read.
    pub tables: Vec<QueuedTable>,
    /// Key of the last row of the first table that is written; `None`: none yet.
    pub after: Option<Vec<String>>,
    /// Greatest key of the first table when its reading began: rows beyond come by the stream.
    pub last: Option<Vec<String>>,
    /// The signal that asked last.
    pub correlation_id: Option<String>,
    pub paused: bool,
    /// Blocking snapshots that have not begun.
    pub blocking: Vec<SnapshotRequest>,
    /// Offset of the signal topic to be read next.
    pub topic_next: Option<i64>,
}

/// A table of an incremental snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuedTable {
    /// `schema.table`
    pub name: String,
    pub filter: Option<String>,
    pub surrogate_key: Option<String>,
}

const TABLES: &str = "incremental_snapshot_collections";
const TABLE_ID: &str = "incremental_snapshot_collections_id";
const TABLE_FILTER: &str = "incremental_snapshot_collections_additional_condition";
const TABLE_SURROGATE: &str = "incremental_snapshot_collections_surrogate_key";
const CORRELATION: &str = "incremental_snapshot_correlation_id";
const AFTER: &str = "relay_incremental_key";
const LAST: &str = "relay_incremental_maximum_key";
const PAUSED: &str = "relay_incremental_paused";
const BLOCKING: &str = "relay_blocking";
const TOPIC_NEXT: &str = "relay_signal_offset";

impl AdHocState {
    /// Adds tables to the incremental snapshot.
    pub fn enqueue(&mut self, id: &str, tables: impl IntoIterator<Item = QueuedTable>) {
        self.tables.extend(tables);
        self.correlation_id = Some(id.to_owned());
    }

    /// Takes tables out of the incremental snapshot, all without an expression. Returns whether the first was one.
    pub fn stop(&mut self, expressions: &[String]) -> bool {
        let stopped = |table: &QueuedTable| expressions.is_empty() || any_matches(expressions, &table.name);
        let first = self.tables.first().is_some_and(&stopped);
        self.tables.retain(|table| !stopped(table));
        if first {
            (self.after, self.last) = (None, None);
        }
        self.settle();
        first
    }

    /// The first table is complete.
    pub fn table_done(&mut self) {
        if !self.tables.is_empty() {
            self.tables.remove(0);
        }
        (self.after, self.last) = (None, None);
        self.settle();
    }

    fn settle(&mut self) {
        if self.tables.is_empty() {
            (self.correlation_id, self.paused) = (None, false);
        }
    }

    /// Writes it into an offset. Connect allows only flat values there.
    pub fn store(&self, map: &mut Map<String, Value>) {
        if !self.tables.is_empty() {
            let tables: Value = self.tables.iter().map(QueuedTable::to_json).collect();
            map.insert(TABLES.into(), tables.to_string().into());
            map.insert(CORRELATION.into(), self.correlation_id.clone().into());
            for (name, key) in [(AFTER, &self.after), (LAST, &self.last)] {
                if let Some(key) = key {
                    map.insert(name.into(), json!(key).to_string().into());
                }
            }
            if self.paused {
                map.insert(PAUSED.into(), true.into());
            }
        }
        if !self.blocking.is_empty() {
            map.insert(BLOCKING.into(), json!(self.blocking).to_string().into());
        }
        if let Some(next) = self.topic_next {
            map.insert(TOPIC_NEXT.into(), next.into());
        }
    }

    /// Reads it back, or what Debezium wrote.
    ///
    /// # Errors
    /// When a value is not of its form.
    pub fn read(map: &Map<String, Value>) -> Result<Self, &'static str> {
        let text = |name: &str| map.get(name).and_then(Value::as_str);
        let key = |name: &str| match text(name) {
            Some(text) => serde_json::from_str(text).map(Some).map_err(|_| "a key of the incremental snapshot"),
            None => Ok(None),
        };
        let tables: Vec<Value> = match text(TABLES) {
            Some(text) => serde_json::from_str(text).map_err(|_| "the tables of the incremental snapshot")?,
            None => Vec::new(),
        };
        let blocking = match text(BLOCKING) {
            Some(text) => serde_json::from_str(text).map_err(|_| "the blocking snapshots asked for")?,
            None => Vec::new(),
        };
        Ok(Self {
            tables: tables.iter().map(QueuedTable::from_json).collect::<Option<_>>().ok_or("a table without name")?,
            after: key(AFTER)?,
            last: key(LAST)?,
            correlation_id: text(CORRELATION).map(str::to_owned),
            paused: map.get(PAUSED) == Some(&Value::Bool(true)),
            blocking,
            topic_next: map.get(TOPIC_NEXT).and_then(Value::as_i64),
        })
    }
}

impl QueuedTable {
    fn to_json(&self) -> Value {
        json!({ TABLE_ID: self.name, TABLE_FILTER: self.filter, TABLE_SURROGATE: self.surrogate_key })
    }

    fn from_json(json: &Value) -> Option<Self> {
        let text = |name: &str| json.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        Some(Self {
            name: text(TABLE_ID)?.to_owned(),
            filter: text(TABLE_FILTER).map(str::to_owned),
            surrogate_key: text(TABLE_SURROGATE).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table(name: &str) -> QueuedTable {
        QueuedTable { name: name.into(), filter: Some("v > 1".into()), surrogate_key: None }
    }

    fn state() -> AdHocState {
        let mut state = AdHocState::default();
        state.enqueue("signal-1", [table("public.a"), table("public.b")]);
        state.after = Some(vec!["7".into(), "it's".into()]);
        state.last = Some(vec!["9".into(), "z".into()]);
        state
    }

    fn stored(state: &AdHocState) -> Map<String, Value> {
        let mut map = Map::new();
        state.store(&mut map);
        map
    }

    #[test]
    fn what_is_stored_comes_back() {
        let request = SnapshotRequest { tables: vec!["public.*".into()], ..SnapshotRequest::default() };
        let full = AdHocState { paused: true, blocking: vec![request], topic_next: Some(4), ..state() };
        for state in [full, state(), AdHocState::default()] {
            assert_eq!(AdHocState::read(&stored(&state)).unwrap(), state);
        }
        assert!(stored(&AdHocState::default()).is_empty());
    }

    #[test]
    fn debeziums_entry_is_gone_on_with_from_the_beginning_of_its_table() {
        let text = r#"{"incremental_snapshot_maximum_key":"aced0005","incremental_snapshot_primary_key":"aced0005",
            "incremental_snapshot_collections":"[{\"incremental_snapshot_collections_id\":\"public.a\",\"incremental_snapshot_collections_additional_condition\":\"\",\"incremental_snapshot_collections_surrogate_key\":null}]",
            "incremental_snapshot_correlation_id":"x"}"#;
        let state = AdHocState::read(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(state.tables, [QueuedTable { name: "public.a".into(), ..QueuedTable::default() }]);
        assert_eq!((state.after, state.correlation_id.as_deref()), (None, Some("x")));
    }

    #[test]
    fn stopping_takes_tables_out_and_forgets_the_place_of_the_first_only() {
        let mut later = state();
        assert!(!later.stop(&["public.b".into()]));
        assert_eq!((later.tables.len(), later.after.is_some()), (1, true));
        let mut first = state();
        assert!(first.stop(&["public.a".into()]));
        assert_eq!((first.tables.len(), first.after.clone()), (1, None));
        let mut all = AdHocState { paused: true, ..state() };
        assert!(all.stop(&[]));
        assert_eq!(all, AdHocState::default());
    }

    #[test]
    fn the_next_table_begins_at_its_beginning() {
        let mut state = state();
        state.table_done();
        assert_eq!((state.tables.len(), state.after.clone(), state.last.clone()), (1, None, None));
        state.table_done();
        assert_eq!(state, AdHocState::default());
    }
}
