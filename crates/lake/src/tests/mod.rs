//! Tests of the layers against a landing zone, a catalog and storage in memory: all that real servers do, without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commits;
mod files;
mod fixture;
mod golden;
mod logic;
mod maintain;
mod memory;
mod others;
mod parts;
mod port;
mod publish;
mod quarantine;
mod reconcile;
mod replay;
mod runs;
mod serve;
mod shop;
mod stage;
mod topic;
mod travel;
