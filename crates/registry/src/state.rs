//! The registry's whole state in memory, made by applying the records of `_schemas` in order.
//!
//! Pure, and applying is idempotent: reading the topic again from its beginning leads to the same state.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::avro::AvroSchema;
use crate::journal::{Entry, SchemaEntry};
use crate::level::{Compatibility, Mode};
use crate::refusal::Refusal;

/// A schema text with what is known of it.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Verbatim as posted.
    pub text: Arc<str>,
    pub schema_type: Arc<str>,
    /// What sameness is decided by; the text itself for what is not Avro.
    pub canonical: Arc<str>,
    /// `None` when it is not Avro, or not understood (topics of other registries are taken as they are).
    pub parsed: Option<Arc<AvroSchema>>,
}

impl Schema {
    pub fn new(text: &str, schema_type: &str) -> Self {
        let parsed = if schema_type == "AVRO" { AvroSchema::parse(text).ok() } else { None };
        let canonical = parsed.as_ref().map_or_else(|| text.into(), |schema| schema.canonical().into());
        Self { text: text.into(), schema_type: schema_type.into(), canonical, parsed: parsed.map(Arc::new) }
    }
}

/// A version of a subject.
#[derive(Debug, Clone)]
pub struct Version {
    pub id: u32,
    pub schema: Schema,
    pub deleted: bool,
}

/// Which versions a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visible {
    Live,
    /// Softly deleted ones too.
    All,
    DeletedOnly,
}

impl Visible {
    fn shows(self, deleted: bool) -> bool {
        match self {
            Self::Live => !deleted,
            Self::All => true,
            Self::DeletedOnly => deleted,
        }
    }
}

/// A version as asked for in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionId {
    Latest,
    Number(u32),
}

impl VersionId {
    /// # Errors
    /// 42202 for anything but `latest`, `-1` and positive numbers.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        match text {
            "latest" | "-1" => Ok(Self::Latest),
            number => match number.parse::<i32>() {
                Ok(number) if number > 0 => Ok(Self::Number(number.unsigned_abs())),
                _ => Err(Refusal::invalid_version(text)),
            },
        }
    }
}

