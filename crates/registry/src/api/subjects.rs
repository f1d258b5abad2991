//! `/subjects`: versions under a name.

use axum::body::Bytes;
use axum::extract::{Path, State as AxumState};
use serde_json::json;

use super::schemas::described;
use super::{Answer, App, Query, Text, flag, json_body, page, visible};
use crate::decide::{self, Posted};
use crate::refusal::Refusal;
use crate::state::{VersionId, Visible};

/// `GET /subjects`
pub async fn list(AxumState(app): AxumState<App>, query: Query) -> Result<Answer, Refusal> {
    let prefix = query.get("subjectPrefix").map_or("", String::as_str);
    app.read(|state| {
        let subjects = state.subjects(visible(&query)).filter(|subject| subject.starts_with(prefix));
        Ok(Answer(json!(page(&query, subjects))))
    })
}

/// `POST /subjects/{subject}/versions`
pub async fn register(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let posted = Posted::check(&json_body(&body)?, flag(&query, "normalize"))?;
    // A converter registers before every first record of a task: nearly always the schema stands already.
    let known = app.read(|state| decide::register(state, &subject, &posted));
    match known {
        Ok(decision) if decision.entries.is_empty() => Ok(Answer(decision.answer)),
        _ => app.write(move |state| decide::register(state, &subject, &posted)).await,
    }
}

/// `POST /subjects/{subject}`
pub async fn look_up(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let posted = Posted::check(&json_body(&body)?, flag(&query, "normalize"))?;
    app.read(|state| {
        let visible = visible(&query);
        if state.versions(&subject, visible).next().is_none() {
            return Err(Refusal::subject_not_found(&subject));
        }
        let found = state.find(&subject, &posted.schema, visible);
        let (number, version) = found.ok_or_else(Refusal::schema_not_found)?;
        Ok(Answer(described(&subject, number, version)))
    })
}

/// `GET /subjects/{subject}/versions`
pub async fn versions(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
) -> Result<Answer, Refusal> {
    app.read(|state| {
        let numbers: Vec<u32> = state.versions(&subject, visible(&query)).map(|(number, _)| number).collect();
        if numbers.is_empty() {
            return Err(Refusal::subject_not_found(&subject));
        }
        Ok(Answer(json!(page(&query, numbers.into_iter()))))
    })
}

/// `GET /subjects/{subject}/versions/{version}`
pub async fn version(
    AxumState(app): AxumState<App>,
    Path((subject, version)): Path<(String, String)>,
    query: Query,
) -> Result<Answer, Refusal> {
    let id = VersionId::parse(&version)?;
    app.read(|state| {
        let (number, version) = state.version(&subject, id, visible(&query))?;
        Ok(Answer(described(&subject, number, version)))
    })
}

/// `GET /subjects/{subject}/versions/{version}/schema`
pub async fn text(
    AxumState(app): AxumState<App>,
    Path((subject, version)): Path<(String, String)>,
    query: Query,
) -> Result<Text, Refusal> {
    let id = VersionId::parse(&version)?;
    app.read(|state| Ok(Text(state.version(&subject, id, visible(&query))?.1.schema.text.clone())))
}

/// `GET /subjects/{subject}/versions/{version}/referencedby`: this registry keeps no references.
pub async fn referenced_by(
    AxumState(app): AxumState<App>,
    Path((subject, version)): Path<(String, String)>,
) -> Result<Answer, Refusal> {
    let id = VersionId::parse(&version)?;
    app.read(|state| state.version(&subject, id, Visible::Live).map(|_| Answer(json!([]))))
}

/// `DELETE /subjects/{subject}`
pub async fn delete(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
) -> Result<Answer, Refusal> {
    let permanent = flag(&query, "permanent");
    app.write(move |state| decide::delete_subject(state, &subject, permanent)).await
}

/// `DELETE /subjects/{subject}/versions/{version}`
pub async fn delete_version(
    AxumState(app): AxumState<App>,
    Path((subject, version)): Path<(String, String)>,
    query: Query,
) -> Result<Answer, Refusal> {
    let (id, permanent) = (VersionId::parse(&version)?, flag(&query, "permanent"));
    app.write(move |state| decide::delete_version(state, &subject, id, permanent)).await
}
