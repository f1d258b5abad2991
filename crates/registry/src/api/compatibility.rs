//! `/compatibility`: could this schema follow?

use axum::body::Bytes;
use axum::extract::{Path, State as AxumState};
use serde_json::json;

use super::{Answer, App, Query, flag, json_body};
use crate::decide::{self, Posted};
use crate::refusal::Refusal;
use crate::state::{VersionId, Visible};

/// `POST /compatibility/subjects/{subject}/versions/{version}`
pub async fn against_version(
    AxumState(app): AxumState<App>,
    Path((subject, version)): Path<(String, String)>,
    query: Query,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let id = VersionId::parse(&version)?;
    let posted = Posted::check(&json_body(&body)?, flag(&query, "normalize"))?;
    app.read(|state| {
        let (number, version) = state.version(&subject, id, Visible::Live)?;
        Ok(verdict(&query, decide::against(&posted.schema, number, version, state.level(&subject))))
    })
}

/// `POST /compatibility/subjects/{subject}/versions`: as registering would check it.
pub async fn against_subject(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let posted = Posted::check(&json_body(&body)?, flag(&query, "normalize"))?;
    app.read(|state| {
        let level = state.level(&subject);
        Ok(verdict(&query, decide::incompatibilities(state, &subject, &posted.schema, level)))
    })
}

fn verdict(query: &Query, problems: Vec<String>) -> Answer {
    let mut answer = json!({ "is_compatible": problems.is_empty() });
    if flag(query, "verbose") {
        answer["messages"] = json!(problems);
    }
    Answer(answer)
}
