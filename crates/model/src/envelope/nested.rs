//! Values with parts: arrays, `hstore`, `point`.
//!
//! Postgres' text of an array nests braces and quotes; it is walked once, element by element, into one reused scratch
//! buffer for those that need unescaping.

use super::{
    avro::{self, json_string},
    field::FieldType,
    text,
    time::Reason,
};

/// Appends an array as Avro: count and items in one block, then the end mark. Several dimensions are flattened: Avro's
/// schema for the column is an array of its element type whatever the dimensions.
pub(super) fn array(input: &[u8], item: &FieldType, items_nullable: bool, out: &mut Vec<u8>) -> Result<(), Reason> {
    let mut scratch = Vec::new();
    let mut count = 0;
    walk_array(input, &mut scratch, |_| {
        count += 1;
        Ok(())
    })?;
    if count > 0 {
        avro::long(out, count);
        walk_array(input, &mut scratch, |element| {
            let Some(element) = element else {
                if items_nullable {
                    out.push(0);
                    return Ok(());
                }
                return Err("NULL inside an array whose Avro items are not nullable");
            };
            if items_nullable {
                out.push(2);
            }
            text::encode(item, element, out)
        })?;
    }
    out.push(0);
    Ok(())
}

/// Calls `element` for each leaf of an array's text, `None` for `NULL`.
fn walk_array(
    input: &[u8],
    scratch: &mut Vec<u8>,
    mut element: impl FnMut(Option<&[u8]>) -> Result<(), Reason>,
) -> Result<(), Reason> {
    const BAD: Reason = "not an array";
    // Bounds other than 1 come first: [0:2]={…}
    let mut rest = match input.first() {
        Some(b'[') => {
            let at = input.iter().position(|b| *b == b'=').ok_or(BAD)?;
            &input[at + 1..]
        }
        _ => input,
    };
    let mut depth = 0usize;
    let mut element_may_follow = false;
    loop {
        match rest {
            [b'{', tail @ ..] => {
                depth += 1;
                element_may_follow = true;
                rest = tail;
            }
            [b'}', tail @ ..] if depth > 0 => {
                depth -= 1;
                element_may_follow = false;
                rest = tail;
                if depth == 0 {
                    return if rest.is_empty() { Ok(()) } else { Err(BAD) };
                }
            }
            [b',', tail @ ..] if depth > 0 && !element_may_follow => {
                element_may_follow = true;
                rest = tail;
            }
            [b'"', tail @ ..] if element_may_follow => {
                scratch.clear();
                rest = unquote(tail, scratch)?;
                element(Some(scratch))?;
                element_may_follow = false;
            }
            [_, ..] if element_may_follow => {
                let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b'{' | b'"')).ok_or(BAD)?;
                let (word, tail) = rest.split_at(end);
                if word.is_empty() {
                    return Err(BAD);
                }
                element(if word == b"NULL" { None } else { Some(word) })?;
                element_may_follow = false;
                rest = tail;
            }
            _ => return Err(BAD),
        }
    }
}

/// Appends what stands before the closing quote, backslash escapes resolved; returns what follows the quote.
fn unquote<'a>(mut rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Reason> {
    loop {
        match rest {
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', byte, tail @ ..] | [byte, tail @ ..] => {
                out.push(*byte);
                rest = tail;
            }
            [] => return Err("a quote is not closed"),
        }
    }
}

/// Appends an `hstore` as a string holding a JSON object, pairs in the order of the text.
pub(super) fn hstore(input: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let mut json = String::from("{");
    walk_hstore(input, |key, value| {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&json_string(key));
        json.push(':');
        json.push_str(&value.map_or_else(|| "null".to_owned(), json_string));
    })?;
    json.push('}');
    avro::bytes(out, json.as_bytes());
    Ok(())
}

/// Appends an `hstore` as an Avro map of nullable strings, pairs in the order of the text.
pub(super) fn hstore_map(input: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let (mut count, mut pairs) = (0, Vec::new());
    walk_hstore(input, |key, value| {
        count += 1;
        avro::bytes(&mut pairs, key.as_bytes());
        match value {
            Some(value) => {
                pairs.push(2);
                avro::bytes(&mut pairs, value.as_bytes());
            }
            None => pairs.push(0),
        }
    })?;
    if count > 0 {
        avro::long(out, count);
        out.append(&mut pairs);
    }
    out.push(0);
    Ok(())
}

