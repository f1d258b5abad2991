//! cdc-relay.

fn main() {}
