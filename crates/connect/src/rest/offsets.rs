//! `/connectors/{name}/offsets`: a source's positions, a sink's group offsets.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Map, Value, json};

use super::body::JsonObject;
use super::connectors::existing;
use super::{Answer, ApiError, Shared};
use crate::plugin::ConnectorKind;
use crate::records::{OffsetRecord, TargetState};
use crate::store::GroupPosition;
use crate::worker::Worker;

const ALTERED: &str = "altered successfully";
const RESET: &str = "reset successfully";

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
        return Err(ApiError::bad_request("Partitions / offsets need to be provided for an alter offsets request"));
    };
    stopped(&worker, &name)?;
    match kind(&worker, &name) {
        ConnectorKind::Source => {
            let records: Vec<OffsetRecord> =
                entries.iter().map(|entry| source_offset(&name, entry)).collect::<Result<_, _>>()?;
            worker.write_offsets(records).await?;
        }
        ConnectorKind::Sink => {
            let positions: Vec<GroupPosition> = entries.iter().map(sink_offset).collect::<Result<_, _>>()?;
            worker.writer().set_group_offsets(&model::names::connector_group(&name), &positions).await?;
        }
    }
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

fn sink_offset(entry: &Value) -> Result<GroupPosition, ApiError> {
    let wrong = || {
        ApiError::bad_request(
            "A sink's offset must be {\"partition\":{\"kafka_topic\":\"…\",\"kafka_partition\":0},\"offset\":{\"kafka_offset\":0}}",
        )
    };
    let number = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let partition = entry.get("partition").ok_or_else(wrong)?;
    let topic = partition.get("kafka_topic").and_then(Value::as_str).ok_or_else(wrong)?;
    let index = partition.get("kafka_partition").and_then(number).and_then(|index| i32::try_from(index).ok());
    let offset = match entry.get("offset") {
        None | Some(Value::Null) => None,
        Some(offset) => Some(offset.get("kafka_offset").and_then(number).filter(|at| *at >= 0).ok_or_else(wrong)?),
    };
    Ok(GroupPosition { topic: topic.into(), partition: index.ok_or_else(wrong)?, offset })
}
