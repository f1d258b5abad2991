//! The lake, through its HTTP interface: how far it is, and rows by SQL.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::canonical::Kind;
use crate::error::{LedgerError, Result, broken};
use crate::offsets::{OffsetSets, Positions};
use crate::rows::{Row, Table, hash_row};
use crate::state::{Event, RowsByKey};

/// Longest silence in an answer.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Access to the lake.
#[derive(Debug, Clone)]
pub struct Lake {
    url: String,
    client: reqwest::Client,
}

/// A table of the lake as `/status` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct TableStatus {
    /// `stage.orders`, the name for SQL.
    pub name: String,
    pub layer: String,
    #[serde(default)]
    pub snapshot_id: Option<i64>,
    /// Next offset by topic and partition.
    #[serde(default)]
    next_offsets: HashMap<String, HashMap<String, i64>>,
}

#[derive(Debug, Deserialize)]
struct Status {
    tables: Vec<TableStatus>,
    #[serde(default)]
    problems: Vec<Value>,
}

/// The tables of one source table in the lake. `None` where there is none yet.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    pub stage: Option<TableStatus>,
    pub shape: Option<TableStatus>,
    /// What the lake says hinders it.
    pub problems: Vec<String>,
}

impl TableStatus {
    /// Next offset of each partition of a topic.
    #[must_use]
    pub fn next(&self, topic: &str) -> Positions {
        let offsets = self.next_offsets.get(topic).into_iter().flatten();
        offsets.filter_map(|(partition, next)| Some((partition.parse().ok()?, *next))).collect()
    }
}

/// The first partition in which `table` has not reached `wanted`, with where it stands.
#[must_use]
pub fn behind(table: Option<&TableStatus>, topic: &str, wanted: &Positions) -> Option<(i32, i64, i64)> {
    let next = table.map(|table| table.next(topic)).unwrap_or_default();
    wanted.iter().find_map(|(partition, wanted)| {
        let stands = next.get(partition).copied().unwrap_or_default();
        (stands < *wanted).then_some((*partition, stands, *wanted))
    })
}

