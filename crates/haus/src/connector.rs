//! `haus connector`: what the seed does with envsubst and curl.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::{api::Api, render, settings::Settings};

/// The Connect API of the source worker; it lists and manages all connectors.
///
/// # Errors
/// When no HTTP client can be made.
pub fn api(settings: &Settings) -> anyhow::Result<Api> {
    Api::new("cdc-relay", settings.connect(), Duration::from_secs(30))
}

/// Waits until the Connect API answers; at once when `patience` is zero.
///
/// # Errors
/// When it does not answer in time.
pub async fn reachable(settings: &Settings, patience: Duration) -> anyhow::Result<()> {
    let api = api(settings)?;
    let deadline = tokio::time::Instant::now() + patience;
    while let Err(error) = api.get("/connectors").await {
        if tokio::time::Instant::now() >= deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

/// What became of one template.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Applied {
    pub name: String,
    /// `created`, `updated` or `unchanged`.
    pub outcome: &'static str,
}

impl Applied {
    /// What a person is told.
    #[must_use]
    pub fn line(&self) -> String {
        match self.outcome {
            "unchanged" => format!("{}: registered already, exactly so; nothing to do", self.name),
            "updated" => format!("{}: was registered already; now it has the template's configuration", self.name),
            outcome => format!("{}: {outcome}", self.name),
        }
    }
}

/// Renders the templates with the settings and registers what is new or changed.
///
/// # Errors
/// When a template is no connector, a variable has no value, or Connect refuses the configuration.
pub async fn apply(settings: &Settings, files: &[PathBuf]) -> anyhow::Result<Vec<Applied>> {
    let api = api(settings)?;
    let files = if files.is_empty() { templates(&settings.haus_home.join("connectors"))? } else { files.to_vec() };
    let mut outcomes = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let rendered =
            render_template(&text, |name| lookup(settings, name)).with_context(|| format!("{}", file.display()))?;
        let connector: Value =
            serde_json::from_str(&rendered).with_context(|| format!("{} is not JSON", file.display()))?;
        outcomes.push(apply_one(&api, &connector).await.with_context(|| format!("{}", file.display()))?);
    }
    Ok(outcomes)
}

async fn apply_one(api: &Api, connector: &Value) -> anyhow::Result<Applied> {
    let (Some(name), Some(config)) = (connector["name"].as_str(), connector["config"].as_object()) else {
        bail!("expected an object with \"name\" and \"config\"")
    };
    let path = format!("/connectors/{name}/config");
    let current = api.call(reqwest::Method::GET, &path, None).await?;
    if current.status == 404 {
        api.post("/connectors", Some(connector)).await?;
        return Ok(Applied { name: name.to_owned(), outcome: "created" });
    }
    let current = api.expect_success(current)?;
    // Secrets come back masked: they do not tell whether the configuration changed.
    let same = config.iter().all(|(key, value)| model::secret::names_secret(key) || current.get(key) == Some(value))
        && current
            .as_object()
            .is_some_and(|current| current.keys().all(|key| key == "name" || config.contains_key(key)));
    if same {
        return Ok(Applied { name: name.to_owned(), outcome: "unchanged" });
    }
    api.expect_success(api.call(reqwest::Method::PUT, &path, Some(&json!(config))).await?)?;
    Ok(Applied { name: name.to_owned(), outcome: "updated" })
}

fn lookup(settings: &Settings, name: &str) -> Option<String> {
    // The settings first: they hold the defaults of what the environment leaves open.
    settings
        .environment()
        .into_iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value)
        .or_else(|| std::env::var(name).ok().or_else(|| default_of(name).map(str::to_owned)))
}

/// Defaults of the variables that only templates use; the same as in `.env`.
pub fn default_of(name: &str) -> Option<&'static str> {
    Some(match name {
        "TOPIC_CREATION_DEFAULT_PARTITIONS" => "3",
        "SINK_ROTATE_INTERVAL_MS" => "2000",
        "SINK_FLUSH_SIZE" => "10000",
        "S3_REGION" => "us-east-1",
        "STOREFRONT_TOPICS" => {
            "storefront.public.customers,storefront.public.products,storefront.public.orders,storefront.public.order_items,storefront.public.payments"
        }
        _ => return None,
    })
}

/// The templates of a folder, by name.
fn templates(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".template.json"))
        .collect();
    files.sort();
    Ok(files)
}

/// Replaces `${NAME}` as envsubst does, but refuses a variable without a value. `${env:NAME}` and `${file:…}` are left
/// to the Connect worker.
///
/// # Errors
/// Names the variable that has no value.
pub fn render_template(text: &str, lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let Some(end) = inner.find('}') else { bail!("'${{' is not closed") };
        let name = &inner[..end];
        if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let value = lookup(name).with_context(|| format!("${{{name}}} has no value; set it in .env"))?;
            // The value goes into a JSON string.
            let quoted = serde_json::to_string(&value)?;
            out.push_str(&quoted[1..quoted.len() - 1]);
        } else {
            out.push_str(&rest[start..start + 3 + end]);
        }
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The names of all connectors with their states.
///
/// # Errors
/// When the API is away.
pub async fn list(settings: &Settings) -> anyhow::Result<Value> {
    api(settings)?.get("/connectors?expand=status").await
}

/// A line per connector and task.
#[must_use]
pub fn status_table(connectors: &Value) -> String {
    let mut table = render::table(&["connector", "type", "state", "tasks", "trace"], &[]);
    for (name, connector) in connectors.as_object().into_iter().flatten() {
        let status = connector.get("status").unwrap_or(connector);
        let tasks: Vec<_> = status["tasks"].as_array().into_iter().flatten().collect();
        let states: Vec<_> = tasks.iter().filter_map(|task| task["state"].as_str()).collect();
        let trace = tasks.iter().filter_map(|task| task["trace"].as_str()?.lines().next()).next().unwrap_or_default();
        table.add_row([
            name.as_str(),
            status["type"].as_str().unwrap_or("?"),
            status["connector"]["state"].as_str().unwrap_or("?"),
            &states.join(" "),
            trace,
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn variables_are_replaced_and_providers_left_alone() {
        let text = render_template(r#"{"a": "${HOST}", "b": "${env:SECRET}"}"#, |name| {
            (name == "HOST").then(|| "d\"b".to_owned())
        })
        .unwrap();
        assert_eq!(text, r#"{"a": "d\"b", "b": "${env:SECRET}"}"#);
    }

    #[test]
    fn a_variable_without_a_value_is_named() {
        let error = render_template("${NOT_SET}", |_| None).unwrap_err().to_string();
        assert!(error.contains("NOT_SET"), "{error}");
    }
}
