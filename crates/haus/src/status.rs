//! `haus status`: processes, ports, health, memory, and how far each hop is behind.

use std::{collections::HashMap, time::Duration};

use serde::Serialize;
use serde_json::Value;
use topics::{Admin, Cluster};

use crate::{
    api::Api,
    databases, render,
    settings::Settings,
    stack::Part,
    state::{Phase, ProcessState, State},
};

/// How long a probe of one service may take: a status that hangs is no status.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// Group of the sink connector of the templates.
const SINK_GROUP: &str = "connect-s3-sink-storefront";
const SLOT: &str = "storefront_slot";

#[derive(Debug, Serialize)]
pub struct Status {
    /// Whether a supervisor runs.
    pub up: bool,
    pub processes: Vec<ProcessStatus>,
    pub resident_bytes_total: u64,
    pub lag: Lag,
    /// Commit in Postgres to visible in `serve`, from the lake.
    pub freshness: Value,
    /// What hinders the lake, such as an object that cannot be read; part and reason.
    pub lake_problems: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct ProcessStatus {
    pub name: String,
    pub phase: Phase,
    pub port: Option<u16>,
    pub pid: Option<u32>,
    /// `ok`, or what is wrong.
    pub health: String,
    pub resident_bytes: u64,
    pub restarts: u32,
    pub last_end: Option<String>,
}

/// How far each hop is behind the one before it; `None` when that cannot be told now.
#[derive(Debug, Default, Serialize)]
pub struct Lag {
    /// Bytes of write-ahead log not yet confirmed by the relay.
    pub postgres_to_kafka_bytes: Option<i64>,
    /// Offsets in Kafka not yet in an object.
    pub kafka_to_raw_offsets: Option<i64>,
    /// Offsets in objects not yet in `stage`.
    pub raw_to_stage_offsets: Option<i64>,
    /// Offsets in `stage` not yet in `shape`.
    pub stage_to_shape_offsets: Option<i64>,
}

/// Looks at everything at once; freshness over the last `freshness_seconds`, ten minutes when not given.
///
/// # Errors
/// When the state file cannot be read; a service that is away is a fact, not an error.
pub async fn gather(settings: &Settings, freshness_seconds: Option<u64>) -> anyhow::Result<Status> {
    let state = State::read(&settings.haus_dir)?;
    let up = state.is_some();
    let parts = Part::all(settings, &settings.haus_dir, false)?;
    let processes = state.map_or_else(Vec::new, |state| state.processes);
    let probes = processes.iter().map(|process| probe(process, parts.iter().find(|part| part.name == process.name)));
    let processes: Vec<ProcessStatus> = futures::future::join_all(probes).await;
    let resident_bytes_total = processes.iter().map(|process| process.resident_bytes).sum();
    let lake = lake_status(settings, freshness_seconds).await;
    let lag = lag(settings, &lake).await;
    let freshness = lake.get("freshness").cloned().unwrap_or(Value::Null);
    let lake_problems = lake_problems(&lake);
    Ok(Status { up, processes, resident_bytes_total, lag, freshness, lake_problems })
}

fn lake_problems(lake: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let problems = lake["problems"].as_array().into_iter().flatten();
    problems.map(|problem| format!("{}: {}", text(&problem["part"]), text(&problem["reason"]))).collect()
}

/// `/status` of the lake; `Null` when it is away.
async fn lake_status(settings: &Settings, freshness_seconds: Option<u64>) -> Value {
    let path = freshness_seconds
        .map_or_else(|| "/status".to_owned(), |seconds| format!("/status?freshness_seconds={seconds}"));
    match Api::new("lake", &settings.lake_url, PROBE_TIMEOUT) {
        Ok(api) => api.get(&path).await.unwrap_or(Value::Null),
        Err(_) => Value::Null,
    }
}

async fn probe(process: &ProcessState, part: Option<&Part>) -> ProcessStatus {
    let health = match (process.phase, part) {
        (Phase::Ready, Some(part)) => health(part).await,
        (Phase::Ready, None) => "ok".to_owned(),
        (phase, _) => format!("{phase:?}").to_lowercase(),
    };
    ProcessStatus {
        name: process.name.clone(),
        phase: process.phase,
        port: process.port,
        pid: process.id.map(|id| id.pid),
        health,
        resident_bytes: process.id.filter(crate::state::ProcessId::runs).map_or(0, |id| id.resident_bytes()),
        restarts: process.restarts,
        last_end: process.last_end.clone(),
    }
}

async fn health(part: &Part) -> String {
    match &part.kind {
        crate::stack::Kind::Service { binary, health, .. } => {
            let answer = async {
                let api = Api::new(binary, health.clone(), PROBE_TIMEOUT)?;
                api.call(reqwest::Method::GET, "", None).await
            };
            match answer.await {
                Ok(answer) if (200..300).contains(&answer.status) => "ok".into(),
                Ok(answer) => unhealthy_parts(&answer.body),
                Err(error) => format!("{error:#}"),
            }
        }
        _ => match part.port {
            Some(port) if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() => {
                "does not listen".into()
            }
            _ => "ok".into(),
        },
    }
}

fn unhealthy_parts(body: &Value) -> String {
    let parts: Vec<_> = body["parts"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, state)| *state != "ok")
        .map(|(part, state)| format!("{part}: {}", state.as_str().unwrap_or("unhealthy")))
        .collect();
    if parts.is_empty() { "unhealthy".into() } else { parts.join("; ") }
}

