//! `COPY (query) TO STDOUT`: what is asked for, and rows in its three formats, as PostgreSQL writes them. Pure.
//!
//! It is the way of clients that want rows in bulk: psql's `\copy … TO`, psycopg's `copy`, and the ADBC driver, which reads
//! every result by it.

use arrow::array::{Array, ArrayRef};
use bytes::{BufMut, BytesMut};
use datafusion::{
    arrow::datatypes::DataType,
    sql::sqlparser::{
        dialect::PostgreSqlDialect,
        tokenizer::{Token, TokenWithSpan, Tokenizer},
    },
};

use super::{
    answers::{self, Fault},
    commands::{advance, read_only, syntax},
    encode::{Layout, text_value},
};

/// How rows go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub format: Format,
    /// Names of the columns as the first line; not in binary.
    header: bool,
    delimiter: u8,
    null: String,
}

/// The formats of `COPY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Csv,
    Binary,
}

/// What begins a copy in binary: its signature, no flags, no extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Reads `COPY … TO STDOUT …`: the query, and how its rows go out.
///
/// # Errors
/// `25006` for a copy into a table or a file, `0A000` for an option that is not served, `42601` when it is malformed.
pub fn read(sql: &str) -> Result<(String, Copy), Fault> {
    let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize_with_location().map_err(syntax)?;
    let kept = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::SemiColon);
    let tokens: Vec<TokenWithSpan> = tokens.into_iter().filter(kept).collect();
    let mut depth = 0_usize;
    let mut outside = tokens.iter().enumerate().filter(|(_, token)| match token.token {
        Token::LParen => {
            depth += 1;
            false
        }
        Token::RParen => {
            depth = depth.saturating_sub(1);
            false
        }
        _ => depth == 0,
    });
    let direction = outside.find_map(|(at, token)| match word(&token.token).as_str() {
        "TO" => Some((at, true)),
        "FROM" => Some((at, false)),
        _ => None,
    });
    let Some((at, true)) = direction else {
        return Err(direction.map_or_else(|| syntax("COPY wants TO or FROM"), |_| read_only("COPY FROM")));
    };
    if word(tokens.get(at + 1).map_or(&Token::EOF, |token| &token.token)) != "STDOUT" {
        return Err(Fault::new("25006", "COPY goes to STDOUT: the lake writes no files"));
    }
    let byte = |token: &TokenWithSpan| advance(sql, &mut (1, 1), (token.span.start.line, token.span.start.column));
    let text = |from: usize, to: usize| tokens.get(from).zip(tokens.get(to)).map(|(a, b)| &sql[byte(a)..byte(b)]);
    let source = match tokens.get(1).map(|token| &token.token) {
        Some(Token::LParen) if tokens[at - 1].token == Token::RParen => text(2, at - 1).map(str::to_owned),
        Some(_) => table(&tokens[1..at], text(1, at).unwrap_or_default()),
        None => None,
    };
    let source = source.ok_or_else(|| syntax("COPY wants a query in parentheses, or a table"))?;
    let options: Vec<Token> = tokens[at + 2..].iter().map(|token| token.token.clone()).collect();
    Ok((source, Copy::of(&options)?))
}

/// The query of all rows of a table: `name`, `name (columns)`.
fn table(tokens: &[TokenWithSpan], text: &str) -> Option<String> {
    let open = tokens.iter().position(|token| token.token == Token::LParen);
    match open {
        None => (!tokens.is_empty()).then(|| format!("SELECT * FROM {text}")),
        Some(_) => {
            let (name, columns) = text.trim_end().strip_suffix(')')?.split_once('(')?;
            Some(format!("SELECT {columns} FROM {name}"))
        }
    }
}

fn word(token: &Token) -> String {
    match token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    }
}

