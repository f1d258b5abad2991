//! The verification against real Postgres, Kafka and object store, and a lake that says what a test wants it to say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod lake;
mod pipeline;
mod verification;
