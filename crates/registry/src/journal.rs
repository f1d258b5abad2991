//! Records of the topic `_schemas`, in Confluent's format: JSON keys with `keytype` and `magic`, JSON values.
//!
//! | keytype | key | value |
//! |---|---|---|
//! | `SCHEMA` | `subject, version, magic 1` | `subject, version, id, schema, deleted` (+ `schemaType` unless Avro); null: deleted for good |
//! | `CONFIG` | `subject` or null, `magic 0` | `compatibilityLevel`; null: level of its own removed |
//! | `MODE` | `subject` or null, `magic 0` | `mode`; null: mode of its own removed |
//! | `DELETE_SUBJECT` | `subject, magic 0` | `subject, version`: all versions up to this one are deleted softly |
//! | `CLEAR_SUBJECT` | `subject, magic 0` | `subject`: softly deleted versions are gone for good |
//! | `NOOP` | `magic 0` | null with Confluent; ours carries `id_max`, see below |
//!
//! Ours in one point: compaction removes the record of a schema deleted for good, and with it the knowledge that
//! its id was used. The value of `NOOP`, which others ignore, keeps the highest id ever given.
//!
//! Reading is lenient (unknown key types and fields are skipped: topics written by Confluent's or other
//! registries are taken over), writing is byte for byte what Confluent writes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::level::{Compatibility, Mode};

/// One change of the registry's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    Schema(SchemaEntry),
    /// The version is deleted for good.
    SchemaGone {
        subject: String,
        version: u32,
    },
    Config {
        subject: Option<String>,
        level: Option<Compatibility>,
    },
    Mode {
        subject: Option<String>,
        mode: Option<Mode>,
    },
    DeleteSubject {
        subject: String,
        up_to: u32,
    },
    ClearSubject {
        subject: String,
    },
    Noop {
        id_max: Option<u32>,
    },
}

/// A version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaEntry {
    pub subject: String,
    pub version: u32,
    pub id: u32,
    /// `AVRO` unless the topic was written by another registry.
    pub schema_type: String,
    pub schema: String,
    pub deleted: bool,
}

/// A record that is not one of a schema registry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(String);

#[derive(Deserialize)]
struct AnyKey {
    keytype: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    version: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct SchemaValue {
    subject: String,
    version: u32,
    id: u32,
    #[serde(rename = "schemaType", default, skip_serializing_if = "Option::is_none")]
    schema_type: Option<String>,
    schema: String,
    #[serde(default)]
    deleted: bool,
}

#[derive(Serialize)]
struct SchemaKey<'a> {
    keytype: &'static str,
    subject: &'a str,
    version: u32,
    magic: u8,
}

#[derive(Serialize)]
struct SubjectKey<'a> {
    keytype: &'static str,
    subject: Option<&'a str>,
    magic: u8,
}

#[derive(Serialize)]
struct NoopKey {
    keytype: &'static str,
    magic: u8,
}

/// Reads a record. `Ok(None)` for key types this registry has no use for.
///
/// # Errors
/// When the bytes are not a record of a schema registry.
pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Option<Entry>, JournalError> {
    let key = key.ok_or_else(|| JournalError("record without a key".to_owned()))?;
    let key: AnyKey = serde_json::from_slice(key).map_err(|error| JournalError(format!("key: {error}")))?;
    // Some writers put the JSON text `null` where others put no value at all.
    let value = value.filter(|value| *value != b"null");
    let subject = |subject: Option<String>| subject.ok_or_else(|| JournalError("key without subject".to_owned()));
    Ok(Some(match key.keytype.as_str() {
        "SCHEMA" => match value {
            Some(value) => Entry::Schema(schema_entry(value)?),
            None => Entry::SchemaGone {
                subject: subject(key.subject)?,
                version: key.version.ok_or_else(|| JournalError("key without version".to_owned()))?,
            },
        },
        "CONFIG" => Entry::Config { subject: key.subject, level: member(value, "compatibilityLevel")? },
        "MODE" => Entry::Mode { subject: key.subject, mode: member(value, "mode")? },
        "DELETE_SUBJECT" => match member(value, "version")? {
            Some(up_to) => Entry::DeleteSubject { subject: subject(key.subject)?, up_to },
            None => return Ok(None),
        },
        "CLEAR_SUBJECT" if value.is_some() => Entry::ClearSubject { subject: subject(key.subject)? },
        "NOOP" => Entry::Noop { id_max: member(value, "id_max").unwrap_or(None) },
        _ => return Ok(None),
    }))
}

fn schema_entry(value: &[u8]) -> Result<SchemaEntry, JournalError> {
    let value: SchemaValue = from_json(value)?;
    if value.version == 0 {
        return Err(JournalError("version 0".to_owned()));
    }
    Ok(SchemaEntry {
        subject: value.subject,
        version: value.version,
        id: value.id,
        schema_type: value.schema_type.unwrap_or_else(|| "AVRO".to_owned()),
        schema: value.schema,
        deleted: value.deleted,
    })
}

fn member<T: serde::de::DeserializeOwned>(value: Option<&[u8]>, name: &str) -> Result<Option<T>, JournalError> {
    let Some(value) = value else { return Ok(None) };
    let mut value: serde_json::Map<String, Value> = from_json(value)?;
    match value.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(member) => serde_json::from_value(member).map_err(|error| JournalError(format!("value.{name}: {error}"))),
    }
}

fn from_json<T: serde::de::DeserializeOwned>(value: &[u8]) -> Result<T, JournalError> {
    serde_json::from_slice(value).map_err(|error| JournalError(format!("value: {error}")))
}

