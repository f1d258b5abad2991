//! Signals: what a person asks a running connector to do, in Debezium's words.
//!
//! A signal has an id, a type and data (JSON), whichever channel brings it. Pure. Promise: a signal that is not understood
//! is an answer with its reason, never a reason to stop.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::selection::{anchored, matches_any};

/// A signal that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    pub id: String,
    pub action: Action,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// `execute-snapshot` of type `incremental`.
    Incremental(SnapshotRequest),
    /// `execute-snapshot` of type `blocking`.
    Blocking(SnapshotRequest),
    /// `stop-snapshot`: of tables whose names match; of all when there is no expression.
    Stop(Vec<String>),
    Pause,
    Resume,
    Log(String),
    /// Debezium's own marks around a chunk, found in a signal table it has used.
    Nothing,
}

/// Which rows of which tables.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// Expressions of `schema.table`; none: as the connector's properties say.
    pub tables: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Column to walk along, for tables without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surrogate_key: Option<String>,
}

/// Of the tables that match, the rows that meet the condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    pub table: String,
    pub filter: String,
}

/// Why a signal is not acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignalError(String);

impl SignalError {
    pub(super) fn new(reason: String) -> Self {
        Self(reason)
    }
}

impl Signal {
    /// Reads a signal from its three parts.
    ///
    /// # Errors
    /// When its type is unknown or its data are not what the type needs.
    pub fn parse(id: &str, kind: &str, data: Option<&str>) -> Result<Self, SignalError> {
        let data = match data.map(str::trim).filter(|data| !data.is_empty()) {
            None => Map::new(),
            Some(text) => match serde_json::from_str(text) {
                Ok(Value::Object(map)) => map,
                Ok(_) => return Err(SignalError(format!("the data of signal '{id}' are no JSON object"))),
                Err(error) => return Err(SignalError(format!("the data of signal '{id}' are no JSON: {error}"))),
            },
        };
        Ok(Self { id: id.to_owned(), action: action(kind, &data).map_err(SignalError)? })
    }

    /// Reads a signal from one JSON object, as it comes by Kafka and by the REST API. Without an id it gets `id`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_json(object: &Map<String, Value>, id: &str) -> Result<Self, SignalError> {
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        let kind = text("type").ok_or_else(|| SignalError("a signal needs a \"type\"".into()))?;
        let data = match object.get("data") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(data) => Some(data.to_string()),
        };
        Self::parse(text("id").unwrap_or(id), kind, data.as_deref())
    }
}

fn action(kind: &str, data: &Map<String, Value>) -> Result<Action, String> {
    match kind {
        "execute-snapshot" => {
            let request = request(data)?;
            if blocking(data)? { Ok(Action::Blocking(request)) } else { Ok(Action::Incremental(request)) }
        }
        "stop-snapshot" => {
            if blocking(data)? {
                return Err("only incremental snapshots can be stopped".into());
            }
            Ok(Action::Stop(expressions(data)?))
        }
        "pause-snapshot" => Ok(Action::Pause),
        "resume-snapshot" => Ok(Action::Resume),
        "log" => match data.get("message").and_then(Value::as_str) {
            Some(message) => Ok(Action::Log(message.to_owned())),
            None => Err("a signal of type log needs a \"message\" in its data".into()),
        },
        "snapshot-window-open" | "snapshot-window-close" => Ok(Action::Nothing),
        other => Err(format!(
            "signals of type '{other}' are not known; there are execute-snapshot, stop-snapshot, pause-snapshot, \
             resume-snapshot and log"
        )),
    }
}

fn blocking(data: &Map<String, Value>) -> Result<bool, String> {
    match data.get("type").and_then(Value::as_str).map(str::to_ascii_lowercase).as_deref() {
        None | Some("incremental") => Ok(false),
        Some("blocking") => Ok(true),
        Some(other) => Err(format!("snapshots of type '{other}' are not known; there are incremental and blocking")),
    }
}

fn request(data: &Map<String, Value>) -> Result<SnapshotRequest, String> {
    let tables = expressions(data)?;
    if tables.is_empty() {
        return Err("execute-snapshot needs \"data-collections\", a list of expressions of schema.table".into());
    }
    let mut conditions = Vec::new();
    for condition in data.get("additional-conditions").and_then(Value::as_array).into_iter().flatten() {
        let text = |name: &str| condition.get(name).and_then(Value::as_str).map(str::to_owned);
        let (Some(table), Some(filter)) = (text("data-collection"), text("filter")) else {
            return Err("each of \"additional-conditions\" needs \"data-collection\" and \"filter\"".into());
        };
        anchored(&table).map_err(|error| error.to_string())?;
        conditions.push(Condition { table, filter: statement(&filter) });
    }
    // The older form: one condition for all.
    if let Some(filter) = data.get("additional-condition").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        conditions.push(Condition { table: ".*".into(), filter: statement(filter) });
    }
    let surrogate_key = data.get("surrogate-key").and_then(Value::as_str).filter(|name| !name.trim().is_empty());
    Ok(SnapshotRequest { tables, conditions, surrogate_key: surrogate_key.map(str::to_owned) })
}

