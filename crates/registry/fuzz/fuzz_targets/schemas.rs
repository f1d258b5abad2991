//! Any text sent as a schema: it is refused or understood, its canonical text means the same, and a schema can read what
//! it wrote itself.

#![no_main]
#![allow(dead_code)]

#[path = "../../src"]
mod source {
    pub mod avro;
}

use libfuzzer_sys::fuzz_target;
use source::avro::{AvroSchema, backward};

fuzz_target!(|text: &str| {
    let Ok(schema) = AvroSchema::parse(text) else { return };
    let canonical = schema.canonical();
    match AvroSchema::parse(&canonical) {
        Ok(again) => assert_eq!(again.canonical(), canonical),
        Err(error) => panic!("its own canonical text is refused: {error}: {canonical}"),
    }
    assert!(backward(&schema, &schema, true).is_empty(), "it cannot read what it wrote: {canonical}");
});
