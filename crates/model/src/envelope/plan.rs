//! What a connector asks for beyond the types' own mapping: columns left out, masked, hashed, truncated, described.
//!
//! Made by the relay once per table, consumed when the codec is built.

use super::modes::TypeModes;

/// How one table is written.
#[derive(Debug, Clone, Default)]
pub struct TablePlan {
    pub modes: TypeModes,
    /// One per column of the table; empty when there is nothing to say about any of them.
    pub columns: Vec<ColumnPlan>,
    /// The topic, where it is not the default `<prefix>.<schema>.<table>`.
    pub topic: Option<String>,
}

/// How one column is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnPlan {
    /// Neither in the schema nor in the rows. A column of the key stays in the key.
    pub left_out: bool,
    pub rule: Option<ValueRule>,
    /// Parameters of the field's schema, in order.
    pub parameters: Vec<(&'static str, String)>,
}

/// What becomes of a value; keys are never touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueRule {
    /// The same text for every value, also for `NULL`.
    Mask(String),
    Hash(HashRule),
    /// Characters (UTF-16 units, as in Java) or bytes that are kept.
    Truncate(usize),
}

/// The value's salted hash in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashRule {
    pub algorithm: HashAlgorithm,
    pub salt: Vec<u8>,
    /// Version 1 hashes Java's serialised form of the string, version 2 its bytes.
    pub serialised: bool,
    /// Longest result: that of the column.
    pub length: usize,
}

/// Algorithms of Java's `MessageDigest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashAlgorithm {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl std::str::FromStr for HashAlgorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_uppercase().as_str() {
            "MD5" => Ok(Self::Md5),
            "SHA-1" | "SHA1" | "SHA" => Ok(Self::Sha1),
            "SHA-224" => Ok(Self::Sha224),
            "SHA-256" | "SHA256" => Ok(Self::Sha256),
            "SHA-384" => Ok(Self::Sha384),
            "SHA-512" => Ok(Self::Sha512),
            _ => Err("Value must be one of MD5, SHA-1, SHA-224, SHA-256, SHA-384, SHA-512"),
        }
    }
}
