//! object-server.

fn main() {}
