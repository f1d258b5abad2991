//! Avro object container files: header and blocks, not the records in them.
//!
//! Pure. Source of the format: Avro 1.12 specification, "Object Container Files".

use std::collections::HashMap;

use crate::error::{Result, broken};

const MAGIC: &[u8] = b"Obj\x01";

/// A parsed container.
#[derive(Debug)]
pub struct Container<'a> {
    /// `avro.schema`.
    pub schema: String,
    /// All entries of the header.
    pub entries: HashMap<String, String>,
    /// Record count and bytes of each block.
    pub blocks: Vec<(u64, &'a [u8])>,
}

impl<'a> Container<'a> {
    /// # Errors
    /// When the bytes are no container, are compressed, or end early.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| broken("it does not begin as an Avro container"))?;
        let entries = entries(&mut rest)?;
        let codec = entries.get("avro.codec").map_or("null", String::as_str);
        if codec != "null" {
            return Err(broken(format!("its codec is {codec:?}; the ledger reads uncompressed containers")));
        }
        let schema = entries.get("avro.schema").cloned().ok_or_else(|| broken("its header holds no schema"))?;
        let sync = take(&mut rest, 16)?;
        let mut blocks = Vec::new();
        while !rest.is_empty() {
            let count = length(&mut rest)? as u64;
            let size = length(&mut rest)?;
            blocks.push((count, take(&mut rest, size)?));
            if take(&mut rest, 16)? != sync {
                return Err(broken("a block does not end in the file's sync marker"));
            }
        }
        Ok(Self { schema, entries, blocks })
    }

    /// Records in all blocks.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.blocks.iter().map(|(count, _)| count).sum()
    }
}

fn entries(rest: &mut &[u8]) -> Result<HashMap<String, String>> {
    let mut entries = HashMap::new();
    loop {
        let count = number(rest)?;
        if count == 0 {
            return Ok(entries);
        }
        if count < 0 {
            // The block's size in bytes, of no use here.
            number(rest)?;
        }
        for _ in 0..count.unsigned_abs() {
            let mut text = || -> Result<String> {
                let length = length(rest)?;
                Ok(String::from_utf8_lossy(take(rest, length)?).into_owned())
            };
            let (name, value) = (text()?, text()?);
            entries.insert(name, value);
        }
    }
}

fn length(rest: &mut &[u8]) -> Result<usize> {
    usize::try_from(number(rest)?).map_err(|_| broken("a length in it is negative"))
}

fn number(rest: &mut &[u8]) -> Result<i64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
        }
    }
    Err(broken("a number in it is longer than ten bytes"))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length).ok_or_else(|| broken("it ends early"))?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use apache_avro::{Schema, Writer, types::Value};
    use proptest::prelude::*;

    use super::*;

    fn written(numbers: &[i64]) -> Vec<u8> {
        let schema =
            Schema::parse_str(r#"{"type":"record","name":"r","fields":[{"name":"n","type":"long"}]}"#).unwrap();
        let mut writer = Writer::new(&schema, Vec::new());
        writer.add_user_metadata("haus.start-offset".to_owned(), "7").unwrap();
        for number in numbers {
            writer.append(Value::Record(vec![("n".to_owned(), Value::Long(*number))])).unwrap();
        }
        writer.into_inner().unwrap()
    }

    #[test]
    fn a_container_of_the_avro_library_is_read() {
        let file = written(&[1, -1, 300]);
        let container = Container::parse(&file).unwrap();
        assert_eq!(container.record_count(), 3);
        assert_eq!(container.entries["haus.start-offset"], "7");
        assert!(container.schema.contains("\"long\""));
        assert_eq!(container.blocks[0].1, [2, 1, 0xd8, 4]);
    }

    #[test]
    fn a_container_that_is_cut_or_changed_is_refused() {
        let file = written(&[1, 2, 3]);
        for length in [0, 3, 20, file.len() - 1] {
            assert!(Container::parse(&file[..length]).is_err(), "{length} bytes");
        }
        let mut changed = file.clone();
        *changed.last_mut().unwrap() ^= 1;
        assert!(Container::parse(&changed).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused_without_a_crash(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Container::parse(&[MAGIC, &tail].concat());
        }
    }
}
