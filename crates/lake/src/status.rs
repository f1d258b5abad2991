//! What the lake knows of itself, for `/status`: tables, progress, problems, freshness.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};

use crate::{
    freshness::Freshness,
    offsets::{NextOffsets, property},
    tables::{TableState, Tables, commit::now_ms},
};

/// Shared by the loop, which writes, and the HTTP interface, which reads.
#[derive(Clone, Default)]
pub struct Status {
    inner: Arc<Mutex<Inner>>,
}

/// What a pass took; stage and shape are added up over topics, which go side by side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Times {
    pub whole: Duration,
    pub stage: Duration,
    pub shape: Duration,
    pub serve: Duration,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Inner {
    problems: BTreeMap<String, (i64, String)>,
    notes: BTreeMap<String, String>,
    freshness: Freshness,
    passes: u64,
    last_pass: Option<Times>,
    last_new_at_ms: Option<i64>,
}

impl Status {
    /// A part works again, or does not for a reason. The time is that of the first failure in a row.
    pub fn set(&self, part: &str, state: Result<(), String>) {
        let mut inner = self.lock();
        match state {
            Ok(()) => drop(inner.problems.remove(part)),
            Err(reason) => {
                let since = inner.problems.get(part).map_or_else(now_ms, |(since, _)| *since);
                inner.problems.insert(part.to_owned(), (since, reason));
            }
        }
    }

    /// Something that is as it should be, yet a reader may wonder about.
    pub fn note(&self, part: &str, text: String) {
        self.lock().notes.insert(part.to_owned(), text);
    }

    /// As [`Self::note`]; without a text there is nothing to wonder about any more.
    pub fn note_if(&self, part: &str, text: Option<String>) {
        match text {
            Some(text) => self.note(part, text),
            None => drop(self.lock().notes.remove(part)),
        }
    }

    /// Events of a topic were staged.
    pub fn staged(&self, topic: &str, committed_us: &[i64]) {
        self.lock().freshness.staged(topic, committed_us);
    }

    /// All of a topic that is staged is in shape now.
    pub fn shaped(&self, topic: &str) {
        self.lock().freshness.shaped(topic, now_ms());
    }

    /// All that is staged is served now.
    pub fn served(&self) {
        self.lock().freshness.served(now_ms());
    }

    /// A pass that did something ended.
    pub fn passed(&self, took: Times) {
        let mut inner = self.lock();
        inner.passes += 1;
        inner.last_pass = Some(took);
        inner.last_new_at_ms = Some(now_ms());
    }

    /// The report; freshness over the last `freshness_window_ms`.
    #[must_use]
    pub fn report(&self, tables: &Tables, freshness_window_ms: i64) -> Value {
        let mut states = tables.known();
        states.sort_by_key(|state| state.table.identifier().to_string());
        let mut inner = self.lock();
        let problems: Vec<Value> = inner
            .problems
            .iter()
            .map(|(part, (since, reason))| json!({"part": part, "reason": reason, "since": time(*since)}))
            .collect();
        let freshness = inner.freshness.report(now_ms(), freshness_window_ms);
        json!({
            "service": "lake",
            "passes": {
                "count": inner.passes,
                "last_ms": inner.last_pass.map(|times| ms(times.whole)),
                "last_stage_ms": inner.last_pass.map(|times| ms(times.stage)),
                "last_shape_ms": inner.last_pass.map(|times| ms(times.shape)),
                "last_serve_ms": inner.last_pass.map(|times| ms(times.serve)),
                "last_at": inner.last_new_at_ms.map(time),
            },
            "freshness": freshness,
            "problems": problems,
            "notes": inner.notes,
            "tables": states.iter().map(|state| table(state)).collect::<Vec<_>>(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn table(state: &TableState) -> Value {
    let ident = state.table.identifier();
    let properties = state.metadata().properties();
    let layer = ident.namespace().as_ref().first().cloned().unwrap_or_default();
    let mut offsets = Map::new();
    if let (Some(topic), Ok(next)) = (properties.get(property::TOPIC), NextOffsets::of(state.metadata())) {
        let next = next.0.iter().map(|(partition, next)| (partition.to_string(), json!(next))).collect::<Map<_, _>>();
        offsets.insert(topic.clone(), Value::Object(next));
    }
    json!({
        "layer": layer,
        "table": ident.name(),
        "name": format!("{layer}.{}", ident.name()),
        "identifier": ident.to_string(),
        "rows": state.rows(),
        "files": state.files.len(),
        "bytes": state.bytes(),
        "manifests": state.manifests.len(),
        "snapshots": state.metadata().snapshots().len(),
        "snapshot_id": state.snapshot_id(),
        "committed_at": state.committed_ms().map(time),
        "next_offsets": offsets,
        "metadata_location": state.table.metadata_location(),
    })
}

fn time(ms: i64) -> Option<String> {
    DateTime::from_timestamp_millis(ms).map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
