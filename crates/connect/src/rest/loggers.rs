//! `/admin/loggers`: levels of the log, changed while the worker runs.
//!
//! Parts are named as the log names them (`connect::task`, or with dots) or as the original's packages
//! (`io.debezium.…`), so that what people type from memory works. A level of the whole cluster is a record of the config
//! topic, as with a JVM worker; it reaches the workers that run now.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use service::logs::{self, Level, ROOT, Setting};

use super::body::{JsonObject, query_values};
use super::{Answer, ApiError, Shared};
use crate::records;

/// Parts of a worker, which are listed whether or not they have a level of their own.
const PARTS: [&str; 6] = ["cdc_relay", "connect", "objects", "s3_sink", "service", "topics"];
/// Packages of the original, and the part that does their work here.
const PACKAGES: [(&str, &str); 5] = [
    ("io.confluent.connect.s3", "s3_sink"),
    ("io.confluent.kafka.schemaregistry", "topics"),
    ("io.debezium", "cdc_relay"),
    ("org.apache.kafka.connect", "connect"),
    ("org.apache.kafka", "topics"),
];

/// `GET /admin/loggers`.
pub async fn list() -> Json<Value> {
    let levels = logs::levels();
    let mut shown: Map<String, Value> =
        PARTS.iter().map(|part| ((*part).to_owned(), setting_json(levels.effective(part)))).collect();
    shown.extend(levels.all().into_iter().map(|(part, setting)| (part, setting_json(setting))));
    shown.sort_keys();
    Json(Value::Object(shown))
}

/// `GET /admin/loggers/{logger}`.
pub async fn show(Path(logger): Path<String>) -> Answer<Json<Value>> {
    let (levels, target) = (logs::levels(), target(&logger));
    let crate_name = target.split("::").next().unwrap_or_default();
    if target != ROOT && !PARTS.contains(&crate_name) && !levels.all().contains_key(&target) {
        return Err(ApiError::not_found(format!("Logger {logger} not found.")));
    }
    Ok(Json(setting_json(levels.effective(&target))))
}

/// `PUT /admin/loggers/{logger}?scope=worker|cluster` with `{"level"}`.
pub async fn set(
    State(worker): State<Shared>,
    Path(logger): Path<String>,
    RawQuery(query): RawQuery,
    JsonObject(body): JsonObject,
) -> Answer<Response> {
    let Some(asked) = body.get("level").and_then(Value::as_str) else {
        return Err(ApiError::bad_request("Desired 'level' parameter was not specified in request."));
    };
    let level = level(asked).ok_or_else(|| ApiError::not_found(format!("invalid log level '{asked}'.")))?;
    if query_values(query.as_deref(), "scope").any(|scope| scope.eq_ignore_ascii_case("cluster")) {
        worker.write_configs([records::logger_record(&logger, level.as_str())]).await?;
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let changed = logs::levels().set(&target(&logger), level);
    let changed = changed.map_err(|reason| ApiError::bad_request(format!("{logger}: {reason}")))?;
    Ok(Json(changed).into_response())
}

/// Carries out what some worker's client asked of all workers.
pub fn apply(logger: &str, asked: &str) {
    let Some(level) = level(asked) else { return };
    match logs::levels().set(&target(logger), level) {
        Ok(changed) if changed.is_empty() => {}
        Ok(changed) => tracing::info!("level {} of {}, as asked of the cluster", level.as_str(), changed.join(", ")),
        Err(reason) => tracing::warn!("level {asked} of {logger} is not accepted: {reason}"),
    }
}

/// A level by the names of Log4j, which has two more than `tracing`.
fn level(text: &str) -> Option<Level> {
    match text.to_ascii_uppercase().as_str() {
        "FATAL" => Some(Level::Error),
        "ALL" => Some(Level::Trace),
        text => Level::parse(text),
    }
}

fn target(logger: &str) -> String {
    if logger.eq_ignore_ascii_case(ROOT) {
        return ROOT.into();
    }
    let inside =
        |package: &str| logger.strip_prefix(package).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let part = PACKAGES.iter().find(|(package, _)| inside(package)).map(|(_, part)| (*part).to_owned());
    part.unwrap_or_else(|| logger.replace('.', "::"))
}

fn setting_json(setting: Setting) -> Value {
    json!({ "level": setting.level.as_str(), "last_modified": setting.changed_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_the_original_and_dots_mean_our_parts() {
        assert_eq!(target("io.debezium.connector.postgresql"), "cdc_relay");
        assert_eq!(target("org.apache.kafka.connect.runtime.Worker"), "connect");
        assert_eq!(target("org.apache.kafka.clients.NetworkClient"), "topics");
        assert_eq!(target("io.debeziumx"), "io::debeziumx");
        assert_eq!((target("connect.task").as_str(), target("Root").as_str()), ("connect::task", "root"));
        assert_eq!((level("fatal"), level("All"), level("loud")), (Some(Level::Error), Some(Level::Trace), None));
    }
}
