//! `schema.compatibility`: which values share a file, and which form they take in it.
//!
//! Pure but for what it is told of schemas. With NONE a value of another schema goes into another file, and nothing is
//! looked into. With BACKWARD and FULL a file keeps the schema of its first record while records of the same or an older
//! version come, which are projected to it; with FORWARD the same or a newer version. Both follow from the records alone,
//! so whoever makes the file again makes the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::avro::{Decimals, Schema, fits, project, write_json};
use crate::intake::{RecordError, Taken};

/// `schema.compatibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compatibility {
    /// Another schema, another file.
    None,
    /// A file takes its own version and older ones (BACKWARD, FULL).
    Older,
    /// A file takes its own version and newer ones (FORWARD).
    Newer,
}

/// A version: the schema's own (`connect.version`), then the registry's. Where the first is a constant, as Debezium's is,
/// the second decides, or a file would go on in an old schema and drop new columns.
type Version = (u32, u32);

/// A value that a file cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// This record is bad.
    Record(RecordError),
    /// The file was begun with another `schema.compatibility`.
    Settings(String),
}

/// See the module documentation.
pub struct Evolution {
    rule: Compatibility,
    /// Values are JSON in their files.
    json: Option<Decimals>,
    schemas: HashMap<u32, Arc<Schema>>,
    /// By topic: an id may have other versions under other subjects.
    versions: HashMap<String, HashMap<u32, Version>>,
    /// Whether values of the first fit the second.
    fits: HashMap<(u32, u32), bool>,
    projected: Vec<u8>,
    text: Vec<u8>,
}

