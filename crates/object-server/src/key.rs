//! Object keys as file names: where an object of a bucket lies on disk.
//!
//! S3 keys are flat strings of up to 1024 bytes; file names are at most 255 bytes and know `/`, `.` and `..`.
//! So a bucket is one folder, and a key becomes one readable file name: bytes outside `A-Z a-z 0-9 . _ = + -` are
//! percent-encoded (so `x` and `x/y` live side by side), and a name that would be too long is cut and given the key's
//! SHA-256. The mapping is injective; the key itself is kept inside the object's record as well.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest encoded name that is used as it is.
const PLAIN_NAME_MAX: usize = 200;
/// How much of a long key stays readable in its file name.
const READABLE_PREFIX: usize = 120;
/// Longest key S3 allows, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// The file name of a key. Never empty, never starts with a dot, at most 200 bytes.
pub fn file_name(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 16);
    for (at, byte) in key.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'=' | b'+' | b'-' => name.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(name, "%{byte:02X}");
            }
        }
    }
    if name.len() <= PLAIN_NAME_MAX {
        return name;
    }
    // '~' is encoded in plain names, so no plain name equals a cut one. All of `name` is ASCII.
    name.truncate(READABLE_PREFIX);
    let _ = write!(name, "~{}", hex(&Sha256::digest(key.as_bytes())));
    name
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_stay_readable_and_never_become_folders() {
        assert_eq!(
            file_name("kafka/t/partition=0/t+0+0000000000.avro"),
            "kafka%2Ft%2Fpartition=0%2Ft+0+0000000000.avro"
        );
        assert_eq!(file_name(".."), "%2E.");
        assert_eq!(file_name("ü~%"), "%C3%BC%7E%25");
    }

    #[test]
    fn a_long_key_is_cut_and_told_apart_by_its_hash() {
        let (one, two) = (format!("{}1", "k".repeat(1000)), format!("{}2", "k".repeat(1000)));
        assert!(file_name(&one).len() <= PLAIN_NAME_MAX);
        assert_ne!(file_name(&one), file_name(&two));
    }

    proptest! {
        #[test]
        fn different_keys_get_different_names(keys in prop::collection::hash_set("[a/.%~\u{e9}]{1,120}", 2..40)) {
            let mut names = HashMap::new();
            for key in keys {
                let name = file_name(&key);
                prop_assert!(!name.is_empty() && name.len() <= PLAIN_NAME_MAX && !name.contains('/') && !name.starts_with('.'));
                prop_assert_eq!(names.insert(name, key), None);
            }
        }
    }
}
