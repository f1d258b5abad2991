//! The seeder's process: settings and wiring.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use crate::api::{Seeder, router};
use crate::storefront::Database;
use crate::storefront::watch::watch;
use clap::Parser as _;
use model::secret::Secret;

/// Fills the storefront's database and keeps it busy.
#[derive(clap::Parser)]
#[command(version)]
struct Settings {
    /// Address to listen on.
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1")]
    bind: IpAddr,
    #[arg(long, env = "SEEDER_PORT", default_value_t = 8000)]
    port: u16,
    #[arg(long, env = "POSTGRES_HOST", default_value = "127.0.0.1")]
    postgres_host: String,
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 4444)]
    postgres_port: u16,
    #[arg(long, env = "POSTGRES_USER", default_value = "postgres")]
    postgres_user: String,
    #[arg(long, env = "POSTGRES_PASSWORD", default_value = "postgres", hide_env_values = true)]
    postgres_password: Secret,
    /// Database of the storefront.
    #[arg(long, env = "STOREFRONT_DB", default_value = "storefront")]
    storefront_db: String,
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("seeder", async |context| {
        let settings = Settings::parse();
        let database = Database::new(
            &settings.postgres_host,
            settings.postgres_port,
            &settings.postgres_user,
            &settings.postgres_password,
            &settings.storefront_db,
        );
        let watched = watch(database.clone(), context.health.clone(), context.stop.clone());
        context.tasks.spawn("postgres watch", async move {
            watched.await;
            Ok(())
        });
        let seeder = Seeder::new(database, context.stop.clone());
        let routes = router(std::sync::Arc::clone(&seeder));
        let serving = context.clone();
        let address = SocketAddr::new(settings.bind, settings.port);
        context.tasks.spawn("http", async move { service::http::serve(address, routes, &serving).await });
        context.tasks.join().await?;
        seeder.stop_traffic().await;
        Ok(())
    })
}
