//! Rows inside of a message.

use model::cell::Cell;

use crate::reader::{ParseError, Reader};

/// Which row of a change a tuple is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TupleKind {
    /// `N`: the row as it is now.
    New,
    /// `K`: the old row, columns of the replica identity only; all others are null.
    Key,
    /// `O`: the old row whole (`REPLICA IDENTITY FULL`).
    Old,
}

/// A row, borrowing the payload. Checked when it was parsed, so reading its cells cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuple<'a> {
    kind: TupleKind,
    columns: u16,
    /// The columns' values and nothing else.
    data: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Reads a tuple whose kind has been read.
    pub(crate) fn parse(kind: TupleKind, reader: &mut Reader<'a>) -> Result<Self, ParseError> {
        let columns = reader.u16("column count")?;
        let start = reader.0;
        for _ in 0..columns {
            match reader.u8("column value")? {
                b'n' | b'u' => {}
                b't' => {
                    let length = reader.u32("column length")?;
                    reader.bytes(length as usize, "column value")?;
                }
                b'b' => return Err(ParseError::BinaryValue),
                other => return Err(ParseError::UnknownValue(other)),
            }
        }
        Ok(Self { kind, columns, data: &start[..start.len() - reader.0.len()] })
    }

    #[must_use]
    pub fn kind(&self) -> TupleKind {
        self.kind
    }

    /// Number of columns.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.into()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.columns == 0
    }

    /// The cells in column order, borrowing the payload.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'a>> + use<'a> {
        Cells { rest: self.data }
    }
}

struct Cells<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    #[inline]
    fn next(&mut self) -> Option<Cell<'a>> {
        let (kind, rest) = self.rest.split_first()?;
        self.rest = rest;
        match kind {
            b't' => {
                let (length, rest) = rest.split_first_chunk()?;
                let (text, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
                self.rest = rest;
                Some(Cell::Text(text))
            }
            b'u' => Some(Cell::Unchanged),
            _ => Some(Cell::Null),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A column takes one byte at least.
        (0, Some(self.rest.len()))
    }
}