fn statement(text: &str) -> String {
    text.trim_end_matches(|c: char| c == ';' || c.is_whitespace()).to_owned()
}

fn expressions(data: &Map<String, Value>) -> Result<Vec<String>, String> {
    let Some(list) = data.get("data-collections").and_then(Value::as_array) else { return Ok(Vec::new()) };
    let mut expressions = Vec::new();
    for item in list {
        let Some(text) = item.as_str() else {
            return Err("\"data-collections\" holds something that is no text".into());
        };
        anchored(text.trim()).map_err(|error| error.to_string())?;
        expressions.push(text.trim().to_owned());
    }
    Ok(expressions)
}

impl SnapshotRequest {
    /// Whether a table is asked for. Expressions were checked when the signal was read; one that is none matches nothing.
    #[must_use]
    pub fn takes(&self, table: &str) -> bool {
        self.tables.is_empty() || any_matches(&self.tables, table)
    }

    /// The condition on a table's rows; the first that fits.
    #[must_use]
    pub fn filter(&self, table: &str) -> Option<&str> {
        let fits = |condition: &&Condition| any_matches(std::slice::from_ref(&condition.table), table);
        self.conditions.iter().find(fits).map(|condition| condition.filter.as_str()).filter(|text| !text.is_empty())
    }
}

/// Whether one of the expressions matches the whole name.
#[must_use]
pub fn any_matches(expressions: &[String], name: &str) -> bool {
    let patterns: Vec<_> = expressions.iter().filter_map(|expression| anchored(expression).ok()).collect();
    matches_any(&patterns, name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn parsed(kind: &str, data: &str) -> Result<Action, SignalError> {
        Signal::parse("1", kind, Some(data)).map(|signal| signal.action)
    }

    #[test]
    fn debeziums_examples_are_understood() {
        let data = r#"{"data-collections": ["public.t", "public.or.*"], "type": "INCREMENTAL",
            "additional-conditions": [{"data-collection": "public.t", "filter": "color='blue';"}]}"#;
        let Ok(Action::Incremental(request)) = parsed("execute-snapshot", data) else { unreachable!() };
        assert!(request.takes("public.t") && request.takes("public.orders") && !request.takes("public.tt"));
        assert_eq!((request.filter("public.t"), request.filter("public.orders")), (Some("color='blue'"), None));
        let blocking = parsed("execute-snapshot", r#"{"data-collections": ["a.b"], "type": "BLOCKING"}"#);
        assert!(matches!(blocking, Ok(Action::Blocking(_))));
        assert_eq!(parsed("stop-snapshot", r#"{"type":"incremental"}"#), Ok(Action::Stop(vec![])));
        assert_eq!(parsed("log", r#"{"message": "at {}"}"#), Ok(Action::Log("at {}".into())));
        assert_eq!(Signal::parse("1", "pause-snapshot", None).unwrap().action, Action::Pause);
    }

    #[test]
    fn what_is_not_understood_says_why() {
        for (kind, data, word) in [
            ("dance", "{}", "dance"),
            ("execute-snapshot", "{}", "data-collections"),
            ("execute-snapshot", r#"{"data-collections": [1]}"#, "no text"),
            ("execute-snapshot", r#"{"data-collections": ["("]}"#, "regex"),
            ("execute-snapshot", r#"{"data-collections": ["a"], "type": "other"}"#, "other"),
            ("execute-snapshot", r#"{"data-collections": ["a"], "additional-conditions": [{}]}"#, "filter"),
            ("log", "{}", "message"),
            ("log", "[", "JSON"),
        ] {
            let error = parsed(kind, data).unwrap_err().to_string();
            assert!(error.contains(word), "{kind} {data}: {error}");
        }
    }

    #[test]
    fn an_object_may_hold_its_data_as_text_or_as_json() {
        let as_text = r#"{"id":"a","type":"log","data":"{\"message\":\"m\"}"}"#;
        let as_json = r#"{"type":"log","data":{"message":"m"}}"#;
        for (text, id) in [(as_text, "a"), (as_json, "given")] {
            let Ok(Value::Object(object)) = serde_json::from_str(text) else { unreachable!() };
            let signal = Signal::from_json(&object, "given").unwrap();
            assert_eq!(signal, Signal { id: id.into(), action: Action::Log("m".into()) });
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken_without_panic(kind in ".{0,20}", data in ".{0,60}") {
            let _ = Signal::parse("1", &kind, Some(&data));
            let _ = Signal::parse("1", "execute-snapshot", Some(&data));
        }
    }
}
