//! Messages as the manual lays them out; cut-off and random bytes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod messages;
