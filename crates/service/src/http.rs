//! The HTTP listener of a service, with `/health` and `/metrics` on every one.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
use tokio::net::TcpListener;

use crate::Context;

/// Serves `router` plus `GET /health` and `GET /metrics` (Prometheus text) until the service stops.
///
/// # Errors
/// When the address cannot be listened on; the message names port and cause.
pub async fn serve(address: SocketAddr, router: Router, context: &Context) -> anyhow::Result<()> {
    let listener = listen(address).await?;
    serve_on(listener, router, context).await
}

/// As [`serve`], on a listener made before.
///
/// # Errors
/// When the listener fails.
pub async fn serve_on(listener: TcpListener, router: Router, context: &Context) -> anyhow::Result<()> {
    serve_bare(listener, router.merge(standard_routes(context)), context).await
}

/// As [`serve_on`], without routes of its own: for a service whose `/health` has another's wording.
///
/// # Errors
/// When the listener fails.
pub async fn serve_bare(listener: TcpListener, router: Router, context: &Context) -> anyhow::Result<()> {
    if let Ok(address) = listener.local_addr() {
        tracing::info!("{} listens on http://{address}", context.name);
    }
    let stop = context.stop.clone();
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.context("serve HTTP")
}

/// Listens on an address, with an error that a person can act on.
///
/// # Errors
/// When the port is taken or the address is not this machine's.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "port {} is taken by another process (on {}); stop that process or choose another port",
            address.port(),
            address.ip()
        ),
        _ => anyhow::Error::new(error).context(format!("listen on {address}")),
    })
}

/// `GET /health` and `GET /metrics`, for a server that serves them below another path.
pub fn standard_routes(context: &Context) -> Router {
    let health = context.health.clone();
    let metrics = context.metrics.clone();
    Router::new()
        .route(
            "/health",
            get(async move || {
                let report = health.report();
                let status = if report.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                (status, Json(report)).into_response()
            }),
        )
        .route("/metrics", get(async move || metrics.render()))
}
