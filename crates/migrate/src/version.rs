//! Versions of migrations and their order, by Flyway's rules.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The version in a script's name, such as `1`, `2.10` or `20260131120000`.
///
/// Compared part by part as numbers of any length: `2 < 10`, `1.9 < 1.10`, and `1`, `01` and `1.0` are one version.
/// Shown, and stored in the history, as it was written, with `.` for `_`.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    /// Decimal digits without leading zeros (zero is empty); without trailing zero parts, except the first.
    parts: Vec<String>,
}

/// Text that is no version: something else than digits separated by single `.` or `_`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version: expected numbers separated by `.` or `_`")]
pub struct VersionError(pub String);

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let text = text.replace('_', ".");
        let mut parts = Vec::new();
        for part in text.split('.') {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(VersionError(text));
            }
            parts.push(part.trim_start_matches('0').to_owned());
        }
        while parts.len() > 1 && parts.last().is_some_and(String::is_empty) {
            parts.pop();
        }
        Ok(Self { text, parts })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = self.parts.len().max(other.parts.len());
        (0..parts)
            .map(|index| compare_numbers(self.part(index), other.part(index)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Version {
    /// A part that is not there counts as zero.
    fn part(&self, index: usize) -> &str {
        self.parts.get(index).map_or("", String::as_str)
    }
}

/// Compares numbers written without leading zeros: the longer one is the greater one.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn parts_compare_as_numbers_and_not_as_text() {
        let sorted = ["0", "0.1", "1", "1.1", "1.9", "1.10", "2", "10", "20260131120000", "99999999999999999999999999"];
        for pair in sorted.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn leading_and_trailing_zeros_make_no_other_version() {
        assert_eq!(version("1"), version("01"));
        assert_eq!(version("1"), version("1.0.0"));
        assert_eq!(version("1_2"), version("1.2"));
        assert_eq!(version("0"), version("0.0"));
        assert_ne!(version("1"), version("1.0.1"));
    }

    #[test]
    fn a_version_is_shown_as_written_with_dots() {
        assert_eq!(version("01_2").to_string(), "01.2");
    }

    #[test]
    fn text_that_is_no_version_is_refused() {
        for text in ["", ".", "1.", ".1", "1..2", "a", "1a", "-1", "1 ", "１"] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused_without_a_crash(text in ".{0,40}") {
            let _ = text.parse::<Version>();
        }

        #[test]
        fn versions_compare_as_their_lists_of_numbers(
            left in proptest::collection::vec(0u64..30, 1..5),
            right in proptest::collection::vec(0u64..30, 1..5),
        ) {
            let text = |parts: &[u64]| parts.iter().map(u64::to_string).collect::<Vec<_>>().join(".");
            let padded = |parts: &[u64]| { let mut parts = parts.to_vec(); parts.resize(5, 0); parts };
            prop_assert_eq!(version(&text(&left)).cmp(&version(&text(&right))), padded(&left).cmp(&padded(&right)));
        }
    }
}
