//! The sink as a process, against real Kafka and the real object server: exactly once whatever happens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod bad_records;
mod compatibility;
mod exactly_once;
mod failpoints;
mod faults;
mod fixture;
mod layouts;
mod object_store;
mod parts;
mod readers;
mod rotation;
mod values;
