//! s3-sink.

fn main() {}
