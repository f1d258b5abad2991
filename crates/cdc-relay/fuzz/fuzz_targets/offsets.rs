//! Any records in the offsets topic: they are understood or refused, and a position that was understood is the same after
//! it was written and read again.

#![no_main]
#![allow(dead_code)]

extern crate self as topics;

#[path = "../../../topics/src/connect_offset.rs"]
mod connect_offset;
#[path = "../../src/offsets.rs"]
mod offsets;
#[path = "../../src/adhoc"]
mod adhoc {
    pub mod signal;
    pub mod state;
}
#[path = "../../src/position.rs"]
mod position;
#[path = "../../src/selection.rs"]
mod selection;
#[path = "../../src/snapshot"]
mod snapshot {
    pub mod plan;
}

pub use connect_offset::ConnectOffset;
use libfuzzer_sys::fuzz_target;
use offsets::{MainOffset, OffsetKeys, Stored};

fuzz_target!(|records: Vec<(u8, &[u8], Option<&[u8]>)>| {
    let keys = OffsetKeys { connector: "c".into(), topic_prefix: "p".into() };
    // Keys of the right connector are improbable among random bytes, so most records get one.
    let known: [&[u8]; 3] = [
        br#"["c",{"server":"p"}]"#,
        br#"["c",{"server":"p","relay_snapshot":"plan"}]"#,
        br#"["c",{"server":"p","relay_snapshot":"chunk","table":1,"chunk":2}]"#,
    ];
    let mut stored = Stored::default();
    for (choice, key, value) in records {
        let key = known.get(usize::from(choice % 4)).copied().unwrap_or(key);
        let Ok(entry) = ConnectOffset::parse(key, value) else { continue };
        let again = ConnectOffset::parse(&entry.key_bytes(), entry.value_bytes().as_deref());
        assert_eq!(again.ok().as_ref(), Some(&entry));
        let _ = keys.read(&entry, &mut stored);
    }
    let Some(MainOffset::Streaming(offset)) = &stored.main else { return };
    let mut again = Stored::default();
    let entry = keys.streaming(offset);
    assert!(keys.read(&entry, &mut again).is_ok());
    let Some(MainOffset::Streaming(read)) = again.main else { panic!("no position came back") };
    assert_eq!(read.position.commit_end, offset.position.commit_end);
    assert_eq!(read.ad_hoc, offset.ad_hoc);
});
