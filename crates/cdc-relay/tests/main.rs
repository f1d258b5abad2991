//! The relay as a process between a real Postgres, a real Kafka and the real schema registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod encrypted_kafka;
mod encrypted_postgres;
mod events;
mod failpoints;
mod fence;
mod golden;
mod lost_answers;
mod museum;
mod museum_restarts;
mod oracle;
mod peers;
mod reconnect;
mod recorded;
mod recorded_pipelines;
mod rest;
mod rig;
mod rights;
mod signals;
mod slot_care;
mod slots;
mod slow;
mod snapshots;
mod streaming;
mod transactions;
