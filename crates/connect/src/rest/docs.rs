//! `/docs` and `/openapi.json`: the REST API described for people and for generators of clients.

mod description;

use axum::Router;
use utoipa_swagger_ui::SwaggerUi;

/// Where the page is; beside it, `/openapi.json`.
pub const PATH: &str = "/docs";

/// The page with all it needs, from this process.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    SwaggerUi::new(PATH).external_url_unchecked("/openapi.json", description::openapi()).into()
}
