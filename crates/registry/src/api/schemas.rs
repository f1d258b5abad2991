//! `/schemas`: schemas by id.

use axum::extract::{Path, State as AxumState};
use serde_json::json;

use super::{Answer, App, Query, Text, flag, page, visible};
use crate::refusal::Refusal;
use crate::state::{Schema, State, Version, Visible};

fn id_of(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal::no_such_path())
}

fn find(state: &State, id: u32) -> Result<&Schema, Refusal> {
    state.schema(id).ok_or_else(|| Refusal::schema_id_not_found(id))
}

/// `GET /schemas/ids/{id}`
pub async fn by_id(AxumState(app): AxumState<App>, Path(id): Path<String>, query: Query) -> Result<Answer, Refusal> {
    let id = id_of(&id)?;
    app.read(|state| {
        let schema = find(state, id)?;
        let mut answer = json!({ "schema": schema.text });
        if &*schema.schema_type != "AVRO" {
            answer["schemaType"] = json!(schema.schema_type);
        }
        if flag(&query, "fetchMaxId") {
            answer["maxId"] = json!(state.id_max());
        }
        Ok(Answer(answer))
    })
}

/// `GET /schemas/ids/{id}/schema`
pub async fn text_by_id(AxumState(app): AxumState<App>, Path(id): Path<String>) -> Result<Text, Refusal> {
    let id = id_of(&id)?;
    app.read(|state| Ok(Text(find(state, id)?.text.clone())))
}

/// `GET /schemas/ids/{id}/subjects`
pub async fn subjects_of_id(
    AxumState(app): AxumState<App>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Answer, Refusal> {
    let id = id_of(&id)?;
    app.read(|state| {
        find(state, id)?;
        let mut subjects: Vec<_> = state.uses(id, visible(&query)).map(|(subject, _)| subject).collect();
        subjects.dedup();
        Ok(Answer(json!(subjects)))
    })
}

/// `GET /schemas/ids/{id}/versions`
pub async fn versions_of_id(
    AxumState(app): AxumState<App>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Answer, Refusal> {
    let id = id_of(&id)?;
    app.read(|state| {
        find(state, id)?;
        let uses = state.uses(id, visible(&query));
        Ok(Answer(uses.map(|(subject, version)| json!({ "subject": subject, "version": version })).collect()))
    })
}

/// `GET /schemas`
pub async fn list(AxumState(app): AxumState<App>, query: Query) -> Result<Answer, Refusal> {
    let prefix = query.get("subjectPrefix").map_or("", String::as_str);
    let (visible, latest_only) = (visible(&query), flag(&query, "latestOnly"));
    app.read(|state| {
        let subjects = state.subjects(Visible::All).filter(|subject| subject.starts_with(prefix));
        let all = subjects.flat_map(|subject| {
            let count = if latest_only { 1 } else { usize::MAX };
            let mut newest: Vec<_> = state.versions(subject, visible).rev().take(count).collect();
            newest.reverse();
            newest.into_iter().map(move |(number, version)| described(subject, number, version))
        });
        Ok(Answer(json!(page(&query, all))))
    })
}

/// A version as Confluent describes it.
pub fn described(subject: &str, number: u32, version: &Version) -> serde_json::Value {
    let mut answer = json!({ "subject": subject, "version": number, "id": version.id });
    if &*version.schema.schema_type != "AVRO" {
        answer["schemaType"] = json!(version.schema.schema_type);
    }
    answer["schema"] = json!(version.schema.text);
    answer
}
