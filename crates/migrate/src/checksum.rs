//! Flyway's checksum of a script: what tells an edited file from the one that ran.

/// CRC-32 over the lines of a script without their endings, as Flyway stores it (a signed 32-bit number).
///
/// Taken over the raw text, before placeholders are replaced, so another password does not count as an edit; a byte
/// order mark does not count, and neither does a change of line endings. Lines end as Java's `BufferedReader` ends
/// them: at `\n`, `\r` or `\r\n`. Source: `ChecksumCalculator` in Flyway's core.
pub fn checksum(text: &str) -> i32 {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut hasher = crc32fast::Hasher::new();
    // Line endings of any kind add nothing, so leaving both characters out is the same as splitting into lines.
    for line in text.split(['\n', '\r']) {
        hasher.update(line.as_bytes());
    }
    hasher.finalize().cast_signed()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn checksum_is_the_crc32_of_the_text_without_line_endings() {
        // The check value of CRC-32 (ISO-HDLC): "123456789" gives cbf43926.
        assert_eq!(checksum("1234\r\n56789\n"), 0xcbf4_3926_u32.cast_signed());
        assert_eq!(checksum(""), 0);
    }

    #[test]
    fn only_one_leading_byte_order_mark_is_left_out() {
        assert_eq!(checksum("\u{feff}select 1"), checksum("select 1"));
        assert_ne!(checksum("\u{feff}\u{feff}select 1"), checksum("select 1"));
        assert_ne!(checksum("select\u{feff} 1"), checksum("select 1"));
    }

    proptest! {
        #[test]
        fn line_endings_do_not_change_the_checksum(lines in proptest::collection::vec("[^\r\n\u{feff}]{0,30}", 0..20)) {
            let unix = checksum(&lines.join("\n"));
            prop_assert_eq!(unix, checksum(&lines.join("\r\n")));
            prop_assert_eq!(unix, checksum(&lines.join("\r")));
            prop_assert_eq!(unix, checksum(&lines.concat()));
            prop_assert_eq!(unix, checksum(&format!("\u{feff}{}\n", lines.join("\n"))));
        }

        #[test]
        fn one_changed_character_changes_the_checksum(text in "[a-z ]{1,60}", at in 0usize..60) {
            let at = at % text.len();
            let mut edited = text.clone().into_bytes();
            edited[at] = if edited[at] == b'x' { b'y' } else { b'x' };
            let edited = String::from_utf8(edited).unwrap();
            prop_assume!(edited != text);
            prop_assert_ne!(checksum(&text), checksum(&edited));
        }
    }
}
