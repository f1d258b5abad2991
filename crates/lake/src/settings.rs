//! Settings of `lake`, from the command line, the environment and `.env`.

use std::{collections::HashMap, net::IpAddr, path::PathBuf, sync::Arc};

use clap::{Parser, Subcommand};
use iceberg::io::{FileIO, FileIOBuilder};
use iceberg_storage_opendal::OpenDalStorageFactory;
use model::secret::Secret;
use objects::StoreSettings;

use crate::cluster::settings::ClusterSettings;

/// Raw Avro objects to Iceberg tables: stage, shape, serve; SQL over them.
#[derive(Debug, Parser)]
#[command(name = "lake", version)]
pub struct Settings {
    /// `watch` when none is given: the service.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Address the HTTP interface listens on.
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1", global = true)]
    pub bind: IpAddr,
    /// Port of the HTTP interface.
    #[arg(long, env = "LAKE_PORT", default_value_t = 8182, global = true)]
    pub port: u16,
    /// Port of PostgreSQL's wire protocol; 0: none.
    #[arg(long, env = "LAKE_SQL_PORT", default_value_t = 5439, global = true)]
    pub sql_port: u16,
    /// Password of the user haus at that port. Empty: none is asked for.
    #[arg(long, env = "LAKE_SQL_PASSWORD", hide_env_values = true, global = true)]
    pub sql_password: Option<Secret>,
    /// Seconds a query may take.
    #[arg(long, env = "LAKE_SQL_TIME_MAX_S", default_value_t = 120, global = true)]
    pub sql_time_max_s: u64,
    /// Memory that all queries share, marts among them, MiB.
    #[arg(long, env = "LAKE_SQL_MEMORY_MAX_MB", default_value_t = 256, global = true)]
    pub sql_memory_max_mb: usize,
    /// Rows of one result at the SQL port.
    #[arg(long, env = "LAKE_SQL_ROWS_MAX", default_value_t = 100_000_000, global = true)]
    pub sql_rows_max: u64,
    /// Sessions at the SQL port at once.
    #[arg(long, env = "LAKE_SQL_CONNECTIONS_MAX", default_value_t = 32, global = true)]
    pub sql_connections_max: usize,
    /// S3 endpoint.
    #[arg(long, env = "S3_ENDPOINT", default_value = "http://127.0.0.1:9000", global = true)]
    pub s3_endpoint: String,
    /// S3 region.
    #[arg(long, env = "S3_REGION", default_value = "us-east-1", global = true)]
    pub s3_region: String,
    /// S3 access key.
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "minio", global = true)]
    pub access_key_id: String,
    /// S3 secret key.
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", default_value = "minio123", hide_env_values = true, global = true)]
    pub secret_access_key: Secret,
    /// Bucket of the landing zone.
    #[arg(long, env = "RAW_BUCKET", default_value = "raw", global = true)]
    pub raw_bucket: String,
    /// Folder of the landing zone (the sink's topics.dir).
    #[arg(long, env = "RAW_TOPICS_DIR", default_value = "kafka", global = true)]
    pub topics_dir: String,
    /// Iceberg REST catalog.
    #[arg(long, env = "CATALOG_URL", default_value = "http://127.0.0.1:8181", global = true)]
    pub catalog_url: String,
    /// Warehouse in the catalog.
    #[arg(long, env = "CATALOG_WAREHOUSE", default_value = "s3://lakehouse/", global = true)]
    pub warehouse: String,
    /// Token that the catalog wants to see, if it does.
    #[arg(long, env = "CATALOG_TOKEN", hide_env_values = true, global = true)]
    pub catalog_token: Option<Secret>,
    /// Schema registry, asked for key columns. Empty: a column named id is the key.
    #[arg(long, env = "SCHEMA_REGISTRY_URL", default_value = "http://127.0.0.1:8081", global = true)]
    pub registry_url: String,
    /// Folder of the SQL models.
    #[arg(long, env = "LAKE_MODELS_DIR", default_value = "models", global = true)]
    pub models: PathBuf,
    /// Seconds that a build of one model may take.
    #[arg(long, env = "LAKE_MODEL_TIME_MAX_S", default_value_t = 3600, global = true)]
    pub model_time_max_s: u64,
    /// Source database that `lake test` reconciles with, such as `postgres://user:password@host/db`; not set: it does not.
    #[arg(long, env = "LAKE_SOURCE_URL", hide_env_values = true, global = true)]
    pub source_url: Option<Secret>,
    /// Rows per data file of shape tables, the unit of a rewrite; files of incremental models have four times as many.
    #[arg(long, env = "LAKE_SHAPE_FILE_ROWS", default_value_t = crate::shape::FILE_ROWS, global = true)]
    pub shape_file_rows: usize,
    /// Shortest pause between two looks for new objects, milliseconds.
    #[arg(long, env = "LAKE_POLL_MS", default_value_t = 250, global = true)]
    pub poll_ms: u64,
    /// Seconds between two maintenances of all tables behind `lake watch`. 0: only `lake maintain` does it.
    #[arg(long, env = "LAKE_MAINTAIN_INTERVAL_S", default_value_t = 60, global = true)]
    pub maintain_interval_s: u64,
    /// Snapshots replaced longer ago than this many seconds expire, unless a tag or branch keeps them.
    #[arg(long, env = "LAKE_SNAPSHOT_AGE_S", default_value_t = 300, global = true)]
    pub snapshot_age_s: u64,
    /// The last so many snapshots of a table never expire.
    #[arg(long, env = "LAKE_SNAPSHOTS_MIN", default_value_t = 20, global = true)]
    pub snapshots_min: usize,
    /// Files that no table names are removed when they are older than this many seconds.
    #[arg(long, env = "LAKE_ORPHAN_AGE_S", default_value_t = 86400, global = true)]
    pub orphan_age_s: u64,
    /// Rows of serve._runs are forgotten after this many days. 0: never.
    #[arg(long, env = "LAKE_RUNS_DAYS", default_value_t = 30, global = true)]
    pub runs_days: u64,
    #[command(flatten)]
    pub cluster: ClusterSettings,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Follow new objects and keep all layers up to date (the service).
    Watch,
    /// Take all new objects into stage, then end.
    Stage,
    /// Bring shape up to stage, then end.
    Shape,
    /// Build the models whose inputs or code changed, then end; as `run` without selectors.
    Serve,
    #[command(flatten)]
    Model(ModelCommand),
    /// Pack files, merge manifests, expire snapshots and remove orphans of all tables, then end.
    Maintain {
        /// Tables by name, such as shape.orders; all when none is given.
        tables: Vec<String>,
        /// Say what would be done, change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Do not read the tables before and after to time it.
        #[arg(long)]
        no_scan: bool,
        /// Print the report as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run one query and print its result.
    Sql(SqlCommand),
    /// Hand out tasks of a cluster; see LAKE_ENGINE.
    Scheduler,
    /// Work on tasks of a cluster.
    Executor,
}