impl Copy {
    /// From the options, in the form with parentheses or the older one without.
    fn of(tokens: &[Token]) -> Result<Self, Fault> {
        let (mut format, mut header, mut delimiter, mut null) = (Format::Text, false, None, None);
        let skipped = |token: &&Token| {
            matches!(token, Token::LParen | Token::RParen | Token::Comma)
                || ["WITH", "AS"].contains(&word(token).as_str())
        };
        let mut tokens = tokens.iter().filter(|token| !skipped(token)).peekable();
        while let Some(token) = tokens.next() {
            let option = word(token);
            let mut value = || match tokens.next() {
                Some(Token::SingleQuotedString(text)) => Ok(text.clone()),
                Some(Token::EscapedStringLiteral(text)) => Ok(text.clone()),
                Some(other) => Ok(other.to_string()),
                None => Err(syntax(format!("COPY: {option} wants a value"))),
            };
            match option.as_str() {
                "FORMAT" => format = Format::of(&value()?)?,
                "BINARY" | "CSV" | "TEXT" => format = Format::of(&option)?,
                "DELIMITER" => delimiter = Some(value()?),
                "NULL" => null = Some(value()?),
                "HEADER" => {
                    let said = |token: &&Token| ["TRUE", "FALSE", "ON", "OFF"].contains(&word(token).as_str());
                    header = tokens.next_if(said).is_none_or(|token| ["TRUE", "ON"].contains(&word(token).as_str()));
                }
                "ENCODING" if ["UTF8", "UTF-8"].contains(&value()?.to_ascii_uppercase().as_str()) => {}
                _ => return Err(Fault::new("0A000", format!("COPY: {token} is not served"))),
            }
        }
        let text = format == Format::Text;
        let delimiter = match delimiter.as_deref().map(str::as_bytes) {
            None if text => b'\t',
            None => b',',
            Some([one]) if !b"\n\r\\\"".contains(one) => *one,
            Some(_) => return Err(Fault::new("22023", "COPY: the delimiter is one byte, no quote and no end of line")),
        };
        let null = null.unwrap_or_else(|| if text { "\\N".to_owned() } else { String::new() });
        Ok(Self { format, header, delimiter, null })
    }

    /// The columns as this copy writes them.
    #[must_use]
    pub fn layout(&self, layout: &Layout) -> Layout {
        let mut layout = layout.clone();
        for column in &mut layout.columns {
            column.binary = self.format == Format::Binary;
        }
        layout
    }

    /// Appends what comes before the rows.
    pub fn begin(&self, layout: &Layout, out: &mut BytesMut) {
        let binary = self.format == Format::Binary;
        answers::message(out, b'H', |out| {
            out.put_u8(u8::from(binary));
            out.put_i16(i16::try_from(layout.columns.len()).unwrap_or(i16::MAX));
            layout.columns.iter().for_each(|_| out.put_i16(i16::from(binary)));
        });
        if self.header && !binary {
            answers::message(out, b'd', |out| {
                for (at, column) in layout.columns.iter().enumerate() {
                    self.between(at, out);
                    self.field(column.name.as_bytes(), out);
                }
                out.put_u8(b'\n');
            });
        }
    }

    /// Appends one row. The signature of a copy in binary goes with the first one, as PostgreSQL sends it: the ADBC driver
    /// takes messages apart by that.
    pub fn row(&self, layout: &Layout, columns: &[ArrayRef], row: usize, first: bool, out: &mut BytesMut) {
        if self.format == Format::Binary {
            return answers::message(out, b'd', |out| {
                out.put_slice(if first { SIGNATURE } else { &[] });
                layout.fields(columns, row, out);
            });
        }
        answers::message(out, b'd', |out| {
            let mut plain = BytesMut::new();
            for (at, array) in columns.iter().enumerate() {
                self.between(at, out);
                if array.is_null(row) || *array.data_type() == DataType::Null {
                    out.put_slice(self.null.as_bytes());
                } else {
                    plain.clear();
                    text_value(array, row, &mut plain);
                    self.field(&plain, out);
                }
            }
            out.put_u8(b'\n');
        });
    }

    /// Appends what comes behind so many rows.
    pub fn end(&self, rows: u64, out: &mut BytesMut) {
        if self.format == Format::Binary {
            answers::message(out, b'd', |out| {
                out.put_slice(if rows == 0 { SIGNATURE } else { &[] });
                out.put_i16(-1);
            });
        }
        answers::bare(out, b'c');
    }

    fn between(&self, at: usize, out: &mut BytesMut) {
        if at > 0 {
            out.put_u8(self.delimiter);
        }
    }

    fn field(&self, text: &[u8], out: &mut BytesMut) {
        match self.format {
            Format::Csv => self.quoted(text, out),
            _ => self.escaped(text, out),
        }
    }

    fn escaped(&self, text: &[u8], out: &mut BytesMut) {
        for &byte in text {
            let letter = match byte {
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                8 => b'b',
                11 => b'v',
                12 => b'f',
                byte if byte == self.delimiter => byte,
                byte => {
                    out.put_u8(byte);
                    continue;
                }
            };
            out.put_slice(&[b'\\', letter]);
        }
    }

    fn quoted(&self, text: &[u8], out: &mut BytesMut) {
        let special = |byte: &u8| *byte == self.delimiter || b"\"\n\r".contains(byte);
        // What would be read as null, and PostgreSQL's mark of the end.
        let quoted = text == self.null.as_bytes() || text == b"\\." || text.iter().any(special);
        if !quoted {
            return out.put_slice(text);
        }
        out.put_u8(b'"');
        for &byte in text {
            if byte == b'"' {
                out.put_u8(b'"');
            }
            out.put_u8(byte);
        }
        out.put_u8(b'"');
    }
}

