//! catalog.

fn main() {}
