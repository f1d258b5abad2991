//! Masking, hashing and truncating: from a field's encoded value to the one that is written.
//!
//! Works on the Avro bytes of a string or of bytes, so it does not care which type the text came from.

use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::{
    avro::{self, Primitive},
    plan::{HashAlgorithm, HashRule, ValueRule},
};

/// Replaces the value that starts at `start` of `out`; a `NULL` is not given here.
pub(super) fn apply(rule: &ValueRule, kind: Option<Primitive>, start: usize, out: &mut Vec<u8>) {
    let replaced = avro::payload(&out[start..]).and_then(|value| match (rule, kind) {
        (ValueRule::Mask(mask), _) => Some(mask.as_bytes().to_vec()),
        (ValueRule::Hash(rule), _) => Some(hashed(rule, value)),
        (ValueRule::Truncate(length), Some(Primitive::Bytes)) => value.get(..*length).map(<[u8]>::to_vec),
        (ValueRule::Truncate(length), Some(Primitive::String)) => truncated(value, *length),
        (ValueRule::Truncate(_), _) => None,
    });
    if let Some(value) = replaced {
        out.truncate(start);
        avro::bytes(out, &value);
    }
}

/// The first so many UTF-16 units; `None` when there are no more than that. Half of a character beyond the basic plane
/// becomes `?`, as when Java encodes it.
fn truncated(value: &[u8], length: usize) -> Option<Vec<u8>> {
    if value.len() <= length {
        return None;
    }
    let text = std::str::from_utf8(value).ok()?;
    let mut units = 0;
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units > length {
            let mut kept = value[..at].to_vec();
            if units - c.len_utf16() < length {
                kept.push(b'?');
            }
            return Some(kept);
        }
    }
    None
}

fn hashed(rule: &HashRule, value: &[u8]) -> Vec<u8> {
    let serialised;
    let input = if rule.serialised {
        serialised = java_serialised(value);
        &serialised
    } else {
        value
    };
    let digest = match rule.algorithm {
        HashAlgorithm::Md5 => digest::<Md5>(&rule.salt, input),
        HashAlgorithm::Sha1 => digest::<Sha1>(&rule.salt, input),
        HashAlgorithm::Sha224 => digest::<Sha224>(&rule.salt, input),
        HashAlgorithm::Sha256 => digest::<Sha256>(&rule.salt, input),
        HashAlgorithm::Sha384 => digest::<Sha384>(&rule.salt, input),
        HashAlgorithm::Sha512 => digest::<Sha512>(&rule.salt, input),
    };
    let hex = digest.iter().flat_map(|byte| [byte >> 4, byte & 0xF]).map(|digit| b"0123456789abcdef"[digit as usize]);
    hex.take(rule.length).collect()
}

fn digest<D: Digest>(salt: &[u8], input: &[u8]) -> Vec<u8> {
    D::new().chain_update(salt).chain_update(input).finalize().to_vec()
}

/// A string as Java's `ObjectOutputStream` writes it: header, tag, length, modified UTF-8 (NUL in two bytes, characters
/// beyond the basic plane as two surrogates of three bytes).
fn java_serialised(value: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(value.len());
    let mut units = [0u16; 2];
    for c in String::from_utf8_lossy(value).chars() {
        for unit in c.encode_utf16(&mut units) {
            match *unit {
                unit @ 1..=0x7F => encoded.push(unit as u8),
                unit @ (0 | 0x80..=0x7FF) => encoded.extend([0xC0 | (unit >> 6) as u8, 0x80 | (unit & 0x3F) as u8]),
                unit => encoded.extend([
                    0xE0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ]),
            }
        }
    }
    let mut out = vec![0xAC, 0xED, 0, 5];
    match u16::try_from(encoded.len()) {
        Ok(length) => {
            out.push(0x74);
            out.extend(length.to_be_bytes());
        }
        Err(_) => {
            out.push(0x7C);
            out.extend((encoded.len() as u64).to_be_bytes());
        }
    }
    out.extend(encoded);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ruled(rule: &ValueRule, value: &str) -> String {
        let mut out = vec![7];
        avro::bytes(&mut out, value.as_bytes());
        apply(rule, Some(Primitive::String), 1, &mut out);
        String::from_utf8(avro::payload(&out[1..]).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn truncation_counts_utf_16_units() {
        assert_eq!(ruled(&ValueRule::Truncate(4), "Linus"), "Linu");
        assert_eq!(ruled(&ValueRule::Truncate(4), "Ada"), "Ada");
        assert_eq!(ruled(&ValueRule::Truncate(2), "a🚀b"), "a?");
        assert_eq!(ruled(&ValueRule::Truncate(3), "a🚀b"), "a🚀");
        assert_eq!(ruled(&ValueRule::Truncate(0), "abc"), "");
    }

    #[test]
    fn sha_1_of_abc_is_that_of_the_standard() {
        let algorithm = "SHA-1".parse().unwrap();
        let rule = HashRule { algorithm, salt: Vec::new(), serialised: false, length: 255 };
        assert_eq!(ruled(&ValueRule::Hash(rule), "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    }

    #[test]
    fn a_mask_hides_every_value_alike() {
        assert_eq!(ruled(&ValueRule::Mask("***".into()), "secret"), "***");
    }

    #[test]
    fn hashes_are_those_of_the_usual_tools() {
        let rule = |serialised, length| {
            let salt = b"s".to_vec();
            ValueRule::Hash(HashRule { algorithm: HashAlgorithm::Md5, salt, serialised, length })
        };
        // printf 'snoted' | md5sum
        assert_eq!(ruled(&rule(false, 40), "noted"), "da0afae858425ad0321008e92ffc8f3e");
        assert_eq!(ruled(&rule(false, 5), "noted"), "da0af");
        assert_eq!(java_serialised("aé".as_bytes()), [0xAC, 0xED, 0, 5, 0x74, 0, 3, b'a', 0xC3, 0xA9]);
        assert_eq!(java_serialised("🚀".as_bytes())[7..], [0xED, 0xA0, 0xBD, 0xED, 0xBA, 0x80]);
    }
}
