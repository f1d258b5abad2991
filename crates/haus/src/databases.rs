//! The databases of the playground and their migrations, made ready at every start of the embedded stack.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::settings::Settings;

/// Postgres cannot be reached: trying again may help.
#[derive(Debug, thiserror::Error)]
#[error("Postgres at {host}:{port} cannot be reached: {source}")]
pub struct ServerAway {
    host: String,
    port: u16,
    source: tokio_postgres::Error,
}

/// Makes the storefront database when it is missing and runs the migrations on it.
///
/// # Errors
/// [`ServerAway`], or what is wrong with a migration.
pub async fn migrate(settings: &Settings) -> anyhow::Result<migrate::Report> {
    let client = connect(settings, "postgres").await?;
    let name = &settings.storefront_db;
    let exists =
        client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[name]).await.context("list databases")?;
    if exists.is_none() {
        let quoted = name.replace('"', "\"\"");
        client
            .batch_execute(&format!("CREATE DATABASE \"{quoted}\""))
            .await
            .with_context(|| format!("make database {name}"))?;
    }
    let mut client = connect(settings, name).await?;
    let placeholders = BTreeMap::from([
        ("debezium_user".to_owned(), settings.debezium_user.clone()),
        ("debezium_password".to_owned(), settings.debezium_password.expose().to_owned()),
        ("debezium_storefront_publication_name".to_owned(), settings.debezium_storefront_publication_name.clone()),
    ]);
    let report = migrate::run(&mut client, &settings.haus_home.join("migrations"), &placeholders)
        .await
        .context("migrate the storefront database")?;
    Ok(report)
}

/// A client of a database of the source Postgres.
///
/// # Errors
/// [`ServerAway`].
pub async fn connect(settings: &Settings, database: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = settings
        .postgres(database)
        .connect(tokio_postgres::NoTls)
        .await
        .map_err(|source| ServerAway { host: settings.postgres_host.clone(), port: settings.postgres_port, source })?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection to Postgres ended: {error}");
        }
    });
    Ok(client)
}
