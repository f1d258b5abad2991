//! Client of the Iceberg REST catalog: names, loads, creates, commits.
//!
//! iceberg-rust's own client cannot send a commit of our making (`TableCommit` is private to it), so the five calls the
//! lake needs are made here, on the request and response types of `iceberg-catalog-rest`.
//!
//! Promises: a refused commit is [`CommitError::Conflict`]; a commit whose outcome is not known (no answer, 5xx) is
//! [`CommitError::Unknown`] and never reported as refused. Format: Iceberg's REST catalog OpenAPI specification.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use iceberg::{
    NamespaceIdent, TableIdent, TableRequirement, TableUpdate,
    spec::{Schema, SortOrder, TableMetadataRef, UnboundPartitionSpec},
};
use iceberg_catalog_rest::{
    CommitTableRequest, CommitTableResponse, CreateNamespaceRequest, CreateTableRequest, ListNamespaceResponse,
    ListTablesResponse, LoadTableResult,
};
use model::secret::Secret;
use reqwest::{
    Method, RequestBuilder, Response, StatusCode,
    header::{AUTHORIZATION, HeaderMap, HeaderValue},
};

use crate::error::{LakeError, Result};

/// A table as the catalog has it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub metadata_location: String,
    pub metadata: TableMetadataRef,
}

/// What became of a commit that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A requirement did not hold; the table is unchanged by us.
    #[error("a requirement of the commit does not hold: {0}")]
    Conflict(String),
    /// It may or may not have been applied.
    #[error("the outcome of the commit is not known: {0}")]
    Unknown(String),
    /// The catalog will never take it.
    #[error("the catalog refused the commit: {0}")]
    Refused(String),
}

/// A new table.
#[derive(Debug, Clone)]
pub struct Creation {
    pub schema: Schema,
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// In which order its files keep their rows.
    pub sort_order: Option<SortOrder>,
    pub properties: HashMap<String, String>,
}

/// What the lake asks of a catalog.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Namespaces directly below `parent`, or the topmost ones. Empty when `parent` is not there.
    async fn namespaces(&self, parent: Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>>;
    /// Tables of a namespace. Empty when it is not there.
    async fn tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>>;
    /// The table, or `None` when it is not there.
    async fn load(&self, table: &TableIdent) -> Result<Option<Loaded>>;
    /// Creates a table (and its namespaces). When it is there already, returns it as it is.
    async fn create(&self, table: &TableIdent, creation: Creation) -> Result<Loaded>;
    /// Applies updates if all requirements hold, as one step.
    async fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Loaded, CommitError>;
}

const SERVER: &str = "the Iceberg catalog";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A REST catalog at an address.
pub struct RestCatalog {
    http: reqwest::Client,
    /// `<url>/v1` or `<url>/v1/<prefix>`, once the server's configuration was read.
    base: tokio::sync::OnceCell<String>,
    url: String,
    warehouse: String,
}

impl RestCatalog {
    /// A client, which shows `token` if there is one; the first request reads the server's configuration.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(url: &str, warehouse: &str, token: Option<&Secret>) -> Result<Self> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token.filter(|token| !token.expose().is_empty()) {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| LakeError::definite("CATALOG_TOKEN holds characters that no header may have"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .default_headers(headers)
            .build()
            .map_err(|error| LakeError::definite(format!("set up the catalog's client: {error}")))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { http, base: tokio::sync::OnceCell::new(), url, warehouse: warehouse.to_owned() })
    }

    async fn base(&self) -> Result<&str> {
        let base = self.base.get_or_try_init(|| async {
            let request = self.http.get(format!("{}/v1/config", self.url)).query(&[("warehouse", &self.warehouse)]);
            let config: serde_json::Value = read(request).await?.unwrap_or_default();
            let prefix = ["overrides", "defaults"].iter().find_map(|part| config[part]["prefix"].as_str());
            Ok::<_, LakeError>(match prefix {
                Some(prefix) => format!("{}/v1/{prefix}", self.url),
                None => format!("{}/v1", self.url),
            })
        });
        Ok(base.await?.as_str())
    }

    async fn request(&self, method: Method, path: &str) -> Result<RequestBuilder> {
        Ok(self.http.request(method, format!("{}/{path}", self.base().await?)))
    }

    async fn create_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        let body = CreateNamespaceRequest { namespace: namespace.clone(), properties: HashMap::new() };
        let response = send(self.request(Method::POST, "namespaces").await?.json(&body)).await?;
        if response.status() == StatusCode::CONFLICT {
            return Ok(());
        }
        accept(response).await.map(|_| ())
    }
}

/// A namespace in a URL path: levels joined by the unit separator, percent-encoded.
fn in_path(namespace: &NamespaceIdent) -> String {
    namespace.as_ref().iter().map(|level| encode(level)).collect::<Vec<_>>().join("%1F")
}

