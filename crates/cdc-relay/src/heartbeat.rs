//! Heartbeat records (`heartbeat.interval.ms`): a sign of life for whoever watches the topics.
//!
//! Stands beside the stream, which asks when one is due and writes it into the Kafka transaction of the position. They do
//! not move the slot: the position is stored and confirmed without them as well (see [`slot_care`](crate::slot_care)).

use std::time::{Duration, Instant};

use model::envelope::HeartbeatCodec;

use crate::{
    error::RelayError,
    outbox::Lifeline,
    pipeline,
    records::{Encoded, Piece, RecordHeaders},
    session::Session,
    snapshot::clock_ns,
    tables::NoticeTopic,
};

/// When heartbeats are written, and where to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeartbeatSettings {
    /// `None`: never.
    pub interval: Option<Duration>,
    pub topic: String,
    /// Statement that is run at every heartbeat (`heartbeat.action.query`).
    pub action_query: Option<String>,
}

/// Heartbeats of one session.
#[derive(Debug)]
pub struct Heartbeats {
    interval: Option<Duration>,
    last: Instant,
    topic: Option<NoticeTopic>,
    encoded: Encoded,
}

impl Heartbeats {
    #[must_use]
    pub fn new(settings: &HeartbeatSettings) -> Self {
        Self { interval: settings.interval, last: Instant::now(), topic: None, encoded: Encoded::default() }
    }

    /// When the next one is due.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.interval.map(|interval| self.last + interval)
    }

    #[must_use]
    pub fn due(&self) -> bool {
        self.due_at().is_some_and(|at| Instant::now() >= at)
    }

    /// Writes one into the open Kafka transaction, or opens one for it.
    ///
    /// # Errors
    /// When a server refuses or the Kafka transaction is lost.
    pub async fn write(&mut self, session: &mut Session, lifeline: &mut impl Lifeline) -> Result<(), RelayError> {
        self.last = Instant::now();
        let topic = match &self.topic {
            Some(topic) => topic,
            None => {
                let name = session.settings.heartbeat.topic.clone();
                let (key, value) = (HeartbeatCodec.key_schema(), HeartbeatCodec.value_schema());
                self.topic.insert(session.desk.notice(name, key, value).await?)
            }
        };
        let encoded = &mut self.encoded;
        encoded.clear();
        HeartbeatCodec.encode_key(topic.key_schema_id, &session.settings.topic_prefix, &mut encoded.bytes);
        let middle = encoded.bytes.len();
        let ts_ms = i64::try_from(clock_ns() / 1_000_000).unwrap_or_default();
        HeartbeatCodec.encode_value(topic.value_schema_id, ts_ms, &mut encoded.bytes);
        let value = Some(middle..encoded.bytes.len());
        encoded.pieces.push(Piece { key: Some(0..middle), value, headers: RecordHeaders::None });
        let Session { outbox, desk, pipeline, rules, .. } = session;
        pipeline::send((outbox, desk), pipeline.as_mut(), topic.origin(), encoded, &rules.context_headers, lifeline)
            .await
    }
}
