//! JSON bodies whose errors are answered as the specification says, not as the web framework does.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use serde::de::DeserializeOwned;

use crate::error::CatalogError;

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = CatalogError;

    async fn from_request(request: Request, state: &S) -> Result<Self, CatalogError> {
        let bytes =
            Bytes::from_request(request, state).await.map_err(|error| CatalogError::BadRequest(error.body_text()))?;
        let parsed = serde_json::from_slice(&bytes);
        parsed.map(Self).map_err(|error| {
            CatalogError::BadRequest(format!("the body is not what the specification asks for: {error}"))
        })
    }
}