#[derive(Debug)]
struct Id {
    schema: Schema,
    uses: BTreeSet<(Arc<str>, u32)>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct State {
    subjects: BTreeMap<Arc<str>, BTreeMap<u32, Version>>,
    ids: BTreeMap<u32, Id>,
    by_canonical: HashMap<(Arc<str>, Arc<str>), u32>,
    levels: HashMap<Option<String>, Compatibility>,
    modes: HashMap<Option<String>, Mode>,
    id_max: u32,
}

impl State {
    /// Takes over one record.
    pub fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Schema(entry) => self.insert(entry),
            Entry::SchemaGone { subject, version } => self.remove(&subject, version),
            Entry::Config { subject, level } => set(&mut self.levels, subject, level),
            Entry::Mode { subject, mode } => set(&mut self.modes, subject, mode),
            Entry::DeleteSubject { subject, up_to } => {
                let versions = self.subjects.get_mut(subject.as_str()).into_iter().flatten();
                versions.filter(|(number, _)| **number <= up_to).for_each(|(_, version)| version.deleted = true);
            }
            Entry::ClearSubject { subject } => {
                for (number, _) in self.numbers(&subject, Visible::DeletedOnly) {
                    self.remove(&subject, number);
                }
            }
            Entry::Noop { id_max } => self.id_max = self.id_max.max(id_max.unwrap_or(0)),
        }
    }

    fn insert(&mut self, entry: SchemaEntry) {
        self.remove(&entry.subject, entry.version);
        let known = self.ids.get(&entry.id).filter(|id| *id.schema.text == *entry.schema);
        let schema = match known {
            Some(id) => id.schema.clone(),
            None => Schema::new(&entry.schema, &entry.schema_type),
        };
        let subject: Arc<str> = entry.subject.as_str().into();
        self.id_max = self.id_max.max(entry.id);
        let id = self.ids.entry(entry.id).or_insert_with(|| Id { schema: schema.clone(), uses: BTreeSet::new() });
        id.uses.insert((Arc::clone(&subject), entry.version));
        let canonical = (Arc::clone(&schema.schema_type), Arc::clone(&schema.canonical));
        self.by_canonical.entry(canonical).and_modify(|lowest| *lowest = entry.id.min(*lowest)).or_insert(entry.id);
        let version = Version { id: entry.id, schema, deleted: entry.deleted };
        self.subjects.entry(subject).or_default().insert(entry.version, version);
    }

    fn remove(&mut self, subject: &str, number: u32) {
        let Some(versions) = self.subjects.get_mut(subject) else { return };
        let Some(version) = versions.remove(&number) else { return };
        if versions.is_empty() {
            self.subjects.remove(subject);
        }
        let Some(id) = self.ids.get_mut(&version.id) else { return };
        id.uses.remove(&(Arc::<str>::from(subject), number));
        if id.uses.is_empty() {
            self.ids.remove(&version.id);
            let canonical = (version.schema.schema_type, version.schema.canonical);
            if self.by_canonical.get(&canonical) == Some(&version.id) {
                self.by_canonical.remove(&canonical);
            }
        }
    }

    /// Subjects with at least one version shown.
    pub fn subjects(&self, visible: Visible) -> impl Iterator<Item = &str> {
        self.subjects
            .iter()
            .filter(move |(_, versions)| match visible {
                Visible::DeletedOnly => versions.values().all(|version| version.deleted),
                Visible::Live | Visible::All => versions.values().any(|version| visible.shows(version.deleted)),
            })
            .map(|(subject, _)| &**subject)
    }

    /// Versions of a subject in order; empty when there is none to show.
    pub fn versions(&self, subject: &str, visible: Visible) -> impl DoubleEndedIterator<Item = (u32, &Version)> {
        self.subjects
            .get(subject)
            .into_iter()
            .flatten()
            .map(|(number, version)| (*number, version))
            .filter(move |(_, version)| visible.shows(version.deleted))
    }

    fn numbers(&self, subject: &str, visible: Visible) -> Vec<(u32, u32)> {
        self.versions(subject, visible).map(|(number, version)| (number, version.id)).collect()
    }

    /// One version.
    ///
    /// # Errors
    /// 40401 when the subject shows nothing, 40402 when the version does not.
    pub fn version(&self, subject: &str, id: VersionId, visible: Visible) -> Result<(u32, &Version), Refusal> {
        let latest = self.versions(subject, visible).next_back();
        let latest = latest.ok_or_else(|| Refusal::subject_not_found(subject))?;
        match id {
            VersionId::Latest => Ok(latest),
            VersionId::Number(number) => self
                .versions(subject, visible)
                .find(|(found, _)| *found == number)
                .ok_or_else(|| Refusal::version_not_found(number)),
        }
    }

    /// The number a new version of the subject gets: never one that was used and is still known.
    pub fn next_version(&self, subject: &str) -> u32 {
        self.versions(subject, Visible::All).next_back().map_or(1, |(number, _)| number + 1)
    }

    /// The newest version of a subject with this schema.
    pub fn find(&self, subject: &str, schema: &Schema, visible: Visible) -> Option<(u32, &Version)> {
        self.versions(subject, visible).rev().find(|(_, version)| {
            version.schema.canonical == schema.canonical && version.schema.schema_type == schema.schema_type
        })
    }

    /// The id the same schema has in whatever subject.
    pub fn id_of(&self, schema: &Schema) -> Option<u32> {
        self.by_canonical.get(&(Arc::clone(&schema.schema_type), Arc::clone(&schema.canonical))).copied()
    }

    pub fn schema(&self, id: u32) -> Option<&Schema> {
        self.ids.get(&id).map(|id| &id.schema)
    }

    /// Where an id is used.
    pub fn uses(&self, id: u32, visible: Visible) -> impl Iterator<Item = (&str, u32)> {
        self.ids.get(&id).into_iter().flat_map(|id| &id.uses).map(|(subject, number)| (&**subject, *number)).filter(
            move |(subject, number)| {
                let version = self.subjects.get(*subject).and_then(|versions| versions.get(number));
                version.is_some_and(|version| visible.shows(version.deleted))
            },
        )
    }

    /// The highest id ever given, also to what is deleted by now.
    pub fn id_max(&self) -> u32 {
        self.id_max
    }

    /// The subject's own level, or the global one for `None`.
    pub fn own_level(&self, subject: Option<&str>) -> Option<Compatibility> {
        self.levels.get(&subject.map(str::to_owned)).copied()
    }

    /// The level in force for a subject.
    pub fn level(&self, subject: &str) -> Compatibility {
        self.own_level(Some(subject)).or_else(|| self.own_level(None)).unwrap_or(Compatibility::DEFAULT)
    }

    pub fn own_mode(&self, subject: Option<&str>) -> Option<Mode> {
        self.modes.get(&subject.map(str::to_owned)).copied()
    }

    /// The mode in force for a subject.
    pub fn mode(&self, subject: &str) -> Mode {
        let global = self.own_mode(None).unwrap_or(Mode::ReadWrite);
        if global == Mode::ReadOnlyOverride { global } else { self.own_mode(Some(subject)).unwrap_or(global) }
    }
}

fn set<T>(map: &mut HashMap<Option<String>, T>, key: Option<String>, value: Option<T>) {
    match value {
        Some(value) => drop(map.insert(key, value)),
        None => drop(map.remove(&key)),
    }
}
