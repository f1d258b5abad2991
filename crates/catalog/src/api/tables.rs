//! Tables: list, create, register, load, exists, commit, rename, drop.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use iceberg::{
    MetadataLocation, TableCreation, TableIdent,
    spec::{FormatVersion, TableMetadata, TableMetadataBuilder, TableProperties},
};
use iceberg_catalog_rest::{
    CommitTableRequest, CommitTableResponse, CreateTableRequest, LoadTableResult, RegisterTableRequest,
    RenameTableRequest,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Answer, Catalog, Shared,
    body::{Body, Keyed},
    namespaces::InNamespace,
};
use crate::{
    commit::{Change, Located},
    error::CatalogError,
    names::{Namespace, TableName, own_folder, table_location},
    purge,
    tables::Tables,
};

#[derive(Deserialize)]
pub struct InTable {
    namespace: String,
    table: String,
}

impl InTable {
    fn name(&self) -> Answer<TableName> {
        TableName::new(Namespace::from_path(&self.namespace)?, &self.table)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    page_token: Option<String>,
    page_size: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// A text: PyIceberg sends `True`.
    purge_requested: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Transaction {
    table_changes: Vec<CommitTableRequest>,
}

pub async fn list(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Query(listing): Query<Listing>,
) -> Answer<Json<Value>> {
    page(&catalog, &catalog.tables, &path, &listing).await
}

/// One page of the names of tables or views.
pub async fn page(catalog: &Catalog, rows: &Tables, path: &InNamespace, listing: &Listing) -> Answer<Json<Value>> {
    let namespace = Namespace::from_path(&path.namespace)?;
    catalog.namespaces.require(&namespace).await?;
    let size = listing.page_size.filter(|size| *size > 0).map_or(i64::from(u32::MAX), i64::from);
    let mut names = rows.list(&namespace, listing.page_token.as_deref().unwrap_or_default(), size + 1).await?;
    let more = names.len() as i64 > size;
    names.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let next = names.last().filter(|_| more);
    let identifiers: Vec<_> =
        names.iter().map(|name| json!({ "namespace": namespace.levels(), "name": name })).collect();
    Ok(Json(json!({ "identifiers": identifiers, "next-page-token": next })))
}

/// What a client that has loaded the table may ask with later: metadata files never change, and no two have one name.
fn etag(location: &str) -> Option<HeaderValue> {
    let name = location.rsplit('/').next()?;
    name.is_ascii().then(|| HeaderValue::from_str(&format!("\"{name}\"")).ok()).flatten()
}

/// An answer with its table's tag.
fn tagged(location: &str, body: impl IntoResponse) -> Response {
    let mut response = body.into_response();
    if let Some(tag) = etag(location) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// Whether the client has what it asks for.
fn is_unchanged(headers: &HeaderMap, location: &str) -> bool {
    let Some(tag) = etag(location) else { return false };
    let Ok(tag) = tag.to_str() else { return false };
    let listed = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag)
}

fn loaded(catalog: &Catalog, location: Option<String>, metadata: &TableMetadata) -> Json<LoadTableResult> {
    Json(LoadTableResult {
        metadata_location: location,
        metadata: metadata.clone(),
        config: catalog.client_config.clone(),
        storage_credentials: None,
    })
}

pub async fn create(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Body(request): Body<CreateTableRequest>,
) -> Answer<Response> {
    let table = TableName::new(Namespace::from_path(&path.namespace)?, &request.name)?;
    let namespace_properties = catalog.namespaces.load(&table.namespace).await?;
    if catalog.tables.find(&table).await?.is_some() {
        return Err(CatalogError::AlreadyExists(format!("the table {table}")));
    }
    let staged = request.stage_create.unwrap_or(false);
    let metadata = new_table(&catalog.warehouse, &table, request, &namespace_properties)?;
    if staged {
        return Ok(loaded(&catalog, None, &metadata).into_response());
    }
    let metadata = Arc::new(metadata);
    let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
    catalog.files.write(&metadata, &location).await?;
    let location = location.to_string();
    let working = catalog.clone();
    let (created, name) = (location.clone(), table.clone());
    // To its end even when the client goes away, so that no file is left behind.
    let running = tokio::spawn(async move {
        let result = working.tables.register(&name, &created, false).await;
        if matches!(result, Err(CatalogError::AlreadyExists(_) | CatalogError::NoSuchNamespace(_))) {
            working.files.remove([created]).await;
        }
        result
    });
    running.await.map_err(|lost| CatalogError::CommitStateUnknown(lost.to_string()))??;
    tracing::info!(%table, location, "table made");
    Ok(tagged(&location, loaded(&catalog, Some(location.clone()), &metadata)))
}

/// Metadata of a new table, as the request describes it. No I/O.
fn new_table(
    warehouse: &str,
    table: &TableName,
    request: CreateTableRequest,
    namespace_properties: &HashMap<String, String>,
) -> Answer<TableMetadata> {
    let refused = |error: iceberg::Error| CatalogError::BadRequest(error.message().to_owned());
    let id = Uuid::now_v7();
    let base = match namespace_properties.get("location") {
        // A namespace's own folder holds its tables directly.
        Some(location) => own_folder(location, &table.name, id),
        None => table_location(warehouse, table, id),
    };
    let mut properties = request.properties;
    let format_version = match properties.remove(TableProperties::PROPERTY_FORMAT_VERSION).as_deref() {
        None | Some("2") => FormatVersion::V2,
        Some("1") => FormatVersion::V1,
        Some("3") => FormatVersion::V3,
        Some(other) => return Err(CatalogError::BadRequest(format!("format-version '{other}' is not 1, 2 or 3"))),
    };
    // Names that Iceberg keeps for itself are not stored, as in its own catalogs.
    properties.retain(|key, _| !TableProperties::RESERVED_PROPERTIES.contains(&key.as_str()));
    let creation = TableCreation {
        name: request.name,
        location: Some(request.location.map_or(base, |location| location.trim_end_matches('/').to_owned())),
        schema: request.schema,
        partition_spec: request.partition_spec,
        sort_order: request.write_order,
        properties,
        format_version,
    };
    let builder = TableMetadataBuilder::from_table_creation(creation).map_err(refused)?.assign_uuid(id);
    Ok(builder.build().map_err(refused)?.metadata)
}

pub async fn register(
    State(catalog): Shared,
    Path(path): Path<InNamespace>,
    Body(request): Body<RegisterTableRequest>,
) -> Answer<Response> {
    let table = TableName::new(Namespace::from_path(&path.namespace)?, &request.name)?;
    let metadata = catalog.files.read(&request.metadata_location).await.map_err(|error| match error {
        CatalogError::Internal(reason) => CatalogError::BadRequest(reason),
        other => other,
    })?;
    catalog.tables.register(&table, &request.metadata_location, request.overwrite.unwrap_or(false)).await?;
    let location = request.metadata_location;
    Ok(tagged(&location, loaded(&catalog, Some(location.clone()), &metadata)))
}

pub async fn load(State(catalog): Shared, Path(path): Path<InTable>, headers: HeaderMap) -> Answer<Response> {
    let table = path.name()?;
    let mut location = catalog.tables.location(&table).await?;
    if is_unchanged(&headers, &location) {
        return Ok(tagged(&location, StatusCode::NOT_MODIFIED));
    }
    loop {
        match catalog.files.read(&location).await {
            Ok(metadata) => return Ok(tagged(&location, loaded(&catalog, Some(location.clone()), &metadata))),
            // Old metadata may have been removed by a commit since its location was read.
            Err(CatalogError::Internal(reason)) => {
                let now = catalog.tables.location(&table).await?;
                if now == location {
                    return Err(CatalogError::Internal(reason));
                }
                location = now;
            }
            Err(other) => return Err(other),
        }
    }
}

pub async fn exists(State(catalog): Shared, Path(path): Path<InTable>) -> Answer<StatusCode> {
    catalog.tables.location(&path.name()?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn commit(
    State(catalog): Shared,
    Path(path): Path<InTable>,
    Keyed { body: request, receipt }: Keyed<CommitTableRequest>,
) -> Answer<Response> {
    let table = path.name()?;
    let change = Change { table: table.clone(), requirements: request.requirements, updates: request.updates };
    match catalog.commits.commit(vec![change], receipt).await?.into_iter().next() {
        Some(Located { location, metadata }) => {
            let answer = CommitTableResponse { metadata_location: location.clone(), metadata: (*metadata).clone() };
            Ok(tagged(&location, Json(answer)))
        }
        None => Err(CatalogError::CommitStateUnknown(format!("no answer for {table}"))),
    }
}

pub async fn commit_many(
    State(catalog): Shared,
    Keyed { body: transaction, receipt }: Keyed<Transaction>,
) -> Answer<StatusCode> {
    let mut changes: Vec<Change> = Vec::with_capacity(transaction.table_changes.len());
    for request in transaction.table_changes {
        let ident: TableIdent = request
            .identifier
            .ok_or_else(|| CatalogError::BadRequest("each change needs its table's identifier".into()))?;
        let table = TableName::from_ident(&ident)?;
        if changes.iter().any(|change| change.table == table) {
            return Err(CatalogError::BadRequest(format!("the table {table} is changed twice in one transaction")));
        }
        changes.push(Change { table, requirements: request.requirements, updates: request.updates });
    }
    catalog.commits.commit(changes, receipt).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub async fn rename(State(catalog): Shared, Body(request): Body<RenameTableRequest>) -> Answer<StatusCode> {
    let (from, to) = (TableName::from_ident(&request.source)?, TableName::from_ident(&request.destination)?);
    catalog.tables.rename(&from, &to).await?;
    tracing::info!(%from, %to, "table renamed");
    Ok(StatusCode::NO_CONTENT)
}

pub async fn remove(
    State(catalog): Shared,
    Path(path): Path<InTable>,
    Query(removal): Query<Removal>,
) -> Answer<StatusCode> {
    let table = path.name()?;
    let location = catalog.tables.drop(&table).await?;
    let purging = removal.purge_requested.is_some_and(|asked| asked.eq_ignore_ascii_case("true"));
    tracing::info!(%table, purging, "table dropped");
    if purging {
        tokio::spawn(purge::purge(catalog.files.clone(), location));
    }
    Ok(StatusCode::NO_CONTENT)
}
