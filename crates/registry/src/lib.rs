//! registry: a schema registry with Confluent's HTTP API, its state in the compacted topic `_schemas`.
//!
//! Stands beside the stream: the relay's converter registers the schemas of keys and values here, the sink, the
//! ledger and every other reader fetch them by the id in front of each Avro value. Keeps Avro only.
//!
//! Promises: an id never gets another schema, whatever is killed when; the text comes back verbatim as posted;
//! reads are answered from memory, also while Kafka is away; a topic written by Confluent's registry is taken over.
//! Several instances may run on one topic: one writes (`leader`), all answer reads, writes find the leader
//! (`forward`). Like Confluent's registry with one exception worth knowing: `NOOP` records have a value
//! (`journal`).
//!
//! Flow: request → `api` → (write: `forward` → `leader` → `decide` on `state` → `journal` records → topic →
//! `store` reads them back →) answer from `state`. `avro`, `journal`, `state`, `decide`, `level` do no I/O.

mod api;
mod avro;
mod decide;
mod forward;
mod journal;
mod leader;
mod level;
mod refusal;
mod state;
mod store;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use leader::{Candidate, Names, Role};
use store::Store;
use tokio::sync::watch;
use topics::Cluster;

/// Schema registry with Confluent's API.
#[derive(Debug, Parser)]
struct Settings {
    /// Address to listen on.
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port to listen on.
    #[arg(long, env = "REGISTRY_PORT", default_value_t = 8081)]
    port: u16,
    /// Where other instances on the same topic reach this one; by default the address and port above.
    #[arg(long, env = "REGISTRY_ADVERTISED_URL")]
    advertised_url: Option<String>,
    /// Brokers, `host:port`, comma-separated.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    kafka: String,
    /// Topic that holds the schemas. Instances with the same topic are one registry.
    #[arg(long, env = "REGISTRY_TOPIC", default_value = "_schemas")]
    topic: String,
}

/// The program, from its arguments to its exit code.
pub fn main() -> ExitCode {
    service::run("registry", async |context| {
        let settings = Settings::parse();
        let address = SocketAddr::new(settings.bind, settings.port);
        let listener = service::http::listen(address).await?;
        let names = Names {
            group: format!("schema-registry.{}", settings.topic),
            transactional_id: format!("schema-registry.{}", settings.topic),
            advertised_url: settings.advertised_url.unwrap_or_else(|| format!("http://{address}")),
            topic: settings.topic,
        };
        let cluster = Cluster::new(&settings.kafka, &names.advertised_url);
        let store = Arc::new(Store::new());
        let role = watch::Sender::new(Role::Standby);
        let app = api::App {
            store: Arc::clone(&store),
            role: role.subscribe(),
            names: names.clone(),
            cluster: cluster.clone(),
            http: reqwest::Client::new(),
        };
        let candidate = Candidate { names: names.clone(), cluster: cluster.clone(), store: Arc::clone(&store), role };
        let (following, serving) = (context.clone(), context.clone());
        context
            .tasks
            .spawn("follow topic", async move { store::follow(&store, &cluster, &names.topic, &following).await });
        context.tasks.spawn("stand for election", candidate.run(context.clone()));
        context.tasks.spawn("http", async move { service::http::serve_on(listener, api::router(app), &serving).await });
        context.tasks.join().await
    })
}
