//! lake.

fn main() {}
