//! The S3 endpoint of embedded mode: the buckets `raw` and `lakehouse` on the local disk.
//!
//! Stands where MinIO stands in the compose zones. Promises: an answered write is durable and whole, a conditional
//! write has exactly one winner, and a crash at any moment leaves no trace of what was not finished.

mod access;
mod api;
mod bucket;
mod digest;
mod disk;
mod error;
mod http;
mod index;
mod key;
mod record;
mod store;
mod uploads;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Parser as _;
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};

/// Settings, from flags or the environment.
#[derive(clap::Parser)]
#[command(name = "object-server", about = "S3 endpoint on the local disk")]
struct Settings {
    /// Address to listen on.
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1")]
    bind: IpAddr,
    #[arg(long, env = "S3_PORT", default_value_t = 9000)]
    port: u16,
    /// Region the server says it is in; any is accepted in signatures.
    #[arg(long, env = "S3_REGION", default_value = "us-east-1")]
    region: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID", default_value = "minio")]
    access_key_id: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", default_value = "minio123", hide_env_values = true)]
    secret_access_key: String,
    /// Folder of all that is stored; one server at a time.
    #[arg(long, env = "OBJECT_SERVER_DIR", default_value = ".haus/objects")]
    dir: PathBuf,
    #[arg(long, env = "RAW_BUCKET", default_value = "raw")]
    raw_bucket: String,
    #[arg(long, env = "LAKEHOUSE_BUCKET", default_value = "lakehouse")]
    lakehouse_bucket: String,
    /// Whether objects of these two buckets can be read without credentials.
    #[arg(long, env = "OBJECT_SERVER_PUBLIC_READS", default_value_t = true, action = clap::ArgAction::Set)]
    public_reads: bool,
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("object-server", async |context| {
        let settings = Settings::parse();
        // The port first: whoever comes second is told so before it waits for the folder.
        let listener = service::http::listen(SocketAddr::new(settings.bind, settings.port)).await?;
        let dir = settings.dir.clone();
        let store = tokio::task::spawn_blocking(move || store::Store::open(&dir))
            .await?
            .with_context(|| format!("open the object store in {}", settings.dir.display()))?;
        let store = Arc::new(store);
        for bucket in [&settings.raw_bucket, &settings.lakehouse_bucket] {
            anyhow::ensure!(s3s::path::check_bucket_name(bucket), "'{bucket}' is not a bucket name by S3's rules");
            match store.create_bucket(bucket).await {
                Ok(()) => tracing::info!(bucket, "bucket made"),
                Err(error::StoreError::BucketExists) => {}
                Err(error) => return Err(error).with_context(|| format!("make bucket {bucket}")),
            }
        }
        for bucket in store.buckets() {
            tracing::info!(bucket = bucket.name, objects = bucket.index().len(), "bucket opened");
        }
        let mut builder = S3ServiceBuilder::new(api::Api { store, region: settings.region.clone() });
        builder.set_auth(SimpleAuth::from_single(settings.access_key_id.clone(), settings.secret_access_key.clone()));
        let public = [settings.raw_bucket.clone(), settings.lakehouse_bucket.clone()];
        let public = if settings.public_reads { public.into_iter().collect() } else { Default::default() };
        builder.set_access(access::PublicReads { buckets: public });
        let s3 = builder.build();
        let serving = http::serve(listener, s3, context.clone());
        context.tasks.spawn("http", serving);
        context.tasks.join().await
    })
}
