//! `/health`: Connect's wording, with the parts that every service of the product shows.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::worker::Worker;

/// `GET /health`.
pub fn show(worker: &Worker, health: &service::Health) -> Response {
    let report = health.report();
    let (status, word, message) = match (worker.writer().ready(), report.status) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "starting", "Worker is still starting up."),
        (true, "ok") => (StatusCode::OK, "healthy", "Worker has completed startup and is ready to handle requests."),
        (true, _) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "unhealthy",
            "Worker was unable to handle this request and may be unable to handle other requests.",
        ),
    };
    let body = json!({ "status": word, "message": message, "service": report.service, "parts": report.parts });
    (status, Json(body)).into_response()
}
