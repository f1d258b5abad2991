//! Which brokers there are, and a connection to each that is needed.
//!
//! Promise: a broker that is away is tried again at most every 50 ms at first and every second later; [`Cluster::reachable`]
//! is false from when none of them could be reached until one answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpStream;

use super::connection::{Abilities, Connection, Fault, Line, decode, lost};
use super::{login, tls};
use crate::cluster::Cluster;

const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// For name, connection, TLS and login together.
const DIAL_WAIT: Duration = Duration::from_secs(10);
const UNSUPPORTED_VERSION: i16 = 35;

/// `host:port`
pub(super) type Address = Arc<str>;

/// See the module documentation.
pub(super) struct Brokers {
    cluster: Cluster,
    bootstrap: Vec<Address>,
    /// As the cluster tells them, by number.
    nodes: HashMap<i32, Address>,
    links: HashMap<Address, Link>,
    /// Where [`Self::any`] looks first, so that not all clients ask the same broker.
    turn: usize,
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    backoff: Option<Duration>,
    not_before: Option<Instant>,
    last_fault: Option<Fault>,
}

impl Brokers {
    pub(super) fn new(cluster: Cluster, turn: usize) -> Self {
        let bootstrap = cluster.bootstrap().split(',').map(str::trim).filter(|host| !host.is_empty());
        let bootstrap = bootstrap.map(Address::from).collect();
        Self { cluster, bootstrap, nodes: HashMap::new(), links: HashMap::new(), turn }
    }

    pub(super) fn node(&self, id: i32) -> Option<Address> {
        self.nodes.get(&id).cloned()
    }

    /// Takes the brokers from an answer; forgets those that are not there any more.
    pub(super) fn learn(&mut self, metadata: &MetadataResponse) {
        if metadata.brokers.is_empty() {
            return;
        }
        let node = |(id, host, port): (i32, &StrBytes, i32)| (id, address(host, port));
        self.nodes =
            metadata.brokers.iter().map(|broker| node((broker.node_id.0, &broker.host, broker.port))).collect();
        let (nodes, bootstrap) = (&self.nodes, &self.bootstrap);
        self.links.retain(|known, _| bootstrap.contains(known) || nodes.values().any(|node| node == known));
    }

    /// The answer of a broker came.
    pub(super) fn answered(&self) {
        self.cluster.mark_reached();
    }

    /// A connection to this broker, made if need be.
    ///
    /// # Errors
    /// Also, without trying, when it was tried a moment ago.
    pub(super) async fn reach(&mut self, address: &Address) -> Result<Arc<Connection>, Fault> {
        let link = self.links.entry(Arc::clone(address)).or_default();
        if let Some(connection) = link.connection.take_if(|connection| !connection.is_closed()) {
            link.connection = Some(Arc::clone(&connection));
            return Ok(connection);
        }
        link.connection = None;
        if link.not_before.is_some_and(|then| Instant::now() < then) {
            return Err(link.last_fault.clone().unwrap_or_else(|| lost("tried a moment ago")));
        }
        let dialed = tokio::time::timeout(DIAL_WAIT, dial(address, &self.cluster)).await;
        match dialed.unwrap_or_else(|_elapsed| Err(lost("no connection in time"))) {
            Ok(connection) => {
                tracing::debug!(target: "kafka", %address, "connected");
                let connection = Arc::new(connection);
                *link = Link { connection: Some(Arc::clone(&connection)), ..Link::default() };
                Ok(connection)
            }
            Err(fault) => {
                tracing::debug!(target: "kafka", %address, "not reached: {fault}");
                let backoff = link.backoff.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
                (link.backoff, link.not_before) = (Some(backoff), Some(Instant::now() + backoff));
                link.last_fault = Some(fault.clone());
                Err(fault)
            }
        }
    }

    /// A connection to whichever broker can be had.
    ///
    /// # Errors
    /// When none can be had now; then the cluster is away.
    pub(super) async fn any(&mut self) -> Result<Arc<Connection>, Fault> {
        let mut made = self.links.values().filter_map(|link| link.connection.as_ref());
        if let Some(connection) = made.find(|connection| !connection.is_closed()) {
            return Ok(Arc::clone(connection));
        }
        let mut addresses: Vec<Address> = self.nodes.values().cloned().collect();
        addresses.sort();
        addresses
            .extend(self.bootstrap.iter().filter(|address| !addresses.contains(address)).cloned().collect::<Vec<_>>());
        self.turn += 1;
        let first = self.turn % addresses.len().max(1);
        addresses.rotate_left(first);
        let mut last = lost("no address of a broker is given");
        for address in addresses {
            match self.reach(&address).await {
                Ok(connection) => return Ok(connection),
                Err(fault) => last = Fault::Lost(format!("{address}: {fault}")),
            }
        }
        self.cluster.mark_away(&last.to_string());
        Err(last)
    }
}

pub(super) fn address(host: &StrBytes, port: i32) -> Address {
    let host = host.as_str();
    if host.contains(':') { format!("[{host}]:{port}").into() } else { format!("{host}:{port}").into() }
}

async fn dial(address: &str, cluster: &Cluster) -> Result<Connection, Fault> {
    let stream = TcpStream::connect(address).await.map_err(lost)?;
    stream.set_nodelay(true).map_err(lost)?;
    let security = cluster.security();
    let client_id = StrBytes::from_string(cluster.client_id().to_owned());
    let encrypted = security.setting("security.protocol").is_some_and(|protocol| protocol.ends_with("ssl"));
    let mut line = if encrypted {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        Line::new(Box::new(tls::encrypt(stream, host, security).await?), client_id)
    } else {
        Line::new(Box::new(stream), client_id)
    };
    let abilities = abilities(&mut line).await?;
    login::log_in(&mut line, &abilities, security).await?;
    Ok(line.share(abilities))
}

async fn abilities(line: &mut Line) -> Result<Abilities, Fault> {
    for version in [4, 3, 0] {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("haus-am-see");
            request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        }
        let answer = line.ask_raw(ApiKey::ApiVersions, version, &request).await?;
        // A broker that does not know the version says so in the oldest form.
        let refused = answer.get(4..6) == Some(UNSUPPORTED_VERSION.to_be_bytes().as_slice());
        if refused && version > 0 {
            continue;
        }
        let answer: ApiVersionsResponse = decode(ApiKey::ApiVersions, version, answer)?;
        if answer.error_code != 0 {
            return Err(lost(format!("error {} to the question what the broker can do", answer.error_code)));
        }
        return Ok(Abilities::of(&answer));
    }
    Err(Fault::TooOld("the broker does not tell what it can do".to_owned()))
}
