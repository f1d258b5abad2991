//! The relay as a process between a real Postgres, a real Kafka and the real schema registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod events;
mod failpoints;
mod golden;
mod lost_answers;
mod museum;
mod museum_restarts;
mod oracle;
mod recorded;
mod recorded_pipelines;
mod rest;
mod rig;
mod slots;
mod slow;
mod streaming;
mod transactions;
