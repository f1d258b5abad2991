//! HTTP interface: `/status`, `/sql`, `/run` (and `/health`, `/metrics` from the service frame).

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::{
    error::LakeError,
    freshness::WINDOW_MS,
    query::{self, Format, ROWS_DEFAULT, ROWS_MAX},
    sql::Engine,
    status::Status,
    tables::Tables,
    watch::RunRequests,
};

/// What the interface needs.
#[derive(Clone)]
pub struct Interface {
    pub engine: Engine,
    pub tables: Tables,
    pub status: Status,
    pub runs: RunRequests,
}

/// The routes.
pub fn router(interface: Interface) -> Router {
    Router::new().route("/status", get(status)).route("/sql", post(sql)).route("/run", post(run)).with_state(interface)
}

/// Query of `GET /status`.
#[derive(Debug, Deserialize)]
struct StatusQuery {
    /// How far back freshness looks; ten minutes when not given.
    freshness_seconds: Option<u32>,
}

async fn status(State(interface): State<Interface>, Query(query): Query<StatusQuery>) -> Json<Value> {
    let window_ms = query.freshness_seconds.map_or(WINDOW_MS, |seconds| i64::from(seconds) * 1000);
    Json(interface.status.report(&interface.tables, window_ms))
}

/// Body of `POST /sql`.
#[derive(Debug, Deserialize)]
struct SqlRequest {
    sql: String,
    #[serde(default)]
    format: Format,
    /// Rows at most; not limited for `ndjson`, `csv` and `parquet`.
    max_rows: Option<usize>,
}

async fn sql(State(interface): State<Interface>, Json(query): Json<SqlRequest>) -> Result<Response, Failure> {
    let content_type = [(header::CONTENT_TYPE, query.format.content_type())];
    if query.format.streams() {
        let bytes = query::streamed(&interface.engine, &query.sql, query.format, query.max_rows).await?;
        // An error in mid-stream cuts the connection, so that the reader does not take a part for the whole.
        let bytes = bytes.map(|bytes| bytes.map_err(std::io::Error::other));
        return Ok((content_type, Body::from_stream(bytes)).into_response());
    }
    let rows_max = query.max_rows.unwrap_or(ROWS_DEFAULT).min(ROWS_MAX);
    let answer = query::answer(&interface.engine, &query.sql, rows_max).await?;
    Ok((content_type, answer.text(query.format)).into_response())
}

async fn run(State(interface): State<Interface>) -> Result<Json<Value>, Failure> {
    let (answer, done) = oneshot::channel();
    let stopping = || Failure(LakeError::definite("the lake is stopping"));
    interface.runs.send(answer).await.map_err(|_| stopping())?;
    done.await.map(Json).map_err(|_| stopping())
}

/// An error as an answer: 400 for the query's own fault, 503 when a server is away.
struct Failure(LakeError);

impl From<LakeError> for Failure {
    fn from(error: LakeError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self.0 {
            LakeError::Query(_) => StatusCode::BAD_REQUEST,
            LakeError::Away { .. } => StatusCode::SERVICE_UNAVAILABLE,
            LakeError::Conflict { .. } | LakeError::Definite(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({"error": self.0.to_string()}))).into_response()
    }
}
