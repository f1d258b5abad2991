//! Bytes: from `bytea`'s hexadecimal text (`bytea_output = hex`) to Avro bytes, or to a string that spells them.

use super::{avro, field::BinaryText, time::Reason};

const BAD: Reason = "not hexadecimal";

/// Appends a `bytea` as Avro bytes.
pub(super) fn bytea(text: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let digits = digits(text)?;
    avro::long(out, avro::length(digits.len() / 2));
    out.reserve(digits.len() / 2);
    for pair in digits.chunks_exact(2) {
        out.push(byte(pair)?);
    }
    Ok(())
}

/// The bytes of a `bytea`.
pub(super) fn unhexed(text: &[u8]) -> Result<Vec<u8>, Reason> {
    digits(text)?.chunks_exact(2).map(byte).collect()
}

/// Appends a string that spells the bytes.
pub(super) fn spelled(bytes: &[u8], spelling: BinaryText, out: &mut Vec<u8>) {
    match spelling {
        BinaryText::Hex => {
            avro::long(out, avro::length(bytes.len() * 2));
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            for byte in bytes {
                out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xF)]]);
            }
        }
        BinaryText::Base64 | BinaryText::Base64UrlSafe => {
            avro::long(out, avro::length(bytes.len().div_ceil(3) * 4));
            avro::base64(bytes, spelling == BinaryText::Base64UrlSafe, out);
        }
    }
}

fn digits(text: &[u8]) -> Result<&[u8], Reason> {
    text.strip_prefix(b"\\x").filter(|digits| digits.len() % 2 == 0).ok_or(BAD)
}

fn byte(pair: &[u8]) -> Result<u8, Reason> {
    Ok(nibble(pair[0])? << 4 | nibble(pair[1])?)
}

fn nibble(digit: u8) -> Result<u8, Reason> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(BAD),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_spelled_as_java_spells_them() {
        for (spelling, expected) in
            [(BinaryText::Hex, "fbff01"), (BinaryText::Base64, "+/8B"), (BinaryText::Base64UrlSafe, "-_8B")]
        {
            let mut out = Vec::new();
            spelled(&unhexed(b"\\xfbff01").unwrap(), spelling, &mut out);
            assert_eq!(avro::payload(&out).unwrap(), expected.as_bytes());
        }
        let mut out = Vec::new();
        spelled(b"a", BinaryText::Base64, &mut out);
        assert_eq!(avro::payload(&out).unwrap(), b"YQ==");
    }
}
