//! Writes that reach an instance which does not lead: wait for an election under way, or hand them to the leader.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State as AxumState};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;
use topics::Admin;

use crate::api::{App, BODY_BYTES_MAX, CONTENT_TYPE};
use crate::leader::Role;
use crate::refusal::Refusal;

/// Marks a request that was handed over once, so that it never travels in circles. Confluent's name.
const FORWARDED: &str = "x-forward";
/// An election takes a second, a takeover from a dead leader some six.
const ELECTION_WAIT: Duration = Duration::from_secs(9);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Middleware of all routes that change state.
pub async fn to_leader(AxumState(app): AxumState<App>, request: Request, next: Next) -> Response {
    let mut role = app.role.clone();
    if matches!(*role.borrow_and_update(), Role::Leader(_)) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return Refusal::bad_request(error.to_string()).into_response(),
    };
    let forwarded = parts.headers.contains_key(FORWARDED);
    let deadline = Instant::now() + ELECTION_WAIT;
    loop {
        if matches!(*role.borrow_and_update(), Role::Leader(_)) {
            return next.run(Request::from_parts(parts, Body::from(body))).await;
        }
        if !forwarded && let Some(leader) = leader_url(&app).await {
            match hand_over(&app, &leader, &parts, body.clone()).await {
                Ok(response) => return response,
                // Nobody there, so nothing was done: a leader that died is replaced soon.
                Err(error) if error.is_connect() => {}
                Err(error) => return Refusal::forwarding(&error.to_string()).into_response(),
            }
        }
        if Instant::now() >= deadline {
            return Refusal::no_leader().into_response();
        }
        // Wakes at once when this instance is elected.
        let _ = tokio::time::timeout(LOOK_AGAIN, role.changed()).await;
    }
}

/// Address of the leader, when it is another instance.
async fn leader_url(app: &App) -> Option<String> {
    let group = Admin::new(&app.cluster).ok()?.group(&app.names.group).await.ok()?;
    let leader = group.members.into_iter().find(|member| !member.partitions.is_empty())?;
    let other = leader.client_id != app.names.advertised_url && leader.client_id.starts_with("http");
    other.then_some(leader.client_id)
}

/// Sends the request to the leader and takes over its answer.
async fn hand_over(app: &App, leader: &str, parts: &Parts, body: Bytes) -> reqwest::Result<Response> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let answer = app
        .http
        .request(parts.method.clone(), format!("{}{path}", leader.trim_end_matches('/')))
        .header(FORWARDED, "false")
        .header("content-type", CONTENT_TYPE)
        .timeout(ELECTION_WAIT)
        .body(body)
        .send()
        .await?;
    let status = answer.status();
    let kind = answer.headers().get("content-type").cloned();
    let mut response = Response::new(Body::from(answer.bytes().await?));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert("content-type", kind);
    }
    Ok(response)
}
