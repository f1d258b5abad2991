//! Bounds of source transactions and the order of events in them (`provide.transaction.metadata`).
//!
//! Promise: the same numbers whatever is killed when. A transaction that is read again after a restart is counted again
//! from its beginning, and what was written before is only counted. So its begin is written right before its first event,
//! or with its end, never alone: a stored position inside a transaction always stands behind an event.

use std::collections::HashMap;

use model::{envelope::TransactionCodec, lsn::Lsn};

use crate::{
    error::RelayError,
    outbox::Lifeline,
    pipeline,
    records::{Encoded, EventOrder, Piece, RecordHeaders},
    session::Session,
    tables::NoticeTopic,
};

/// Counts of the open transaction.
#[derive(Debug, Default)]
pub struct Transactions {
    topic: Option<NoticeTopic>,
    tx_id: i64,
    ts_us: i64,
    begin_lsn: Lsn,
    /// The begin is written, now or before a restart.
    begun: bool,
    total: u64,
    /// Place in `tables` by name.
    places: HashMap<String, usize>,
    /// Events by table, in the order of their first event.
    tables: Vec<(String, u64)>,
    encoded: Encoded,
}

impl Transactions {
    /// A transaction begins at `lsn`.
    pub fn begin(&mut self, tx_id: i64, ts_us: i64, lsn: Lsn) {
        (self.tx_id, self.ts_us, self.begin_lsn) = (tx_id, ts_us, lsn);
        (self.begun, self.total) = (false, 0);
        self.places.clear();
        self.tables.clear();
    }

    /// Numbers the events that the change at `lsn` becomes.
    pub fn order(&mut self, table: &str, lsn: Lsn) -> EventOrder<'_> {
        let place = match self.places.get(table) {
            Some(place) => *place,
            None => {
                self.places.insert(table.to_owned(), self.tables.len());
                self.tables.push((table.to_owned(), 0));
                self.tables.len() - 1
            }
        };
        let (_, events) = &mut self.tables[place];
        EventOrder { tx_id: self.tx_id, lsn, total: &mut self.total, table: events }
    }

    /// An event was written before a restart, so the begin was too.
    pub fn counted(&mut self) {
        self.begun = true;
    }

    /// To be called before an event is sent.
    ///
    /// # Errors
    /// When a server refuses or the Kafka transaction is lost.
    pub async fn before_event(
        &mut self,
        session: &mut Session,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        if self.begun {
            return Ok(());
        }
        self.begun = true;
        let (tx_id, ts_us, lsn) = (self.tx_id, self.ts_us, self.begin_lsn);
        self.write(lsn, session, lifeline, |id, out| TransactionCodec.encode_begin(id, tx_id, lsn, ts_us, out)).await
    }

    /// The transaction is complete.
    ///
    /// # Errors
    /// As [`Self::before_event`].
    pub async fn end(
        &mut self,
        lsn: Lsn,
        session: &mut Session,
        lifeline: &mut impl Lifeline,
    ) -> Result<(), RelayError> {
        self.before_event(session, lifeline).await?;
        let (tx_id, ts_us, tables) = (self.tx_id, self.ts_us, std::mem::take(&mut self.tables));
        let written = self.write(lsn, session, lifeline, |id, out| {
            TransactionCodec.encode_end(id, tx_id, lsn, ts_us, &tables, out);
        });
        written.await
    }

    async fn write(
        &mut self,
        lsn: Lsn,
        session: &mut Session,
        lifeline: &mut impl Lifeline,
        value: impl FnOnce(u32, &mut Vec<u8>),
    ) -> Result<(), RelayError> {
        let topic = match &self.topic {
            Some(topic) => topic,
            None => {
                let name = session.settings.topics.transactions();
                let (key, value) = (TransactionCodec.key_schema(), TransactionCodec.value_schema());
                self.topic.insert(session.desk.notice(name, key, value).await?)
            }
        };
        let encoded = &mut self.encoded;
        encoded.clear();
        TransactionCodec.encode_key(topic.key_schema_id, self.tx_id, lsn, &mut encoded.bytes);
        let middle = encoded.bytes.len();
        value(topic.value_schema_id, &mut encoded.bytes);
        let value = Some(middle..encoded.bytes.len());
        encoded.pieces.push(Piece { key: Some(0..middle), value, headers: RecordHeaders::None });
        let Session { outbox, desk, pipeline, rules, .. } = session;
        pipeline::send((outbox, desk), pipeline.as_mut(), topic.origin(), encoded, &rules.context_headers, lifeline)
            .await
    }
}
