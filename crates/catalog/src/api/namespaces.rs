//! Namespaces: list, create, load, exists, drop, properties.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared, body::Body};
use crate::names::Namespace;

#[derive(Deserialize)]
pub struct InNamespace {
    pub namespace: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    parent: Option<String>,
    page_token: Option<String>,
    page_size: Option<usize>,
}

#[derive(Deserialize)]
pub struct Create {
    namespace: Vec<String>,
    #[serde(default)]
    properties: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
pub struct Change {
    #[serde(default)]
    removals: Option<Vec<String>>,
    #[serde(default)]
    updates: Option<HashMap<String, String>>,
}

pub async fn list(State(catalog): Shared, Query(listing): Query<Listing>) -> Answer<Json<Value>> {
    let parent = listing.parent.as_deref().filter(|parent| !parent.is_empty()).map(Namespace::from_path).transpose()?;
    let mut found = catalog.namespaces.list(parent.as_ref()).await?;
    if let Some(token) = listing.page_token.as_deref().filter(|token| !token.is_empty()) {
        found.retain(|namespace| namespace.stored().as_str() > token);
    }
    // Pages are for clients that ask for them: with a token (be it empty) or a size.
    let size = listing.page_size.filter(|size| *size > 0).unwrap_or(usize::MAX);
    let next = (found.len() > size).then(|| found[size - 1].stored());
    found.truncate(size);
    let namespaces: Vec<_> = found.iter().map(Namespace::levels).collect();
    Ok(Json(json!({ "namespaces": namespaces, "next-page-token": next })))
}

pub async fn create(State(catalog): Shared, Body(create): Body<Create>) -> Answer<Json<Value>> {
    let namespace = Namespace::new(create.namespace)?;
    let properties = create.properties.unwrap_or_default();
    catalog.namespaces.create(&namespace, &properties).await?;
    Ok(Json(json!({ "namespace": namespace.levels(), "properties": properties })))
}

pub async fn load(State(catalog): Shared, Path(path): Path<InNamespace>) -> Answer<Json<Value>> {
    let namespace = Namespace::from_path(&path.namespace)?;
    let properties = catalog.namespaces.load(&namespace).await?;
    Ok(Json(json!({ "namespace": namespace.levels(), "properties": properties })))
}

pub async fn exists(State(catalog): Shared, Path(path): Path<InNamespace>) -> Answer<StatusCode> {
    catalog.namespaces.require(&Namespace::from_path(&path.namespace)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn remove(State(catalog): Shared, Path(path): Path<InNamespace>) -> Answer<StatusCode> {
    catalog.namespaces.drop(&Namespace::from_path(&path.namespace)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn change(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Body(change): Body<Change>,
) -> Answer<Json<Value>> {
    let namespace = Namespace::from_path(&path.namespace)?;
    let (updates, removals) = (change.updates.unwrap_or_default(), change.removals.unwrap_or_default());
    let changed = catalog.namespaces.change(&namespace, &updates, &removals).await?;
    Ok(Json(json!({ "updated": changed.updated, "removed": changed.removed, "missing": changed.missing })))
}
