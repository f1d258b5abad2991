//! Any bytes give a message or an error.

use pgoutput::{Decoder, Message, ParseError, parse};
use proptest::prelude::*;

use super::{Payload, one_of_each};

#[test]
fn a_message_cut_off_anywhere_is_refused() {
    for Payload(bytes) in one_of_each() {
        parse(&bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{} of {bytes:?}", length);
        }
    }
}

fn all_cells(message: &Message<'_>) {
    let tuples = match message {
        Message::Insert(insert) => vec![insert.new],
        Message::Update(update) => update.old.into_iter().chain([update.new]).collect(),
        Message::Delete(delete) => vec![delete.old],
        _ => Vec::new(),
    };
    for tuple in tuples {
        assert_eq!(tuple.cells().count(), tuple.len());
        assert_eq!(tuple.is_empty(), tuple.cells().next().is_none());
    }
}

proptest! {
    #[test]
    fn random_bytes_are_survived(payloads in proptest::collection::vec(any::<Vec<u8>>(), 1..4)) {
        let mut decoder = Decoder::default();
        for payload in &payloads {
            let _ = parse(payload);
            let _ = decoder.message(payload);
        }
    }

    #[test]
    fn a_damaged_message_is_survived(which in 0usize..19, at in 0usize..64, byte: u8, extra: Vec<u8>) {
        let Payload(mut bytes) = one_of_each().swap_remove(which);
        let place = at % bytes.len();
        bytes[place] = byte;
        if let Ok(message) = parse(&bytes) {
            all_cells(&message);
        }
        bytes.extend(extra);
        if let Ok(message) = parse(&bytes) {
            all_cells(&message);
        }
        prop_assert_ne!(parse(&bytes), Err(ParseError::Empty));
    }
}
