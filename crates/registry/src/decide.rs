//! What a request changes: from the state and the request to records to write and the answer to give.
//!
//! Pure. The leader calls these one after the other, each on a state that has all earlier records applied; that is
//! what makes ids and versions unique.

use serde_json::{Value, json};

use crate::avro::{AvroSchema, backward};
use crate::journal::{Entry, SchemaEntry};
use crate::level::{Compatibility, Mode};
use crate::refusal::Refusal;
use crate::state::{Schema, State, Version, VersionId, Visible};

/// Records to write (none when the state is as wanted already) and the body to answer with.
#[derive(Debug)]
pub struct Decision {
    pub entries: Vec<Entry>,
    pub answer: Value,
}

impl Decision {
    fn write(entries: Vec<Entry>, answer: Value) -> Self {
        Self { entries, answer }
    }
}

/// A schema as posted, checked.
#[derive(Debug, Clone)]
pub struct Posted {
    pub schema: Schema,
    /// Given only when importing from another registry.
    pub id: Option<u32>,
    pub version: Option<u32>,
}

impl Posted {
    /// Checks a posted schema.
    ///
    /// # Errors
    /// 42201 when it is not Avro this registry keeps.
    pub fn check(body: &Value, normalize: bool) -> Result<Self, Refusal> {
        let schema_type = body.get("schemaType").and_then(Value::as_str).unwrap_or("AVRO");
        if schema_type != "AVRO" {
            return Err(Refusal::schema_type_not_kept(schema_type));
        }
        if body.get("references").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(Refusal::references_not_kept());
        }
        let text = body.get("schema").and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| Refusal::invalid_schema("empty schema"))?;
        AvroSchema::parse(text).map_err(|error| Refusal::invalid_schema(&error.0))?;
        let mut schema = Schema::new(text, schema_type);
        if normalize {
            schema.text = schema.canonical.clone();
        }
        let number = |key: &str| {
            let number = body.get(key).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
            number.filter(|number| *number > 0)
        };
        Ok(Self { schema, id: number("id"), version: number("version") })
    }
}

/// Registers a schema under a subject.
///
/// # Errors
/// 409 incompatible, 42205 mode forbids it, 42207 imported id taken.
pub fn register(state: &State, subject: &str, posted: &Posted) -> Result<Decision, Refusal> {
    if let Some((_, version)) = state.find(subject, &posted.schema, Visible::Live)
        && posted.id.is_none_or(|id| id == version.id)
    {
        return Ok(Decision::write(Vec::new(), json!({ "id": version.id })));
    }
    let mode = state.mode(subject);
    if !mode.writable() {
        return Err(Refusal::not_permitted(format!("Subject {subject} is in read-only mode")));
    }
    if posted.id.is_some() && mode != Mode::Import {
        return Err(Refusal::not_permitted(format!("Subject {subject} is not in import mode")));
    }
    let id = match posted.id {
        Some(id) => import_id(state, id, &posted.schema)?,
        // A schema has one id, whatever subjects it is in.
        None => state.id_of(&posted.schema).unwrap_or(state.id_max() + 1),
    };
    if mode != Mode::Import {
        let problems = incompatibilities(state, subject, &posted.schema, state.level(subject));
        if !problems.is_empty() {
            return Err(Refusal::incompatible(subject, &problems));
        }
    }
    let entry = Entry::Schema(SchemaEntry {
        subject: subject.to_owned(),
        version: posted.version.filter(|_| mode == Mode::Import).unwrap_or_else(|| state.next_version(subject)),
        id,
        schema_type: posted.schema.schema_type.to_string(),
        schema: posted.schema.text.to_string(),
        deleted: false,
    });
    Ok(Decision::write(vec![entry], json!({ "id": id })))
}

fn import_id(state: &State, id: u32, schema: &Schema) -> Result<u32, Refusal> {
    match state.schema(id) {
        Some(known) if known.canonical != schema.canonical => Err(Refusal::id_taken(id)),
        _ => Ok(id),
    }
}

/// Why a schema may not follow the subject's live versions under `level`; newest version first, in Confluent's
/// words. Empty when it may.
pub fn incompatibilities(state: &State, subject: &str, schema: &Schema, level: Compatibility) -> Vec<String> {
    let versions = state.versions(subject, Visible::Live).rev();
    let compared = if level.transitive() { usize::MAX } else { 1 };
    for (number, version) in versions.take(compared) {
        let problems = against(schema, number, version, level);
        if !problems.is_empty() {
            return problems;
        }
    }
    Vec::new()
}

/// Why a schema is not compatible with one version under `level`.
pub fn against(schema: &Schema, number: u32, version: &Version, level: Compatibility) -> Vec<String> {
    if level == Compatibility::None {
        return Vec::new();
    }
    let (Some(new), Some(old)) = (&schema.parsed, &version.schema.parsed) else {
        return vec![format!("{{version {number} is not an Avro schema this registry can compare}}")];
    };
    let mut problems = Vec::new();
    if level.backward() {
        problems.extend(backward(new, old, true));
    }
    if level.forward() {
        problems.extend(backward(old, new, false));
    }
    if problems.is_empty() {
        return Vec::new();
    }
    let mut messages: Vec<_> = problems.iter().map(ToString::to_string).collect();
    messages.push(format!("{{oldSchemaVersion: {number}}}"));
    messages.push(format!("{{oldSchema: '{}'}}", version.schema.text));
    messages.push(format!("{{compatibility: '{}'}}", level.name()));
    messages
}

