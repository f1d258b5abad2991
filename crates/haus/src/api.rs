//! HTTP calls to the services of the playground, with errors that say which service is away and what to do.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

/// A client of one service.
#[derive(Debug, Clone)]
pub struct Api {
    service: &'static str,
    base: String,
    client: reqwest::Client,
}

/// Status and JSON body of an answer; the body is `Null` when it is empty or no JSON.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Api {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(service: &'static str, base: impl Into<String>, timeout: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(timeout).build().context("make an HTTP client")?;
        Ok(Self { service, base: base.into(), client })
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// When the service cannot be reached.
    pub async fn call(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.away(&error))?;
        let status = response.status().as_u16();
        let text = response.text().await.with_context(|| format!("read the answer of {}", self.service))?;
        let body =
            serde_json::from_str(&text).unwrap_or(if text.is_empty() { Value::Null } else { Value::String(text) });
        Ok(Answer { status, body })
    }

    /// `GET` that must succeed.
    ///
    /// # Errors
    /// When the service is away or answers with an error.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.expect_success(self.call(reqwest::Method::GET, path, None).await?)
    }

    /// `POST` that must succeed.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn post(&self, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        self.expect_success(self.call(reqwest::Method::POST, path, body).await?)
    }

    /// `POST` that must succeed, with an answer to be read piece by piece.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn stream(&self, path: &str, body: &Value) -> anyhow::Result<reqwest::Response> {
        let request = self.client.post(format!("{}{path}", self.base)).json(body);
        let response = request.send().await.map_err(|error| self.away(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = response.json().await.unwrap_or(Value::Null);
        match self.expect_success(Answer { status, body }) {
            Ok(_) => bail!("{} answered {status}", self.service),
            Err(error) => Err(error),
        }
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// The message of the service otherwise.
    pub fn expect_success(&self, answer: Answer) -> anyhow::Result<Value> {
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        let message = ["message", "error", "detail"].iter().find_map(|field| answer.body.get(*field)).map_or_else(
            || answer.body.to_string(),
            |message| message.as_str().map_or_else(|| message.to_string(), str::to_owned),
        );
        bail!("{} answered {}: {message}", self.service, answer.status)
    }

    fn away(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_timeout() {
            return anyhow::anyhow!(
                "{} at {} does not answer in time; see `haus status` and `haus logs {}`",
                self.service,
                self.base,
                self.service
            );
        }
        anyhow::anyhow!(
            "{} at {} cannot be reached; is the stack up? (`haus up`, `haus status`)",
            self.service,
            self.base
        )
    }
}
