//! `/` and `/connector-plugins`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::body::{JsonObject, config_of, query_values};
use super::{Answer, ApiError, Shared};
use crate::classes::{Class, PARTS};
use crate::definitions::shown;
use crate::forward;
use crate::plugin::{Config, FieldError};
use crate::providers;
use crate::validation;
use crate::worker::Worker;

/// Kafka tells its id at once, or is away.
const CLUSTER_WAIT: Duration = Duration::from_secs(1);

/// `GET /`. The cluster's id is null until Kafka has told it.
pub async fn root(State(worker): State<Shared>) -> Json<Value> {
    let commit = option_env!("GIT_COMMIT").unwrap_or("unknown");
    // Other workers ask this to learn who is alive, so it answers soon when Kafka does not.
    let asked = tokio::time::timeout(CLUSTER_WAIT, worker.writer().cluster_id());
    let cluster = if worker.writer().ready() { asked.await.ok().flatten() } else { None };
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "commit": commit, "kafka_cluster_id": cluster }))
}

/// `GET /connector-plugins`: every class that can be posted here, whichever worker runs it; with
/// `?connectorsOnly=false` also the transformations, predicates and converters that connectors may name.
pub async fn list(State(worker): State<Shared>, RawQuery(query): RawQuery) -> Json<Value> {
    let plugin = |class: &str, kind: &str, version: &str| json!({ "class": class, "type": kind, "version": version });
    let classes = worker.classes.all();
    let mut shown: Vec<Value> =
        classes.iter().map(|class| plugin(&class.name, class.kind.as_str(), &class.version)).collect();
    if query_values(query.as_deref(), "connectorsOnly").any(|value| value.eq_ignore_ascii_case("false")) {
        shown.extend(PARTS.iter().map(|(class, kind)| plugin(class, kind, env!("CARGO_PKG_VERSION"))));
    }
    Json(Value::Array(shown))
}

/// `GET /connector-plugins/{class}/config`.
pub async fn definitions(
    State(worker): State<Shared>,
    Path(class): Path<String>,
    headers: HeaderMap,
) -> Answer<Json<Value>> {
    let class = worker.classes.find(&class).ok_or_else(|| ApiError::not_found(format!("Unknown plugin {class}.")))?;
    if class.plugin.is_none()
        && !forward::handed_over(&headers)
        && let Some(answer) = forward::ask_class(&worker, &class.name, &config_path(&class, ""), None).await
    {
        return Ok(Json(answer));
    }
    let (framework, plugin) = validation::definitions(&class);
    Ok(Json(plugin.iter().chain(&framework).map(shown).collect()))
}

/// `PUT /connector-plugins/{class}/config/validate`.
pub async fn validate(
    State(worker): State<Shared>,
    Path(asked): Path<String>,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Answer<Json<Value>> {
    let config = config_of(&body)?;
    let named = config.get("connector.class").cloned().unwrap_or_default();
    // A class matches under any of its names.
    let same = |class: &Class| worker.classes.find(&asked).is_some_and(|other| other.name == class.name);
    let class = worker.classes.find(&named).filter(same);
    let class = match class {
        Some(class) => class,
        None if named.is_empty() => {
            return Err(validation::class_of(&worker.classes, &config).err().map_or_else(
                || ApiError::bad_request("connector.class is empty"),
                |error| ApiError::bad_request(error.0),
            ));
        }
        None => {
            return Err(ApiError::bad_request(format!(
                "Included connector type {named} does not match request type {asked}"
            )));
        }
    };
    if class.plugin.is_none()
        && !forward::handed_over(&headers)
        && let Some(report) = other_report(&worker, &class, &config).await
    {
        return Ok(Json(report));
    }
    let errors = all_errors(&worker, &class, &config).await;
    Ok(Json(validation::report(&class, &config, &errors)))
}

/// The checks of this worker, and what only the world outside can say.
async fn all_errors(worker: &Worker, class: &Class, config: &Config) -> Vec<FieldError> {
    let errors = validation::errors(class, config, &worker.providers);
    match &class.plugin {
        Some(plugin) if errors.is_empty() => match providers::resolve(config, &worker.providers) {
            Ok(resolved) => plugin.reach(&resolved).await,
            Err(_) => errors,
        },
        _ => errors,
    }
}

/// What another worker that has the class says of a configuration.
async fn other_report(worker: &Worker, class: &Class, config: &Config) -> Option<Value> {
    forward::ask_class(worker, &class.name, &config_path(class, "/validate"), Some(&json!(config))).await
}

/// Texts of the refused settings of a configuration, from the worker that can tell; none when it is accepted.
pub async fn refusals(worker: &Worker, class: &Class, config: &Config) -> Vec<String> {
    if class.plugin.is_none()
        && let Some(report) = other_report(worker, class, config).await
    {
        let configs = report["configs"].as_array().into_iter().flatten();
        let texts = configs.flat_map(|config| config["value"]["errors"].as_array().into_iter().flatten());
        return texts.filter_map(|text| text.as_str().map(str::to_owned)).collect();
    }
    all_errors(worker, class, config).await.into_iter().map(|error| error.message).collect()
}

fn config_path(class: &Class, after: &str) -> String {
    format!("/connector-plugins/{}/config{after}", class.name)
}
