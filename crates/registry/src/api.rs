//! Confluent's HTTP API: routes, the frame of answers, and how handlers reach state and leader.

mod compatibility;
mod schemas;
mod settings;
mod subjects;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Router, middleware};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use topics::Cluster;

use crate::decide::Decision;
use crate::forward;
use crate::leader::{Command, Names, Role};
use crate::refusal::Refusal;
use crate::state::{State, Visible};
use crate::store::Store;

pub const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// A schema text is kilobytes; a megabyte of one would not fit into a record of the topic.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// Longer than any write takes while the broker answers, shorter than what clients wait.
const WRITE_WAIT: Duration = Duration::from_secs(20);

/// What handlers share.
#[derive(Clone)]
pub struct App {
    pub store: Arc<Store>,
    pub role: watch::Receiver<Role>,
    pub names: Names,
    pub cluster: Cluster,
    pub http: reqwest::Client,
}

/// All routes but `/health` and `/metrics`.
pub fn router(app: App) -> Router {
    let reads = Router::new()
        .route("/", get(async || Answer(json!({}))))
        .route("/contexts", get(async || Answer(json!(["."]))))
        .route("/v1/metadata/id", get(async || Answer(json!({ "scope": { "path": [], "clusters": {} } }))))
        .route("/schemas", get(schemas::list))
        .route("/schemas/types", get(async || Answer(json!(["AVRO"]))))
        .route("/schemas/ids/{id}", get(schemas::by_id))
        .route("/schemas/ids/{id}/schema", get(schemas::text_by_id))
        .route("/schemas/ids/{id}/subjects", get(schemas::subjects_of_id))
        .route("/schemas/ids/{id}/versions", get(schemas::versions_of_id))
        .route("/subjects", get(subjects::list))
        .route("/subjects/{subject}", post(subjects::look_up))
        .route("/subjects/{subject}/versions", get(subjects::versions))
        .route("/subjects/{subject}/versions/{version}", get(subjects::version))
        .route("/subjects/{subject}/versions/{version}/schema", get(subjects::text))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(subjects::referenced_by))
        .route("/compatibility/subjects/{subject}/versions", post(compatibility::against_subject))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(compatibility::against_version))
        .route("/config", get(settings::level))
        .route("/config/{subject}", get(settings::subject_level))
        .route("/mode", get(settings::mode))
        .route("/mode/{subject}", get(settings::subject_mode));
    let writes = Router::new()
        .route("/subjects/{subject}", delete(subjects::delete))
        .route("/subjects/{subject}/versions", post(subjects::register))
        .route("/subjects/{subject}/versions/{version}", delete(subjects::delete_version))
        .route("/config", put(settings::set_level).delete(settings::unset_level))
        .route("/config/{subject}", put(settings::set_subject_level).delete(settings::unset_subject_level))
        .route("/mode", put(settings::set_mode).delete(settings::unset_mode))
        .route("/mode/{subject}", put(settings::set_subject_mode).delete(settings::unset_subject_mode))
        .route_layer(middleware::from_fn_with_state(app.clone(), forward::to_leader));
    reads
        .merge(writes)
        .fallback(async || Refusal::no_such_path())
        .method_not_allowed_fallback(async || Refusal::no_such_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(app)
}

impl App {
    /// Answers from the state.
    fn read<T>(&self, question: impl FnOnce(&State) -> Result<T, Refusal>) -> Result<T, Refusal> {
        if self.store.loaded() { self.store.read(question) } else { Err(Refusal::loading()) }
    }

    /// Has the leader (this instance, see `forward`) decide, write and read back.
    async fn write(
        &self,
        decide: impl FnOnce(&State) -> Result<Decision, Refusal> + Send + 'static,
    ) -> Result<Answer, Refusal> {
        let Role::Leader(leader) = self.role.borrow().clone() else { return Err(Refusal::no_leader()) };
        let (answer, answered) = oneshot::channel();
        let command = Command { decide: Box::new(decide), answer };
        let carried_out = async {
            leader.send(command).await.map_err(|_| Refusal::no_leader())?;
            answered.await.map_err(|_| Refusal::store("the leader resigned"))?
        };
        match tokio::time::timeout(WRITE_WAIT, carried_out).await {
            Ok(outcome) => outcome.map(Answer),
            Err(_) => Err(Refusal::timed_out("kafka does not answer")),
        }
    }
}

/// A success in Confluent's frame.
pub struct Answer(pub Value);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        framed(StatusCode::OK, self.0.to_string())
    }
}

/// A schema text as the whole body.
pub struct Text(pub Arc<str>);

impl IntoResponse for Text {
    fn into_response(self) -> Response {
        framed(StatusCode::OK, self.0.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        framed(self.status, self.body())
    }
}

fn framed(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response()
}

/// Parameters of a request's query.
pub type Query = axum::extract::Query<HashMap<String, String>>;

fn flag(query: &Query, name: &str) -> bool {
    query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn visible(query: &Query) -> Visible {
    match (flag(query, "deletedOnly"), flag(query, "deleted")) {
        (true, _) => Visible::DeletedOnly,
        (false, true) => Visible::All,
        (false, false) => Visible::Live,
    }
}

/// `offset` and `limit` of a list.
fn page<T>(query: &Query, all: impl Iterator<Item = T>) -> Vec<T> {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<usize>().ok());
    let limit = number("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    all.skip(number("offset").unwrap_or(0)).take(limit).collect()
}

/// Reads a body whatever content type it claims: clients send several.
fn json_body(body: &Bytes) -> Result<Value, Refusal> {
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Refusal::bad_request("the body must be a JSON object".to_owned())),
        Err(error) => Err(Refusal::bad_request(format!("the body is not JSON: {error}"))),
    }
}
