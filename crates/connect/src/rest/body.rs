//! Reading request bodies and queries the way Connect does.

use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};

use super::{ApiError, status_only};
use crate::plugin::Config;
use crate::records::value_text;

/// Largest body taken. A configuration is a few kilobytes.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A JSON object as body; 415 for another content type, 500 for malformed JSON (as Connect answers).
pub struct JsonObject(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if content_type.is_some_and(|value| !value.trim_start().starts_with("application/json")) {
            return Err(status_only(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX)
            .await
            .map_err(|error| ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()))?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The body must be a JSON object")),
            Err(error) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, malformed(&error))),
        }
    }
}

/// What Connect's parser says of a body that ends too early; of others, ours.
fn malformed(error: &serde_json::Error) -> String {
    let said = match error.classify() {
        serde_json::error::Category::Eof => "Unexpected end-of-input within/between Object entries".to_owned(),
        _ => error.to_string(),
    };
    format!(
        "{said}\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {}, column: {}]",
        error.line(),
        error.column() + 1
    )
}

/// A configuration out of a JSON object; `null` values are left out.
///
/// # Errors
/// When a value is an object or a list.
pub fn config_of(fields: &Map<String, Value>) -> Result<Config, ApiError> {
    let mut config = Config::new();
    for (name, value) in fields {
        if value.is_object() || value.is_array() {
            return Err(ApiError::bad_request(format!("The value of '{name}' must be a string")));
        }
        if let Some(text) = value_text(value) {
            config.insert(name.clone(), text);
        }
    }
    Ok(config)
}

/// Values of a query parameter, which may be repeated. Only plain words occur, so nothing is unescaped.
pub fn query_values<'a>(query: Option<&'a str>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = query.unwrap_or_default().split('&');
    pairs.filter_map(move |pair| pair.split_once('=')).filter(move |(key, _)| *key == name).map(|(_, value)| value)
}

/// Whether a query parameter is `true`.
pub fn query_flag(query: Option<&str>, name: &str) -> bool {
    query_values(query, name).any(|value| value.eq_ignore_ascii_case("true"))
}
