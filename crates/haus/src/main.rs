//! haus.

fn main() {}
