//! The object server as its clients see it: the real binary, asked by OpenDAL and by plain HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crashes;
mod objects;
mod server;