/// Deletes a subject, softly or for good; answers the versions.
///
/// # Errors
/// 40401, 40404 when it is deleted softly already, 40405 when it must be first, 42205.
pub fn delete_subject(state: &State, subject: &str, permanent: bool) -> Result<Decision, Refusal> {
    check_writable(state, subject)?;
    let all: Vec<u32> = state.versions(subject, Visible::All).map(|(number, _)| number).collect();
    let live: Vec<u32> = state.versions(subject, Visible::Live).map(|(number, _)| number).collect();
    let Some(last) = all.last().copied() else { return Err(Refusal::subject_not_found(subject)) };
    if permanent {
        if !live.is_empty() {
            return Err(Refusal::subject_not_soft_deleted(subject));
        }
        let gone = all.iter().map(|version| Entry::SchemaGone { subject: subject.to_owned(), version: *version });
        let mut entries = vec![keep_id_max(state)];
        entries.extend(gone);
        entries.extend(own_settings(state, subject));
        return Ok(Decision::write(entries, json!(all)));
    }
    if live.is_empty() {
        return Err(Refusal::subject_soft_deleted(subject));
    }
    let mut entries = vec![Entry::DeleteSubject { subject: subject.to_owned(), up_to: last }];
    entries.extend(own_settings(state, subject));
    Ok(Decision::write(entries, json!(live)))
}

/// Deletes one version, softly or for good; answers its number.
///
/// # Errors
/// 40401, 40402, 40406 when it is deleted softly already, 40407 when it must be first, 42205.
pub fn delete_version(state: &State, subject: &str, id: VersionId, permanent: bool) -> Result<Decision, Refusal> {
    check_writable(state, subject)?;
    let visible = if id == VersionId::Latest && !permanent { Visible::Live } else { Visible::All };
    let (number, version) = state.version(subject, id, visible)?;
    let subject = subject.to_owned();
    if permanent {
        if !version.deleted {
            return Err(Refusal::version_not_soft_deleted(&subject, number));
        }
        let entries = vec![keep_id_max(state), Entry::SchemaGone { subject, version: number }];
        return Ok(Decision::write(entries, json!(number)));
    }
    if version.deleted {
        return Err(Refusal::version_soft_deleted(&subject, number));
    }
    let entry = Entry::Schema(SchemaEntry {
        subject,
        version: number,
        id: version.id,
        schema_type: version.schema.schema_type.to_string(),
        schema: version.schema.text.to_string(),
        deleted: true,
    });
    Ok(Decision::write(vec![entry], json!(number)))
}

/// Remembers the highest id before the record that shows it may be compacted away.
fn keep_id_max(state: &State) -> Entry {
    Entry::Noop { id_max: Some(state.id_max()) }
}

fn own_settings(state: &State, subject: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    if state.own_level(Some(subject)).is_some() {
        entries.push(Entry::Config { subject: Some(subject.to_owned()), level: None });
    }
    if state.own_mode(Some(subject)).is_some() {
        entries.push(Entry::Mode { subject: Some(subject.to_owned()), mode: None });
    }
    entries
}

fn check_writable(state: &State, subject: &str) -> Result<(), Refusal> {
    if state.mode(subject).writable() {
        return Ok(());
    }
    Err(Refusal::not_permitted(format!("Subject {subject} is in read-only mode")))
}

/// Sets the compatibility level, globally for `None`.
///
/// # Errors
/// 42203 for an unknown level.
pub fn set_level(subject: Option<&str>, body: &Value) -> Result<Decision, Refusal> {
    let name = body.get("compatibility").and_then(Value::as_str).unwrap_or_default();
    let level = Compatibility::from_name(name).ok_or_else(Refusal::invalid_level)?;
    let entry = Entry::Config { subject: subject.map(str::to_owned), level: Some(level) };
    Ok(Decision::write(vec![entry], json!({ "compatibility": level })))
}

/// Removes a level set before; answers it.
///
/// # Errors
/// 40401 when the subject has none of its own.
pub fn unset_level(state: &State, subject: Option<&str>) -> Result<Decision, Refusal> {
    let level = match (state.own_level(subject), subject) {
        (Some(level), _) => level,
        (None, None) => Compatibility::DEFAULT,
        (None, Some(subject)) => return Err(Refusal::subject_not_found(subject)),
    };
    let entry = Entry::Config { subject: subject.map(str::to_owned), level: None };
    Ok(Decision::write(vec![entry], json!({ "compatibility": level })))
}

/// Sets the mode, globally for `None`. Importing starts only where nothing could be overwritten, or by `force`.
///
/// # Errors
/// 42204 for an unknown mode, 42205 when schemas stand in the way of importing.
pub fn set_mode(state: &State, subject: Option<&str>, body: &Value, force: bool) -> Result<Decision, Refusal> {
    let name = body.get("mode").and_then(Value::as_str).unwrap_or_default();
    let mode = Mode::from_name(name).ok_or_else(Refusal::invalid_mode)?;
    let occupied = match subject {
        Some(subject) => state.versions(subject, Visible::Live).next().is_some(),
        None => state.subjects(Visible::Live).next().is_some(),
    };
    if mode == Mode::Import && occupied && !force {
        return Err(Refusal::not_permitted("Cannot import since found existing subjects".to_owned()));
    }
    let entry = Entry::Mode { subject: subject.map(str::to_owned), mode: Some(mode) };
    Ok(Decision::write(vec![entry], json!({ "mode": mode })))
}

/// Removes a mode set before; answers it.
///
/// # Errors
/// 40401 when the subject has none of its own.
pub fn unset_mode(state: &State, subject: Option<&str>) -> Result<Decision, Refusal> {
    let mode = match (state.own_mode(subject), subject) {
        (Some(mode), _) => mode,
        (None, None) => Mode::ReadWrite,
        (None, Some(subject)) => return Err(Refusal::subject_not_found(subject)),
    };
    let entry = Entry::Mode { subject: subject.map(str::to_owned), mode: None };
    Ok(Decision::write(vec![entry], json!({ "mode": mode })))
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
