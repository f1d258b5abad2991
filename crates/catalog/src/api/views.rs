//! Views: list, create, register, load, exists, replace, rename, drop.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use iceberg::{
    ViewUpdate,
    spec::{Schema, ViewFormatVersion, ViewMetadataBuilder, ViewVersion},
};
use iceberg_catalog_rest::{RegisterTableRequest, RenameTableRequest};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Answer, Catalog, Shared,
    body::Body,
    namespaces::InNamespace,
    tables::{Listing, page},
};
use crate::{
    error::CatalogError,
    names::{Namespace, TableName, own_folder, table_location},
    views::LocatedView,
};

#[derive(Deserialize)]
pub struct InView {
    namespace: String,
    view: String,
}

impl InView {
    fn name(&self) -> Answer<TableName> {
        TableName::new(Namespace::from_path(&self.namespace)?, &self.view)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Create {
    name: String,
    location: Option<String>,
    schema: Schema,
    view_version: ViewVersion,
    #[serde(default)]
    properties: HashMap<String, String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Requirement {
    AssertViewUuid { uuid: Uuid },
}

#[derive(Deserialize)]
pub struct Replace {
    #[serde(default)]
    requirements: Vec<Requirement>,
    updates: Vec<ViewUpdate>,
}

pub async fn list(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Query(listing): Query<Listing>,
) -> Answer<Json<Value>> {
    page(&catalog, &catalog.views.rows, &path, &listing).await
}

fn loaded(catalog: &Catalog, view: &LocatedView) -> Json<Value> {
    Json(json!({
        "metadata-location": view.location, "metadata": view.metadata, "config": catalog.client_config,
    }))
}

pub async fn create(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Body(request): Body<Create>,
) -> Answer<Json<Value>> {
    let view = TableName::new(Namespace::from_path(&path.namespace)?, &request.name)?;
    let namespace_properties = catalog.namespaces.load(&view.namespace).await?;
    let id = Uuid::now_v7();
    let base = match namespace_properties.get("location") {
        Some(location) => own_folder(location, &view.name, id),
        None => table_location(&catalog.warehouse, &view, id),
    };
    let location = request.location.map_or(base, |location| location.trim_end_matches('/').to_owned());
    let refused = |error: iceberg::Error| CatalogError::BadRequest(error.message().to_owned());
    let (schema, version) = (request.schema, request.view_version);
    let builder = ViewMetadataBuilder::new(location, schema, version, ViewFormatVersion::V1, request.properties);
    let metadata = builder.map_err(refused)?.assign_uuid(id).build().map_err(refused)?.metadata;
    let created = catalog.views.create(&view, metadata).await?;
    tracing::info!(%view, location = created.location, "view made");
    Ok(loaded(&catalog, &created))
}

pub async fn load(State(catalog): Shared, Path(path): Path<InView>) -> Answer<Json<Value>> {
    let view = catalog.views.load(&path.name()?).await?;
    Ok(loaded(&catalog, &view))
}

pub async fn exists(State(catalog): Shared, Path(path): Path<InView>) -> Answer<StatusCode> {
    catalog.views.rows.location(&path.name()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn replace(
    State(catalog): Shared,
    Path(path): Path<InView>,
    Body(request): Body<Replace>,
) -> Answer<Json<Value>> {
    let uuid = request.requirements.iter().map(|Requirement::AssertViewUuid { uuid }| *uuid).next();
    let view = catalog.views.replace(&path.name()?, uuid, &request.updates).await?;
    Ok(loaded(&catalog, &view))
}

pub async fn register(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Body(request): Body<RegisterTableRequest>,
) -> Answer<Json<Value>> {
    let view = TableName::new(Namespace::from_path(&path.namespace)?, &request.name)?;
    let location = request.metadata_location;
    let metadata = catalog.files.read_view(&location).await.map_err(|error| match error {
        CatalogError::Internal(reason) => CatalogError::BadRequest(reason),
        other => other,
    })?;
    catalog.views.rows.register(&view, &location, false).await?;
    Ok(loaded(&catalog, &LocatedView { location, metadata }))
}

pub async fn rename(State(catalog): Shared, Body(request): Body<RenameTableRequest>) -> Answer<StatusCode> {
    let (from, to) = (TableName::from_ident(&request.source)?, TableName::from_ident(&request.destination)?);
    catalog.views.rows.rename(&from, &to).await?;
    tracing::info!(%from, %to, "view renamed");
    Ok(StatusCode::NO_CONTENT)
}

pub async fn remove(State(catalog): Shared, Path(path): Path<InView>) -> Answer<StatusCode> {
    let view = path.name()?;
    catalog.views.rows.drop(&view).await?;
    tracing::info!(%view, "view dropped");
    Ok(StatusCode::NO_CONTENT)
}