async fn lag(settings: &Settings, lake: &Value) -> Lag {
    let postgres_to_kafka_bytes =
        tokio::time::timeout(PROBE_TIMEOUT, slot_lag(settings)).await.ok().and_then(Result::ok).flatten();
    let offsets = tokio::time::timeout(PROBE_TIMEOUT, sink_offsets(settings)).await.ok().and_then(Result::ok);
    let stage = next_offsets(lake, "stage");
    let shape = next_offsets(lake, "shape");
    let (mut kafka_to_raw, mut raw_to_stage) = (None, None);
    if let Some(offsets) = offsets {
        kafka_to_raw = Some(offsets.iter().map(|(_, committed, end)| (end - committed).max(0)).sum());
        if let Some(stage) = &stage {
            raw_to_stage = Some(behind(offsets.iter().map(|(at, committed, _)| (at.as_str(), *committed)), stage));
        }
    }
    let stage_to_shape = stage
        .as_ref()
        .zip(shape.as_ref())
        .map(|(stage, shape)| behind(stage.iter().map(|(at, next)| (at.as_str(), *next)), shape));
    Lag {
        postgres_to_kafka_bytes,
        kafka_to_raw_offsets: kafka_to_raw,
        raw_to_stage_offsets: raw_to_stage,
        stage_to_shape_offsets: stage_to_shape,
    }
}

async fn slot_lag(settings: &Settings) -> anyhow::Result<Option<i64>> {
    let client = databases::connect(settings, &settings.storefront_db).await?;
    let row = client
        .query_opt(
            "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::int8 FROM pg_replication_slots WHERE slot_name = $1",
            &[&SLOT],
        )
        .await?;
    Ok(row.and_then(|row| row.get::<_, Option<i64>>(0)).map(|bytes| bytes.max(0)))
}

/// `topic-partition`, committed offset, end, for the sink's group.
async fn sink_offsets(settings: &Settings) -> anyhow::Result<Vec<(String, i64, i64)>> {
    let admin = Admin::new(&Cluster::new(&settings.kafka_bootstrap_servers, "haus"))?;
    let offsets = admin.group_offsets(SINK_GROUP).await?;
    Ok(offsets
        .into_iter()
        .map(|offset| (offset.partition.to_string(), offset.committed.0, offset.watermarks.high.0))
        .collect())
}

