//! The cluster a process talks to: addresses, settings shared by all clients, and one clear line when it is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::security::Security;

/// Where Kafka is. Every client is made from one of these; clones share the knowledge whether it is reachable.
#[derive(Debug, Clone)]
pub struct Cluster {
    bootstrap: Arc<str>,
    client_id: Arc<str>,
    away: Arc<AtomicBool>,
    security: Arc<Security>,
}

impl Cluster {
    /// `bootstrap` as in `KAFKA_BOOTSTRAP_SERVERS` (`host:port`, comma-separated); `client_id` names the
    /// service in the broker's logs and quotas.
    pub fn new(bootstrap: &str, client_id: &str) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            client_id: client_id.into(),
            away: Arc::new(AtomicBool::new(false)),
            security: Arc::default(),
        }
    }

    /// The same cluster, reached in another way than in the clear and without a name.
    #[must_use]
    pub fn with_security(mut self, security: Security) -> Self {
        self.security = Arc::new(security);
        self
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// False after all brokers were reported down and until one of our clients succeeded again.
    pub fn reachable(&self) -> bool {
        !self.away.load(Ordering::Relaxed)
    }

    pub(crate) fn mark_reached(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(bootstrap = %self.bootstrap, "kafka is back");
        }
    }

    pub(crate) fn mark_away(&self, reason: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                bootstrap = %self.bootstrap,
                reason,
                "kafka is away; waiting for it. Start the broker or correct KAFKA_BOOTSTRAP_SERVERS"
            );
        }
    }

    /// Where tokens come from, with `OAUTHBEARER`.
    pub(crate) fn oauth(&self) -> Option<&crate::oauth::OAuth> {
        self.security.oauth()
    }

    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn context(&self) -> LogContext {
        LogContext { cluster: self.clone() }
    }

    /// Settings all clients share. Reconnects come soon after a broker restart (at most a second apart).
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &*self.bootstrap)
            .set("client.id", &*self.client_id)
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            .set("log_level", "4");
        self.security.apply(&mut config);
        config
    }
}

/// Sends librdkafka's log lines to `tracing`, connection noise at debug, and keeps [`Cluster::reachable`].
#[derive(Debug, Clone)]
pub(crate) struct LogContext {
    pub(crate) cluster: Cluster,
}

impl ClientContext for LogContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, _config: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.cluster.security.oauth().ok_or("no OAUTHBEARER")?.token()
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka repeats these for every attempt; the state is told once by `error` below.
        let connection_noise = matches!(facility, "FAIL" | "ERROR" | "REQTMOUT" | "SESSTMOUT");
        match level {
            _ if connection_noise => tracing::debug!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, "{message}")
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => self.cluster.mark_away(reason),
            Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::Resolve) => {
                tracing::debug!(target: "librdkafka", %error, "{reason}");
            }
            _ => tracing::debug!(target: "librdkafka", %error, "{reason}"),
        }
    }
}
