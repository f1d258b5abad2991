//! Asking something of a running task.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::body::JsonObject;
use super::{Answer, ApiError, Shared};
use crate::plugin::TaskMessage;

/// How long the task may take until what is asked of it is safe.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// `POST /connectors/{name}/signals`: an addition. Answered once the task has stored what is asked of it.
pub async fn send(
    State(worker): State<Shared>,
    Path(name): Path<String>,
    JsonObject(body): JsonObject,
) -> Answer<(StatusCode, Json<Value>)> {
    if worker.state().connector(&name).is_none() {
        return Err(ApiError::not_found(format!("Unknown connector {name}")));
    }
    let refused = |why: &str| ApiError::new(StatusCode::CONFLICT, format!("Connector {name} {why}"));
    let elsewhere = || refused(&format!("takes no signals on this worker ({})", worker.settings.worker_id));
    let mailbox = worker.mailbox(&name, 0).ok_or_else(elsewhere)?;
    let (message, answer) = TaskMessage::new(body);
    mailbox.try_send(message).map_err(|_| refused("has too many signals waiting"))?;
    match tokio::time::timeout(ANSWER_WAIT, answer).await {
        Ok(Ok(Ok(answer))) => Ok((StatusCode::ACCEPTED, Json(answer))),
        Ok(Ok(Err(reason))) => Err(ApiError::bad_request(reason)),
        Ok(Err(_dropped)) => Err(refused("stopped before it had taken the signal; send it again")),
        Err(_elapsed) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "Connector {name} has not taken the signal within {} s: it waits for a server, stands by or takes a \
                 snapshot. The signal is dropped",
                ANSWER_WAIT.as_secs()
            ),
        )),
    }
}
