//! Logical messages (`pg_logical_emit_message`), written to the topic `<prefix>.message`.

use model::envelope::{MessageCodec, Source, TransactionBlock};
use pgoutput::LogicalMessage;

use crate::{
    error::RelayError,
    outbox::Lifeline,
    pipeline,
    records::{Encoded, Piece, RecordHeaders},
    session::Session,
    snapshot::clock_ns,
    tables::NoticeTopic,
};

/// The topic, once there was a message.
#[derive(Debug, Default)]
pub struct Messages {
    ready: Option<(MessageCodec, NoticeTopic)>,
    encoded: Encoded,
}

impl Messages {
    /// Writes one message.
    ///
    /// # Errors
    /// When a server refuses or the Kafka transaction is lost.
    pub async fn write(
        &mut self,
        message: &LogicalMessage<'_>,
        source: &Source<'_>,
        block: Option<&TransactionBlock>,
        session: &mut Session,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        let (codec, topic) = match &self.ready {
            Some(ready) => ready,
            None => {
                let codec = MessageCodec::new(&session.settings.topic_prefix, &session.settings.target.database);
                let name = session.settings.topics.messages();
                let topic = session.desk.notice(name, codec.key_schema(), codec.value_schema()).await?;
                self.ready.insert((codec, topic))
            }
        };
        let encoded = &mut self.encoded;
        encoded.clear();
        codec.encode_key(topic.key_schema_id, message.prefix, &mut encoded.bytes);
        let middle = encoded.bytes.len();
        let ts_ms = i64::try_from(clock_ns() / 1_000_000).unwrap_or_default();
        let id = topic.value_schema_id;
        codec.encode_value(id, message.prefix, message.content, source, block, ts_ms, &mut encoded.bytes);
        let value = Some(middle..encoded.bytes.len());
        encoded.pieces.push(Piece { key: Some(0..middle), value, headers: RecordHeaders::None });
        let Session { outbox, desk, pipeline, rules, .. } = session;
        pipeline::send((outbox, desk), pipeline.as_mut(), topic.origin(), encoded, &rules.context_headers, lifeline)
            .await
    }
}
