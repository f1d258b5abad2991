//! Headers as a file of theirs takes them: a list of key and value, values as text.

use topics::Record;

use crate::container::{put_bytes, put_long};
use crate::format::Format;

/// Schema of an Avro file of headers, as Confluent's sink makes it.
pub const HEADERS_SCHEMA: &str = r#"{"type":"array","items":{"type":"record","name":"ConnectDefault","namespace":"io.confluent.connect.avro","fields":[{"name":"key","type":"string"},{"name":"value","type":"string"}]}}"#;

/// The headers of a record. One without a value has an empty text.
pub(super) fn write<'a>(record: &Record<'_>, format: &Format, out: &'a mut Vec<u8>) -> Result<&'a [u8], String> {
    let headers: Vec<(&str, std::borrow::Cow<'_, str>)> = record
        .headers()
        .map(|header| (header.key, String::from_utf8_lossy(header.value.unwrap_or_default())))
        .collect();
    if headers.is_empty() {
        return Err("Headers cannot be null for SinkRecord: store.kafka.headers needs headers on every record".into());
    }
    out.clear();
    if format.takes_avro() {
        put_long(out, i64::try_from(headers.len()).unwrap_or(i64::MAX));
        for (key, value) in &headers {
            put_bytes(out, key.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        put_long(out, 0);
    } else {
        let list: Vec<_> =
            headers.iter().map(|(key, value)| serde_json::json!({ "key": key, "value": value })).collect();
        let envelope = serde_json::json!({ "headers": list });
        serde_json::to_writer(&mut *out, &envelope).map_err(|error| error.to_string())?;
    }
    Ok(out)
}
