//! The ledger: proof that the lake holds what Postgres holds, nothing lost, nothing doubled.
//!
//! Stands beside the flow and reads every hop of it: Postgres, the topics, the raw objects, and the lake's tables
//! through its SQL endpoint. It writes nothing but one empty message into Postgres' log, which moves an idle slot on.
//!
//! ```text
//!   Postgres ──▶ topic ──▶ raw ──▶ stage ──▶ shape ──▶ serve
//!   snapshot     events    events  events    rows      marts
//!      └──────────┴─────────┴────────┘         │         │
//!        same rows at the snapshot,     rows of all   independent
//!        same offsets at each hop       of stage      SQL again
//! ```
//!
//! It works under running traffic: the state at one snapshot of Postgres is rebuilt at each hop from the events whose
//! transaction that snapshot shows, and every hop is counted up to one offset per partition. Promise: `ok` means that
//! all of this was read and was equal; whatever could not be read is an error and never passes for equal.

pub mod canonical;
pub mod container;
pub mod envelope;
pub mod error;
pub mod lake;
pub mod marts;
pub mod offsets;
pub mod program;
pub mod raw;
pub mod report;
pub mod rows;
pub mod source;
pub mod state;
pub mod topic;
pub mod verify;
pub mod visibility;