fn table_path(table: &TableIdent) -> String {
    format!("namespaces/{}/tables/{}", in_path(table.namespace()), encode(table.name()))
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

async fn send(request: RequestBuilder) -> Result<Response> {
    request.send().await.map_err(|error| LakeError::away(SERVER, error.without_url()))
}

/// The answer when it is a success, else the error it tells.
async fn accept(response: Response) -> Result<Response> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = error_text(response).await;
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(LakeError::away(SERVER, format!("{status}: {text}")));
    }
    let cure = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => " (CATALOG_TOKEN is what the lake shows to it)",
        _ => "",
    };
    Err(LakeError::definite(format!("the Iceberg catalog answered {status}: {text}{cure}")))
}

async fn error_text(response: Response) -> String {
    let text = response.text().await.unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|body| body["error"]["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| text.chars().take(300).collect())
}

/// The JSON answer, or `None` on 404.
async fn read<T: serde::de::DeserializeOwned>(request: RequestBuilder) -> Result<Option<T>> {
    let response = send(request).await?;
    if response.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let response = accept(response).await?;
    response.json().await.map(Some).map_err(|error| LakeError::away(SERVER, error.without_url()))
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn namespaces(&self, parent: Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>> {
        let mut request = self.request(Method::GET, "namespaces").await?;
        if let Some(parent) = parent {
            request = request.query(&[("parent", parent.to_url_string())]);
        }
        let found: Option<ListNamespaceResponse> = read(request).await?;
        Ok(found.map(|found| found.namespaces).unwrap_or_default())
    }

    async fn tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let request = self.request(Method::GET, &format!("namespaces/{}/tables", in_path(namespace))).await?;
        let found: Option<ListTablesResponse> = read(request).await?;
        Ok(found.map(|found| found.identifiers).unwrap_or_default())
    }

    async fn load(&self, table: &TableIdent) -> Result<Option<Loaded>> {
        let found: Option<LoadTableResult> = read(self.request(Method::GET, &table_path(table)).await?).await?;
        found.map(|found| loaded(table, found)).transpose()
    }

    async fn create(&self, table: &TableIdent, creation: Creation) -> Result<Loaded> {
        let levels = table.namespace().as_ref();
        for depth in 1..=levels.len() {
            self.create_namespace(&NamespaceIdent::from_strs(&levels[..depth])?).await?;
        }
        let body = CreateTableRequest {
            name: table.name().to_owned(),
            location: None,
            schema: creation.schema,
            partition_spec: creation.partition_spec,
            write_order: creation.sort_order,
            stage_create: None,
            properties: creation.properties,
        };
        let path = format!("namespaces/{}/tables", in_path(table.namespace()));
        let response = send(self.request(Method::POST, &path).await?.json(&body)).await?;
        if response.status() == StatusCode::CONFLICT {
            let there = self.load(table).await?;
            return there.ok_or_else(|| LakeError::Conflict { table: table.to_string() });
        }
        let created: LoadTableResult =
            accept(response).await?.json().await.map_err(|error| LakeError::away(SERVER, error.without_url()))?;
        loaded(table, created)
    }

    async fn commit(
        &self,
        table: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Loaded, CommitError> {
        let body = CommitTableRequest { identifier: Some(table.clone()), requirements, updates };
        let request = self.request(Method::POST, &table_path(table)).await;
        let request = request.map_err(|error| CommitError::Unknown(error.to_string()))?.json(&body);
        let response = send(request).await.map_err(|error| CommitError::Unknown(error.to_string()))?;
        let status = response.status();
        // A table that was dropped meanwhile moved, too: the caller loads again and finds none.
        if status == StatusCode::CONFLICT || status == StatusCode::NOT_FOUND {
            return Err(CommitError::Conflict(error_text(response).await));
        }
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT
        {
            return Err(CommitError::Unknown(format!("{status}: {}", error_text(response).await)));
        }
        if !status.is_success() {
            return Err(CommitError::Refused(format!("{status}: {}", error_text(response).await)));
        }
        let done: CommitTableResponse =
            response.json().await.map_err(|error| CommitError::Unknown(error.without_url().to_string()))?;
        Ok(Loaded { metadata_location: done.metadata_location, metadata: Arc::new(done.metadata) })
    }
}

fn loaded(table: &TableIdent, found: LoadTableResult) -> Result<Loaded> {
    let metadata_location = found
        .metadata_location
        .ok_or_else(|| LakeError::definite(format!("the catalog gave no metadata location for {table}")))?;
    Ok(Loaded { metadata_location, metadata: Arc::new(found.metadata) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_nested_namespace_is_joined_by_the_unit_separator() {
        let table = TableIdent::from_strs(["stage", "store front", "orders"]).unwrap();
        assert_eq!(table_path(&table), "namespaces/stage%1Fstore%20front/tables/orders");
    }
}
