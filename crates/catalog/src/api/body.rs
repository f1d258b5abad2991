//! JSON bodies whose errors are answered as the specification says, not as the web framework does.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use serde::de::DeserializeOwned;

use crate::{error::CatalogError, receipts::Receipt};

/// Header under which a client sends a commit again whose answer it lost.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = CatalogError;

    async fn from_request(request: Request, state: &S) -> Result<Self, CatalogError> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|error| CatalogError::BadRequest(error.body_text()))?;
        parsed(&bytes).map(Self)
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(bytes)
        .map_err(|error| CatalogError::BadRequest(format!("the body is not what the specification asks for: {error}")))
}

/// A JSON body, and what tells the request from others when it has an idempotency key.
pub struct Keyed<T> {
    pub body: T,
    pub receipt: Option<Receipt>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Keyed<T> {
    type Rejection = CatalogError;

    async fn from_request(request: Request, state: &S) -> Result<Self, CatalogError> {
        let key = request.headers().get(IDEMPOTENCY_KEY).map(|value| value.to_str().unwrap_or_default().parse());
        let key = key.transpose().map_err(|_| CatalogError::BadRequest("Idempotency-Key is not a UUID".into()))?;
        let path = request.uri().path().to_owned();
        let bytes =
            Bytes::from_request(request, state).await.map_err(|error| CatalogError::BadRequest(error.body_text()))?;
        let body = parsed(&bytes)?;
        // The same updates of another table are another request.
        let receipt = key.map(|key| Receipt { key, request: [path.as_bytes(), b"\n", &bytes].concat() });
        Ok(Self { body, receipt })
    }
}
