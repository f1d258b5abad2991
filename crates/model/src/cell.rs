//! One value of a row as Postgres writes it.
//!
//! The replication stream (`pgoutput`) and `COPY … TO STDOUT` both hand out the text output format of each type; a cell
//! borrows it. The session must write `DateStyle = ISO`, `IntervalStyle = postgres`, `bytea_output = hex`, UTF-8, and
//! floats in full (`extra_float_digits` at least 1). The envelope codec reads cells, so a row is never copied on its way from the socket into Avro.

/// One value of a row, in the text output format of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cell<'a> {
    /// SQL `NULL`; also every column outside the key in a key-only old tuple.
    #[default]
    Null,
    /// A TOASTed value the update did not touch: the stream does not carry it.
    Unchanged,
    /// The text, not necessarily valid for its type.
    Text(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// The text, if there is one.
    #[must_use]
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Unchanged => None,
        }
    }
}

/// Puts the old values in the place of unchanged TOASTed ones, where the old row carries them (`REPLICA IDENTITY FULL`).
///
/// Call it before an update is encoded, or split into a delete and a create because the key changed.
pub fn fill_unchanged<'a>(after: &mut [Cell<'a>], before: &[Cell<'a>]) {
    for (new, old) in after.iter_mut().zip(before) {
        if matches!((&*new, old), (Cell::Unchanged, Cell::Text(_))) {
            *new = *old;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchanged_values_are_taken_from_the_old_row_only_where_it_has_them() {
        let before = [Cell::Text(b"1"), Cell::Null, Cell::Text(b"long")];
        let mut after = [Cell::Text(b"2"), Cell::Unchanged, Cell::Unchanged];
        fill_unchanged(&mut after, &before);
        assert_eq!(after, [Cell::Text(b"2"), Cell::Unchanged, Cell::Text(b"long")]);
    }
}
