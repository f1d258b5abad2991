//! The runner against real Postgres, and against real Flyway on the same files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod flyway;
mod flyway_compatibility;
mod runner;

use std::path::{Path, PathBuf};

use migrate::Placeholders;
use tokio_postgres::Client;

/// The migrations that ship.
fn storefront() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations")
}

/// Values for V2, with a role of its own for each test, as roles belong to the whole cluster.
fn storefront_placeholders() -> Placeholders {
    placeholders(&[
        ("debezium_user", &testkit::fresh_name("debezium")),
        ("debezium_password", "it's $ecret"),
        ("debezium_storefront_publication_name", "storefront_publication"),
    ])
}

fn placeholders(pairs: &[(&str, &str)]) -> Placeholders {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

/// An empty database and a client on it.
async fn database() -> (String, Client) {
    let name = testkit::fresh_database().await;
    let client = testkit::postgres().await.connect(&name).await;
    (name, client)
}

/// The first column of a query's rows, as text.
async fn texts(client: &Client, query: &str) -> Vec<String> {
    client.query(query, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}
