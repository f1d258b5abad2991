//! The REST interface, by Iceberg's OpenAPI specification (`rest-catalog-open-api.yaml`).
//!
//! Paths are served with and without a prefix: only warehouses beside the first need theirs, but clients that were configured
//! with one go on working.

pub mod access;
mod body;
mod config;
mod namespaces;
mod tables;
mod views;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    routing::{get, post},
};

use self::access::Access;
use crate::{
    commit::Commits, error::CatalogError, files::MetadataFiles, namespaces::Namespaces, tables::Tables, views::Views,
};

/// A commit that adds very many files as statistics or schemas stays far below this.
const BODY_BYTES_MAX: usize = 64 << 20;

/// All that the requests share.
pub struct Catalog {
    pub namespaces: Namespaces,
    pub tables: Tables,
    pub views: Views,
    pub files: MetadataFiles,
    pub commits: Commits,
    /// `s3://bucket/…` below which tables are made.
    pub warehouse: String,
    /// What clients are told to reach the object store with.
    pub client_config: HashMap<String, String>,
}

type Shared = axum::extract::State<Arc<Catalog>>;
type Answer<T> = Result<T, CatalogError>;

/// The routes of the catalogs; the first is the one that is meant without a prefix, and by a prefix that is no warehouse.
pub fn router(catalogs: Vec<Catalog>, access: Access) -> Router {
    let catalogs: Vec<Arc<Catalog>> = catalogs.into_iter().map(Arc::new).collect();
    let access = Arc::new(access);
    let mut router = Router::new().route("/v1/config", get(config::show)).with_state(Arc::new(catalogs.clone()));
    for (place, catalog) in catalogs.into_iter().enumerate() {
        router = if place == 0 {
            let routes = routes().with_state(catalog);
            router.nest("/v1/{prefix}", routes.clone()).nest("/v1", routes)
        } else {
            router.nest(&format!("/v1/{}", catalog.tables.catalog), routes().with_state(catalog))
        };
    }
    router
        .fallback(async |uri: axum::http::Uri| {
            CatalogError::BadRequest(format!("this catalog does not know {}", uri.path()))
        })
        .layer(axum::middleware::from_fn_with_state(access.clone(), access::check))
        .route("/v1/oauth/tokens", post(access::token).with_state(access))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

fn routes() -> Router<Arc<Catalog>> {
    Router::new()
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
        .route("/namespaces/{namespace}/views", get(views::list).post(views::create))
        .route(
            "/namespaces/{namespace}/views/{view}",
            get(views::load).head(views::exists).post(views::replace).delete(views::remove),
        )
        .route("/namespaces/{namespace}/register-view", post(views::register))
        .route("/views/rename", post(views::rename))
        .route("/transactions/commit", post(tables::commit_many))
}
