//! The settings of the whole playground, by the names that `.env` gives them, and what children get of them.

use std::path::PathBuf;

use clap::Args;
use model::secret::Secret;

/// Addresses, ports and credentials of every part. The same names serve compose and `cargo run -p <service>`.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings (see .env)")]
pub struct Settings {
    /// Folder of the embedded stack: data, logs, state.
    #[arg(long, env = "HAUS_DIR", default_value = ".haus", global = true)]
    pub haus_dir: PathBuf,
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1", global = true, hide = true)]
    pub haus_bind: String,

    #[arg(long, env = "POSTGRES_HOST", default_value = "127.0.0.1", global = true, hide = true)]
    pub postgres_host: String,
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 4444, global = true, hide = true)]
    pub postgres_port: u16,
    #[arg(long, env = "POSTGRES_USER", default_value = "postgres", global = true, hide = true)]
    pub postgres_user: String,
    #[arg(
        long,
        env = "POSTGRES_PASSWORD",
        default_value = "postgres",
        global = true,
        hide = true,
        hide_env_values = true
    )]
    pub postgres_password: Secret,
    #[arg(long, env = "STOREFRONT_DB", default_value = "storefront", global = true, hide = true)]
    pub storefront_db: String,
    #[arg(long, env = "DEBEZIUM_USER", default_value = "debezium", global = true, hide = true)]
    pub debezium_user: String,
    #[arg(
        long,
        env = "DEBEZIUM_PASSWORD",
        default_value = "debezium",
        global = true,
        hide = true,
        hide_env_values = true
    )]
    pub debezium_password: Secret,
    #[arg(
        long,
        env = "DEBEZIUM_STOREFRONT_PUBLICATION_NAME",
        default_value = "storefront_publication",
        global = true,
        hide = true
    )]
    pub debezium_storefront_publication_name: String,
    #[arg(long, env = "SEEDER_PORT", default_value_t = 8000, global = true, hide = true)]
    pub seeder_port: u16,

    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092", global = true, hide = true)]
    pub kafka_bootstrap_servers: String,
    /// Port of the embedded broker's controller listener.
    #[arg(long, env = "KAFKA_CONTROLLER_PORT", default_value_t = 9093, global = true, hide = true)]
    pub kafka_controller_port: u16,
    /// Heap of the embedded broker.
    #[arg(long, env = "KAFKA_HEAP_MB", default_value_t = 256, global = true, hide = true)]
    pub kafka_heap_mb: u32,
    #[arg(long, env = "REGISTRY_PORT", default_value_t = 8081, global = true, hide = true)]
    pub registry_port: u16,
    #[arg(long, env = "SCHEMA_REGISTRY_URL", default_value = "http://127.0.0.1:8081", global = true, hide = true)]
    pub schema_registry_url: String,
    #[arg(long, env = "CDC_RELAY_PORT", default_value_t = 8083, global = true, hide = true)]
    pub cdc_relay_port: u16,
    #[arg(long, env = "S3_SINK_PORT", default_value_t = 8084, global = true, hide = true)]
    pub s3_sink_port: u16,

    /// Where the seeder answers, when not on this machine at its port.
    #[arg(long, env = "SEEDER_URL", global = true, hide = true)]
    pub seeder_url: Option<String>,
    /// Where the Connect API answers, when not on this machine at the port of `cdc-relay`.
    #[arg(long, env = "CONNECT_URL", global = true, hide = true)]
    pub connect_url: Option<String>,

    #[arg(long, env = "S3_PORT", default_value_t = 9000, global = true, hide = true)]
    pub s3_port: u16,
    #[arg(long, env = "S3_ENDPOINT", default_value = "http://127.0.0.1:9000", global = true, hide = true)]
    pub s3_endpoint: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "minio", global = true, hide = true)]
    pub aws_access_key_id: String,
    #[arg(
        long,
        env = "AWS_SECRET_ACCESS_KEY",
        default_value = "minio123",
        global = true,
        hide = true,
        hide_env_values = true
    )]
    pub aws_secret_access_key: Secret,
    #[arg(long, env = "RAW_BUCKET", default_value = "raw", global = true, hide = true)]
    pub raw_bucket: String,
    #[arg(long, env = "LAKEHOUSE_BUCKET", default_value = "lakehouse", global = true, hide = true)]
    pub lakehouse_bucket: String,
    #[arg(long, env = "CATALOG_PORT", default_value_t = 8181, global = true, hide = true)]
    pub catalog_port: u16,
    #[arg(long, env = "CATALOG_URL", default_value = "http://127.0.0.1:8181", global = true, hide = true)]
    pub catalog_url: String,
    #[arg(long, env = "LAKE_PORT", default_value_t = 8182, global = true, hide = true)]
    pub lake_port: u16,
    #[arg(long, env = "LAKE_SQL_PORT", default_value_t = 5439, global = true, hide = true)]
    pub lake_sql_port: u16,
    #[arg(long, env = "LAKE_URL", default_value = "http://127.0.0.1:8182", global = true, hide = true)]
    pub lake_url: String,

    /// Folder with `migrations/`, `connectors/` and `models/`.
    #[arg(long, env = "HAUS_HOME", default_value = ".", global = true, hide = true)]
    pub haus_home: PathBuf,
}

