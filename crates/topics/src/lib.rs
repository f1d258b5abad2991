//! Access to Kafka and to the schema registry, for every hop that reads or writes a topic.
//!
//! This is the only crate that names librdkafka (`rdkafka`) and the registry's HTTP API; the relay, the sink,
//! the Connect worker, the registry, the ledger and the CLI see only what is exported here.
//!
//! | type | for | promise |
//! |---|---|---|
//! | [`TransactionalProducer`] | relay, registry | records and the offset record become visible together or never; a zombie is fenced |
//! | [`Producer`] | Connect's status and config topics | acknowledged by all replicas, no duplicate by retry |
//! | [`Consumer`] | sink, ledger, `topic tail` | committed records only, bounded bytes, rebalances as events |
//! | [`read_to_end`], [`CompactedReader`] | compacted state topics | everything up to the end that stood when asked |
//! | [`Admin`] | set-up, CLI | idempotent creation, offsets of groups changed only while nobody is in them |
//! | [`RegistryClient`] | relay, sink, ledger | cached; a definite error names subject and reason |
//!
//! # Surprises found, and where they are handled
//! - rdkafka's `commit_transaction` first polls in steps of 100 ms while records are in flight, so every commit
//!   would take 100 ms. [`TransactionalProducer::commit`] waits with librdkafka's own flush instead, which also
//!   makes `linger.ms` void for what is queued.
//! - The broker answers a commit before the markers are written. A transaction begun at once is told
//!   CONCURRENT_TRANSACTIONS, and librdkafka waits a fixed 20 ms before it asks again. So transactions back to
//!   back take 25-30 ms each where a single one takes 5. Put more into each, or alternate two transactional.ids, as
//!   the relay does.
//! - A record with four headers costs about three times the CPU of one without: librdkafka allocates and frees
//!   each header on its own.
//! - The consumer's position moves over transaction markers and aborted records, but only while it is polled, and
//!   only [`Consumer::positions`] tells it; offsets of records alone show a gap there.
//! - rdkafka drops the error of a single topic when describing settings: an unknown topic looks like one without
//!   settings. [`Admin::topic_config`] tells them apart.
//! - A topic just created is unknown to the next request for a moment; [`Admin::create_topic`] waits it out.
//! - With cooperative rebalancing the group waits for a member that was told to give partitions up until it polls
//!   again: keep calling [`Consumer::next`] after [`Event::Revoked`].
//! - librdkafka needs a `group.id` for manual assignment too. It never joins a group by that.
//! - Whether the broker is away is not an error of the consumer, which reconnects by itself: it is logged once and
//!   shown by [`Cluster::reachable`].

mod admin;
mod cluster;
mod compacted;
mod connect_offset;
mod consumer;
mod error;
mod group;
mod oauth;
mod producer;
mod record;
mod registry_access;
mod registry_client;
mod security;
mod transaction;
mod wire;

pub use admin::{Admin, GroupOffset, GroupSummary, OffsetReset, ResetTo, TopicPlan, TopicSummary, Watermarks};
pub use cluster::Cluster;
pub use compacted::{CompactedReader, read_to_end};
pub use connect_offset::{ConnectOffset, ConnectOffsetError};
pub use consumer::{Consumer, ConsumerSettings, Event, StartAt};
pub use error::{AdminError, ConsumeError, ProduceError, RegistryError};
pub use group::{GroupDescription, GroupMember};
pub use producer::{Delivered, Producer, ProducerSettings};
pub use record::{Header, Headers, Offset, OwnedRecord, Partition, Record, RecordOut, TopicPartition};
pub use registry_access::RegistryAccess;
pub use registry_client::{CompatibilityVerdict, RegisteredSchema, RegistryClient, SchemaId};
pub use security::{ClientProperties, Security, SecurityError};
pub use transaction::{Compression, SendOutcome, TransactionSettings, TransactionalProducer};
