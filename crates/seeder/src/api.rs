//! The HTTP side: paths, parameters and defaults of the original seeder, with its way of refusing bad parameters.

mod parameters;

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use utoipa::{OpenApi, ToSchema};
use utoipa_swagger_ui::SwaggerUi;

use crate::simulation::population::Population;
use crate::storefront::activity::{Activity, Status};
use crate::storefront::full_seed::write_population;
use crate::storefront::traffic_run::{run_traffic, today};
use crate::storefront::{Database, StorefrontError};
use parameters::{FullParameters, HTTPValidationError, StartParameters};

/// Everything the handlers share.
pub struct Seeder {
    database: Database,
    activity: Arc<Activity>,
    traffic: Mutex<Option<RunningTraffic>>,
    /// Cancelled when the process stops.
    stop: CancellationToken,
}

struct RunningTraffic {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The answer of `POST /seed/full`.
#[derive(Debug, Serialize, ToSchema)]
struct FullDone {
    /// `done`.
    status: &'static str,
    seed: u64,
    /// Rows written, by table.
    rows: RowsByTable,
    seconds: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct RowsByTable {
    customers: usize,
    products: usize,
    orders: usize,
    order_items: usize,
    payments: usize,
}

/// The answer of `POST /seed/start` and `POST /seed/stop`.
#[derive(Debug, Serialize, ToSchema)]
struct TrafficChanged {
    /// `started`, `rate changed`, `stopped` or `not running`.
    status: &'static str,
    /// Transactions a second asked for; null when none run.
    rate: Option<f64>,
}

/// The answer of `GET /health`.
#[derive(Debug, Serialize, ToSchema)]
struct HealthReport {
    /// `ok` or `unhealthy`.
    status: String,
    service: String,
    /// `ok` or the reason, by part.
    parts: std::collections::BTreeMap<String, String>,
}

/// An error as FastAPI words it.
#[derive(Debug, Serialize, ToSchema)]
struct Detail {
    detail: String,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Storefront seeder", description = "Fills the storefront and keeps it busy."),
    paths(seed_full, seed_start, seed_stop, status, health)
)]
struct Description;

impl Seeder {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(database: Database, stop: CancellationToken) -> Arc<Self> {
        Arc::new(Self { database, activity: Arc::default(), traffic: Mutex::new(None), stop })
    }

    /// Ends the traffic, if any runs, and waits for its transactions. False when none ran.
    pub async fn stop_traffic(&self) -> bool {
        let mut traffic = self.traffic.lock().await;
        self.end(traffic.take()).await
    }

    async fn end(&self, traffic: Option<RunningTraffic>) -> bool {
        let Some(traffic) = traffic else { return false };
        traffic.stop.cancel();
        let _ = traffic.task.await;
        self.activity.traffic_stopped();
        true
    }