impl Settings {
    /// Base URL of a service on this machine.
    #[must_use]
    pub fn local(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    /// Base URL of the seeder.
    #[must_use]
    pub fn seeder(&self) -> String {
        self.seeder_url.clone().unwrap_or_else(|| self.local(self.seeder_port))
    }

    /// Base URL of the Connect API.
    #[must_use]
    pub fn connect(&self) -> String {
        self.connect_url.clone().unwrap_or_else(|| self.local(self.cdc_relay_port))
    }

    /// Connection settings for a database of the source Postgres.
    #[must_use]
    pub fn postgres(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.postgres_host)
            .port(self.postgres_port)
            .user(&self.postgres_user)
            .password(self.postgres_password.expose())
            .dbname(database)
            .connect_timeout(std::time::Duration::from_secs(5));
        config
    }

    /// Every setting by its environment name, for children and for the connector templates.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let objects = self.haus_dir.join("objects").display().to_string();
        let models = self.haus_home.join("models").display().to_string();
        [
            ("HAUS_BIND", self.haus_bind.clone()),
            ("POSTGRES_HOST", self.postgres_host.clone()),
            ("POSTGRES_PORT", self.postgres_port.to_string()),
            ("POSTGRES_USER", self.postgres_user.clone()),
            ("POSTGRES_PASSWORD", self.postgres_password.expose().to_owned()),
            ("STOREFRONT_DB", self.storefront_db.clone()),
            ("DEBEZIUM_USER", self.debezium_user.clone()),
            ("DEBEZIUM_PASSWORD", self.debezium_password.expose().to_owned()),
            ("DEBEZIUM_STOREFRONT_PUBLICATION_NAME", self.debezium_storefront_publication_name.clone()),
            ("SEEDER_PORT", self.seeder_port.to_string()),
            ("KAFKA_BOOTSTRAP_SERVERS", self.kafka_bootstrap_servers.clone()),
            ("REGISTRY_PORT", self.registry_port.to_string()),
            ("SCHEMA_REGISTRY_URL", self.schema_registry_url.clone()),
            ("CDC_RELAY_PORT", self.cdc_relay_port.to_string()),
            ("S3_SINK_PORT", self.s3_sink_port.to_string()),
            ("S3_PORT", self.s3_port.to_string()),
            ("S3_ENDPOINT", self.s3_endpoint.clone()),
            ("AWS_ACCESS_KEY_ID", self.aws_access_key_id.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.aws_secret_access_key.expose().to_owned()),
            ("RAW_BUCKET", self.raw_bucket.clone()),
            ("LAKEHOUSE_BUCKET", self.lakehouse_bucket.clone()),
            ("OBJECT_SERVER_DIR", objects),
            ("CATALOG_PORT", self.catalog_port.to_string()),
            ("CATALOG_URL", self.catalog_url.clone()),
            ("LAKE_PORT", self.lake_port.to_string()),
            ("LAKE_SQL_PORT", self.lake_sql_port.to_string()),
            ("LAKE_URL", self.lake_url.clone()),
            ("LAKE_MODELS_DIR", models),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }
}
