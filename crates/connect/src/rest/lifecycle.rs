//! Pause, resume, stop, restart.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::body::query_flag;
use super::connectors::status_json;
use super::{Answer, ApiError, Shared};
use crate::records::{self, Restart, TargetState};
use crate::worker::Worker;

/// `PUT /connectors/{name}/pause`.
pub async fn pause(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<StatusCode> {
    set_target(&worker, &name, TargetState::Paused).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `PUT /connectors/{name}/resume`.
pub async fn resume(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<StatusCode> {
    set_target(&worker, &name, TargetState::Started).await?;
    Ok(StatusCode::ACCEPTED)
}

/// `PUT /connectors/{name}/stop`: no tasks are left, offsets may be changed.
pub async fn stop(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<StatusCode> {
    known(&worker, &name, "Unknown connector ")?;
    let records = [records::commit_record(&name, 0), records::target_record(&name, TargetState::Stopped)];
    worker.write_configs(records).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_target(worker: &Worker, name: &str, target: TargetState) -> Result<(), ApiError> {
    known(worker, name, "Unknown connector ")?;
    Ok(worker.write_configs([records::target_record(name, target)]).await?)
}

/// `POST /connectors/{name}/restart?includeTasks=…&onlyFailed=…`.
pub async fn restart(
    State(worker): State<Shared>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    known(&worker, &name, "Unknown connector: ")?;
    let include_tasks = query_flag(query.as_deref(), "includeTasks");
    let only_failed = query_flag(query.as_deref(), "onlyFailed");
    let before = status_json(&worker, &worker.state(), &name);
    let restart = Restart { include_tasks, only_failed, task: None };
    worker.write_configs([records::restart_record(&name, restart)]).await?;
    match (include_tasks || only_failed, before) {
        (true, Some(mut status)) => {
            mark_restarting(&mut status["connector"], only_failed);
            if let Some(tasks) = status["tasks"].as_array_mut().filter(|_| include_tasks) {
                tasks.iter_mut().for_each(|task| mark_restarting(task, only_failed));
            }
            Ok((StatusCode::ACCEPTED, Json(status)).into_response())
        }
        (true, None) => Err(ApiError::not_found(format!("Status for connector {name} not found"))),
        (false, _) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

fn mark_restarting(part: &mut Value, only_failed: bool) {
    if !only_failed || part["state"] == "FAILED" {
        part["state"] = json!("RESTARTING");
        if let Some(fields) = part.as_object_mut() {
            fields.remove("trace");
        }
    }
}

/// `POST /connectors/{name}/tasks/{task}/restart`.
pub async fn restart_task(State(worker): State<Shared>, Path((name, task)): Path<(String, u32)>) -> Answer<StatusCode> {
    known(&worker, &name, "Unknown connector: ")?;
    if worker.state().tasks(&name).len() <= task as usize {
        return Err(ApiError::not_found(format!("Unknown task: {name}-{task}")));
    }
    let restart = Restart { include_tasks: true, only_failed: false, task: Some(task) };
    worker.write_configs([records::restart_record(&name, restart)]).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn known(worker: &Worker, name: &str, words: &str) -> Result<(), ApiError> {
    match worker.state().connector(name) {
        Some(_) => Ok(()),
        None => Err(ApiError::not_found(format!("{words}{name}"))),
    }
}
