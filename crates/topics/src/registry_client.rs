//! Client of the schema registry (Confluent's API), with answers cached that never change.
//!
//! An id never gets another schema and a registered schema keeps its id, so both directions are kept for the
//! life of the client, up to [`CACHE_ENTRIES_MAX`]. A lost registry is retried for a few seconds inside a call,
//! then handed back as `Retry`.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest_tls::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::error::RegistryError;
use crate::registry_access::RegistryAccess;
use crate::security::SecurityError;

const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const ASK: Duration = Duration::from_secs(10);
/// Pauses between attempts when the registry does not answer.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_millis(1000), Duration::from_millis(2000)];
/// Schemas change with the source's tables: thousands would be a leak, and the cache starts over.
const CACHE_ENTRIES_MAX: usize = 10_000;

/// Id of a schema text in the registry, as in the five bytes before every Avro value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RegisteredSchema {
    pub subject: String,
    pub id: SchemaId,
    pub version: u32,
    /// The text as it was registered.
    pub schema: String,
}

/// A version that a schema is under a subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SubjectVersion {
    pub subject: String,
    pub version: u32,
}

/// Whether a schema could be registered under a subject.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CompatibilityVerdict {
    pub is_compatible: bool,
    #[serde(default)]
    pub messages: Vec<String>,
}

/// See the module documentation. Cloning shares cache and connections.
#[derive(Debug, Clone)]
pub struct RegistryClient {
    url: Arc<str>,
    http: reqwest_tls::Client,
    access: Arc<RegistryAccess>,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Debug, Default)]
struct Cache {
    /// (subject, text) of registrations made.
    ids: HashMap<(Arc<str>, Arc<str>), SchemaId>,
    texts: HashMap<SchemaId, Arc<str>>,
}

impl RegistryClient {
    /// `url` as in `SCHEMA_REGISTRY_URL`.
    pub fn new(url: &str) -> Self {
        let access = RegistryAccess::default();
        let (url, http) = (url.trim_end_matches('/').into(), access.client(url, ASK).unwrap_or_default());
        Self { url, http, access: Arc::new(access), cache: Arc::default() }
    }

    /// As [`Self::new`], with credentials and certificates. Those in the URL are taken too, and not shown.
    ///
    /// # Errors
    /// When a certificate cannot be used.
    pub fn with_access(url: &str, access: RegistryAccess) -> Result<Self, SecurityError> {
        let (url, access) = access.with_url(url.trim_end_matches('/'));
        let http = access.client(&url, ASK)?;
        Ok(Self { url: url.into(), http, access: Arc::new(access), cache: Arc::default() })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Registers an Avro schema, or finds it if the subject has it; the text is kept verbatim.
    ///
    /// # Errors
    /// `Refused` with 409 when incompatible, 42201 when invalid; `Retry`.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<SchemaId, RegistryError> {
        let key = (Arc::<str>::from(subject), Arc::<str>::from(schema));
        if let Some(id) = self.cache().ids.get(&key) {
            return Ok(*id);
        }
        let path = format!("/subjects/{}/versions", encoded(subject));
        let answer: IdAnswer = self.ask(Method::POST, &path, Some(json!({ "schema": schema })), subject).await?;
        let mut cache = self.cache();
        if cache.ids.len() >= CACHE_ENTRIES_MAX {
            cache.ids.clear();
        }
        cache.ids.insert(key, answer.id);
        Ok(answer.id)
    }

    /// The text of a schema.
    ///
    /// # Errors
    /// `NotFound`, `Retry`.
    pub async fn schema_by_id(&self, id: SchemaId) -> Result<Arc<str>, RegistryError> {
        if let Some(text) = self.cache().texts.get(&id) {
            return Ok(Arc::clone(text));
        }
        let answer: SchemaAnswer =
            self.ask(Method::GET, &format!("/schemas/ids/{id}"), None, &format!("schema id {id}")).await?;
        let text: Arc<str> = answer.schema.into();
        let mut cache = self.cache();
        if cache.texts.len() >= CACHE_ENTRIES_MAX {
            cache.texts.clear();
        }
        cache.texts.insert(id, Arc::clone(&text));
        Ok(text)
    }

    /// Subjects and versions under which a schema is or was registered. Not cached.
    ///
    /// # Errors
    /// `NotFound`, `Retry`.
    pub async fn versions_of(&self, id: SchemaId) -> Result<Vec<SubjectVersion>, RegistryError> {
        let path = format!("/schemas/ids/{id}/versions?deleted=true");
        self.ask(Method::GET, &path, None, &format!("schema id {id}")).await
    }

