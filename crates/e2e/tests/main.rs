//! End-to-end tests over the real binaries, and the rules that the workspace holds itself to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arrows;
mod mainjob;
mod notebooks;
mod stack;
mod tidy;