impl Format {
    fn of(name: &str) -> Result<Self, Fault> {
        match name.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "csv" => Ok(Self::Csv),
            "binary" => Ok(Self::Binary),
            _ => Err(Fault::new("22023", format!("COPY format \"{name}\" not recognized"))),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::{
        array::{Int32Array, RecordBatch, StringArray},
        datatypes::{Field, Schema},
    };
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_query_and_the_options_are_found_in_the_text() {
        for (sql, query, format) in [
            ("COPY (SELECT ')' AS a, (1)) TO STDOUT (FORMAT binary)", "SELECT ')' AS a, (1)", Format::Binary),
            ("copy ( SELECT 1 ) to stdout", "SELECT 1 ", Format::Text),
            ("COPY  ( SELECT\n 'ü' ) TO STDOUT csv header", "SELECT\n 'ü' ", Format::Csv),
            ("COPY (SELECT 1) TO STDOUT WITH BINARY;", "SELECT 1", Format::Binary),
            ("COPY shape.orders TO STDOUT", "SELECT * FROM shape.orders ", Format::Text),
            ("COPY shape.orders (id, total) TO STDOUT", "SELECT id, total FROM shape.orders ", Format::Text),
        ] {
            let (found, copy) = read(sql).unwrap();
            assert_eq!((found.as_str(), copy.format), (query, format), "{sql}");
        }
        let (_, copy) = read("COPY (SELECT 1) TO STDOUT (FORMAT csv, HEADER false, DELIMITER ';', NULL 'x')").unwrap();
        assert_eq!(copy, Copy { format: Format::Csv, header: false, delimiter: b';', null: "x".into() });
        for (sql, code) in [
            ("COPY shape.orders FROM STDIN", "25006"),
            ("COPY (SELECT 1) TO '/tmp/x'", "25006"),
            ("COPY (SELECT 1) TO PROGRAM 'x'", "25006"),
            ("COPY (SELECT 1) TO STDOUT (FORMAT xml)", "22023"),
            ("COPY (SELECT 1) TO STDOUT (FORCE_QUOTE *)", "0A000"),
            ("COPY (SELECT 1) TO STDOUT (DELIMITER '--')", "22023"),
            ("COPY (SELECT 1)", "42601"),
            ("COPY", "42601"),
            ("COPY TO STDOUT", "42601"),
        ] {
            assert_eq!(read(sql).unwrap_err().code, code, "{sql}");
        }
    }

    /// The data of a copy, its messages' frames taken off.
    fn written(options: &str) -> Vec<u8> {
        let schema =
            Schema::new(vec![Field::new("n", DataType::Int32, true), Field::new("t, x", DataType::Utf8, true)]);
        let numbers = Int32Array::from(vec![Some(1), None, Some(3)]);
        let texts = StringArray::from(vec![Some("a\tb\\\n\"c\","), Some(""), None]);
        let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]).unwrap();
        let (_, copy) = read(&format!("COPY (SELECT 1) TO STDOUT {options}")).unwrap();
        let layout = copy.layout(&Layout::of(&batch.schema()));
        let mut out = BytesMut::new();
        copy.begin(&layout, &mut out);
        (0..3).for_each(|row| copy.row(&layout, batch.columns(), row, row == 0, &mut out));
        copy.end(3, &mut out);
        let (mut rest, mut data) = (&out[..], Vec::new());
        while let [kind, a, b, c, d, behind @ ..] = rest {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
            if *kind == b'd' {
                data.extend_from_slice(&behind[..length]);
            }
            rest = &behind[length..];
        }
        data
    }

    #[test]
    fn rows_are_written_as_postgres_does() {
        assert_eq!(written(""), b"1\ta\\tb\\\\\\n\"c\",\n\\N\t\n3\t\\N\n");
        assert_eq!(written("(FORMAT csv, HEADER)"), b"n,\"t, x\"\n1,\"a\tb\\\n\"\"c\"\",\"\n,\"\"\n3,\n");
        let binary = [
            SIGNATURE,
            b"\0\x02\0\0\0\x04\0\0\0\x01\0\0\0\x09a\tb\\\n\"c\",",
            b"\0\x02\xff\xff\xff\xff\0\0\0\0",
            b"\0\x02\0\0\0\x04\0\0\0\x03\xff\xff\xff\xff",
            b"\xff\xff",
        ];
        assert_eq!(written("BINARY"), binary.concat());
    }

    proptest! {
        #[test]
        fn any_text_is_a_copy_or_refused(text in "COPY [()'\"a-z, TO$S\n-]{0,40}( TO STDOUT)?[a-z( ')]{0,20}") {
            let _ = read(&text);
        }
    }
}
