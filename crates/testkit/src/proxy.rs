//! A TCP proxy that misbehaves when told to: for tests of what a service does when the network, or the server behind it,
//! fails in a way that killing it cannot show.
//!
//! ```text
//!   client ──▶ Proxy (faults, one after the other) ──▶ server
//! ```
//!
//! [`Proxy::to`] passes bytes of any protocol. [`Proxy::to_kafka`] understands Kafka's frames: clients are told the
//! proxy's address in place of the broker's, and a fault can wait for the answer to one kind of request.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What goes wrong. [`Fault::CutAnswer`], [`Fault::LoseAnswer`] and [`Fault::LoseKafkaAnswer`] strike once and give way to
/// the next fault in the row; the others stay until they are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Connections are closed as soon as they are made, and those there are now.
    Refuse,
    /// So many bytes of the answer arrive, then the connection is closed.
    CutAnswer { after_bytes: usize },
    /// The server has begun to answer, so the request took effect; nothing of the answer arrives.
    LoseAnswer,
    /// As [`Fault::LoseAnswer`], for the next request of this kind ([`kafka_api`]).
    LoseKafkaAnswer { api: i16 },
    /// Everything is passed on this much later, piece by piece.
    Slow { delay: Duration },
}

/// Numbers of Kafka's requests.
pub mod kafka_api {
    pub const PRODUCE: i16 = 0;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
    pub const END_TXN: i16 = 26;
}

/// A proxy in front of one server; ends with its last handle.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: String,
    /// What a Kafka broker says its address is, and what clients are told.
    told: Option<Told>,
    faults: Mutex<VecDeque<Fault>>,
    struck: AtomicU64,
    /// Counts up when all connections are to be closed.
    cut: watch::Sender<u64>,
}

struct Told {
    broker: Vec<u8>,
    proxy: Vec<u8>,
}

impl Proxy {
    /// A proxy to `host:port`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(upstream: &str) -> Self {
        Self::start(upstream, false).await
    }

    /// A proxy to the one broker of a cluster, which advertises `127.0.0.1` and this port.
    ///
    /// # Panics
    /// As [`Self::to`].
    pub async fn to_kafka(bootstrap: &str) -> Self {
        Self::start(bootstrap, true).await
    }

    async fn start(upstream: &str, kafka: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind the proxy");
        let port = listener.local_addr().expect("read the proxy's port").port();
        let told = kafka.then(|| {
            let broker = upstream.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("host:port");
            Told { broker: address(broker), proxy: address(port) }
        });
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            told,
            faults: Mutex::default(),
            struck: AtomicU64::new(0),
            cut: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, accepting }
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on these faults, in this order; none: pass everything on.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        let faults: VecDeque<Fault> = faults.into_iter().collect();
        let refuse = faults.front() == Some(&Fault::Refuse);
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        if refuse {
            self.shared.cut_all();
        }
    }

    /// How many faults have struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.cut_all();
    }
}

impl Shared {
    fn fault(&self) -> Option<Fault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    /// The fault in force has struck: the next one's turn. False when another connection was quicker.
    fn strike(&self, fault: Fault) -> bool {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.front() != Some(&fault) {
            return false;
        }
        faults.pop_front();
        self.struck.fetch_add(1, Ordering::SeqCst);
        if faults.front() == Some(&Fault::Refuse) {
            self.cut_all();
        }
        true
    }

