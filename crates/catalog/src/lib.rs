//! The Iceberg REST catalog: names of tables and where their newest metadata is.
//!
//! Stands between every engine and the tables of `stage`, `shape` and `serve`. State is in Postgres, in the tables of
//! Iceberg's JDBC catalog; metadata files are in the object store. Promises: a commit happens wholly or not at all, no
//! commit overwrites another, and an answer never says "failed" about a commit that may have happened.

mod api;
mod commit;
mod database;
mod error;
mod files;
mod names;
mod namespaces;
mod purge;
mod tables;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use clap::Parser as _;
use model::secret::Secret;
use service::Backoff;

use crate::{
    database::{Address, Database},
    error::CatalogError,
    files::{MetadataFiles, ObjectStore},
};

/// How often the servers behind the catalog are asked whether they are there, while they are and while one is not.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_INTERVAL_AWAY: Duration = Duration::from_millis(500);

/// Settings, from flags or the environment.
#[derive(clap::Parser)]
#[command(name = "catalog", about = "Iceberg REST catalog on Postgres")]
struct Settings {
    /// Address to listen on.
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1")]
    bind: IpAddr,
    #[arg(long, env = "CATALOG_PORT", default_value_t = 8181)]
    port: u16,
    #[arg(long, env = "POSTGRES_HOST", default_value = "127.0.0.1")]
    postgres_host: String,
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 4444)]
    postgres_port: u16,
    #[arg(long, env = "POSTGRES_USER", default_value = "postgres")]
    postgres_user: String,
    #[arg(long, env = "POSTGRES_PASSWORD", default_value = "postgres", hide_env_values = true)]
    postgres_password: Secret,
    /// Database of the catalog's own; made when missing.
    #[arg(long, env = "CATALOG_DB", default_value = "catalog")]
    database: String,
    /// `catalog_name` in the JDBC catalog's tables; also accepted as the name of the warehouse.
    #[arg(long, env = "CATALOG_NAME", default_value = "lakehouse")]
    name: String,
    /// Folder below which new tables are made.
    #[arg(long, env = "CATALOG_WAREHOUSE", default_value = "s3://lakehouse/")]
    warehouse: String,
    #[arg(long, env = "S3_ENDPOINT", default_value = "http://127.0.0.1:9000")]
    s3_endpoint: String,
    /// Endpoint that clients are told, when they reach the object store by another address than the catalog does.
    #[arg(long, env = "CATALOG_CLIENT_S3_ENDPOINT")]
    client_s3_endpoint: Option<String>,
    #[arg(long, env = "S3_REGION", default_value = "us-east-1")]
    s3_region: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "minio")]
    access_key_id: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", default_value = "minio123", hide_env_values = true)]
    secret_access_key: Secret,
    /// Whether clients are given the object store's keys. Without a word only on loopback, where the catalog asks
    /// nobody who they are and the playground shall work without further settings.
    #[arg(long, env = "CATALOG_VEND_CREDENTIALS", action = clap::ArgAction::Set)]
    vend_credentials: Option<bool>,
}

impl Settings {
    fn client_config(&self) -> HashMap<String, String> {
        let endpoint = self.client_s3_endpoint.as_ref().unwrap_or(&self.s3_endpoint);
        let mut config = HashMap::from([
            ("s3.endpoint".to_owned(), endpoint.clone()),
            ("s3.path-style-access".to_owned(), "true".to_owned()),
            ("s3.region".to_owned(), self.s3_region.clone()),
            // Java's name for it.
            ("client.region".to_owned(), self.s3_region.clone()),
        ]);
        if self.vend_credentials.unwrap_or(self.bind.is_loopback()) {
            config.insert("s3.access-key-id".to_owned(), self.access_key_id.clone());
            config.insert("s3.secret-access-key".to_owned(), self.secret_access_key.expose().to_owned());
        }
        config
    }
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("catalog", async |context| {
        let settings = Settings::parse();
        anyhow::ensure!(
            settings.warehouse.starts_with("s3://"),
            "CATALOG_WAREHOUSE has to start with s3://, it is {}",
            settings.warehouse
        );
        let listener = service::http::listen(SocketAddr::new(settings.bind, settings.port)).await?;
        let database = Database::new(Address {
            host: settings.postgres_host.clone(),
            port: settings.postgres_port,
            user: settings.postgres_user.clone(),
            password: settings.postgres_password.clone(),
            database: settings.database.clone(),
        })?;
        let files = MetadataFiles::new(&ObjectStore {
            endpoint: settings.s3_endpoint.clone(),
            region: settings.s3_region.clone(),
            access_key_id: settings.access_key_id.clone(),
            secret_access_key: settings.secret_access_key.expose().to_owned(),
        });
        context.health.set("postgres", Err("not reached yet".to_owned()));
        let tables = tables::Tables { database: database.clone(), catalog: settings.name.clone() };
        let router = api::router(api::Catalog {
            namespaces: namespaces::Namespaces { database: database.clone(), catalog: settings.name.clone() },
            commits: commit::Commits::new(tables.clone(), files.clone()),
            tables,
            files: files.clone(),
            warehouse: settings.warehouse.clone(),
            client_config: settings.client_config(),
        });
        let watched = watch(context.clone(), database, files, settings.warehouse.clone());
        context.tasks.spawn("servers", watched);
        let serving = context.clone();
        context.tasks.spawn("http", async move { service::http::serve_on(listener, router, &serving).await });
        context.tasks.join().await
    })
}

/// Prepares the database as soon as Postgres is there, then keeps `/health` true. Meanwhile requests are answered 503.
async fn watch(
    context: service::Context,
    database: Database,
    files: MetadataFiles,
    warehouse: String,
) -> anyhow::Result<()> {
    let mut backoff = Backoff::default();
    loop {
        match database.prepare().await {
            Ok(()) => break,
            Err(CatalogError::Unavailable(reason)) => context.health.set("postgres", Err(reason)),
            Err(other) => return Err(other.into()),
        }
        if !backoff.wait(&context.stop).await {
            return Ok(());
        }
    }
    loop {
        let postgres = database.read("SELECT 1", &[]).await.map(drop).map_err(|error| error.to_string());
        let store = files.probe(&warehouse).await.map_err(|error| error.to_string());
        let pause = if postgres.is_ok() && store.is_ok() { PROBE_INTERVAL } else { PROBE_INTERVAL_AWAY };
        context.health.set("postgres", postgres);
        context.health.set("object store", store);
        tokio::select! {
            () = context.stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
