//! `/` and `/connector-plugins`.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::body::{JsonObject, config_of};
use super::{Answer, ApiError, Shared};
use crate::validation;

/// `GET /`. The cluster's id is not known to our Kafka client; clients show it and need it for nothing.
pub async fn root() -> Json<Value> {
    let commit = option_env!("GIT_COMMIT").unwrap_or("unknown");
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "commit": commit, "kafka_cluster_id": null }))
}

/// `GET /connector-plugins`: every class that can be posted here, whichever worker runs it.
pub async fn list(State(worker): State<Shared>) -> Json<Value> {
    let classes = worker.classes.all().into_iter();
    let shown =
        classes.map(|class| json!({ "class": class.name, "type": class.kind.as_str(), "version": class.version }));
    Json(shown.collect())
}

/// `GET /connector-plugins/{class}/config`.
pub async fn definitions(State(worker): State<Shared>, Path(class): Path<String>) -> Answer<Json<Value>> {
    let class = worker.classes.find(&class).ok_or_else(|| ApiError::not_found(format!("Unknown plugin {class}.")))?;
    let definitions = validation::definitions(&class);
    Ok(Json(validation::numbered(&definitions).map(|(order, definition)| definition.json(order)).collect()))
}

/// `PUT /connector-plugins/{class}/config/validate`.
pub async fn validate(
    State(worker): State<Shared>,
    Path(asked): Path<String>,
    JsonObject(body): JsonObject,
) -> Answer<Json<Value>> {
    let config = config_of(&body)?;
    let named = config.get("connector.class").cloned().unwrap_or_default();
    // A class matches under any of its names.
    let same =
        |class: &crate::classes::Class| worker.classes.find(&asked).is_some_and(|other| other.name == class.name);
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
    let errors = validation::errors(&class, &config);
    Ok(Json(validation::report(&class, &config, &errors)))
}
