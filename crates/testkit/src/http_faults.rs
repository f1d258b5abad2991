//! A proxy that treats HTTP requests badly: for clients that have to live with a server's bad days.
//!
//! ```text
//!   client ──▶ HttpFaults ──▶ server
//!                 └── the test decides for each request what goes wrong
//! ```
//!
//! One request a connection. The head is passed on as it came (signatures cover it), but for `Connection: close`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A head longer than this is no request of ours.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFault {
    /// Nothing: it is passed on and answered.
    None,
    /// The connection is closed before anything is read of it.
    Refuse,
    /// It never reaches the server; the answer is this status with S3's error code.
    Answer(u16, &'static str),
    /// The connection is closed in the middle of its body; the server never sees it.
    CutBody,
    /// The server does what it asks, and the answer is lost.
    LoseAnswer,
    /// The server does what it asks, and half of the answer arrives.
    CutAnswer,
    /// It is passed on after this time.
    Delay(Duration),
}

/// What a decision may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Requests that came before it.
    pub number: u64,
    /// All of its head.
    pub head: String,
}

impl HttpRequest {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A running proxy; ends when dropped.
pub struct HttpFaults {
    port: u16,
    faults: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl HttpFaults {
    /// Listen on a free port before the server at `upstream`; `decide` is asked about each request.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start(upstream: u16, decide: impl Fn(&HttpRequest) -> HttpFault + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bind a free port");
        let port = listener.local_addr().expect("read the free port").port();
        let faults = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&faults);
        let decide = Arc::new(decide);
        let accepting = tokio::spawn(async move {
            let numbers = Arc::new(AtomicU64::new(0));
            while let Ok((client, _)) = listener.accept().await {
                let (decide, counted, numbers) = (Arc::clone(&decide), Arc::clone(&counted), Arc::clone(&numbers));
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _ = serve(client, upstream, &*decide, &counted, &numbers).await;
                });
            }
        });
        Self { port, faults, accepting }
    }

    /// Address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Requests that something happened to.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
}

impl Drop for HttpFaults {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut client: TcpStream,
    upstream: u16,
    decide: &(impl Fn(&HttpRequest) -> HttpFault + Sync),
    faults: &AtomicU64,
    numbers: &AtomicU64,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    let body_start = loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if head.len() > HEAD_BYTES_MAX || client.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&head[..body_start]).into_owned();
    let mut words = text.split(' ');
    let request = HttpRequest {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        number: numbers.fetch_add(1, Ordering::Relaxed),
        head: text.clone(),
    };
    let fault = decide(&request);
    if fault != HttpFault::None {
        faults.fetch_add(1, Ordering::Relaxed);
    }
    let length = content_length(&text);
    let mut body = head.split_off(body_start);
    match fault {
        HttpFault::Refuse => return Ok(()),
        HttpFault::CutBody => {
            while body.len() < length / 2 && client.read_buf(&mut body).await? > 0 {}
            return Ok(());
        }
        HttpFault::Delay(time) => tokio::time::sleep(time).await,
        HttpFault::None | HttpFault::Answer(..) | HttpFault::LoseAnswer | HttpFault::CutAnswer => {}
    }
    while body.len() < length && client.read_buf(&mut body).await? > 0 {}
    if let HttpFault::Answer(status, code) = fault {
        return client.write_all(&error_answer(status, code)).await;
    }
    let answer = ask(upstream, &text, &body).await?;
    match fault {
        HttpFault::LoseAnswer => Ok(()),
        HttpFault::CutAnswer => client.write_all(&answer[..answer.len() / 2]).await,
        _ => client.write_all(&answer).await,
    }
}

fn content_length(head: &str) -> usize {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    found.and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

fn error_answer(status: u16, code: &str) -> Vec<u8> {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>a fault proxy says so</Message></Error>");
    format!(
        "HTTP/1.1 {status} Fault\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The server's whole answer.
async fn ask(upstream: u16, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let lines = head.trim_end_matches("\r\n").split("\r\n");
    let kept = lines.filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = kept.collect::<Vec<_>>().join("\r\n");
    server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    Ok(answer)
}
