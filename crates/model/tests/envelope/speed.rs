//! How fast rows become records. Not a benchmark, a look: `cargo test -p model speed -- --ignored --nocapture`.

use std::time::Instant;

use model::{
    cell::Cell,
    envelope::{EnvelopeCodec, Op, SnapshotMark, Source},
    lsn::Lsn,
};

use super::tables;

#[test]
#[ignore = "prints a figure for the eye; says nothing on a loaded machine"]
fn orders_per_second() {
    const ROWS: u32 = 1_000_000;
    let codec = EnvelopeCodec::new("storefront", "storefront", &tables::orders()).unwrap();
    let row = [
        Cell::Text(b"123456"),
        Cell::Text(b"4711"),
        Cell::Text(b"shipped"),
        Cell::Text(b"1234.56"),
        Cell::Text(b"2026-11-22 16:00:00.123456"),
        Cell::Text(b"2026-11-22 16:00:00.123456"),
    ];
    let mut out = Vec::new();
    let started = Instant::now();
    let mut bytes = 0;
    for i in 0..u64::from(ROWS) {
        let source = Source {
            snapshot: SnapshotMark::False,
            ts_us: 1_795_353_659_044_077,
            tx_id: Some(765),
            lsn: Some(Lsn(26_899_392 + i)),
            sequence: (Some(Lsn(26_899_392)), Some(Lsn(26_899_392 + i))),
            origin: None,
        };
        out.clear();
        codec.encode_key(1, &row, &mut out).unwrap();
        codec.encode_value(2, Op::Create, None, Some(&row), &source, 1_795_353_659_406_266_998, &mut out).unwrap();
        bytes += out.len();
    }
    let elapsed = started.elapsed();
    println!(
        "{ROWS} rows in {elapsed:.2?}: {:.0} rows/s, {:.0} MB/s",
        f64::from(ROWS) / elapsed.as_secs_f64(),
        bytes as f64 / 1e6 / elapsed.as_secs_f64()
    );
}
