//! A datum as JSON, as Connect's JsonConverter writes it without schemas: bytes and decimals in base64, an optional
//! value plain, a union of several types as an object with a member for each.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::datum::{Cursor, DEPTH_MAX, Malformed};
use super::schema::{Id, Node, Schema};

/// `json.decimal.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimals {
    /// The unscaled number's bytes.
    Base64,
    /// A JSON number.
    Numeric,
}

/// Append `datum` to `out`.
///
/// # Errors
/// [`Malformed`]; what was appended until then stays.
pub fn write_json(schema: &Schema, datum: &[u8], decimals: Decimals, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut writer = Writer { schema, decimals, out };
    let mut cursor = Cursor(datum);
    writer.value(&mut cursor, schema.root, 0)?;
    if cursor.0.is_empty() { Ok(()) } else { Err(Malformed) }
}

struct Writer<'s> {
    schema: &'s Schema,
    decimals: Decimals,
    out: &'s mut Vec<u8>,
}

impl Writer<'_> {
    fn value(&mut self, cursor: &mut Cursor<'_>, id: Id, depth: usize) -> Result<(), Malformed> {
        if depth > DEPTH_MAX {
            return Err(Malformed);
        }
        let schema = self.schema;
        match &schema.nodes[id] {
            Node::Null => self.out.extend_from_slice(b"null"),
            Node::Boolean => {
                let text: &[u8] = if cursor.take(1)?[0] != 0 { b"true" } else { b"false" };
                self.out.extend_from_slice(text);
            }
            Node::Int | Node::Long => self.number(cursor.long()?),
            Node::Float => {
                let raw = cursor.take(4)?.try_into().map_err(|_| Malformed)?;
                self.float(f64::from(f32::from_le_bytes(raw)), f32::from_le_bytes(raw));
            }
            Node::Double => {
                let raw = cursor.take(8)?.try_into().map_err(|_| Malformed)?;
                self.float(f64::from_le_bytes(raw), f64::from_le_bytes(raw));
            }
            Node::String => {
                let text = cursor.text()?;
                self.text(text);
            }
            Node::Enum(symbols) => {
                let symbol = symbols.get(cursor.index()?).ok_or(Malformed)?;
                self.text(symbol);
            }
            Node::Bytes => {
                let bytes = cursor.bytes()?;
                self.bytes(bytes, id);
            }
            Node::Fixed(size) => {
                let bytes = cursor.take(*size)?;
                self.bytes(bytes, id);
            }
            Node::Union(branches) => self.union(cursor, branches, depth)?,
            Node::Record(fields) => {
                self.out.push(b'{');
                for (index, (name, field)) in fields.iter().enumerate() {
                    self.name(index > 0, name);
                    self.value(cursor, *field, depth + 1)?;
                }
                self.out.push(b'}');
            }
            Node::Array(items) => self.array(cursor, *items, depth)?,
            Node::Map(values) => self.map(cursor, *values, depth)?,
        }
        Ok(())
    }

    fn union(&mut self, cursor: &mut Cursor<'_>, branches: &[Id], depth: usize) -> Result<(), Malformed> {
        let held = cursor.index()?;
        let id = *branches.get(held).ok_or(Malformed)?;
        let several = branches.iter().filter(|branch| self.schema.nodes[**branch] != Node::Null).count() > 1;
        if !several || self.schema.nodes[id] == Node::Null {
            return self.value(cursor, id, depth + 1);
        }
        self.out.push(b'{');
        let mut following = false;
        for branch in branches.iter().filter(|branch| self.schema.nodes[**branch] != Node::Null) {
            let schema = self.schema;
            self.name(following, &schema.names[*branch]);
            following = true;
            if *branch == id {
                self.value(cursor, id, depth + 1)?;
            } else {
                self.out.extend_from_slice(b"null");
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn array(&mut self, cursor: &mut Cursor<'_>, items: Id, depth: usize) -> Result<(), Malformed> {
        self.out.push(b'[');
        let mut following = false;
        while let count @ 1.. = cursor.block()? {
            for _ in 0..count {
                // Nulls have no bytes: without this a few bytes could ask for any amount of memory.
                if cursor.0.is_empty() {
                    return Err(Malformed);
                }
                if std::mem::replace(&mut following, true) {
                    self.out.push(b',');
                }
                self.value(cursor, items, depth + 1)?;
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn map(&mut self, cursor: &mut Cursor<'_>, values: Id, depth: usize) -> Result<(), Malformed> {
        self.out.push(b'{');
        let mut following = false;
        while let count @ 1.. = cursor.block()? {
            for _ in 0..count {
                let key = cursor.text()?;
                self.name(std::mem::replace(&mut following, true), key);
                self.value(cursor, values, depth + 1)?;
            }
        }
        self.out.push(b'}');
        Ok(())
    }

    fn name(&mut self, following: bool, name: &str) {
        if following {
            self.out.push(b',');
        }
        self.text(name);
        self.out.push(b':');
    }

    fn text(&mut self, text: &str) {
        // Writing into memory does not fail.
        let _ = serde_json::to_writer(&mut *self.out, text);
    }

    fn number(&mut self, number: i64) {
        let _ = serde_json::to_writer(&mut *self.out, &number);
    }

    /// Numbers that JSON has no words for are text, as Jackson writes them.
    fn float<T: serde::Serialize>(&mut self, wide: f64, exact: T) {
        let _ = match wide {
            _ if wide.is_finite() => serde_json::to_writer(&mut *self.out, &exact),
            _ if wide.is_nan() => serde_json::to_writer(&mut *self.out, "NaN"),
            _ => serde_json::to_writer(&mut *self.out, if wide > 0.0 { "Infinity" } else { "-Infinity" }),
        };
    }

    fn bytes(&mut self, bytes: &[u8], id: Id) {
        if let (Decimals::Numeric, Some(scale)) = (self.decimals, self.schema.scales.get(&id)) {
            self.out.extend_from_slice(decimal_text(bytes, *scale).as_bytes());
            return;
        }
        self.out.push(b'"');
        let start = self.out.len();
        self.out.resize(start + bytes.len().div_ceil(3) * 4, 0);
        let written = STANDARD.encode_slice(bytes, &mut self.out[start..]).unwrap_or(0);
        self.out.truncate(start + written);
        self.out.push(b'"');
    }
}

/// A decimal's text: `bytes` are the unscaled number, two's complement, high byte first.
pub fn decimal_text(bytes: &[u8], scale: usize) -> String {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut magnitude: Vec<u8> = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let mut digits = Vec::new();
    while magnitude.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u32;
        for byte in &mut magnitude {
            let value = rest << 8 | u32::from(*byte);
            *byte = (value / 10) as u8;
            rest = value % 10;
        }
        digits.push(b'0' + rest as u8);
    }
    while digits.len() <= scale {
        digits.push(b'0');
    }
    let mut text = String::with_capacity(digits.len() + 2);
    if negative {
        text.push('-');
    }
    for (index, digit) in digits.iter().enumerate().rev() {
        text.push(char::from(*digit));
        if index == scale && scale > 0 {
            text.push('.');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use apache_avro::types::Value;
    use proptest::prelude::*;

    use super::super::{Found, find};
    use super::*;

    const ROW: &str = r#"{"type":"record","name":"Envelope","namespace":"a","fields":[
        {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
            {"name":"id","type":"long"},{"name":"name","type":["null","string"]},
            {"name":"price","type":{"type":"bytes","logicalType":"decimal","scale":2,"precision":9}}]}]},
        {"name":"after","type":["null","Value"]},
        {"name":"op","type":"string"},
        {"name":"tags","type":{"type":"array","items":"string"}},
        {"name":"more","type":{"type":"map","values":"double"}},
        {"name":"either","type":["null","int","string"]}]}"#;

    fn row(name: Option<&str>) -> Vec<u8> {
        let schema = apache_avro::Schema::parse_str(ROW).unwrap();
        let text = |text: &str| Value::String(text.into());
        let name = name.map_or(Value::Union(0, Box::new(Value::Null)), |name| Value::Union(1, Box::new(text(name))));
        let value = Value::Record(vec![
            ("id".into(), Value::Long(-7)),
            ("name".into(), name),
            ("price".into(), Value::Decimal(vec![0xff, 0x85].into())),
        ]);
        let envelope = Value::Record(vec![
            ("before".into(), Value::Union(0, Box::new(Value::Null))),
            ("after".into(), Value::Union(1, Box::new(value))),
            ("op".into(), text("c")),
            ("tags".into(), Value::Array(vec![text("a"), text("b\n")])),
            ("more".into(), Value::Map([("x".to_owned(), Value::Double(f64::NAN))].into())),
            ("either".into(), Value::Union(2, Box::new(text("s")))),
        ]);
        apache_avro::to_avro_datum(&schema, envelope).unwrap()
    }

    fn json(decimals: Decimals) -> String {
        let mut out = Vec::new();
        write_json(&Schema::parse(ROW).unwrap(), &row(Some("Ä\"")), decimals, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_datum_is_written_as_connects_json_converter_does() {
        assert_eq!(
            json(Decimals::Base64),
            r#"{"before":null,"after":{"id":-7,"name":"Ä\"","price":"/4U="},"op":"c","tags":["a","b\n"],"more":{"x":"NaN"},"either":{"int":null,"string":"s"}}"#
        );
        assert!(json(Decimals::Numeric).contains(r#""price":-1.23}"#), "{}", json(Decimals::Numeric));
    }

    #[test]
    fn fields_are_found_through_optional_records() {
        let schema = Schema::parse(ROW).unwrap();
        let datum = row(Some("x"));
        let found = |path: &str| find(&schema, &datum, &schema.path(path).unwrap()).unwrap();
        assert_eq!(found("after.id"), Found::Integer(-7));
        assert_eq!(found("after.name"), Found::Text("x"));
        assert_eq!(found("before.id"), Found::Null);
        assert_eq!(found("op"), Found::Text("c"));
        assert_eq!(found("tags"), Found::Other);
        let missing = schema.path("after.nope").unwrap_err().to_string();
        assert_eq!(missing, "Field 'after.nope' is not present in the schema.");
    }

    #[test]
    fn decimals_have_their_point_where_the_scale_says() {
        for (bytes, scale, text) in [
            (&[0x00][..], 0, "0"),
            (&[0x00], 2, "0.00"),
            (&[0x05], 2, "0.05"),
            (&[0xfb], 1, "-0.5"),
            (&[0x01, 0x00], 0, "256"),
            (&[0x80, 0x00], 3, "-32.768"),
        ] {
            assert_eq!(decimal_text(bytes, scale), text);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let schema = Schema::parse(ROW).unwrap();
            let _ = write_json(&schema, &bytes, Decimals::Numeric, &mut Vec::new());
            let _ = find(&schema, &bytes, &schema.path("either").unwrap());
        }

        #[test]
        fn any_text_is_no_schema_without_panic(text in r#"[\[\]{}":,a-z]{0,60}"#) {
            let _ = Schema::parse(&text);
        }

        #[test]
        fn a_decimal_is_the_number(number in any::<i128>(), scale in 0..5_usize) {
            let text = decimal_text(&number.to_be_bytes(), scale).replace('.', "");
            prop_assert_eq!(text.parse::<i128>().unwrap(), number);
        }
    }
}
