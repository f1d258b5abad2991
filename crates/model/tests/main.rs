//! Tests of `model` against records of real Debezium (`tests/golden` at the root of the repository) and against another
//! Avro implementation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod connect_record;
mod envelope;
