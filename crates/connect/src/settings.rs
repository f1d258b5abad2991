//! Settings of a worker process: which servers, which topics, which address.

use clap::Args;
use topics::{ClientProperties, Cluster, RegistryAccess, RegistryClient, Security, SecurityError};

use crate::plugin::Config;
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
    /// Group of Connect workers (`group.id`) that the connectors ran in before, if they ran exactly once there: their
    /// producers are fenced when a task starts.
    #[arg(long, env = "CONNECT_GROUP_ID")]
    pub group: Option<String>,
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
            group: self.group,
            clients: HiddenProperties(client_properties(std::env::vars())),
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
    /// Group of the JVM workers whose place this one may take.
    pub group: Option<String>,
    /// Properties of clients from the environment; `producer.`, `consumer.` and `admin.` before those of one kind,
    /// `schema.registry.` before the registry's. Holds secrets.
    pub clients: HiddenProperties,
}

/// Properties whose values are not printed.
#[derive(Clone, Default)]
pub struct HiddenProperties(pub ClientProperties);

impl std::fmt::Debug for HiddenProperties {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What a client of Kafka is for. Each kind may have properties of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// The worker's own topics.
    Worker,
    Producer,
    Consumer,
}

impl ClientKind {
    /// Prefixes of its properties in the worker's settings and in a connector's configuration.
    fn prefixes(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Worker => None,
            Self::Producer => Some(("producer.", "producer.override.")),
            Self::Consumer => Some(("consumer.", "consumer.override.")),
        }
    }
}

impl WorkerSettings {
    /// Kafka as a client of this worker reaches it: by the worker's properties, then those of its kind, then the
    /// connector's own.
    ///
    /// # Errors
    /// The first property that cannot be used.
    pub fn cluster(&self, client_id: &str, kind: ClientKind, connector: &Config) -> Result<Cluster, SecurityError> {
        let mut properties: ClientProperties =
            self.clients.0.iter().filter(|(name, _)| is_security(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        if let Some((of_worker, of_connector)) = kind.prefixes() {
            properties.extend(below(&self.clients.0, of_worker));
            properties.extend(below(connector, of_connector));
        }
        Ok(Cluster::new(&self.bootstrap, client_id).with_security(Security::read(&properties)?))
    }

    /// The schema registry as a connector reaches it, by its value converter's properties or else the worker's.
    ///
    /// # Errors
    /// The first property that cannot be used.
    pub fn registry(&self, connector: &Config) -> Result<RegistryClient, SecurityError> {
        let converter = "value.converter.";
        let url =
            connector.get("value.converter.schema.registry.url").map(|url| url.trim()).filter(|url| !url.is_empty());
        // Credentials of the worker are not shown to a registry that somebody else named.
        let mut properties =
            if url.is_none() { below(&self.clients.0, "schema.registry.") } else { ClientProperties::new() };
        properties.extend(below(connector, converter).into_iter().filter(|(name, _)| !name.starts_with("schema.")));
        properties.extend(below(connector, "value.converter.schema.registry."));
        RegistryClient::with_access(url.unwrap_or(&self.registry_url), RegistryAccess::read(&properties)?)
    }
}

/// Properties behind a prefix, without it.
fn below(properties: &ClientProperties, prefix: &str) -> ClientProperties {
    let stripped = |(name, value): (&String, &String)| Some((name.strip_prefix(prefix)?.to_owned(), value.clone()));
    properties.iter().filter_map(stripped).collect()
}

fn is_security(name: &str) -> bool {
    name == "security.protocol" || name.starts_with("sasl.") || name.starts_with("ssl.")
}

/// Client properties out of environment variables, named as in the images of Kafka Connect: `CONNECT_SASL_MECHANISM` is
/// `sasl.mechanism`, `CONNECT_PRODUCER_SSL_…` is `producer.ssl.…`, `SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO` is the registry's.
fn client_properties(variables: impl Iterator<Item = (String, String)>) -> ClientProperties {
    let mut properties = ClientProperties::new();
    for (name, value) in variables {
        let dotted = name.to_ascii_lowercase().replace('_', ".");
        if let Some(property) = dotted.strip_prefix("connect.") {
            let bare = ["producer.", "consumer.", "admin."].iter().find_map(|prefix| property.strip_prefix(prefix));
            if is_security(bare.unwrap_or(property)) {
                properties.insert(property.to_owned(), value);
            }
        } else if let Some(property) = dotted.strip_prefix("schema.registry.")
            && ["basic.auth.", "bearer.auth.", "ssl."].iter().any(|group| property.starts_with(group))
        {
            properties.insert(dotted, value);
        }
    }
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_properties_as_in_the_images() {
        let variables = [
            ("CONNECT_SECURITY_PROTOCOL", "SASL_SSL"),
            ("CONNECT_PRODUCER_SASL_JAAS_CONFIG", "x"),
            ("CONNECT_CONFIG_TOPIC", "not this"),
            ("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", "a:b"),
            ("SCHEMA_REGISTRY_URL", "nor this"),
        ];
        let properties = client_properties(variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        let names: Vec<_> = properties.keys().map(String::as_str).collect();
        assert_eq!(names, ["producer.sasl.jaas.config", "schema.registry.basic.auth.user.info", "security.protocol"]);
    }
}