    /// The subject's latest version. Not cached.
    ///
    /// # Errors
    /// `NotFound`, `Retry`.
    pub async fn latest(&self, subject: &str) -> Result<RegisteredSchema, RegistryError> {
        self.ask(Method::GET, &format!("/subjects/{}/versions/latest", encoded(subject)), None, subject).await
    }

    /// Finds the version a text has under a subject, without registering it.
    ///
    /// # Errors
    /// `NotFound`, `Refused`, `Retry`.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<RegisteredSchema, RegistryError> {
        let path = format!("/subjects/{}", encoded(subject));
        self.ask(Method::POST, &path, Some(json!({ "schema": schema })), subject).await
    }

    /// All subjects.
    ///
    /// # Errors
    /// `Retry`.
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.ask(Method::GET, "/subjects", None, "subjects").await
    }

    /// Whether the schema could follow the subject's latest version under its compatibility level. A subject
    /// without versions takes anything.
    ///
    /// # Errors
    /// `Refused`, `Retry`.
    pub async fn compatibility(&self, subject: &str, schema: &str) -> Result<CompatibilityVerdict, RegistryError> {
        let path = format!("/compatibility/subjects/{}/versions/latest?verbose=true", encoded(subject));
        match self.ask(Method::POST, &path, Some(json!({ "schema": schema })), subject).await {
            Err(RegistryError::NotFound { .. }) => {
                Ok(CompatibilityVerdict { is_compatible: true, messages: Vec::new() })
            }
            answer => answer,
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        what: &str,
    ) -> Result<T, RegistryError> {
        let mut pauses = PAUSES.iter();
        loop {
            match self.ask_once(method.clone(), path, body.as_ref(), what).await {
                Err(RegistryError::Retry { url, reason }) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(RegistryError::Retry { url, reason }),
                },
                answer => return answer,
            }
        }
    }

    async fn ask_once<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        what: &str,
    ) -> Result<T, RegistryError> {
        let away = |reason: String| RegistryError::Retry { url: self.url.to_string(), reason };
        let request = self.http.request(method, format!("{}{path}", self.url)).header("accept", CONTENT_TYPE);
        let mut request = self.access.authorized(request);
        if let Some(body) = body {
            request = request.header("content-type", CONTENT_TYPE).body(body.to_string());
        }
        let response = request.send().await.map_err(|error| away(chain(&error)))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| away(chain(&error)))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|error| RegistryError::Refused {
                subject: what.to_owned(),
                reason: format!("answer not understood: {error}"),
                code: i64::from(status.as_u16()),
            });
        }
        Err(self.decide(status, &bytes, what))
    }

    fn decide(&self, status: StatusCode, body: &[u8], what: &str) -> RegistryError {
        let answer = serde_json::from_slice::<ErrorAnswer>(body).unwrap_or_else(|_| ErrorAnswer {
            error_code: i64::from(status.as_u16()),
            message: String::from_utf8_lossy(body).chars().take(300).collect(),
        });
        let (reason, code) = (answer.message, answer.error_code);
        match status {
            StatusCode::NOT_FOUND => RegistryError::NotFound { what: what.to_owned(), reason, code },
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                RegistryError::Retry { url: self.url.to_string(), reason }
            }
            status if status.is_server_error() => RegistryError::Retry { url: self.url.to_string(), reason },
            _ => RegistryError::Refused { subject: what.to_owned(), reason, code },
        }
    }
}

#[derive(Deserialize)]
struct IdAnswer {
    id: SchemaId,
}

#[derive(Deserialize)]
struct SchemaAnswer {
    schema: String,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error_code: i64,
    message: String,
}

/// reqwest's own text leaves out the cause ("connection refused"), which is what a person needs.
fn chain(error: &reqwest_tls::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// A subject as one segment of a path.
pub(crate) fn encoded(subject: &str) -> String {
    subject.bytes().fold(String::with_capacity(subject.len()), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_subject_with_a_slash_stays_one_path_segment() {
        assert_eq!(encoded("storefront.public.orders-value"), "storefront.public.orders-value");
        assert_eq!(encoded("a/b ü"), "a%2Fb%20%C3%BC");
    }

    #[test]
    fn an_incompatible_schema_names_subject_and_reason() {
        let client = RegistryClient::new("http://127.0.0.1:1/");
        let body = br#"{"error_code":409,"message":"Schema being registered is incompatible"}"#;
        let error = client.decide(StatusCode::CONFLICT, body, "orders-value");
        assert_eq!(
            error.to_string(),
            "schema registry refuses orders-value: Schema being registered is incompatible (code 409)"
        );
    }

    #[test]
    fn a_registry_that_is_busy_is_asked_again() {
        let client = RegistryClient::new("http://127.0.0.1:1");
        let error = client.decide(StatusCode::SERVICE_UNAVAILABLE, b"", "x");
        assert!(matches!(error, RegistryError::Retry { .. }));
    }
}
