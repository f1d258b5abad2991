//! Access to Kafka and to the schema registry, for every hop that reads or writes a topic.
//!
//! This is the only crate that names librdkafka (`rdkafka`), Kafka's wire protocol and the registry's HTTP API; the
//! relay, the sink, the Connect worker, the registry, the ledger and the CLI see only what is exported here. Consumers,
//! admin and the plain producer are librdkafka's; transactions are written by our own client (module `wire`).
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
//! - The broker answers a commit before the markers are written. A transaction begun at once is told
//!   CONCURRENT_TRANSACTIONS; librdkafka waits a fixed 20 ms then, ours 1 ms at first. Where the cluster has
//!   `transaction.version` 2 the broker itself waits 20 ms with the first records. So put more into each transaction, or
//!   alternate two transactional.ids, as the relay does.
//! - librdkafka allocates and frees each record and each of its headers; that was two thirds of the relay's CPU. Our
//!   producer writes a record once, into the batch that is sent.
//! - With `transaction.version` 2 each commit or abort raises the producer's epoch, and sequence numbers begin at zero. A
//!   commit that is asked for again is told by the epoch before, and answered with the new one.
//! - After a batch was refused for good, the broker's sequence numbers are not ours any more. The end of the transaction
//!   heals that with `transaction.version` 2; without it a new epoch is asked for under the old identity, which a producer
//!   that has been superseded does not get.
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
pub use registry_client::{CompatibilityVerdict, RegisteredSchema, RegistryClient, SchemaId, SubjectVersion};
pub use security::{ClientProperties, Security, SecurityError};
pub use transaction::{Compression, SendOutcome, TransactionSettings, TransactionalProducer};
