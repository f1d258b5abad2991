//! `/connectors`: list, create, show, configure, delete, status, tasks, topics.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::body::{JsonObject, config_of, query_values};
use super::offsets;
use super::plugins::refusals;
use super::{Answer, ApiError, Shared};
use crate::forward;
use crate::masking;
use crate::plugin::Config;
use crate::records::{self, Record, Status, TargetState};
use crate::state::State as Picture;
use crate::validation;
use crate::worker::Worker;

/// `GET /connectors`, `?expand=status&expand=info`.
pub async fn list(State(worker): State<Shared>, RawQuery(query): RawQuery) -> Json<Value> {
    let expand: Vec<&str> = query_values(query.as_deref(), "expand").collect();
    let state = worker.state();
    let names = state.connectors().keys();
    if expand.is_empty() {
        return Json(names.map(String::as_str).collect());
    }
    let expanded = |name: &String| {
        let mut parts = Map::new();
        if expand.contains(&"info") {
            parts.insert("info".into(), info(&worker, &state, name));
        }
        if expand.contains(&"status")
            && let Some(status) = status_json(&worker, &state, name)
        {
            parts.insert("status".into(), status);
        }
        (name.clone(), Value::Object(parts))
    };
    Json(Value::Object(names.map(expanded).collect()))
}

/// `POST /connectors` with `{"name", "config", "initial_state"?, "initial_offsets"?}`.
pub async fn create(State(worker): State<Shared>, JsonObject(body): JsonObject) -> Answer {
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let empty = Map::new();
    let mut config = config_of(body.get("config").and_then(Value::as_object).unwrap_or(&empty))?;
    take_name(&name, &mut config)?;
    let initial_state = match body.get("initial_state").and_then(Value::as_str) {
        None => None,
        Some(text) => Some(TargetState::parse(&text.to_ascii_uppercase()).ok_or_else(|| {
            ApiError::bad_request(format!("initial_state must be one of RUNNING, PAUSED, STOPPED, not '{text}'"))
        })?),
    };
    check(&worker, &config).await?;
    if worker.state().connector(&name).is_some() {
        return Err(ApiError::new(StatusCode::CONFLICT, format!("Connector {name} already exists")));
    }
    if let Some(initial) = body.get("initial_offsets") {
        // Before the connector: it must not start anywhere else.
        offsets::begin_at(&worker, &name, &config, initial).await?;
    }
    store(&worker, &name, &config, initial_state).await?;
    Ok(created(&worker, &name, &config))
}

/// `PUT /connectors/{name}/config`: creates or replaces.
pub async fn put_config(
    State(worker): State<Shared>,
    Path(name): Path<String>,
    JsonObject(body): JsonObject,
) -> Answer {
    let mut config = config_of(&body)?;
    take_name(&name, &mut config)?;
    let stored = worker.state().connector(&name).map(|connector| connector.config.clone());
    if let Some(stored) = &stored {
        masking::keep_masked(&mut config, stored);
    }
    check(&worker, &config).await?;
    store(&worker, &name, &config, None).await?;
    match stored {
        None => Ok(created(&worker, &name, &config)),
        Some(_) => Ok(Json(info(&worker, &worker.state(), &name)).into_response()),
    }
}

/// `PATCH /connectors/{name}/config`: merges, `null` removes.
pub async fn patch_config(
    State(worker): State<Shared>,
    Path(name): Path<String>,
    JsonObject(body): JsonObject,
) -> Answer {
    let stored = existing(&worker, &name)?;
    let mut config = stored.clone();
    config.retain(|field, _| body.get(field).is_none_or(|value| !value.is_null()));
    config.extend(config_of(&body)?);
    take_name(&name, &mut config)?;
    masking::keep_masked(&mut config, &stored);
    check(&worker, &config).await?;
    store(&worker, &name, &config, None).await?;
    Ok(Json(info(&worker, &worker.state(), &name)).into_response())
}