impl Entry {
    /// Bytes of the record's key.
    pub fn key(&self) -> Vec<u8> {
        let of_subject = |keytype, subject| json(&SubjectKey { keytype, subject, magic: 0 });
        let of_schema = |subject: &str, version| json(&SchemaKey { keytype: "SCHEMA", subject, version, magic: 1 });
        match self {
            Self::Schema(entry) => of_schema(&entry.subject, entry.version),
            Self::SchemaGone { subject, version } => of_schema(subject, *version),
            Self::Config { subject, .. } => of_subject("CONFIG", subject.as_deref()),
            Self::Mode { subject, .. } => of_subject("MODE", subject.as_deref()),
            Self::DeleteSubject { subject, .. } => of_subject("DELETE_SUBJECT", Some(subject)),
            Self::ClearSubject { subject } => of_subject("CLEAR_SUBJECT", Some(subject)),
            Self::Noop { .. } => json(&NoopKey { keytype: "NOOP", magic: 0 }),
        }
    }

    /// Bytes of the record's value; `None` is a tombstone.
    pub fn value(&self) -> Option<Vec<u8>> {
        match self {
            Self::Schema(entry) => Some(json(&SchemaValue {
                subject: entry.subject.clone(),
                version: entry.version,
                id: entry.id,
                schema_type: (entry.schema_type != "AVRO").then(|| entry.schema_type.clone()),
                schema: entry.schema.clone(),
                deleted: entry.deleted,
            })),
            Self::SchemaGone { .. } => None,
            Self::Config { level, .. } => level.map(|level| json(&serde_json::json!({ "compatibilityLevel": level }))),
            Self::Mode { mode, .. } => mode.map(|mode| json(&serde_json::json!({ "mode": mode }))),
            Self::DeleteSubject { subject, up_to } => {
                Some(json(&serde_json::json!({ "subject": subject, "version": up_to })))
            }
            Self::ClearSubject { subject } => Some(json(&serde_json::json!({ "subject": subject }))),
            Self::Noop { id_max } => id_max.map(|id_max| json(&serde_json::json!({ "id_max": id_max }))),
        }
    }
}

/// Strings, numbers and flags always become JSON.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    fn subjects() -> impl Strategy<Value = String> {
        "[ -~äöü]{0,20}"
    }

    fn entries() -> impl Strategy<Value = Entry> {
        let levels = prop::option::of(prop::sample::select(Compatibility::ALL.to_vec()));
        let modes = prop::option::of(prop::sample::select(Mode::ALL.to_vec()));
        prop_oneof![
            (subjects(), 1..9u32, any::<u32>(), ".{0,40}", any::<bool>()).prop_map(
                |(subject, version, id, schema, deleted)| Entry::Schema(SchemaEntry {
                    subject,
                    version,
                    id,
                    schema_type: "AVRO".into(),
                    schema,
                    deleted
                })
            ),
            (subjects(), any::<u32>()).prop_map(|(subject, version)| Entry::SchemaGone { subject, version }),
            (prop::option::of(subjects()), levels).prop_map(|(subject, level)| Entry::Config { subject, level }),
            (prop::option::of(subjects()), modes).prop_map(|(subject, mode)| Entry::Mode { subject, mode }),
            (subjects(), any::<u32>()).prop_map(|(subject, up_to)| Entry::DeleteSubject { subject, up_to }),
            subjects().prop_map(|subject| Entry::ClearSubject { subject }),
            prop::option::of(any::<u32>()).prop_map(|id_max| Entry::Noop { id_max }),
        ]
    }

    proptest! {
        #[test]
        fn an_entry_reads_back_as_written(entry in entries()) {
            prop_assert_eq!(parse(Some(&entry.key()), entry.value().as_deref()).unwrap(), Some(entry));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(key in prop::collection::vec(any::<u8>(), 0..80), value in prop::option::of(prop::collection::vec(any::<u8>(), 0..80))) {
            let _ = parse(Some(&key), value.as_deref());
        }

        #[test]
        fn json_of_any_shape_is_read_without_a_panic(keytype in prop::sample::select(vec!["SCHEMA", "CONFIG", "MODE", "NOOP", "DELETE_SUBJECT", "CLEAR_SUBJECT", "CONTEXT"]), rest in "[a-z0-9\":,{}\\[\\]]{0,30}", value in "[a-zA-Z0-9\":,{}\\[\\]]{0,60}") {
            let key = format!("{{\"keytype\":\"{keytype}\",{rest}}}");
            let _ = parse(Some(key.as_bytes()), Some(value.as_bytes()));
        }
    }

    #[test]
    fn bytes_are_those_confluent_writes() {
        let entry = Entry::Schema(SchemaEntry {
            subject: "s-key".into(),
            version: 1,
            id: 7,
            schema_type: "AVRO".into(),
            schema: "\"string\"".into(),
            deleted: false,
        });
        assert_eq!(entry.key(), br#"{"keytype":"SCHEMA","subject":"s-key","version":1,"magic":1}"#);
        let value = br#"{"subject":"s-key","version":1,"id":7,"schema":"\"string\"","deleted":false}"#;
        assert_eq!(entry.value().unwrap(), value);
        let entry = Entry::Config { subject: None, level: Some(Compatibility::FullTransitive) };
        assert_eq!(entry.key(), br#"{"keytype":"CONFIG","subject":null,"magic":0}"#);
        assert_eq!(entry.value().unwrap(), br#"{"compatibilityLevel":"FULL_TRANSITIVE"}"#);
    }
}