/// Calls `pair` for each key and value, `None` for `NULL`.
pub(super) fn walk_hstore(input: &[u8], mut pair: impl FnMut(&str, Option<&str>)) -> Result<(), Reason> {
    const BAD: Reason = "not an hstore";
    fn utf8(bytes: &[u8]) -> Result<&str, Reason> {
        std::str::from_utf8(bytes).map_err(|_| "not UTF-8")
    }
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut rest = input;
    while !rest.is_empty() {
        if rest.len() < input.len() {
            rest = rest.strip_prefix(b", ").ok_or(BAD)?;
        }
        key.clear();
        rest = unquote(rest.strip_prefix(b"\"").ok_or(BAD)?, &mut key)?;
        rest = rest.strip_prefix(b"=>").ok_or(BAD)?;
        if let Some(tail) = rest.strip_prefix(b"NULL") {
            pair(utf8(&key)?, None);
            rest = tail;
        } else {
            value.clear();
            rest = unquote(rest.strip_prefix(b"\"").ok_or(BAD)?, &mut value)?;
            pair(utf8(&key)?, Some(utf8(&value)?));
        }
    }
    Ok(())
}

/// Appends a `point` as Debezium's record: x, y, well-known binary (OGC, little endian), no SRID.
pub(super) fn point(input: &[u8], out: &mut Vec<u8>) -> Result<(), Reason> {
    let inner = input.strip_prefix(b"(").and_then(|rest| rest.strip_suffix(b")")).ok_or("not a point")?;
    let comma = inner.iter().position(|b| *b == b',').ok_or("not a point")?;
    let x: f64 = text::float(&inner[..comma])?;
    let y: f64 = text::float(&inner[comma + 1..])?;
    push_point(x, y, out);
    Ok(())
}

/// Appends the record of a point.
pub(super) fn push_point(x: f64, y: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&x.to_le_bytes());
    out.extend_from_slice(&y.to_le_bytes());
    out.push(2);
    avro::long(out, 21);
    out.push(1);
    out.extend_from_slice(&1u32.to_le_bytes());
    out.extend_from_slice(&x.to_le_bytes());
    out.extend_from_slice(&y.to_le_bytes());
    out.push(0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn elements(text: &str) -> Result<Vec<Option<String>>, Reason> {
        let mut found = Vec::new();
        walk_array(text.as_bytes(), &mut Vec::new(), |element| {
            found.push(element.map(|e| String::from_utf8(e.to_vec()).unwrap()));
            Ok(())
        })
        .map(|()| found)
    }

    #[test]
    fn arrays_are_walked_leaf_by_leaf() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(elements("{}").unwrap(), []);
        assert_eq!(elements("{1,NULL,3}").unwrap(), [some("1"), None, some("3")]);
        assert_eq!(elements(r#"{a,"NULL","c \"d\\,}"}"#).unwrap(), [some("a"), some("NULL"), some(r#"c "d\,}"#)]);
        assert_eq!(elements("{{1,2},{3,4}}").unwrap().len(), 4);
        assert_eq!(elements("[0:1]={7,8}").unwrap(), [some("7"), some("8")]);
        assert_eq!(elements(r#"{""}"#).unwrap(), [some("")]);
    }

    #[test]
    fn text_that_is_no_array_is_refused() {
        for text in ["", "{", "}", "1", "{1", "{1,,2}", "{,1}", "{1}x", "{\"a}", "[0:1]", "{a\"b\"}", "{\"\\"] {
            assert!(elements(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hstore_becomes_a_json_object() {
        let mut out = Vec::new();
        hstore(br#""a"=>"1", "b\""=>NULL, "c"=>"\\""#, &mut out).unwrap();
        assert_eq!(avro::payload(&out).unwrap(), br#"{"a":"1","b\"":null,"c":"\\"}"#);
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "[\\[\\]{}\",=\\\\a1N:>() .]{0,40}") {
            let mut out = Vec::new();
            let _ = array(text.as_bytes(), &FieldType::Int4, true, &mut out);
            let _ = hstore(text.as_bytes(), &mut out);
            let _ = point(text.as_bytes(), &mut out);
        }
    }
}
