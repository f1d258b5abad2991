//! How values are written where Debezium leaves the choice to its user: the `*.handling.mode` properties and their kin.
//!
//! Read once, when a table's codec is built: each column then has one [`FieldType`](super::field::FieldType), and a row
//! asks no mode again.

use std::str::FromStr;

use super::UNAVAILABLE_VALUE;

/// The choices for one connector; [`TypeModes::default`] is Debezium's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeModes {
    pub decimals: DecimalMode,
    pub times: TimeMode,
    pub intervals: IntervalMode,
    pub binary: BinaryMode,
    pub hstore: HstoreMode,
    /// Decimals of `money` (`money.fraction.digits`).
    pub money_digits: u8,
    /// Types without a mapping are sent as bytes instead of being left out (`include.unknown.datatypes`).
    pub include_unknown: bool,
    /// Stands for an unchanged TOASTed value (`unavailable.value.placeholder`).
    pub unavailable: Vec<u8>,
}

impl Default for TypeModes {
    fn default() -> Self {
        Self {
            decimals: DecimalMode::Precise,
            times: TimeMode::Adaptive,
            intervals: IntervalMode::Numeric,
            binary: BinaryMode::Bytes,
            hstore: HstoreMode::Json,
            money_digits: 2,
            include_unknown: false,
            unavailable: UNAVAILABLE_VALUE.as_bytes().to_vec(),
        }
    }
}

/// A word that is none of a property's values; the text lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Value must be one of {0}")]
pub struct UnknownMode(&'static str);

/// An enum whose variants are words of a configuration, told apart without regard to case.
macro_rules! worded {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+ } in $list:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl FromStr for $name {
            type Err = UnknownMode;

            fn from_str(text: &str) -> Result<Self, UnknownMode> {
                match text.to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownMode($list)),
                }
            }
        }
    };
}

worded! {
    /// `decimal.handling.mode`: `numeric` and `money`.
    DecimalMode {
        /// Connect's decimal: bytes and a scale.
        Precise = "precise",
        String = "string",
        Double = "double",
    } in "precise, string, double"
}

worded! {
    /// `time.precision.mode`: `date`, `time` and `timestamp`; types with a zone are strings in all of them.
    TimeMode {
        /// Milliseconds or microseconds, as the column's precision asks.
        Adaptive = "adaptive",
        /// As above, but every `time` in microseconds.
        AdaptiveTimeMicroseconds = "adaptive_time_microseconds",
        /// Connect's own types, milliseconds.
        Connect = "connect",
        /// ISO 8601 in UTC.
        IsoString = "isostring",
        Microseconds = "microseconds",
        Nanoseconds = "nanoseconds",
    } in "adaptive, adaptive_time_microseconds, connect, isostring, microseconds, nanoseconds"
}

worded! {
    /// `interval.handling.mode`
    IntervalMode {
        /// Microseconds, a month counted as 30.4375 days.
        Numeric = "numeric",
        /// ISO 8601 with all parts: `P1Y2M3DT4H5M6.789S`.
        String = "string",
    } in "numeric, string"
}

worded! {
    /// `binary.handling.mode`: `bytea`, and types without a mapping.
    BinaryMode {
        Bytes = "bytes",
        Base64 = "base64",
        Base64UrlSafe = "base64-url-safe",
        Hex = "hex",
    } in "bytes, base64, base64-url-safe, hex"
}

worded! {
    /// `hstore.handling.mode`
    HstoreMode {
        /// A JSON object as a string.
        Json = "json",
        /// A map of strings.
        Map = "map",
    } in "json, map"
}

/// The bytes of `unavailable.value.placeholder`: the text, or behind `hex:` its digits.
///
/// # Errors
/// When the digits are none.
pub fn placeholder_bytes(text: &str) -> Result<Vec<u8>, &'static str> {
    let Some(digits) = text.strip_prefix("hex:") else { return Ok(text.as_bytes().to_vec()) };
    if digits.len() % 2 != 0 {
        return Err("an even number of hexadecimal digits behind hex:");
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let byte = |pair: &[u8]| nibble(pair[0]).zip(nibble(pair[1])).map(|(high, low)| high << 4 | low);
    digits.as_bytes().chunks_exact(2).map(byte).collect::<Option<_>>().ok_or("only hexadecimal digits behind hex:")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_taken_in_any_case_and_others_refused_with_the_list() {
        assert_eq!("ISOSTRING".parse(), Ok(TimeMode::IsoString));
        assert_eq!("base64-url-safe".parse(), Ok(BinaryMode::Base64UrlSafe));
        let error = "float".parse::<DecimalMode>().unwrap_err();
        assert_eq!(error.to_string(), "Value must be one of precise, string, double");
    }

    #[test]
    fn a_placeholder_may_be_given_as_hexadecimal() {
        assert_eq!(placeholder_bytes("gone"), Ok(b"gone".to_vec()));
        assert_eq!(placeholder_bytes("hex:00fF"), Ok(vec![0, 255]));
        assert!(placeholder_bytes("hex:0").is_err());
        assert!(placeholder_bytes("hex:zz").is_err());
    }
}