    /// Starts traffic, in place of what may run. True when some ran.
    async fn start_traffic(&self, rate: f64, seed: u64) -> bool {
        let mut traffic = self.traffic.lock().await;
        let ran = self.end(traffic.take()).await;
        let stop = self.stop.child_token();
        let run = run_traffic(self.database.clone(), rate, seed, Arc::clone(&self.activity), stop.clone());
        self.activity.traffic_started(rate);
        *traffic = Some(RunningTraffic { stop, task: tokio::spawn(run) });
        ran
    }
}

/// The routes, `/docs` and `/openapi.json`; `/health` and `/metrics` come from the service frame.
pub fn router(seeder: Arc<Seeder>) -> Router {
    Router::new()
        .route("/", get(async || Redirect::to("/docs/")))
        .route("/seed/full", post(seed_full))
        .route("/seed/start", post(seed_start))
        .route("/seed/stop", post(seed_stop))
        .route("/status", get(status))
        .with_state(seeder)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", Description::openapi()))
}

/// Fill the shop
///
/// Writes `count` customers with a year of orders, about two each with one to four items and a payment, and a tenth as
/// many products. The same seed, count and day give the same rows. Answers when everything is written.
#[utoipa::path(post, path = "/seed/full", params(FullParameters), responses(
    (status = 200, description = "All rows are written", body = FullDone),
    (status = 409, description = "A full seed is running", body = Detail),
    (status = 422, description = "A parameter is wrong", body = HTTPValidationError),
    (status = 503, description = "Postgres is away or refused", body = Detail),
))]
async fn seed_full(State(seeder): State<Arc<Seeder>>, RawQuery(query): RawQuery) -> Response {
    let parameters = match FullParameters::parse(query.as_deref()) {
        Ok(parameters) => parameters,
        Err(error) => return error.into_response(),
    };
    let FullParameters { count, batch_size, seed } = parameters;
    if !seeder.activity.full_started(count, batch_size, seed) {
        return detail(StatusCode::CONFLICT, "a full seed is running: wait for it, see /status".to_owned());
    }
    // In a task of its own: a client that hangs up does not leave half a shop.
    let task = tokio::spawn(async move {
        let start = Instant::now();
        let population = Population { seed, customers: count, day: today() };
        let written = write_population(&seeder.database, population, batch_size, &seeder.activity, &seeder.stop).await;
        seeder.activity.full_ended(written.as_ref().err().map(ToString::to_string));
        written.map(|counts| (counts, start.elapsed()))
    });
    match task.await {
        Ok(Ok((counts, took))) => Json(FullDone {
            status: "done",
            seed,
            rows: RowsByTable {
                customers: counts.customers,
                products: counts.products,
                orders: counts.orders,
                order_items: counts.order_items,
                payments: counts.payments,
            },
            seconds: took.as_secs_f64(),
        })
        .into_response(),
        Ok(Err(error)) => {
            if !matches!(error, StorefrontError::Conflict(_)) {
                tracing::warn!("full seed stopped: {error}");
            }
            detail(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        Err(error) => detail(StatusCode::INTERNAL_SERVER_ERROR, format!("the seed stopped: {error}")),
    }
}

/// Start traffic
///
/// New customers and orders, orders on their way, payments, prices, stock, and deletes, at `rate` transactions a
/// second. While traffic runs, this changes its rate. Waits for Postgres when it is away.
#[utoipa::path(post, path = "/seed/start", params(StartParameters), responses(
    (status = 200, description = "Traffic runs", body = TrafficChanged),
    (status = 422, description = "A parameter is wrong", body = HTTPValidationError),
))]
async fn seed_start(State(seeder): State<Arc<Seeder>>, RawQuery(query): RawQuery) -> Response {
    let StartParameters { rate, seed } = match StartParameters::parse(query.as_deref()) {
        Ok(parameters) => parameters,
        Err(error) => return error.into_response(),
    };
    // In a task of its own, as a dropped request must not leave traffic without a handle.
    let started = tokio::spawn(async move { seeder.start_traffic(rate, seed).await }).await;
    let status = if started.unwrap_or(false) { "rate changed" } else { "started" };
    Json(TrafficChanged { status, rate: Some(rate) }).into_response()
}

/// Stop traffic
///
/// Answers when the last transaction is through.
#[utoipa::path(post, path = "/seed/stop", responses((status = 200, description = "No traffic runs", body = TrafficChanged)))]
async fn seed_stop(State(seeder): State<Arc<Seeder>>) -> Json<TrafficChanged> {
    let stopped = tokio::spawn(async move { seeder.stop_traffic().await }).await;
    let status = if stopped.unwrap_or(false) { "stopped" } else { "not running" };
    Json(TrafficChanged { status, rate: None })
}

/// What the seeder has done
#[utoipa::path(get, path = "/status", responses((status = 200, description = "Facts since the seeder started", body = Status)))]
async fn status(State(seeder): State<Arc<Seeder>>) -> Json<Status> {
    Json(seeder.activity.status())
}

/// Whether the seeder and its database are well
#[utoipa::path(get, path = "/health", responses(
    (status = 200, description = "All parts are well", body = HealthReport),
    (status = 503, description = "A part is not", body = HealthReport),
))]
#[expect(dead_code, reason = "the service frame serves it; this is its description")]
fn health() {}

fn detail(status: StatusCode, detail: String) -> Response {
    (status, Json(Detail { detail })).into_response()
}
