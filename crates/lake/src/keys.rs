//! Which columns are a table's key: asked of the schema registry, where the relay registered the topic's key schema.

use std::time::Duration;

use model::names;
use reqwest::StatusCode;

use crate::{
    error::{LakeError, Result},
    raw::columns::{SourceColumn, key_columns},
};

const SERVER: &str = "the schema registry";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks up key columns.
#[derive(Clone)]
pub struct Keys {
    http: reqwest::Client,
    /// `None`: no registry is configured, a column `id` is taken for the key.
    registry: Option<String>,
}

impl Keys {
    /// Keys by the registry at `registry_url`, which may be empty.
    #[must_use]
    pub fn new(registry_url: &str) -> Self {
        let registry = (!registry_url.is_empty()).then(|| registry_url.trim_end_matches('/').to_owned());
        Self { http: reqwest::Client::new(), registry }
    }

    /// Key columns of a topic, in key order; empty when the table has no key.
    ///
    /// # Errors
    /// When the registry is away (never guessed then), or the key schema is damaged.
    pub async fn of(&self, topic: &str, columns: &[SourceColumn]) -> Result<Vec<String>> {
        let Some(registry) = &self.registry else {
            return Ok(columns.iter().map(|column| column.name.clone()).filter(|name| name == "id").collect());
        };
        let url = format!("{registry}/subjects/{}/versions/latest", names::key_subject(topic));
        let away = |error: reqwest::Error| LakeError::away(SERVER, error.without_url());
        let response = self.http.get(url).timeout(REQUEST_TIMEOUT).send().await.map_err(away)?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let response = response.error_for_status().map_err(away)?;
        let answer: serde_json::Value = response.json().await.map_err(away)?;
        let schema = answer["schema"].as_str().ok_or_else(|| LakeError::away(SERVER, "its answer has no schema"))?;
        key_columns(schema)
    }
}
