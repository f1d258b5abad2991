//! Settings of a worker process: which servers, which topics, which address.

use clap::Args;

use crate::providers::Process;

/// The part of a worker binary's command line that every worker shares; flatten it into the binary's own
/// `Settings` and call [`WorkerArgs::settings`] with the port, whose variable differs per binary.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Address to listen on.
    #[arg(long, env = "HAUS_BIND", default_value = "127.0.0.1")]
    pub bind: String,
    /// Host other workers and people reach this worker by; the bind address when not given.
    #[arg(long, env = "CONNECT_REST_ADVERTISED_HOST_NAME")]
    pub advertised_host: Option<String>,
    /// Kafka brokers, `host:port` separated by commas.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Schema registry, used when a connector names none.
    #[arg(long, env = "SCHEMA_REGISTRY_URL", default_value = "http://127.0.0.1:8081")]
    pub registry_url: String,
    /// Topic with connector configurations.
    #[arg(long, env = "CONNECT_CONFIG_TOPIC", default_value = "connect_configs")]
    pub config_topic: String,
    /// Topic with source offsets.
    #[arg(long, env = "CONNECT_OFFSET_TOPIC", default_value = "connect_offsets")]
    pub offset_topic: String,
    /// Topic with states of connectors and tasks.
    #[arg(long, env = "CONNECT_STATUS_TOPIC", default_value = "connect_statuses")]
    pub status_topic: String,
    /// Files and folders that `${file:…}` and `${dir:…}` may read, separated by commas; all when not given.
    #[arg(long, env = "CONNECT_CONFIG_PROVIDERS_FILE_PARAM_ALLOWED_PATHS")]
    pub provider_paths: Option<String>,
    /// Regular expression of the variables that `${env:…}` may read; all when not given.
    #[arg(long, env = "CONNECT_CONFIG_PROVIDERS_ENV_PARAM_ALLOWLIST_PATTERN")]
    pub provider_variables: Option<regex::Regex>,
}

impl WorkerArgs {
    /// The worker's settings with its port.
    pub fn settings(self, port: u16) -> WorkerSettings {
        let host = self.advertised_host.unwrap_or_else(|| self.bind.clone());
        let paths = self
            .provider_paths
            .map(|paths| paths.split(',').map(str::trim).filter(|path| !path.is_empty()).map(Into::into).collect());
        WorkerSettings {
            providers: Process::new(paths, self.provider_variables),
            bootstrap: self.bootstrap,
            registry_url: self.registry_url,
            config_topic: self.config_topic,
            offset_topic: self.offset_topic,
            status_topic: self.status_topic,
            worker_id: format!("{host}:{port}"),
            bind: self.bind,
            port,
        }
    }
}

/// What a worker and its tasks know about the world around them.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Kafka brokers, `host:port` separated by commas.
    pub bootstrap: String,
    /// Schema registry used when a connector's configuration names none.
    pub registry_url: String,
    /// Topic with connector configurations; one partition, compacted.
    pub config_topic: String,
    /// Topic with source offsets; compacted.
    pub offset_topic: String,
    /// Topic with states; compacted.
    pub status_topic: String,
    /// `host:port` of this worker as statuses carry it.
    pub worker_id: String,
    /// Address the REST API listens on.
    pub bind: String,
    /// Port the REST API listens on.
    pub port: u16,
    /// What references in configurations may read.
    pub providers: Process,
}
