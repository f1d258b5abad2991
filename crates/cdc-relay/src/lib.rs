//! Change data capture from Postgres to Kafka: a drop-in for Debezium's Postgres connector.
//!
//! ```text
//!              ┌ snapshot: readers ─ COPY ─▶ rows ┐
//!   Postgres ──┤                                  ├─▶ records (Avro envelope) ─▶ outbox ─▶ Kafka transaction:
//!              └ stream: slot ─ pgoutput ▶ events ┘                                        records + position
//!        ▲                                                                                      │
//!        └───────────────── confirmed position, only after the Kafka commit ◀───────────────────┘
//! ```
//!
//! Promise: every committed row change is in its topic exactly once, per key in commit order, whatever is killed when.
//! The position ([`position`]) is committed with the records; everything else follows from it. [`session`] holds the
//! order of steps at the start, [`stream`] and [`snapshot`] the two ways rows come, [`start`] the decision between them.

pub mod adhoc;
mod debezium_metrics;
pub mod error;
pub mod failpoint;
pub mod fence;
pub mod heartbeat;
pub mod naming;
pub mod offsets;
pub mod outbox;
pub mod pipeline;
pub mod plugin;
pub mod position;
pub mod postgres;
pub mod program;
pub mod progress;
mod reach;
pub mod records;
pub mod selection;
pub mod session;
pub mod settings;
pub mod shape;
pub mod slot_care;
pub mod snapshot;
pub mod start;
pub mod stream;
pub mod tables;
