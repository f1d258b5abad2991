//! One line of `COPY … TO STDOUT` in text format, taken apart into cells (manual, `COPY`, "Text Format").

use std::ops::Range;

use model::cell::Cell;

/// Splits lines; keeps its memory from line to line.
#[derive(Debug, Default)]
pub struct CopyLine {
    /// The line with its escapes resolved; empty when it had none.
    unescaped: Vec<u8>,
    fields: Vec<Option<Range<usize>>>,
    escaped: bool,
}

impl CopyLine {
    /// Takes a line without its newline.
    pub fn parse(&mut self, line: &[u8]) {
        self.fields.clear();
        self.unescaped.clear();
        self.escaped = line.contains(&b'\\');
        let mut start = 0;
        for field in line.split(|byte| *byte == b'\t') {
            let range = if field == b"\\N" {
                None
            } else if self.escaped {
                let from = self.unescaped.len();
                unescape(field, &mut self.unescaped);
                Some(from..self.unescaped.len())
            } else {
                Some(start..start + field.len())
            };
            self.fields.push(range);
            start += field.len() + 1;
        }
    }

    /// The fields of the line last parsed; `line` must be that same line.
    pub fn cells<'a>(&'a self, line: &'a [u8]) -> impl Iterator<Item = Cell<'a>> {
        let bytes = if self.escaped { &self.unescaped } else { line };
        self.fields.iter().map(move |field| match field.clone() {
            Some(range) => bytes.get(range).map_or(Cell::Null, Cell::Text),
            None => Cell::Null,
        })
    }
}

/// Resolves backslash escapes. `COPY` itself writes only the letters below and the backslash.
fn unescape(field: &[u8], out: &mut Vec<u8>) {
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        out.extend(bytes.next().map(|escaped| match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => *other,
        }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(line: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut parser = CopyLine::default();
        parser.parse(line);
        parser.cells(line).map(|cell| cell.text().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn null_empty_and_escapes_are_told_apart() {
        let fields = split(b"1\t\\N\t\ta\\tb\\\\N\t\\\\N");
        let expected: Vec<Option<&[u8]>> = vec![Some(b"1"), None, Some(b""), Some(b"a\tb\\N"), Some(b"\\N")];
        assert_eq!(fields, expected.into_iter().map(|field| field.map(<[u8]>::to_vec)).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn what_copy_would_write_comes_back(values in prop::collection::vec(prop::option::of(prop::collection::vec(1_u8.., 0..12)), 1..6)) {
            let mut line = Vec::new();
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    line.push(b'\t');
                }
                let Some(value) = value else { line.extend(b"\\N"); continue };
                for byte in value {
                    match byte {
                        b'\\' => line.extend(b"\\\\"),
                        b'\t' => line.extend(b"\\t"),
                        b'\n' => line.extend(b"\\n"),
                        b'\r' => line.extend(b"\\r"),
                        other => line.push(*other),
                    }
                }
            }
            prop_assert_eq!(split(&line), values);
        }

        #[test]
        fn any_bytes_are_taken_without_panic(line: Vec<u8>) {
            split(&line);
        }
    }
}
