//! The relay as a process between a real Postgres, a real Kafka and the real schema registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crash;
mod events;
mod golden;
mod museum;
mod recorded;
mod recorded_pipelines;
mod rest;
mod rig;
mod slots;
mod streaming;
mod transactions;
