//! seeder.

fn main() {}
