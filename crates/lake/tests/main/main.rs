//! `lake` over real servers: our object server and catalog, PostgreSQL behind it, and other engines as readers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crashes;
mod killed;
mod maintained;
mod models;
mod page;
mod port;
mod rig;
mod token;
#[allow(dead_code)]
#[path = "../../src/tests/topic.rs"]
mod topic;
