//! The REST API: paths, bodies and error texts of Kafka Connect 4.3.
//!
//! Handlers answer from the picture in [`Worker`] and change things only by writing records; they never talk
//! to a task. Golden answers of a JVM worker are in `tests/golden/connect-rest`. Differences on purpose:
//! secrets come back masked; `/health` also has what all services of the product show; progress of tasks, initial
//! offsets, signals to tasks and the page at `/docs` are additions.

mod body;
mod connectors;
mod docs;
mod health;
mod lifecycle;
mod loggers;
mod offsets;
mod plugins;
mod signals;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::json;

use crate::store::StoreError;
use crate::worker::Worker;

type Shared = Arc<Worker>;

/// An answer that is not a success: status and `{"error_code":…,"message":…}`.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match error {
            StoreError::TimedOut { .. } | StoreError::Unreachable { .. } => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Refused { .. } | StoreError::GroupActive { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.status.as_u16(), "message": self.message });
        (self.status, Json(body)).into_response()
    }
}

type Answer<T = Response> = Result<T, ApiError>;

pub use loggers::apply as apply_level;

/// The routes. A path with a slash at its end is the one without, as with a JVM worker.
pub fn router(worker: Shared, health: service::Health) -> Router {
    Router::new().fallback_service(routes(worker, health)).layer(from_fn(without_last_slash))
}

async fn without_last_slash(mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let own = path.starts_with(docs::PATH);
    if let Some(short) = path.strip_suffix('/').filter(|short| !short.is_empty() && !own) {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        if let Ok(uri) = format!("{short}{query}").parse() {
            *request.uri_mut() = uri;
        }
    }
    next.run(request).await
}

fn routes(worker: Shared, health: service::Health) -> Router {
    let of_health = Arc::clone(&worker);
    let connectors = Router::new()
        .route("/connectors", get(connectors::list).post(connectors::create))
        .route("/connectors/{name}", get(connectors::show).delete(connectors::delete))
        .route(
            "/connectors/{name}/config",
            get(connectors::config).put(connectors::put_config).patch(connectors::patch_config),
        )
        .route("/connectors/{name}/status", get(connectors::status))
        .route("/connectors/{name}/tasks", get(connectors::tasks))
        .route("/connectors/{name}/tasks/{task}/status", get(connectors::task_status))
        .route("/connectors/{name}/tasks/{task}/progress", get(connectors::task_progress))
        .route("/connectors/{name}/tasks/{task}/restart", post(lifecycle::restart_task))
        .route("/connectors/{name}/restart", post(lifecycle::restart))
        .route("/connectors/{name}/pause", put(lifecycle::pause))
        .route("/connectors/{name}/resume", put(lifecycle::resume))
        .route("/connectors/{name}/stop", put(lifecycle::stop))
        .route("/connectors/{name}/signals", post(signals::send))
        .route("/connectors/{name}/topics", get(connectors::topics))
        .route("/connectors/{name}/topics/reset", put(connectors::reset_topics))
        .route("/connectors/{name}/offsets", get(offsets::show).patch(offsets::alter).delete(offsets::reset))
        .layer(from_fn_with_state(Arc::clone(&worker), only_when_ready));
    Router::new()
        .merge(connectors)
        .route("/", get(plugins::root))
        .route("/health", get(async move || health::show(&of_health, &health)))
        .route("/admin/loggers", get(loggers::list))
        .route("/admin/loggers/{logger}", get(loggers::show).put(loggers::set))
        .route("/connector-plugins", get(plugins::list))
        .route("/connector-plugins/{class}/config", get(plugins::definitions))
        .route("/connector-plugins/{class}/config/validate", put(plugins::validate))
        .fallback(async || status_only(StatusCode::NOT_FOUND))
        .method_not_allowed_fallback(async || status_only(StatusCode::METHOD_NOT_ALLOWED))
        .merge(docs::routes())
        .with_state(worker)
}

/// Before the topics are read there is nothing true to say about connectors.
async fn only_when_ready(State(worker): State<Shared>, request: Request, next: Next) -> Response {
    match worker.writer().ready() {
        true => next.run(request).await,
        false => ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "This worker is still reading its topics from Kafka at {}; try again in a moment. If it lasts, start Kafka.",
                worker.settings.bootstrap
            ),
        )
        .into_response(),
    }
}

/// Jersey's answer where there is no resource or method.
fn status_only(status: StatusCode) -> ApiError {
    ApiError::new(status, format!("HTTP {} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()))
}
