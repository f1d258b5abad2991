//! The listener: S3 on every path but a few that cannot be buckets.
//!
//! `/-/health` and `/-/metrics` are what `/health` and `/metrics` are elsewhere (those are bucket names here);
//! `/minio/health/live` and `/minio/health/ready` answer the probes that MinIO's users have.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{
        StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
    routing::get,
    serve::ListenerExt as _,
};
use s3s::service::S3Service;
use tokio::{net::TcpListener, sync::Semaphore};

/// Requests worked on at once; more wait. With the portion a body takes this bounds the memory of all bodies.
const REQUESTS_MAX: usize = 256;
/// How long a request waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Serves until the service stops; open requests are finished.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, s3: S3Service, context: service::Context) -> anyhow::Result<()> {
    let permits = Arc::new(Semaphore::new(REQUESTS_MAX));
    let alive = async || StatusCode::OK;
    let router = Router::new()
        .nest("/-", service::http::standard_routes(&context))
        .route("/minio/health/live", get(alive))
        .route("/minio/health/ready", get(alive))
        .fallback(async move |request: Request| answer(&s3, &permits, request).await);
    if let Ok(address) = listener.local_addr() {
        tracing::info!("object-server listens on http://{address}");
    }
    // Small answers must not wait for the client's acknowledgement of the one before.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("set TCP_NODELAY: {error}");
        }
    });
    let stop = context.stop.clone();
    Ok(axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await?)
}

async fn answer(s3: &S3Service, permits: &Semaphore, request: Request) -> Response {
    let Ok(Ok(_permit)) = tokio::time::timeout(WAIT_MAX, permits.acquire()).await else {
        let busy = s3s::s3_error!(SlowDown, "too many requests at once, try again");
        return busy
            .to_http_response()
            .map_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response(), |answer| answer.map(Body::new));
    };
    let began = Instant::now();
    let method = request.method().to_string();
    let response = match s3.call(request.map(s3s::Body::http_body_unsync)).await {
        // A 304 has no body; one that announces the length of the body it does not have confuses clients.
        Ok(response) if response.status() == StatusCode::NOT_MODIFIED => without_body(response),
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::error!("a request could not be answered: {error:?}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    };
    let status = response.status().as_u16().to_string();
    metrics::histogram!("object_server_request_seconds", "method" => method.clone())
        .record(began.elapsed().as_secs_f64());
    metrics::counter!("object_server_requests_total", "method" => method, "status" => status).increment(1);
    response
}

fn without_body(response: s3s::HttpResponse) -> Response {
    let mut response = response.map(|_| Body::empty());
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().remove(CONTENT_TYPE);
    response
}
