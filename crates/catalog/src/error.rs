//! What can go wrong with a request, told apart by what the client should do next, as the REST specification names it.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Why the catalog did not do what was asked.
///
/// The line that matters is between [`CatalogError::CommitFailed`] (nothing happened: reload and try again),
/// [`CatalogError::Unavailable`] (nothing happened: try again later) and [`CatalogError::CommitStateUnknown`]
/// (it may have happened: look before anything is cleaned up).
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Unprocessable(String),
    #[error("a token is needed: `Authorization: Bearer …`")]
    NotAuthorized,
    #[error("the warehouse {0} is not this catalog's")]
    NoSuchWarehouse(String),
    #[error("the namespace {0} does not exist")]
    NoSuchNamespace(String),
    #[error("the table {0} does not exist")]
    NoSuchTable(String),
    #[error("the view {0} does not exist")]
    NoSuchView(String),
    #[error("{0} exists already")]
    AlreadyExists(String),
    #[error("the namespace {0} is not empty")]
    NamespaceNotEmpty(String),
    #[error("{0}")]
    CommitFailed(String),
    #[error("it is not known whether the commit happened: {0}")]
    CommitStateUnknown(String),
    /// A server that the catalog needs is away; nothing has changed.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0}")]
    Internal(String),
}

impl CatalogError {
    /// Status and the exception name of Iceberg's specification.
    fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "BadRequestException"),
            Self::Unprocessable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "UnprocessableEntityException"),
            Self::NotAuthorized => (StatusCode::UNAUTHORIZED, "NotAuthorizedException"),
            Self::NoSuchWarehouse(_) => (StatusCode::NOT_FOUND, "NoSuchWarehouseException"),
            Self::NoSuchNamespace(_) => (StatusCode::NOT_FOUND, "NoSuchNamespaceException"),
            Self::NoSuchTable(_) => (StatusCode::NOT_FOUND, "NoSuchTableException"),
            Self::NoSuchView(_) => (StatusCode::NOT_FOUND, "NoSuchViewException"),
            Self::AlreadyExists(_) => (StatusCode::CONFLICT, "AlreadyExistsException"),
            Self::NamespaceNotEmpty(_) => (StatusCode::CONFLICT, "NamespaceNotEmptyException"),
            Self::CommitFailed(_) => (StatusCode::CONFLICT, "CommitFailedException"),
            // Clients take 500, 502 and 504 on a commit as "unknown", 503 as "did not happen".
            Self::CommitStateUnknown(_) => (StatusCode::INTERNAL_SERVER_ERROR, "CommitStateUnknownException"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError"),
        }
    }
}

impl IntoResponse for CatalogError {
    fn into_response(self) -> Response {
        let (status, kind) = self.kind();
        let message = self.to_string();
        if status.is_server_error() {
            tracing::warn!("{message}");
        }
        metrics::counter!("catalog_errors_total", "type" => kind).increment(1);
        let body = json!({ "error": { "message": message, "type": kind, "code": status.as_u16() } });
        let mut response = (status, Json(body)).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// An error of a statement whose effect, if any, was not committed.
impl From<tokio_postgres::Error> for CatalogError {
    fn from(error: tokio_postgres::Error) -> Self {
        if is_transient(&error) {
            Self::Unavailable(format!("Postgres is away or overloaded, try again: {error}"))
        } else {
            let detail = error.as_db_error().map(ToString::to_string).unwrap_or_default();
            Self::Internal(format!("Postgres refused a statement of the catalog: {error} {detail}"))
        }
    }
}

impl From<deadpool_postgres::PoolError> for CatalogError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            other => Self::Unavailable(format!("Postgres is away or overloaded, try again: {other}")),
        }
    }
}

/// Whether the statement may succeed when it is tried again: the connection broke, the server restarts, is overloaded,
/// or chose this transaction to give way.
pub fn is_transient(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => matches!(code.code().get(..2), Some("08" | "40" | "53" | "55" | "57" | "58")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_outcome_is_never_a_client_error() {
        let (status, kind) = CatalogError::CommitStateUnknown("x".into()).kind();
        assert!(status.is_server_error());
        assert_eq!(kind, "CommitStateUnknownException");
        assert_eq!(CatalogError::CommitFailed("x".into()).kind().0, StatusCode::CONFLICT);
        assert_eq!(CatalogError::Unavailable("x".into()).into_response().headers()[RETRY_AFTER], "1");
    }
}
