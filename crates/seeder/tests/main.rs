//! The seeder's binary against real Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod full_seed;
mod shop;
mod traffic;
