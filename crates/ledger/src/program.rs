//! The ledger's process: settings, one verification, the exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::source::SourceSettings;
use crate::verify::{VerifySettings, verify};
use clap::{Args, Parser, Subcommand};
use model::secret::Secret;
use objects::StoreSettings;

/// Proves that the lake holds what Postgres holds.
#[derive(Parser)]
#[command(version)]
struct Settings {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compare Postgres, Kafka, raw, stage, shape and serve, also while traffic runs. Exit code 0 only if all is equal.
    Verify(Verify),
}

#[derive(Args)]
struct Verify {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Seconds that a hop may take to catch up.
    #[arg(long, env = "LEDGER_PATIENCE_S", default_value_t = 90)]
    patience_s: u64,
    #[arg(long, env = "POSTGRES_HOST", default_value = "127.0.0.1")]
    postgres_host: String,
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 4444)]
    postgres_port: u16,
    #[arg(long, env = "POSTGRES_USER", default_value = "postgres")]
    postgres_user: String,
    #[arg(long, env = "POSTGRES_PASSWORD", default_value = "postgres", hide_env_values = true)]
    postgres_password: Secret,
    #[arg(long, env = "STOREFRONT_DB", default_value = "storefront")]
    storefront_db: String,
    /// Replication slot of the source connector.
    #[arg(long, env = "STOREFRONT_SLOT", default_value = "storefront_slot")]
    slot: String,
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    bootstrap: String,
    #[arg(long, env = "SCHEMA_REGISTRY_URL", default_value = "http://127.0.0.1:8081")]
    registry_url: String,
    #[arg(
        long,
        env = "STOREFRONT_TOPICS",
        value_delimiter = ',',
        default_value = "storefront.public.customers,storefront.public.products,storefront.public.orders,storefront.public.order_items,storefront.public.payments"
    )]
    topics: Vec<String>,
    #[arg(long, env = "S3_ENDPOINT", default_value = "http://127.0.0.1:9000")]
    s3_endpoint: String,
    #[arg(long, env = "S3_REGION", default_value = "us-east-1")]
    s3_region: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "minio")]
    access_key_id: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", default_value = "minio123", hide_env_values = true)]
    secret_access_key: Secret,
    #[arg(long, env = "RAW_BUCKET", default_value = "raw")]
    raw_bucket: String,
    /// First part of the raw objects' keys, `topics.dir` of the sink connector.
    #[arg(long, env = "RAW_TOPICS_DIR", default_value = "kafka")]
    topics_dir: String,
    #[arg(long, env = "LAKE_URL", default_value = "http://127.0.0.1:8182")]
    lake_url: String,
}

impl From<Verify> for VerifySettings {
    fn from(given: Verify) -> Self {
        Self {
            source: SourceSettings {
                host: given.postgres_host,
                port: given.postgres_port,
                user: given.postgres_user,
                password: given.postgres_password,
                database: given.storefront_db,
                slot: given.slot,
            },
            bootstrap: given.bootstrap,
            registry_url: given.registry_url,
            store: StoreSettings {
                endpoint: given.s3_endpoint,
                region: given.s3_region,
                access_key_id: given.access_key_id,
                secret_access_key: given.secret_access_key,
                bucket: given.raw_bucket,
            },
            topics_dir: given.topics_dir,
            lake_url: given.lake_url,
            topics: given
                .topics
                .into_iter()
                .map(|topic| topic.trim().to_owned())
                .filter(|topic| !topic.is_empty())
                .collect(),
            patience: Duration::from_secs(given.patience_s),
        }
    }
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("ledger", async |context| {
        let Command::Verify(given) = Settings::parse().command;
        let json = given.json;
        let settings = VerifySettings::from(given);
        let report = tokio::select! {
            report = verify(&settings) => report,
            () = context.stop.cancelled() => anyhow::bail!("stopped before the verdict"),
        };
        let text = if json { serde_json::to_string(&report)? + "\n" } else { report.text() };
        // Not `print!`, which panics when the reader has gone.
        std::io::stdout().write_all(text.as_bytes())?;
        match report {
            report if report.ok => Ok(()),
            report if report.error.is_some() => anyhow::bail!("could not be verified"),
            _ => anyhow::bail!("the hops are not equal"),
        }
    })
}
