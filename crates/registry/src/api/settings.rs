//! `/config` and `/mode`, global and per subject.

use axum::body::Bytes;
use axum::extract::{Path, State as AxumState};
use serde_json::json;

use super::{Answer, App, Query, flag, json_body};
use crate::decide;
use crate::level::{Compatibility, Mode};
use crate::refusal::Refusal;

/// `GET /config`
pub async fn level(AxumState(app): AxumState<App>) -> Result<Answer, Refusal> {
    let level = app.read(|state| Ok(state.own_level(None).unwrap_or(Compatibility::DEFAULT)))?;
    Ok(Answer(json!({ "compatibilityLevel": level })))
}

/// `GET /config/{subject}`
pub async fn subject_level(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
) -> Result<Answer, Refusal> {
    let level = app.read(|state| match state.own_level(Some(&subject)) {
        Some(level) => Ok(level),
        None if flag(&query, "defaultToGlobal") => Ok(state.level(&subject)),
        None => Err(Refusal::no_subject_level(&subject)),
    })?;
    Ok(Answer(json!({ "compatibilityLevel": level })))
}

/// `PUT /config`
pub async fn set_level(AxumState(app): AxumState<App>, body: Bytes) -> Result<Answer, Refusal> {
    let body = json_body(&body)?;
    app.write(move |_| decide::set_level(None, &body)).await
}

/// `PUT /config/{subject}`
pub async fn set_subject_level(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let body = json_body(&body)?;
    app.write(move |_| decide::set_level(Some(&subject), &body)).await
}

/// `DELETE /config`
pub async fn unset_level(AxumState(app): AxumState<App>) -> Result<Answer, Refusal> {
    app.write(|state| decide::unset_level(state, None)).await
}

/// `DELETE /config/{subject}`
pub async fn unset_subject_level(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
) -> Result<Answer, Refusal> {
    app.write(move |state| decide::unset_level(state, Some(&subject))).await
}

/// `GET /mode`
pub async fn mode(AxumState(app): AxumState<App>) -> Result<Answer, Refusal> {
    let mode = app.read(|state| Ok(state.own_mode(None).unwrap_or(Mode::ReadWrite)))?;
    Ok(Answer(json!({ "mode": mode })))
}

/// `GET /mode/{subject}`
pub async fn subject_mode(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
) -> Result<Answer, Refusal> {
    let mode = app.read(|state| match state.own_mode(Some(&subject)) {
        Some(mode) => Ok(mode),
        None if flag(&query, "defaultToGlobal") => Ok(state.mode(&subject)),
        None => Err(Refusal::no_subject_mode(&subject)),
    })?;
    Ok(Answer(json!({ "mode": mode })))
}

/// `PUT /mode`
pub async fn set_mode(AxumState(app): AxumState<App>, query: Query, body: Bytes) -> Result<Answer, Refusal> {
    let (body, force) = (json_body(&body)?, flag(&query, "force"));
    app.write(move |state| decide::set_mode(state, None, &body, force)).await
}

/// `PUT /mode/{subject}`
pub async fn set_subject_mode(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Answer, Refusal> {
    let (body, force) = (json_body(&body)?, flag(&query, "force"));
    app.write(move |state| decide::set_mode(state, Some(&subject), &body, force)).await
}

/// `DELETE /mode`
pub async fn unset_mode(AxumState(app): AxumState<App>) -> Result<Answer, Refusal> {
    app.write(|state| decide::unset_mode(state, None)).await
}

/// `DELETE /mode/{subject}`
pub async fn unset_subject_mode(
    AxumState(app): AxumState<App>,
    Path(subject): Path<String>,
) -> Result<Answer, Refusal> {
    app.write(move |state| decide::unset_mode(state, Some(&subject))).await
}