/// `lake sql`.
#[derive(Debug, Clone, clap::Args)]
pub struct SqlCommand {
    /// The query, such as "SELECT * FROM serve.daily_revenue"; read from standard input when neither this nor a file is
    /// given.
    pub query: Option<String>,
    /// File with the query; - is standard input.
    #[arg(short, long, conflicts_with = "query")]
    pub file: Option<PathBuf>,
    /// table, csv, json, ndjson or parquet.
    #[arg(long, default_value = "table")]
    pub format: crate::query::Format,
    /// File to write to, instead of standard output.
    #[arg(short, long)]
    pub output: Option<PathBuf>,
}

/// What to do with models. Selectors: `daily_revenue`, `+x` (and what it is made of), `x+` (and what is made of it), `tag:x`,
/// `serve.*`; all models when none is given.
#[derive(Debug, Clone, Subcommand)]
pub enum ModelCommand {
    /// Say what a run would build, and why.
    Plan {
        /// Models.
        selectors: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Build the models whose inputs or code changed, publish what passes its tests, then end.
    Run {
        /// Models.
        selectors: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run unit tests of models, and the tests of what is published.
    Test {
        /// Models.
        selectors: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print which columns each column of a model is made of.
    Lineage {
        /// Models.
        selectors: Vec<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a page about the models: graph, columns, tests, lineage, last runs.
    Docs {
        /// Folder to write index.html to.
        #[arg(long, default_value = "models-docs")]
        out: PathBuf,
    },
}

impl Settings {
    /// How the store is reached; the bucket is the landing zone's.
    #[must_use]
    pub fn store(&self) -> StoreSettings {
        StoreSettings {
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            access_key_id: self.access_key_id.clone(),
            secret_access_key: self.secret_access_key.clone(),
            bucket: self.raw_bucket.clone(),
        }
    }

    /// Access to the warehouse's files.
    #[must_use]
    pub fn file_io(&self) -> FileIO {
        let factory = OpenDalStorageFactory::S3 { customized_credential_load: None };
        let properties: HashMap<String, String> = [
            (iceberg::io::S3_ENDPOINT, self.s3_endpoint.as_str()),
            (iceberg::io::S3_REGION, &self.s3_region),
            (iceberg::io::S3_ACCESS_KEY_ID, &self.access_key_id),
            (iceberg::io::S3_SECRET_ACCESS_KEY, self.secret_access_key.expose()),
            (iceberg::io::S3_PATH_STYLE_ACCESS, "true"),
            // Only what was given counts: no profile or instance role of the machine slips in.
            (iceberg::io::S3_DISABLE_CONFIG_LOAD, "true"),
            (iceberg::io::S3_DISABLE_EC2_METADATA, "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        FileIOBuilder::new(Arc::new(factory)).with_props(properties).build()
    }
}
