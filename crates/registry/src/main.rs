//! registry.

fn main() {}
