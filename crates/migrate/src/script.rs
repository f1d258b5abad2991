//! The scripts of a folder: names taken apart, checksums taken, sorted by version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::checksum::checksum;
use crate::version::{Version, VersionError};

/// Longest description Flyway's history can hold, in characters.
const DESCRIPTION_CHARS_MAX: usize = 200;

/// One migration of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// From the name, between `V` and `__`.
    pub version: Version,
    /// From the name, behind `__`, with spaces for underscores.
    pub description: String,
    /// File name relative to the folder: what the history calls `script`.
    pub name: String,
    /// Text as in the file, placeholders and byte order mark included.
    pub text: String,
    /// See [`checksum`].
    pub checksum: i32,
}

/// A folder that cannot be read as migrations. All of these want a person: the text names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The folder or a file of it cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// There is nothing to run, which is a wrong path far more often than it is meant.
    #[error("no migrations (V<version>__<description>.sql) in {}", dir.display())]
    Empty {
        /// The folder.
        dir: PathBuf,
    },
    /// A `.sql` file whose name is not a versioned migration's.
    #[error("{name} is not named V<version>__<description>.sql ({reason}): rename it or move it out of the folder")]
    Name {
        /// File name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two files of one version; Flyway refuses this, too.
    #[error("{first} and {second} have the same version {version}: give one of them the next free version")]
    SameVersion {
        /// File name.
        first: String,
        /// File name.
        second: String,
        /// The version of the first.
        version: Version,
    },
}

/// Reads all migrations in `dir`, lowest version first. Files that do not end in `.sql` are left alone.
pub fn read_scripts(dir: &Path) -> Result<Vec<Script>, ScriptError> {
    let read_error = |path: &Path, source| ScriptError::Read { path: path.to_owned(), source };
    let mut scripts: BTreeMap<Version, Script> = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|source| read_error(dir, source))? {
        let entry = entry.map_err(|source| read_error(dir, source))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".sql") || !path.is_file() {
            continue;
        }
        // Read as UTF-8 text: other bytes are an error here as they are in Flyway.
        let text = std::fs::read_to_string(&path).map_err(|source| read_error(&path, source))?;
        let script = parse(name, text)?;
        if let Some(other) = scripts.get(&script.version) {
            let mut names = [other.name.clone(), script.name];
            names.sort();
            let [first, second] = names;
            return Err(ScriptError::SameVersion { first, second, version: script.version });
        }
        scripts.insert(script.version.clone(), script);
    }
    if scripts.is_empty() {
        return Err(ScriptError::Empty { dir: dir.to_owned() });
    }
    Ok(scripts.into_values().collect())
}

/// Takes a file name apart: `V<version>__<description>.sql`.
fn parse(name: String, text: String) -> Result<Script, ScriptError> {
    let (version, description) = match split_name(&name) {
        Ok(parts) => parts,
        Err(reason) => return Err(ScriptError::Name { name, reason }),
    };
    Ok(Script { version, description, checksum: checksum(&text), name, text })
}

fn split_name(name: &str) -> Result<(Version, String), String> {
    let stem = name.strip_suffix(".sql").unwrap_or(name);
    if let Some(kind) = [("R__", "repeatable"), ("U", "undo"), ("B", "baseline")]
        .iter()
        .find_map(|(prefix, kind)| stem.starts_with(prefix).then_some(kind))
    {
        return Err(format!("{kind} migrations are not supported"));
    }
    let stem = stem.strip_prefix('V').ok_or("it does not begin with V")?;
    let (version, description) = stem.split_once("__").ok_or("it has no __ behind the version")?;
    let version = version.parse().map_err(|error: VersionError| error.to_string())?;
    let description = description.replace('_', " ");
    if description.is_empty() {
        return Err("it has no description behind __".to_owned());
    }
    if description.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(format!("its description is longer than {DESCRIPTION_CHARS_MAX} characters"));
    }
    Ok((version, description))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_taken_apart_at_its_first_double_underscore() {
        let (version, description) = split_name("V1_2__create__the_shop.sql").unwrap();
        assert_eq!(version.to_string(), "1.2");
        assert_eq!(description, "create  the shop");
    }

    #[test]
    fn other_names_are_refused_with_the_reason() {
        for (name, reason) in [
            ("R__views.sql", "repeatable"),
            ("U1__undo.sql", "undo"),
            ("v1__lower.sql", "begin with V"),
            ("V1_one.sql", "no __"),
            ("Vone__x.sql", "not a version"),
            ("V1__.sql", "no description"),
        ] {
            let error = parse(name.to_owned(), String::new()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(reason), "{error}");
        }
    }

    #[test]
    fn scripts_come_sorted_by_version_and_other_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["V10__c.sql", "V2__b.sql", "V1.5__a.sql", "README.md"] {
            std::fs::write(dir.path().join(name), "select 1;").unwrap();
        }
        let names: Vec<_> = read_scripts(dir.path()).unwrap().into_iter().map(|script| script.name).collect();
        assert_eq!(names, ["V1.5__a.sql", "V2__b.sql", "V10__c.sql"]);
    }

    #[test]
    fn two_files_of_one_version_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["V1__a.sql", "V01__b.sql"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let error = read_scripts(dir.path()).unwrap_err().to_string();
        assert!(error.starts_with("V01__b.sql and V1__a.sql have the same version"), "{error}");
    }

    #[test]
    fn a_folder_without_migrations_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read_scripts(dir.path()), Err(ScriptError::Empty { .. })));
        assert!(matches!(read_scripts(&dir.path().join("none")), Err(ScriptError::Read { .. })));
    }

    proptest! {
        #[test]
        fn any_name_is_taken_apart_or_refused_without_a_crash(name in "(V|R|U|_|1|\\.|é|a|sql){0,20}") {
            let _ = split_name(&name);
        }
    }
}