impl Lake {
    /// Does not talk to the lake yet.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), client: reqwest::Client::new() }
    }

    /// How far the tables of a topic are. `table` is the source table's name.
    ///
    /// # Errors
    /// When the lake is away.
    pub async fn progress(&self, topic: &str, table: &str) -> Result<Progress> {
        let answer = self.client.get(format!("{}/status", self.url)).timeout(SILENCE_MAX).send().await;
        let status: Status =
            answer.map_err(|error| self.away(&error))?.json().await.map_err(|error| self.away(&error))?;
        let holds =
            |status: &&TableStatus, layer: &str| status.layer == layer && status.next_offsets.contains_key(topic);
        let stage = status.tables.iter().find(|status| holds(status, "stage")).cloned();
        let current = format!("shape.{table}");
        let shape = status.tables.iter().find(|status| holds(status, "shape") && status.name == current).cloned();
        Ok(Progress { stage, shape, problems: status.problems.iter().map(ToString::to_string).collect() })
    }

    /// The events of a stage table, in no order, each given to `take`.
    ///
    /// # Errors
    /// When the lake is away or refuses the query.
    pub async fn events(
        &self,
        stage: &str,
        table: &Table,
        take: &mut (dyn FnMut(Event) -> Result<()> + Send),
    ) -> Result<()> {
        let sql = format!("SELECT {}, _op, _txid, _partition, _offset FROM {stage}", table.column_list());
        let columns = table.columns.len();
        self.stream(&sql, &mut |values: Vec<Value>| {
            let refused = || broken(format!("{stage} has an event without _op, _partition or _offset"));
            let row = canonical(table, &values[..columns])?;
            let [operation, xid, partition, offset] = &values[columns..] else { return Err(refused()) };
            let operation = operation.as_str().ok_or_else(refused)?;
            take(Event {
                partition: partition.as_i64().and_then(|number| i32::try_from(number).ok()).ok_or_else(refused)?,
                offset: offset.as_i64().ok_or_else(refused)?,
                read: operation == "r",
                // The log carries 32 bits; a wider number keeps them as its low ones.
                xid: xid.as_i64().map(|xid| xid as u32),
                key: table.key_of(&row)?,
                row: (operation != "d").then(|| hash_row(&row)),
            })
        })
        .await
    }

    /// The rows of a shape table by key. A key that comes twice is an error.
    ///
    /// # Errors
    /// When the lake is away or refuses the query.
    pub async fn rows(&self, shape: &str, table: &Table) -> Result<RowsByKey> {
        let sql = format!("SELECT {} FROM {shape}", table.column_list());
        let mut rows = RowsByKey::new();
        self.stream(&sql, &mut |values: Vec<Value>| {
            let row = canonical(table, &values)?;
            match rows.insert(table.key_of(&row)?, hash_row(&row)) {
                None => Ok(()),
                Some(_) => Err(broken(format!("{shape} has the key {} twice", table.key_of(&row)?))),
            }
        })
        .await?;
        Ok(rows)
    }

    /// The rows of a query in canonical form.
    ///
    /// # Errors
    /// When the lake is away or refuses the query.
    pub async fn query(&self, sql: &str, kinds: &[Kind]) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.stream(sql, &mut |values: Vec<Value>| {
            rows.push(kinds.iter().zip(&values).map(|(kind, value)| kind.from_json(value)).collect::<Result<_>>()?);
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Runs a query and gives each row to `take` as it comes. An answer that breaks off is an error.
    async fn stream(&self, sql: &str, take: &mut (dyn FnMut(Vec<Value>) -> Result<()> + Send)) -> Result<()> {
        let body = json!({"sql": sql, "format": "ndjson"});
        let answer = self.client.post(format!("{}/sql", self.url)).json(&body).send();
        let answer = tokio::time::timeout(SILENCE_MAX, answer).await;
        let answer = answer.map_err(|_| self.silent())?.map_err(|error| self.away(&error))?;
        if !answer.status().is_success() {
            let text = answer.text().await.unwrap_or_default();
            return Err(broken(format!("the lake refused {sql:?}: {text}")));
        }
        let mut chunks = answer.bytes_stream();
        let (mut buffer, mut columns) = (Vec::new(), None);
        while let Some(chunk) = tokio::time::timeout(SILENCE_MAX, chunks.next()).await.map_err(|_| self.silent())? {
            buffer.extend_from_slice(&chunk.map_err(|error| self.away(&error))?);
            let mut start = 0;
            while let Some(length) = buffer[start..].iter().position(|byte| *byte == b'\n') {
                self.line(&buffer[start..start + length], &mut columns, take)?;
                start += length + 1;
            }
            buffer.drain(..start);
        }
        if !buffer.is_empty() || columns.is_none() {
            return Err(broken(format!("the lake's answer to {sql:?} broke off")));
        }
        Ok(())
    }

    fn line(
        &self,
        line: &[u8],
        columns: &mut Option<usize>,
        take: &mut (dyn FnMut(Vec<Value>) -> Result<()> + Send),
    ) -> Result<()> {
        let unreadable = |reason: String| broken(format!("the lake at {} answered unreadably: {reason}", self.url));
        let values: Vec<Value> = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
        match columns {
            // The first line names the columns.
            None => *columns = Some(values.len()),
            Some(expected) if *expected == values.len() => take(values)?,
            Some(expected) => return Err(unreadable(format!("{} values for {expected} columns", values.len()))),
        }
        Ok(())
    }

    fn away(&self, error: &reqwest::Error) -> LedgerError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            reason = format!("{reason}: {cause}");
            source = cause.source();
        }
        LedgerError::Away { server: format!("the lake at {}", self.url), reason, setting: "LAKE_URL" }
    }

    fn silent(&self) -> LedgerError {
        let server = format!("the lake at {}", self.url);
        LedgerError::Away { server, reason: format!("no answer for {SILENCE_MAX:?}"), setting: "LAKE_URL" }
    }
}

fn canonical(table: &Table, values: &[Value]) -> Result<Row> {
    let cells = table.columns.iter().zip(values);
    let cells = cells.map(|(column, value)| {
        column.kind.from_json(value).map_err(|error| broken(format!("column {}: {error}", column.name)))
    });
    cells.collect()
}

/// What a stage table holds: offsets and number of events below the ends.
#[derive(Debug, Default)]
pub struct StageContent {
    pub rows: u64,
    pub offsets: OffsetSets,
}