impl Evolution {
    /// For a connector; `json` when its files hold JSON.
    pub fn new(rule: Compatibility, json: Option<Decimals>) -> Self {
        Self {
            rule,
            json,
            schemas: HashMap::new(),
            versions: HashMap::new(),
            fits: HashMap::new(),
            projected: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Whether schema and version of this id have to be learned before a record of the topic can be placed.
    pub fn lacks(&self, topic: &str, id: u32) -> bool {
        self.rule != Compatibility::None && !self.versions.get(topic).is_some_and(|known| known.contains_key(&id))
    }

    /// Learn a schema and the version that the registry gave it for a topic.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn learn(&mut self, topic: &str, id: u32, version: u32, text: &str) -> Result<(), RecordError> {
        let new = match self.schemas.get(&id) {
            Some(known) => Arc::clone(known),
            None => {
                let schema = Schema::parse(text).map_err(|error| RecordError(format!("schema {id}: {error}")))?;
                Arc::new(schema)
            }
        };
        for (other, schema) in &self.schemas {
            self.fits.insert((id, *other), fits(&new, schema));
            self.fits.insert((*other, id), fits(schema, &new));
        }
        let version = (new.version.unwrap_or(version), version);
        self.schemas.insert(id, new);
        self.versions.entry(topic.to_owned()).or_default().insert(id, version);
        Ok(())
    }

    /// Whether a file of schema `file` takes a value of schema `record`.
    pub fn takes(&self, topic: &str, file: u32, record: u32) -> bool {
        if file == record || self.rule == Compatibility::None {
            return file == record;
        }
        let Some(known) = self.versions.get(topic) else { return false };
        let (Some(of_file), Some(of_record)) = (known.get(&file), known.get(&record)) else { return false };
        let in_order = match self.rule {
            Compatibility::Newer => of_record >= of_file,
            _ => of_record <= of_file,
        };
        in_order && self.fits.get(&(record, file)).copied().unwrap_or(false)
    }

    /// The value as a file of schema `file` holds it.
    ///
    /// # Errors
    /// See [`Unfit`].
    pub fn project<'a>(&'a mut self, taken: &Taken<'a>, file: u32) -> Result<Option<&'a [u8]>, Unfit> {
        let Some(datum) = taken.datum.filter(|_| file != taken.value_schema) else { return Ok(taken.value) };
        let (Some(from), Some(to)) = (self.schemas.get(&taken.value_schema), self.schemas.get(&file)) else {
            return Err(Unfit::Settings(format!(
                "a file of schema {file} has a place for offset {}, of schema {}: it was begun with another \
                 schema.compatibility. Set that back until the range is finished, or delete its plan and its objects",
                taken.offset, taken.value_schema
            )));
        };
        let bad = |why: String| {
            let (of_record, of_file) = (taken.value_schema, file);
            Unfit::Record(RecordError(format!(
                "offset {}: the value of schema {of_record} cannot be projected to the file's schema {of_file}: {why}",
                taken.offset
            )))
        };
        self.projected.clear();
        project(from, datum, to, &mut self.projected).map_err(|error| bad(error.to_string()))?;
        let Some(decimals) = self.json else { return Ok(Some(&self.projected)) };
        self.text.clear();
        write_json(to, &self.projected, decimals, &mut self.text).map_err(|error| bad(error.to_string()))?;
        Ok(Some(&self.text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(fields: &str, properties: &str) -> String {
        format!(r#"{{"type":"record","name":"Row","fields":[{fields}]{properties}}}"#)
    }

    const ID: &str = r#"{"name":"id","type":"long"}"#;
    const MORE: &str = r#"{"name":"id","type":"long"},{"name":"n","type":"long","default":4}"#;

    fn known(rule: Compatibility, json: Option<Decimals>) -> Evolution {
        let mut evolution = Evolution::new(rule, json);
        evolution.learn("t", 10, 1, &row(ID, "")).unwrap();
        evolution.learn("t", 20, 2, &row(MORE, "")).unwrap();
        evolution.learn("t", 30, 3, &row(r#"{"name":"id","type":"string"}"#, "")).unwrap();
        evolution
    }

    fn taken(datum: &[u8], value_schema: u32) -> Taken<'_> {
        Taken {
            offset: 5,
            folder: "",
            time: None,
            value: Some(datum),
            datum: Some(datum),
            key: None,
            headers: None,
            value_schema,
            key_schema: 0,
        }
    }

    #[test]
    fn which_versions_share_a_file() {
        let none = known(Compatibility::None, None);
        assert!(none.takes("t", 10, 10) && !none.takes("t", 20, 10) && !none.takes("t", 10, 20));
        let backward = known(Compatibility::Older, None);
        assert!(backward.takes("t", 20, 10), "an older value goes into a newer file");
        assert!(!backward.takes("t", 10, 20), "a newer one begins another");
        let forward = known(Compatibility::Newer, None);
        assert!(forward.takes("t", 10, 20) && !forward.takes("t", 20, 10));
        assert!(!forward.takes("t", 10, 30), "types that do not go together");
        assert!(!backward.takes("another", 20, 10), "versions are those of the topic's subject");
    }

    #[test]
    fn a_constant_version_of_the_schema_itself_leaves_the_registry_to_decide() {
        let mut evolution = Evolution::new(Compatibility::Older, None);
        evolution.learn("t", 1, 1, &row(ID, r#","connect.version":2"#)).unwrap();
        evolution.learn("t", 2, 2, &row(MORE, r#","connect.version":2"#)).unwrap();
        evolution.learn("t", 3, 3, &row(MORE, r#","connect.version":1"#)).unwrap();
        assert!(!evolution.takes("t", 1, 2), "the new column is not dropped");
        assert!(evolution.takes("t", 2, 1) && evolution.takes("t", 2, 3));
    }

    #[test]
    fn values_take_the_form_of_their_file() {
        let mut avro = known(Compatibility::Older, None);
        assert_eq!(avro.project(&taken(&[2], 10), 10), Ok(Some(&[2][..])));
        assert_eq!(avro.project(&taken(&[2], 10), 20), Ok(Some(&[2, 8][..])));
        let mut json = known(Compatibility::Older, Some(Decimals::Base64));
        assert_eq!(json.project(&taken(&[2], 10), 20), Ok(Some(&br#"{"id":1,"n":4}"#[..])));
        let mut none = Evolution::new(Compatibility::None, None);
        assert!(matches!(none.project(&taken(&[2], 10), 20), Err(Unfit::Settings(_))));
        assert!(matches!(avro.project(&taken(&[0x80], 10), 20), Err(Unfit::Record(_))));
    }
}
