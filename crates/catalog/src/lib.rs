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
mod receipts;
mod tables;
mod views;

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
    api::access::Access,
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
    /// Further warehouses: `name=s3://bucket/folder/`, separated by commas. Clients ask for them by name.
    #[arg(long, env = "CATALOG_MORE_WAREHOUSES", value_delimiter = ',')]
    more_warehouses: Vec<String>,
    /// Token that clients have to show. Neither it nor a client's credentials: everybody may ask.
    #[arg(long, env = "CATALOG_TOKEN", hide_env_values = true)]
    token: Option<Secret>,
    /// Name of a client that gets a token for its secret (OAuth2 client credentials).
    #[arg(long, env = "CATALOG_CLIENT_ID")]
    client_id: Option<String>,
    /// Secret of that client.
    #[arg(long, env = "CATALOG_CLIENT_SECRET", hide_env_values = true)]
    client_secret: Option<Secret>,
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

/// What the paths of the first warehouse begin with.
const NOT_NAMES: [&str; 7] = ["config", "namespaces", "tables", "views", "transactions", "oauth", ""];

impl Settings {
    /// Name and folder of each warehouse, the first one first.
    fn warehouses(&self) -> anyhow::Result<Vec<(String, String)>> {
        let mut warehouses = vec![(self.name.clone(), self.warehouse.clone())];
        for text in self.more_warehouses.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let (name, folder) = text.split_once('=').unwrap_or_default();
            let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
                && !NOT_NAMES.contains(&name)
                && warehouses.iter().all(|(other, _)| other != name);
            anyhow::ensure!(
                is_name,
                "CATALOG_MORE_WAREHOUSES: '{text}' is not name=s3://…, with a name of its own of letters, digits, - and _"
            );
            warehouses.push((name.to_owned(), folder.to_owned()));
        }
        for (_, folder) in &warehouses {
            anyhow::ensure!(folder.starts_with("s3://"), "a warehouse has to start with s3://, this one is {folder}");
        }
        Ok(warehouses)
    }

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
        let warehouses = settings.warehouses()?;
        let access = Access::new(settings.token.clone(), settings.client_id.clone(), settings.client_secret.clone());
        if !access.is_required() && !settings.bind.is_loopback() {
            tracing::warn!("everybody who reaches this address may ask the catalog: CATALOG_TOKEN would change that");
        }
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
        let catalogs = warehouses.into_iter().map(|(name, warehouse)| {
            let rows = |kind| tables::Tables { database: database.clone(), catalog: name.clone(), kind };
            let tables = rows(tables::Kind::Table);
            api::Catalog {
                namespaces: namespaces::Namespaces { database: database.clone(), catalog: name.clone() },
                commits: commit::Commits::new(tables.clone(), files.clone()),
                tables,
                views: views::Views { rows: rows(tables::Kind::View), files: files.clone() },
                files: files.clone(),
                warehouse,
                client_config: settings.client_config(),
            }
        });
        let router = api::router(catalogs.collect(), access);
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
