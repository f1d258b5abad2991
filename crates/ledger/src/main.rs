//! ledger.

fn main() {}
