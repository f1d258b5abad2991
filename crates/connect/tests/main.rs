//! The worker against a real Kafka: REST answers of a JVM worker, life of tasks, several workers on one state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_records;
mod fixture;
mod golden;
mod lifecycle;
mod whole_api;