    fn cut_all(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

/// As it stands in an answer of the broker: the host's letters, then the port as an INT32.
fn address(port: u16) -> Vec<u8> {
    [b"127.0.0.1".as_slice(), &i32::from(port).to_be_bytes()].concat()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(pass(client, Arc::clone(&shared)));
    }
}

/// Both directions of one connection; when one ends, so does the other.
async fn pass(client: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    cut.mark_unchanged();
    if shared.fault() == Some(Fault::Refuse) {
        return;
    }
    let Ok(server) = TcpStream::connect(&shared.upstream).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let asked = Mutex::new(HashMap::new());
    tokio::select! {
        () = requests(from_client, to_server, &shared, &asked) => {}
        () = answers(from_server, to_client, &shared, &asked) => {}
        _ = cut.changed() => {}
    }
}

/// Kinds of the requests under way, by correlation id.
type Asked = Mutex<HashMap<i32, i16>>;

async fn requests(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    shared: &Shared,
    asked: &Asked,
) {
    while let Some(piece) = piece(&mut from, shared.told.is_some()).await {
        if shared.told.is_some() && piece.len() >= 12 {
            let api = i16::from_be_bytes([piece[4], piece[5]]);
            let correlation = i32::from_be_bytes([piece[8], piece[9], piece[10], piece[11]]);
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(correlation, api);
        }
        if let Some(Fault::Slow { delay }) = shared.fault() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWriteExt + Unpin, shared: &Shared, asked: &Asked) {
    // Bytes let through of an answer that is to be cut.
    let mut passed = 0;
    while let Some(mut piece) = piece(&mut from, shared.told.is_some()).await {
        let api = correlation(&piece).and_then(|id| asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        match shared.fault() {
            Some(fault @ Fault::LoseAnswer) if shared.strike(fault) => return,
            Some(fault @ Fault::LoseKafkaAnswer { api: wanted }) if api == Some(wanted) && shared.strike(fault) => {
                return;
            }
            Some(fault @ Fault::CutAnswer { after_bytes }) => {
                let left = after_bytes.saturating_sub(passed);
                if piece.len() > left && shared.strike(fault) {
                    let _ = to.write_all(&piece[..left]).await;
                    let _ = to.flush().await;
                    return;
                }
                passed += piece.len();
            }
            Some(Fault::Slow { delay }) => tokio::time::sleep(delay).await,
            _ => {}
        }
        if let Some(told) = &shared.told {
            replace(&mut piece, &told.broker, &told.proxy);
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
}

fn correlation(frame: &[u8]) -> Option<i32> {
    frame.get(4..8).and_then(|id| id.try_into().ok()).map(i32::from_be_bytes)
}

/// What came together: a frame with its length, or what one read yields.
async fn piece(from: &mut (impl AsyncRead + Unpin), framed: bool) -> Option<Vec<u8>> {
    if framed {
        let length = from.read_u32().await.ok()?;
        let mut frame = vec![0; 4 + length as usize];
        frame[..4].copy_from_slice(&length.to_be_bytes());
        from.read_exact(&mut frame[4..]).await.ok()?;
        return Some(frame);
    }
    let mut bytes = vec![0; 16 * 1024];
    let read = from.read(&mut bytes).await.ok()?;
    bytes.truncate(read);
    (read > 0).then_some(bytes)
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(old.len()).position(|window| window == old) {
        bytes[at + found..at + found + old.len()].copy_from_slice(new);
        at += found + old.len();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use super::*;

    /// Answers every piece with itself and counts what it got.
    async fn echo() -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let got = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&got);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    while let Some(piece) = piece(&mut stream, false).await {
                        count.fetch_add(piece.len() as u64, Ordering::SeqCst);
                        if stream.write_all(&piece).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, got)
    }

    /// Sends ten bytes and returns what comes back of them before the connection ends.
    async fn ask(proxy: &Proxy) -> usize {
        let Ok(mut stream) = TcpStream::connect(proxy.address()).await else { return 0 };
        if stream.write_all(b"0123456789").await.is_err() {
            return 0;
        }
        let mut answer = [0; 10];
        let mut read = 0;
        while read < 10 {
            match stream.read(&mut answer[read..]).await {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        read
    }

    #[tokio::test]
    async fn faults_strike_in_their_order() {
        let (server, got) = echo().await;
        let proxy = Proxy::to(&server).await;
        assert_eq!(ask(&proxy).await, 10);
        proxy.set([Fault::LoseAnswer, Fault::CutAnswer { after_bytes: 4 }]);
        assert_eq!(ask(&proxy).await, 0);
        assert_eq!(got.load(Ordering::SeqCst), 20, "the request took effect");
        assert_eq!(ask(&proxy).await, 4);
        assert_eq!(proxy.struck(), 2);
        assert_eq!(ask(&proxy).await, 10, "they strike once");
        proxy.set([Fault::Refuse]);
        assert_eq!(ask(&proxy).await, 0);
        assert_eq!(got.load(Ordering::SeqCst), 40, "nothing came through");
        proxy.set([Fault::Slow { delay: Duration::from_millis(100) }]);
        let begun = Instant::now();
        assert_eq!(ask(&proxy).await, 10);
        assert!(begun.elapsed() >= Duration::from_millis(200), "both ways");
    }

    #[tokio::test]
    async fn refusing_closes_what_is_open() {
        let (server, _) = echo().await;
        let proxy = Proxy::to(&server).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        proxy.set([Fault::Refuse]);
        assert!(stream.read_u8().await.is_err());
    }

    #[test]
    fn the_broker_is_known_by_the_address_of_the_proxy() {
        let mut answer = [b"..".as_slice(), &address(9_092), b"--", &address(9_093), &address(9_092)].concat();
        replace(&mut answer, &address(9_092), &address(40_000));
        let wanted = [b"..".as_slice(), &address(40_000), b"--", &address(9_093), &address(40_000)].concat();
        assert_eq!(answer, wanted);
    }
}
