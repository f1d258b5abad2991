//! Any bytes, as a run of payloads: the first byte of each says how long it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pgoutput::{Decoder, Message};

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::default();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first() {
        let (payload, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        let _ = pgoutput::parse(payload);
        let Ok(streamed) = decoder.message(payload) else { continue };
        match streamed.message {
            Message::Insert(insert) => assert_eq!(insert.new.cells().count(), insert.new.len()),
            Message::Update(update) => assert_eq!(update.new.cells().count(), update.new.len()),
            Message::Delete(delete) => assert_eq!(delete.old.cells().count(), delete.old.len()),
            _ => {}
        }
    }
});
