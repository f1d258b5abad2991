//! The REST interface, by Iceberg's OpenAPI specification (`rest-catalog-open-api.yaml`).
//!
//! Paths are served with and without a prefix: there is one warehouse, so the prefix says nothing, but clients that
//! were configured with one go on working.

mod body;
mod config;
mod namespaces;
mod tables;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    routing::{get, post},
};

use crate::{commit::Commits, error::CatalogError, files::MetadataFiles, namespaces::Namespaces, tables::Tables};

/// A commit that adds very many files as statistics or schemas stays far below this.
const BODY_BYTES_MAX: usize = 64 << 20;

/// All that the requests share.
pub struct Catalog {
    pub namespaces: Namespaces,
    pub tables: Tables,
    pub files: MetadataFiles,
    pub commits: Commits,
    /// `s3://bucket/…` below which tables are made.
    pub warehouse: String,
    /// What clients are told to reach the object store with.
    pub client_config: HashMap<String, String>,
}

type Shared = axum::extract::State<Arc<Catalog>>;
type Answer<T> = Result<T, CatalogError>;

/// The routes of the catalog.
pub fn router(catalog: Catalog) -> Router {
    let routes = Router::new()
        .route("/namespaces", get(namespaces::list).post(namespaces::create))
        .route("/namespaces/{namespace}", get(namespaces::load).head(namespaces::exists).delete(namespaces::remove))
        .route("/namespaces/{namespace}/properties", post(namespaces::change))
        .route("/namespaces/{namespace}/tables", get(tables::list).post(tables::create))
        .route("/namespaces/{namespace}/register", post(tables::register))
        .route(
            "/namespaces/{namespace}/tables/{table}",
            get(tables::load).head(tables::exists).post(tables::commit).delete(tables::remove),
        )
        // Taken and dropped: scan and commit reports of engines.
        .route("/namespaces/{namespace}/tables/{table}/metrics", post(async || StatusCode::NO_CONTENT))
        .route("/tables/rename", post(tables::rename))
        .route("/transactions/commit", post(tables::commit_many));
    Router::new()
        .route("/v1/config", get(config::show))
        .nest("/v1/{prefix}", routes.clone())
        .nest("/v1", routes)
        .fallback(async |uri: axum::http::Uri| {
            CatalogError::BadRequest(format!("this catalog does not know {}", uri.path()))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(catalog))
}
