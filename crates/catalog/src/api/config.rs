//! `GET /v1/config`: what a client has to know before its first request.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Catalog};
use crate::{error::CatalogError, receipts};

/// What is served, so that clients do not try the rest (scan planning).
const ENDPOINTS: [&str; 24] = [
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
    "GET /v1/{prefix}/namespaces/{namespace}/views",
    "POST /v1/{prefix}/namespaces/{namespace}/views",
    "GET /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "HEAD /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "DELETE /v1/{prefix}/namespaces/{namespace}/views/{view}",
    "POST /v1/{prefix}/namespaces/{namespace}/register-view",
    "POST /v1/{prefix}/views/rename",
];

#[derive(Deserialize)]
pub struct Asked {
    warehouse: Option<String>,
}

pub async fn show(State(catalogs): State<Arc<Vec<Arc<Catalog>>>>, Query(asked): Query<Asked>) -> Answer<Json<Value>> {
    let asked = asked.warehouse.as_deref().map(|asked| asked.trim_end_matches('/')).unwrap_or_default();
    let is = |catalog: &&Arc<Catalog>| {
        asked.is_empty() || asked == catalog.warehouse.trim_end_matches('/') || asked == catalog.tables.catalog
    };
    let place = catalogs.iter().position(|catalog| is(&catalog));
    let place = place.ok_or_else(|| CatalogError::NoSuchWarehouse(asked.to_owned()))?;
    let catalog = &catalogs[place];
    // The first needs no prefix.
    let overrides = if place == 0 { json!({}) } else { json!({ "prefix": catalog.tables.catalog }) };
    Ok(Json(json!({
        "defaults": catalog.client_config, "overrides": overrides, "endpoints": ENDPOINTS,
        "idempotency-key-lifetime": receipts::LIFETIME,
    })))
}
