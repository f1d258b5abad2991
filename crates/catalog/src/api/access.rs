//! Who may ask: everybody (the playground on loopback), or who has a token.
//!
//! A token is the one of the settings, or one that was given for the client's credentials at `/v1/oauth/tokens` (OAuth2,
//! client credentials). The latter ends with the process: clients then get 401 and ask for another.

use std::sync::Arc;

use axum::{
    Form, Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use model::secret::Secret;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::error::CatalogError;

/// What clients are told of a token's life; it may be renewed at any time.
const TOKEN_SECONDS: u32 = 3600;

/// What a client has to show.
pub struct Access {
    token: Option<Secret>,
    client: Option<(String, Secret)>,
    given: Secret,
}

impl Access {
    /// An empty text is no setting.
    pub fn new(token: Option<Secret>, client_id: Option<String>, client_secret: Option<Secret>) -> Self {
        let token = token.filter(|token| !token.expose().is_empty());
        let client_id = client_id.filter(|id| !id.is_empty());
        let client_secret = client_secret.filter(|secret| !secret.expose().is_empty());
        let given = Secret::new(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()));
        Self { token, client: client_id.zip(client_secret), given }
    }

    /// Whether anything has to be shown at all.
    pub fn is_required(&self) -> bool {
        self.token.is_some() || self.client.is_some()
    }

    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
        let Some((kind, shown)) = value.split_once(' ') else { return false };
        let of_settings = self.token.as_ref().is_some_and(|token| same(token.expose(), shown.trim()));
        let given = self.client.is_some() && same(self.given.expose(), shown.trim());
        kind.eq_ignore_ascii_case("bearer") && (of_settings || given)
    }
}

/// Compares in a time that tells nothing of where the texts differ.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

/// Answers 401 to requests without a token.
pub async fn check(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    if access.is_required() && !access.lets_in(request.headers()) {
        return CatalogError::NotAuthorized.into_response();
    }
    next.run(request).await
}

#[derive(Deserialize)]
pub struct Wanted {
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<Secret>,
}

/// `POST /v1/oauth/tokens`.
pub async fn token(State(access): State<Arc<Access>>, Form(wanted): Form<Wanted>) -> Response {
    let refuse = |status: StatusCode, error: &str| (status, Json(json!({ "error": error }))).into_response();
    let Some((id, secret)) = &access.client else {
        return refuse(StatusCode::BAD_REQUEST, "unauthorized_client");
    };
    if wanted.grant_type != "client_credentials" {
        return refuse(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let (Some(shown_id), Some(shown_secret)) = (&wanted.client_id, &wanted.client_secret) else {
        return refuse(StatusCode::BAD_REQUEST, "invalid_request");
    };
    if !(same(id, shown_id) & same(secret.expose(), shown_secret.expose())) {
        return refuse(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    Json(json!({
        "access_token": access.given.expose(), "token_type": "bearer", "expires_in": TOKEN_SECONDS,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    }))
    .into_response()
}
