//! Asking another worker what only it knows: the checks of a class whose plugin it has, the progress of its tasks.
//!
//! Workers know each other from the statuses they publish. A question that was handed over is marked, so that it never
//! travels in circles. Whoever does not answer is passed over: each caller has an answer of its own for that.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::HeaderMap;
use serde_json::Value;

use crate::worker::Worker;

/// Marks a question that another worker handed over.
const FORWARDED: &str = "x-forwarded-by-worker";
/// A worker that is alive answers such questions at once; a check may ask a database.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const ALIVE_WAIT: Duration = Duration::from_secs(2);
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Whether the question came from another worker.
pub fn handed_over(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// Client for questions to other workers.
pub fn client() -> reqwest::Client {
    reqwest::Client::builder().connect_timeout(CONNECT_WAIT).timeout(ANSWER_WAIT).build().unwrap_or_default()
}

/// Other workers that may run connectors of `class`: those that do first.
pub fn others(worker: &Worker, class: &str) -> Vec<String> {
    let state = worker.state();
    let same = |name: &str| {
        let named = state.connector(name).and_then(|connector| connector.config.get("connector.class"));
        named.and_then(|named| worker.classes.find(named)).is_some_and(|found| found.name == class)
    };
    let mut found: Vec<(bool, String)> =
        state.workers().map(|(name, id)| (!same(name), id.to_owned())).collect::<BTreeSet<_>>().into_iter().collect();
    let mut seen = BTreeSet::from([worker.settings.worker_id.clone()]);
    found.retain(|(_, id)| seen.insert(id.clone()));
    found.into_iter().map(|(_, id)| id).collect()
}

/// Ask one worker; `None` when it does not answer with success.
pub async fn ask(worker: &Worker, id: &str, path: &str, body: Option<&Value>) -> Option<Value> {
    let url = format!("http://{id}{path}");
    let request = match body {
        Some(body) => worker.http.put(url).json(body),
        None => worker.http.get(url),
    };
    let answer = request.header(FORWARDED, &worker.settings.worker_id).send().await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    answer.json().await.ok()
}

/// Whether a worker, ours or a JVM's, answers anything at all.
pub async fn answers(worker: &Worker, id: &str) -> bool {
    let asked = worker.http.get(format!("http://{id}/")).timeout(ALIVE_WAIT).send().await;
    asked.is_ok()
}

/// Ask the workers that may have the class until one answers.
pub async fn ask_class(worker: &Worker, class: &str, path: &str, body: Option<&Value>) -> Option<Value> {
    for id in others(worker, class) {
        if let Some(answer) = ask(worker, &id, path, body).await {
            return Some(answer);
        }
    }
    None
}
