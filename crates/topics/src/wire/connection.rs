//! One connection to a broker: frames out and in, several requests under way at a time.
//!
//! A broker answers the requests of one connection in their order, so answers are handed out by place and checked by
//! number. Promise: when a connection ends, whoever waits for an answer hears so at once; nothing is sent twice here.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// A request that is not answered within this has met a broker that hangs; the connection is given up.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The largest answer that is taken: metadata of very many topics.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Requests that wait to be written; the sender has fewer under way at one broker.
const REQUESTS_MAX: usize = 32;
/// Of the cluster's features: the level from which on a produce request adds its partitions to the transaction.
const IMPLICIT_FROM: i16 = 2;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection ended, or was not made. The request may have taken effect.
    Lost(String),
    /// What came is not an answer to what was asked.
    Garbled(String),
    /// The broker does not know the request in any version that is known here.
    TooOld(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Lost(reason) | Self::Garbled(reason) | Self::TooOld(reason)) = self;
        f.write_str(reason)
    }
}

pub(super) fn lost(error: impl std::fmt::Display) -> Fault {
    Fault::Lost(error.to_string())
}

fn garbled(error: impl std::fmt::Display) -> Fault {
    Fault::Garbled(error.to_string())
}

/// In the clear or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a broker can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    versions: HashMap<i16, (i16, i16)>,
    /// Transactions after KIP-890: partitions are added by what is produced, and each end of one raises the epoch.
    pub implicit_transactions: bool,
}

impl Abilities {
    pub(super) fn of(answer: &ApiVersionsResponse) -> Self {
        let versions = answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        let feature = answer.finalized_features.iter().find(|feature| feature.name.as_str() == "transaction.version");
        let mut abilities = Self { versions: versions.collect(), implicit_transactions: false };
        abilities.implicit_transactions = feature.is_some_and(|feature| feature.max_version_level >= IMPLICIT_FROM)
            && abilities.pick(ApiKey::EndTxn, (5, 5)).is_ok()
            && abilities.pick(ApiKey::Produce, (12, 12)).is_ok();
        abilities
    }

    /// The newest version that both know.
    pub(super) fn pick(&self, api: ApiKey, (oldest, newest): (i16, i16)) -> Result<i16, Fault> {
        let (min, max) = self.versions.get(&(api as i16)).copied().unwrap_or((0, -1));
        let version = newest.min(max);
        if version < oldest.max(min) {
            let what = format!("{api:?} in versions {oldest} to {newest} is needed, the broker has {min} to {max}");
            return Err(Fault::TooOld(what));
        }
        Ok(version)
    }
}

/// A connection before it is shared: one request, one answer.
pub(super) struct Line {
    pub stream: Box<dyn Stream>,
    pub client_id: StrBytes,
    correlation: i32,
}

impl Line {
    pub(super) fn new(stream: Box<dyn Stream>, client_id: StrBytes) -> Self {
        Self { stream, client_id, correlation: 0 }
    }

    pub(super) async fn ask<A: Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> Result<A, Fault> {
        let answer = self.ask_raw(api, version, request).await?;
        decode(api, version, answer)
    }

    /// The answer with its header.
    pub(super) async fn ask_raw(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> Result<Bytes, Fault> {
        self.correlation += 1;
        let frame = encode(api, version, self.correlation, &self.client_id, request)?;
        self.stream.write_all(&frame).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let answer = read_frame(&mut self.stream).await?;
        match correlation(&answer) {
            Some(number) if number == self.correlation => Ok(answer),
            _ => Err(garbled("an answer to something else")),
        }
    }

    /// From now on, several requests at a time.
    pub(super) fn share(self, abilities: Abilities) -> Connection {
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let closing = CancellationToken::new();
        let (reading, writing) = tokio::io::split(self.stream);
        let (closed, waiting) = (closing.clone(), Waiting::default());
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = write(writing, queue, &waiting) => reason,
                reason = read(reading, &waiting) => reason,
                () = closed.cancelled() => "given up".to_owned(),
            };
            closed.cancel();
            tracing::debug!(target: "kafka", "a connection ended: {reason}");
        });
        let next = AtomicI32::new(self.correlation + 1);
        Connection { requests, next, client_id: self.client_id, abilities, closing }
    }
}

/// Who waits, in the order of asking.
type Waiting = Arc<Mutex<VecDeque<(i32, oneshot::Sender<Bytes>)>>>;

struct Request {
    number: i32,
    frame: BytesMut,
    answer: oneshot::Sender<Bytes>,
}

/// See the module documentation.
pub(super) struct Connection {
    requests: mpsc::Sender<Request>,
    next: AtomicI32,
    client_id: StrBytes,
    pub abilities: Abilities,
    closing: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

impl Connection {
    pub(super) fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Sends a request; its answer is waited for apart from that.
    pub(super) fn post(&self, api: ApiKey, version: i16, request: &impl Encodable) -> Result<Pending, Fault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = encode(api, version, number, &self.client_id, request)?;
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(Request { number, frame, answer }).map_err(lost)?;
        Ok(Pending { answered, api, version, closing: self.closing.clone() })
    }

