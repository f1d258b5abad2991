//! Canonical rows: their hash, their key, and the order-free digest of many.

use std::fmt;

use crate::canonical::Kind;
use crate::error::{Result, broken};

/// A captured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Schema, such as `public`.
    pub schema: String,
    /// Name, such as `orders`.
    pub name: String,
    /// Columns in the table's order.
    pub columns: Vec<Column>,
    /// Indexes of the primary key's columns.
    pub key: Vec<usize>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// A row's values in canonical form, in the order of the table's columns; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// 128-bit hash of a canonical row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowHash(pub u128);

/// Count and sum (modulo 2^128) of row hashes: equal for equal sets of rows in whatever order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    pub rows: u64,
    pub sum: u128,
}

impl Digest {
    /// Adds a row.
    pub fn add(&mut self, hash: RowHash) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash.0);
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} rows, digest {:032x}", self.rows, self.sum)
    }
}

/// The hash of a row: XXH3-128 over the values, each with its length, NULL apart from the empty text.
#[must_use]
pub fn hash_row(row: &[Option<String>]) -> RowHash {
    let mut bytes = Vec::with_capacity(128);
    for value in row {
        match value {
            None => bytes.push(0),
            Some(text) => {
                bytes.push(1);
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
    }
    RowHash(xxhash_rust::xxh3::xxh3_128(&bytes))
}

impl Table {
    /// `schema.table`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// The key of a row as text: `id=7` or `a=1,b=x`.
    ///
    /// # Errors
    /// When a part of the key is NULL, as in a row image that does not hold it.
    pub fn key_of(&self, row: &[Option<String>]) -> Result<Box<str>> {
        let mut key = String::new();
        for index in &self.key {
            let column = &self.columns[*index].name;
            let value = row[*index].as_deref();
            let value =
                value.ok_or_else(|| broken(format!("an event of {} lacks its key {column}", self.full_name())))?;
            if !key.is_empty() {
                key.push(',');
            }
            key.push_str(column);
            key.push('=');
            key.push_str(value);
        }
        Ok(key.into_boxed_str())
    }

    /// The columns as a SQL list, quoted.
    #[must_use]
    pub fn column_list(&self) -> String {
        let names = self.columns.iter().map(|column| quoted(&column.name));
        names.collect::<Vec<_>>().join(", ")
    }
}

/// A SQL identifier in quotes.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn texts(values: &[Option<&str>]) -> Row {
        values.iter().map(|value| value.map(str::to_owned)).collect()
    }

    #[test]
    fn null_empty_text_and_shifted_values_hash_apart() {
        let rows = [
            texts(&[None, Some("a")]),
            texts(&[Some(""), Some("a")]),
            texts(&[Some("a"), None]),
            texts(&[Some("a"), Some("")]),
            texts(&[Some("ab"), Some("c")]),
            texts(&[Some("a"), Some("bc")]),
        ];
        for (index, row) in rows.iter().enumerate() {
            for other in &rows[index + 1..] {
                assert_ne!(hash_row(row), hash_row(other), "{row:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_key_names_its_columns() {
        let column = |name: &str| Column { name: name.to_owned(), kind: Kind::Text };
        let table = Table {
            schema: "s".into(),
            name: "t".into(),
            columns: vec![column("a"), column("v"), column("b")],
            key: vec![2, 0],
        };
        assert_eq!(&*table.key_of(&texts(&[Some("1"), None, Some("x")])).unwrap(), "b=x,a=1");
        assert!(table.key_of(&texts(&[None, None, Some("x")])).is_err());
    }

    proptest! {
        #[test]
        fn the_digest_depends_on_the_rows_and_not_on_their_order(mut hashes in prop::collection::vec(any::<u128>(), 1..40)) {
            let digest = |hashes: &[u128]| hashes.iter().fold(Digest::default(), |mut digest, hash| { digest.add(RowHash(*hash)); digest });
            let before = digest(&hashes);
            hashes.reverse();
            prop_assert_eq!(before, digest(&hashes));
            hashes[0] = hashes[0].wrapping_add(1);
            prop_assert_ne!(before, digest(&hashes));
        }
    }
}