/// `GET /connectors/{name}`.
pub async fn show(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<Json<Value>> {
    existing(&worker, &name)?;
    Ok(Json(info(&worker, &worker.state(), &name)))
}

/// `GET /connectors/{name}/config`.
pub async fn config(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<Json<Config>> {
    Ok(Json(masking::mask(&existing(&worker, &name)?)))
}

/// `DELETE /connectors/{name}`. The worker that runs it forgets its statuses once its tasks have ended.
pub async fn delete(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<StatusCode> {
    existing(&worker, &name)?;
    worker.write_configs(records::deletion_records(&name)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /connectors/{name}/status`.
pub async fn status(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<Json<Value>> {
    status_json(&worker, &worker.state(), &name)
        .map(Json)
        .ok_or_else(|| ApiError::not_found(format!("No status found for connector {name}")))
}

/// `GET /connectors/{name}/tasks`.
pub async fn tasks(State(worker): State<Shared>, Path(name): Path<String>) -> Answer<Json<Value>> {
    existing(&worker, &name)?;
    let state = worker.state();
    let tasks = state.tasks(&name).iter().enumerate();
    let shown = tasks
        .map(|(task, config)| json!({ "id": { "connector": name, "task": task }, "config": masking::mask(config) }));
    Ok(Json(shown.collect()))
}

/// `GET /connectors/{name}/tasks/{task}/status`.
pub async fn task_status(State(worker): State<Shared>, Path((name, task)): Path<(String, u32)>) -> Answer<Json<Value>> {
    let state = worker.state();
    state
        .task_status(&name, task)
        .map(|status| Json(task_status_json(task, status)))
        .ok_or_else(|| ApiError::not_found(format!("No status found for task {name}-{task}")))
}

/// `GET /connectors/{name}/tasks/{task}/progress`: an addition; facts of a task, from the worker that runs it.
pub async fn task_progress(
    State(worker): State<Shared>,
    Path((name, task)): Path<(String, u32)>,
    headers: HeaderMap,
) -> Answer<Json<Value>> {
    if let Some(facts) = worker.progress_of(&name, task) {
        return Ok(Json(json!(facts)));
    }
    let runs_it = worker.state().task_status(&name, task).map(|status| status.worker_id.clone());
    if let Some(id) = runs_it.filter(|id| *id != worker.settings.worker_id && !forward::handed_over(&headers)) {
        let path = format!("/connectors/{name}/tasks/{task}/progress");
        if let Some(facts) = forward::ask(&worker, &id, &path, None).await {
            return Ok(Json(facts));
        }
    }
    Err(ApiError::not_found(format!("Task {name}-{task} does not run on this worker ({})", worker.settings.worker_id)))
}

/// `GET /connectors/{name}/topics`; an unknown connector has used none.
pub async fn topics(State(worker): State<Shared>, Path(name): Path<String>) -> Json<Value> {
    let state = worker.state();
    let topics: Vec<&str> = state.topics(&name).collect();
    Json(json!({ name: { "topics": topics } }))
}

/// `PUT /connectors/{name}/topics/reset`.
pub async fn reset_topics(State(worker): State<Shared>, Path(name): Path<String>) -> StatusCode {
    let topics: Vec<String> = worker.state().topics(&name).map(str::to_owned).collect();
    for topic in topics {
        worker.publish_topic(&name, &topic, None);
    }
    StatusCode::ACCEPTED
}

/// The stored configuration.
pub fn existing(worker: &Worker, name: &str) -> Result<Config, ApiError> {
    let state = worker.state();
    let connector = state.connector(name).ok_or_else(|| ApiError::not_found(format!("Connector {name} not found")))?;
    Ok(connector.config.clone())
}

/// `status` as an object, `None` before the first status was published.
pub fn status_json(worker: &Worker, state: &Picture, name: &str) -> Option<Value> {
    let connector = state.connector_status(name)?;
    let tasks: Vec<Value> = state.task_statuses(name).map(|(task, status)| task_status_json(task, status)).collect();
    Some(json!({
        "name": name, "connector": status_fields(connector, Map::new()), "tasks": tasks, "type": kind(worker, state, name),
    }))
}

fn task_status_json(task: u32, status: &Status) -> Value {
    status_fields(status, Map::from_iter([("id".to_owned(), task.into())]))
}

fn status_fields(status: &Status, mut fields: Map<String, Value>) -> Value {
    fields.insert("state".into(), status.state.as_str().into());
    fields.insert("worker_id".into(), status.worker_id.as_str().into());
    // Absent rather than null, as in Connect's answers.
    let optional = [("version", &status.version), ("trace", &status.trace)];
    fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?.into()))));
    Value::Object(fields)
}

fn info(worker: &Worker, state: &Picture, name: &str) -> Value {
    let config = state.connector(name).map(|connector| masking::mask(&connector.config));
    let tasks = 0..state.tasks(name).len();
    let tasks: Vec<Value> = tasks.map(|task| json!({ "connector": name, "task": task })).collect();
    json!({ "name": name, "config": config, "tasks": tasks, "type": kind(worker, state, name) })
}

fn kind(worker: &Worker, state: &Picture, name: &str) -> &'static str {
    let class = state.connector(name).and_then(|connector| connector.config.get("connector.class"));
    class.and_then(|class| worker.classes.find(class)).map_or("unknown", |class| class.kind.as_str())
}

fn created(worker: &Worker, name: &str, config: &Config) -> Response {
    let class = config.get("connector.class").and_then(|class| worker.classes.find(class));
    let body = json!({
        "name": name, "config": masking::mask(config), "tasks": [],
        "type": class.map_or("unknown", |class| class.kind.as_str()),
    });
    let location = format!("http://{}/connectors/{name}", worker.settings.worker_id);
    (StatusCode::CREATED, [(header::LOCATION, location)], Json(body)).into_response()
}

/// Put the name into the configuration, as Connect stores it.
fn take_name(name: &str, config: &mut Config) -> Result<(), ApiError> {
    match config.get("name") {
        Some(inner) if inner != name => Err(ApiError::bad_request(format!(
            "Connector name configuration ({inner}) doesn't match connector name in the URL ({name})"
        ))),
        _ => {
            config.insert("name".into(), name.into());
            Ok(())
        }
    }
}

async fn check(worker: &Worker, config: &Config) -> Result<(), ApiError> {
    let class = validation::class_of(&worker.classes, config).map_err(|error| ApiError::bad_request(error.0))?;
    let errors = refusals(worker, &class, config).await;
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::bad_request(masking::redact(&validation::message(&errors), config)))
}

async fn store(worker: &Worker, name: &str, config: &Config, initial: Option<TargetState>) -> Result<(), ApiError> {
    // The state first: the connector must not start for a moment when it is to be stopped.
    let target = initial.map(|state| records::target_record(name, state));
    let records: Vec<Record> = target.into_iter().chain([records::connector_record(name, config)]).collect();
    Ok(worker.write_configs(records).await?)
}
