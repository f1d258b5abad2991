//! The catalog as its clients see it: the real binary on a real Postgres and our object server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod clients;
mod concurrency;
mod crashes;
mod protocol;
mod pyiceberg;
mod repeated;
mod stack;
mod views;
