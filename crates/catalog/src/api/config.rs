//! `GET /v1/config`: what a client has to know before its first request.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Shared};
use crate::error::CatalogError;

/// What is served, so that clients do not try the rest (views, scan planning).
const ENDPOINTS: [&str; 16] = [
    "GET /v1/{prefix}/namespaces",
    "POST /v1/{prefix}/namespaces",
    "GET /v1/{prefix}/namespaces/{namespace}",
    "HEAD /v1/{prefix}/namespaces/{namespace}",
    "DELETE /v1/{prefix}/namespaces/{namespace}",
    "POST /v1/{prefix}/namespaces/{namespace}/properties",
    "GET /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/tables",
    "POST /v1/{prefix}/namespaces/{namespace}/register",
    "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/tables/{table}",
    "POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
    "POST /v1/{prefix}/tables/rename",
    "POST /v1/{prefix}/transactions/commit",
];

#[derive(Deserialize)]
pub struct Asked {
    warehouse: Option<String>,
}

pub async fn show(State(catalog): Shared, Query(asked): Query<Asked>) -> Answer<Json<Value>> {
    let warehouse = catalog.warehouse.trim_end_matches('/');
    if let Some(asked) = asked.warehouse.as_deref().map(|asked| asked.trim_end_matches('/'))
        && !asked.is_empty()
        && asked != warehouse
        && asked != catalog.tables.catalog
    {
        return Err(CatalogError::NoSuchWarehouse(asked.to_owned()));
    }
    Ok(Json(json!({ "defaults": catalog.client_config, "overrides": {}, "endpoints": ENDPOINTS })))
}