/// Next offsets per `topic-partition` of one layer, from the lake's `/status`. `None` when the lake is away.
fn next_offsets(lake: &Value, layer: &str) -> Option<HashMap<String, i64>> {
    let mut next: HashMap<String, i64> = HashMap::new();
    for table in lake["tables"].as_array()?.iter().filter(|table| table["layer"] == layer) {
        for (topic, partitions) in table["next_offsets"].as_object().into_iter().flatten() {
            for (partition, offset) in partitions.as_object().into_iter().flatten() {
                let offset = offset.as_i64()?;
                // Several tables follow a topic in `shape`: the slowest counts.
                next.entry(format!("{topic}-{partition}"))
                    .and_modify(|known| *known = offset.min(*known))
                    .or_insert(offset);
            }
        }
    }
    Some(next)
}

fn behind<'a>(ahead: impl Iterator<Item = (&'a str, i64)>, follower: &HashMap<String, i64>) -> i64 {
    ahead.map(|(at, next)| (next - follower.get(at).copied().unwrap_or(0)).max(0)).sum()
}

/// The status as a person reads it.
#[must_use]
pub fn text(status: &Status) -> String {
    if !status.up {
        return "the stack is not up (`haus up` starts it)".to_owned();
    }
    let mut table = render::table(
        &["process", "port", "pid", "memory", "restarts", "health"],
        &["port", "pid", "memory", "restarts"],
    );
    for process in &status.processes {
        let memory =
            if process.resident_bytes == 0 { String::new() } else { render::megabytes(process.resident_bytes) };
        table.add_row([
            process.name.clone(),
            process.port.map_or_else(String::new, |port| port.to_string()),
            process.pid.map_or_else(String::new, |pid| pid.to_string()),
            memory,
            process.restarts.to_string(),
            process.health.clone(),
        ]);
    }
    let known = |lag: Option<i64>| lag.map_or_else(|| "unknown".to_owned(), render::count);
    let lag = &status.lag;
    let freshness = |field: &str| status.freshness[field].as_f64().map_or_else(|| "-".to_owned(), render::duration_ms);
    let problems: String = status.lake_problems.iter().map(|problem| format!("\nlake: {problem}")).collect();
    format!(
        "{table}\nmemory {total} in all\nlag: Postgres → Kafka {} bytes · Kafka → raw {} offsets · raw → stage {} offsets · stage → shape {} offsets\ncommit → serve: p50 {} · p95 {}{problems}",
        known(lag.postgres_to_kafka_bytes),
        known(lag.kafka_to_raw_offsets),
        known(lag.raw_to_stage_offsets),
        known(lag.stage_to_shape_offsets),
        freshness("p50_ms"),
        freshness("p95_ms"),
        total = render::megabytes(status.resident_bytes_total),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_follower_is_behind_by_the_sum_of_its_partitions() {
        let lake = json!({"tables": [
            {"layer": "stage", "next_offsets": {"a": {"0": 5, "1": 7}}},
            {"layer": "shape", "next_offsets": {"a": {"0": 5}}},
            {"layer": "shape", "next_offsets": {"a": {"0": 4}}},
        ]});
        let stage = next_offsets(&lake, "stage").unwrap();
        assert_eq!(behind([("a-0", 8), ("a-1", 7), ("b-0", 2)].into_iter(), &stage), 5);
        assert_eq!(next_offsets(&lake, "shape").unwrap()["a-0"], 4);
        assert!(next_offsets(&json!(null), "stage").is_none());
    }

    #[test]
    fn problems_of_the_lake_are_said_with_their_part() {
        let lake = json!({"problems": [{"part": "stage of a", "reason": "x.avro is set aside", "since": "now"}]});
        assert_eq!(lake_problems(&lake), ["stage of a: x.avro is set aside"]);
        assert!(lake_problems(&Value::Null).is_empty());
    }

    #[test]
    fn a_part_that_is_not_well_is_named() {
        assert_eq!(unhealthy_parts(&json!({"parts": {"kafka": "away", "x": "ok"}})), "kafka: away");
    }
}