    pub(super) async fn ask<A: Decodable>(
        &self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> Result<A, Fault> {
        self.post(api, version, request)?.answer().await
    }
}

/// A request under way.
pub(super) struct Pending {
    answered: oneshot::Receiver<Bytes>,
    api: ApiKey,
    version: i16,
    closing: CancellationToken,
}

impl Pending {
    pub(super) async fn answer<A: Decodable>(self) -> Result<A, Fault> {
        match tokio::time::timeout(ANSWER_WAIT, self.answered).await {
            Ok(Ok(answer)) => decode(self.api, self.version, answer).inspect_err(|_| self.closing.cancel()),
            Ok(Err(_gone)) => Err(lost("the connection ended before the answer")),
            Err(_elapsed) => {
                self.closing.cancel();
                Err(lost("no answer in time"))
            }
        }
    }
}

async fn write(
    mut stream: WriteHalf<Box<dyn Stream>>,
    mut queue: mpsc::Receiver<Request>,
    waiting: &Waiting,
) -> String {
    while let Some(Request { number, frame, answer }) = queue.recv().await {
        waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((number, answer));
        let written = async {
            stream.write_all(&frame).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            return error.to_string();
        }
    }
    "not needed any more".to_owned()
}

async fn read(mut stream: ReadHalf<Box<dyn Stream>>, waiting: &Waiting) -> String {
    loop {
        let answer = match read_frame(&mut stream).await {
            Ok(answer) => answer,
            Err(fault) => return fault.to_string(),
        };
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match next {
            // Who asked may not wait any more.
            Some((number, asked)) if correlation(&answer) == Some(number) => drop(asked.send(answer)),
            _ => return "an answer to something else".to_owned(),
        }
    }
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, Fault> {
    let length = stream.read_i32().await.map_err(lost)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
    let Some(length) = length else { return Err(garbled("an answer of a length that cannot be")) };
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await.map_err(lost)?;
    Ok(answer.into())
}

fn correlation(answer: &Bytes) -> Option<i32> {
    answer.first_chunk().map(|number| i32::from_be_bytes(*number))
}

fn encode(
    api: ApiKey,
    version: i16,
    number: i32,
    client_id: &StrBytes,
    request: &impl Encodable,
) -> Result<BytesMut, Fault> {
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(number)
        .with_client_id(Some(client_id.clone()));
    let header_version = api.request_header_version(version);
    let size =
        header.compute_size(header_version).map_err(garbled)? + request.compute_size(version).map_err(garbled)?;
    let mut frame = BytesMut::with_capacity(4 + size);
    frame.put_i32(i32::try_from(size).map_err(garbled)?);
    header.encode(&mut frame, header_version).map_err(garbled)?;
    request.encode(&mut frame, version).map_err(garbled)?;
    Ok(frame)
}

pub(super) fn decode<A: Decodable>(api: ApiKey, version: i16, mut answer: Bytes) -> Result<A, Fault> {
    ResponseHeader::decode(&mut answer, api.response_header_version(version)).map_err(garbled)?;
    A::decode(&mut answer, version).map_err(garbled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey};

    use super::*;

    fn broker(produce: i16, end: i16, level: Option<i16>) -> Abilities {
        let api =
            |key: ApiKey, max| ApiVersion::default().with_api_key(key as i16).with_min_version(3).with_max_version(max);
        let feature = |level| {
            let name = StrBytes::from_static_str("transaction.version");
            FinalizedFeatureKey::default().with_name(name).with_max_version_level(level)
        };
        Abilities::of(
            &ApiVersionsResponse::default()
                .with_api_keys(vec![api(ApiKey::Produce, produce), api(ApiKey::EndTxn, end)])
                .with_finalized_features(level.map(feature).into_iter().collect()),
        )
    }

    #[test]
    fn partitions_are_added_by_producing_only_where_the_cluster_says_so() {
        assert!(broker(13, 5, Some(2)).implicit_transactions);
        assert!(!broker(13, 5, Some(1)).implicit_transactions);
        assert!(!broker(13, 5, None).implicit_transactions);
        assert!(!broker(11, 4, Some(2)).implicit_transactions);
    }

    #[test]
    fn the_newest_version_of_both_is_taken() {
        let old = broker(9, 3, None);
        assert_eq!(old.pick(ApiKey::Produce, (3, 11)).unwrap(), 9);
        assert_eq!(old.pick(ApiKey::Produce, (3, 5)).unwrap(), 5);
        assert!(matches!(old.pick(ApiKey::Produce, (10, 11)), Err(Fault::TooOld(_))));
        assert!(matches!(old.pick(ApiKey::EndTxn, (0, 2)), Err(Fault::TooOld(_))));
        assert!(matches!(old.pick(ApiKey::Metadata, (0, 2)), Err(Fault::TooOld(_))));
    }
}
