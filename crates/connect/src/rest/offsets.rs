//! `/connectors/{name}/offsets`: a source's positions, a sink's group offsets.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::body::JsonObject;
use super::connectors::existing;
use super::{Answer, ApiError, Shared};
use crate::plugin::{Config, ConnectorKind};
use crate::records::{OffsetRecord, TargetState, value_text};
use crate::store::GroupPosition;
use crate::worker::Worker;

const ALTERED: &str = "altered successfully";
const RESET: &str = "reset successfully";
const NONE_GIVEN: &str = "Partitions / offsets need to be provided for an alter offsets request";

/// `GET`.
pub async fn show(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<Json<Value>> {
    existing(&worker, &name)?;
    let offsets: Vec<Value> = match kind(&worker, &name) {
        ConnectorKind::Source => {
            let state = worker.state();
            state
                .offsets(&name)
                .map(|(partition, offset)| json!({ "partition": partition, "offset": offset }))
                .collect()
        }
        ConnectorKind::Sink => {
            let positions = worker.writer().group_offsets(&model::names::connector_group(&name)).await?;
            positions.iter().map(position_json).collect()
        }
    };
    Ok(Json(json!({ "offsets": offsets })))
}

fn position_json(position: &GroupPosition) -> Value {
    json!({
        "partition": { "kafka_topic": position.topic, "kafka_partition": position.partition },
        "offset": { "kafka_offset": position.offset },
    })
}

/// `PATCH` with `{"offsets":[{"partition":{…},"offset":{…}|null}]}`.
pub async fn alter(
    State(worker): State<Shared>,
    Path(name): Path<String>,
    JsonObject(body): JsonObject,
) -> Answer<Json<Value>> {
    let entries = body.get("offsets").and_then(Value::as_array).filter(|entries| !entries.is_empty());
    let Some(entries) = entries else {
        return Err(ApiError::bad_request(NONE_GIVEN));
    };
    stopped(&worker, &name)?;
    write(&worker, &name, kind(&worker, &name), entries).await?;
    Ok(done(&worker, &name, ALTERED))
}

/// `DELETE`: the connector starts from the beginning.
pub async fn reset(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<Json<Value>> {
    stopped(&worker, &name)?;
    match kind(&worker, &name) {
        ConnectorKind::Source => {
            let forget = |(partition, _): (&Map<String, Value>, _)| OffsetRecord {
                connector: name.clone(),
                partition: partition.clone(),
                offset: None,
            };
            let records: Vec<OffsetRecord> = worker.state().offsets(&name).map(forget).collect();
            worker.write_offsets(records).await?;
        }
        ConnectorKind::Sink => worker.writer().delete_group(&model::names::connector_group(&name)).await?,
    }
    Ok(done(&worker, &name, RESET))
}

fn done(worker: &Worker, name: &str, what: &str) -> Json<Value> {
    let verb = if what == ALTERED { "altered" } else { "reset" };
    let message = match kind(worker, name) {
        ConnectorKind::Source => format!(
            "The Connect framework-managed offsets for this connector have been {what}. However, if this connector \
             manages offsets externally, they will need to be manually {verb} in the system that the connector uses."
        ),
        ConnectorKind::Sink => format!("The offsets for this connector have been {what}"),
    };
    Json(json!({ "message": message }))
}

fn stopped(worker: &Worker, name: &str) -> Result<(), ApiError> {
    existing(worker, name)?;
    if worker.state().target(name) == TargetState::Stopped {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "Connectors must be in the STOPPED state before their offsets can be modified. This can be done for the \
         specified connector by issuing a 'PUT' request to the '/connectors/{name}/stop' endpoint"
    )))
}

fn kind(worker: &Worker, name: &str) -> ConnectorKind {
    let state = worker.state();
    let class = state.connector(name).and_then(|connector| connector.config.get("connector.class"));
    class.and_then(|class| worker.classes.find(class)).map_or(ConnectorKind::Source, |class| class.kind)
}

fn source_offset(name: &str, entry: &Value) -> Result<OffsetRecord, ApiError> {
    let partition = entry.get("partition").and_then(Value::as_object);
    let partition = partition
        .ok_or_else(|| ApiError::bad_request("The partition for an offset must be provided and be a JSON object"))?;
    let offset = match entry.get("offset") {
        None | Some(Value::Null) => None,
        Some(Value::Object(offset)) => Some(offset.clone()),
        Some(_) => return Err(ApiError::bad_request("An offset must be a JSON object or null")),
    };
    Ok(OffsetRecord { connector: name.into(), partition: partition.clone(), offset })
}

/// Where a connector that does not exist yet is to begin: the same list as a body of `PATCH`, with or without its
/// `offsets` around it.
///
/// # Errors
/// When it is no such list, or Kafka does not take it.
pub async fn begin_at(worker: &Worker, name: &str, config: &Config, initial: &Value) -> Result<(), ApiError> {
    let entries = initial.as_array().or_else(|| initial.get("offsets")?.as_array());
    let entries = entries.filter(|entries| !entries.is_empty()).ok_or_else(|| ApiError::bad_request(NONE_GIVEN))?;
    let class = config.get("connector.class").and_then(|class| worker.classes.find(class));
    write(worker, name, class.map_or(ConnectorKind::Source, |class| class.kind), entries).await
}

async fn write(worker: &Worker, name: &str, kind: ConnectorKind, entries: &[Value]) -> Result<(), ApiError> {
    match kind {
        ConnectorKind::Source => {
            let records: Vec<OffsetRecord> =
                entries.iter().map(|entry| source_offset(name, entry)).collect::<Result<_, _>>()?;
            Ok(worker.write_offsets(records).await?)
        }
        ConnectorKind::Sink => {
            let positions: Vec<GroupPosition> = entries.iter().map(sink_offset).collect::<Result<_, _>>()?;
            Ok(worker.writer().set_group_offsets(&model::names::connector_group(name), &positions).await?)
        }
    }
}

fn sink_offset(entry: &Value) -> Result<GroupPosition, ApiError> {
    let partition = entry.get("partition").and_then(Value::as_object);
    let partition = partition
        .ok_or_else(|| ApiError::bad_request("The partition for a sink connector offset cannot be null or missing"))?;
    let (Some(topic), Some(index)) = (partition.get("kafka_topic"), partition.get("kafka_partition")) else {
        return Err(ApiError::bad_request(
            "The partition for a sink connector offset must contain the keys 'kafka_topic' and 'kafka_partition'",
        ));
    };
    let shown = |value: &Value| value_text(value).unwrap_or_else(|| "null".into());
    let index = shown(index).parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Failed to parse the following Kafka partition value in the provided offsets: '{}'. Partition values for \
             sink connectors need to be integers.",
            shown(index)
        ))
    })?;
    let offset = match entry.get("offset").filter(|offset| !offset.is_null()).map(|offset| offset.get("kafka_offset")) {
        None => None,
        Some(None) => {
            return Err(ApiError::bad_request(
                "The offset for a sink connector should either be null or contain the key 'kafka_offset'",
            ));
        }
        Some(Some(offset)) => Some(shown(offset).parse().ok().filter(|offset| *offset >= 0).ok_or_else(|| {
            ApiError::bad_request(format!(
                "Failed to parse the following Kafka offset value in the provided offsets: '{}'. Offset values for sink \
                 connectors need to be integers.",
                shown(offset)
            ))
        })?),
    };
    Ok(GroupPosition { topic: shown(topic), partition: index, offset })
}
