//! The decision what to run: the history against the folder, without I/O.
//!
//! Follows `flyway validate` with its defaults: whatever has run must still be there unedited, and nothing may turn up
//! below what has run. Only a history that is ahead of the folder is let pass, with a warning, as an older checkout
//! against a newer database is normal.

use std::collections::BTreeMap;
use std::fmt;

use crate::script::Script;
use crate::version::Version;

/// A row of `flyway_schema_history`, as far as the decision needs it.
#[derive(Debug, Clone)]
pub(crate) struct HistoryRow {
    pub(crate) installed_rank: i32,
    /// None for rows without one: repeatable migrations and Flyway's mark that it made the schema.
    pub(crate) version: Option<Version>,
    pub(crate) description: String,
    /// `SQL`, `BASELINE`, `DELETE`, ...
    pub(crate) kind: String,
    pub(crate) script: String,
    pub(crate) checksum: Option<i32>,
    pub(crate) success: bool,
}

/// One contradiction between history and folder. Its text names the file and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file was edited after it ran.
    Edited {
        /// File name.
        script: String,
        /// Checksum in the history.
        applied: i32,
        /// Checksum of the file.
        file: i32,
    },
    /// The file was renamed after it ran: same version, other description.
    Renamed {
        /// Name it ran under.
        applied: String,
        /// Name it has.
        file: String,
    },
    /// A migration that has run is not in the folder.
    Missing {
        /// Name it ran under.
        script: String,
        /// Its version.
        version: Version,
    },
    /// A migration ran halfway and failed, outside of a transaction.
    Failed {
        /// Name it ran under.
        script: String,
        /// Its row in the history.
        installed_rank: i32,
    },
    /// A new file's version lies below one that has run.
    OutOfOrder {
        /// File name.
        script: String,
        /// The highest version that has run.
        highest: Version,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { script, applied, file } => write!(
                formatter,
                "{script} was edited after it ran (checksum {applied} in the database, {file} in the file): \
                 restore the file and put the change into a new migration"
            ),
            Self::Renamed { applied, file } => write!(
                formatter,
                "{file} ran under the name {applied}: give the file that name again, or its change a new version"
            ),
            Self::Missing { script, version } => write!(
                formatter,
                "{script} (version {version}) has run but is not in the folder: restore the file, or run \
                 `flyway repair` if it was removed on purpose"
            ),
            Self::Failed { script, installed_rank } => write!(
                formatter,
                "{script} failed halfway in an earlier run: undo by hand what it left, then delete the row \
                 installed_rank = {installed_rank} of flyway_schema_history (or run `flyway repair`)"
            ),
            Self::OutOfOrder { script, highest } => write!(
                formatter,
                "{script} is new but version {highest} has run already: give it a version above {highest}"
            ),
        }
    }
}

/// What history and folder say when they agree.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    /// To run, in order.
    pub(crate) pending: Vec<&'a Script>,
    /// The highest version that has run.
    pub(crate) highest: Option<Version>,
    /// Names of migrations that ran and are newer than everything in the folder.
    pub(crate) future: Vec<String>,
}

/// Compares `history` (in order of rank) with `scripts` (in order of version).
pub(crate) fn plan<'a>(history: &[HistoryRow], scripts: &'a [Script]) -> Result<Plan<'a>, Vec<Problem>> {
    let baseline = history.iter().filter(|row| row.kind == "BASELINE").find_map(|row| row.version.clone());
    let applied = applied(history);
    let highest = applied.keys().chain(&baseline).max().cloned();
    let highest_script = scripts.iter().map(|script| &script.version).max();

    let mut problems = Vec::new();
    let mut future = Vec::new();
    for row in history.iter().filter(|row| !row.success) {
        problems.push(Problem::Failed { script: row.script.clone(), installed_rank: row.installed_rank });
    }
    for (version, row) in applied.iter().filter(|(_, row)| row.success) {
        match scripts.iter().find(|script| script.version == *version) {
            Some(script) => problems.extend(difference(row, script)),
            None if highest_script.is_some_and(|highest| version > highest) => future.push(row.script.clone()),
            None => problems.push(Problem::Missing { script: row.script.clone(), version: version.clone() }),
        }
    }
    let mut pending = Vec::new();
    for script in scripts.iter().filter(|script| !applied.contains_key(&script.version)) {
        // A baseline says that everything up to it was there before the history began.
        if baseline.as_ref().is_some_and(|baseline| script.version <= *baseline) {
            continue;
        }
        match &highest {
            Some(highest) if script.version < *highest => {
                problems.push(Problem::OutOfOrder { script: script.name.clone(), highest: highest.clone() });
            }
            _ => pending.push(script),
        }
    }
    if problems.is_empty() { Ok(Plan { pending, highest, future }) } else { Err(problems) }
}

/// The versioned migrations that count as run: `flyway repair` takes one back by a later row of type `DELETE`.
fn applied(history: &[HistoryRow]) -> BTreeMap<Version, &HistoryRow> {
    let mut applied = BTreeMap::new();
    for row in history {
        let Some(version) = &row.version else { continue };
        match row.kind.as_str() {
            "BASELINE" => {}
            "DELETE" => {
                applied.remove(version);
            }
            _ => {
                applied.insert(version.clone(), row);
            }
        }
    }
    applied
}

fn difference(row: &HistoryRow, script: &Script) -> Option<Problem> {
    match row.checksum {
        Some(applied) if applied != script.checksum => {
            Some(Problem::Edited { script: script.name.clone(), applied, file: script.checksum })
        }
        _ if row.description != script.description => {
            Some(Problem::Renamed { applied: row.script.clone(), file: script.name.clone() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn script(version: &str, text: &str) -> Script {
        Script {
            version: version.parse().unwrap(),
            description: "it".to_owned(),
            name: format!("V{version}__it.sql"),
            text: text.to_owned(),
            checksum: crate::checksum(text),
        }
    }

    fn row(script: &Script) -> HistoryRow {
        HistoryRow {
            installed_rank: 1,
            version: Some(script.version.clone()),
            description: script.description.clone(),
            kind: "SQL".to_owned(),
            script: script.name.clone(),
            checksum: Some(script.checksum),
            success: true,
        }
    }

    fn pending(history: &[HistoryRow], scripts: &[Script]) -> Vec<String> {
        plan(history, scripts).unwrap().pending.iter().map(|script| script.name.clone()).collect()
    }

    fn problems(history: &[HistoryRow], scripts: &[Script]) -> Vec<String> {
        plan(history, scripts).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_has_not_run_is_pending_in_order_of_version() {
        let scripts = [script("1", "a"), script("2", "b"), script("10", "c")];
        assert_eq!(pending(&[], &scripts), ["V1__it.sql", "V2__it.sql", "V10__it.sql"]);
        assert_eq!(pending(&[row(&scripts[0])], &scripts), ["V2__it.sql", "V10__it.sql"]);
        assert!(pending(&scripts.each_ref().map(row), &scripts).is_empty());
    }

    #[test]
    fn an_edited_file_is_refused_by_name_with_what_to_do() {
        let problems = problems(&[row(&script("1", "a"))], &[script("1", "edited")]);
        assert!(problems[0].starts_with("V1__it.sql was edited after it ran"), "{problems:?}");
        assert!(problems[0].contains("restore the file"), "{problems:?}");
    }

    #[test]
    fn a_renamed_file_is_refused() {
        let mut renamed = script("1", "a");
        renamed.name = "V1__other.sql".to_owned();
        renamed.description = "other".to_owned();
        assert!(problems(&[row(&script("1", "a"))], &[renamed])[0].contains("ran under the name V1__it.sql"));
    }

    #[test]
    fn a_missing_file_is_refused_and_a_newer_one_is_only_noted() {
        let scripts = [script("1", "a"), script("2", "b"), script("3", "c")];
        let history = scripts.each_ref().map(row);
        assert!(problems(&history, &scripts[1..])[0].starts_with("V1__it.sql (version 1) has run but is not"));
        assert_eq!(plan(&history, &scripts[..2]).unwrap().future, ["V3__it.sql"]);
    }

    #[test]
    fn a_failed_row_stops_everything() {
        let scripts = [script("1", "a"), script("2", "b")];
        let history = [HistoryRow { success: false, installed_rank: 7, ..row(&scripts[0]) }];
        let problems = problems(&history, &scripts);
        assert!(problems[0].contains("installed_rank = 7"), "{problems:?}");
    }

    #[test]
    fn a_new_file_below_the_highest_version_is_refused() {
        let scripts = [script("1", "a"), script("1.5", "b"), script("2", "c")];
        let history = [row(&scripts[0]), row(&scripts[2])];
        assert_eq!(
            problems(&history, &scripts),
            ["V1.5__it.sql is new but version 2 has run already: give it a version above 2"]
        );
    }

    #[test]
    fn all_contradictions_are_reported_at_once() {
        let scripts = [script("1", "a"), script("2", "b"), script("3", "c")];
        let history = scripts.each_ref().map(row);
        assert_eq!(problems(&history, &[script("1", "x"), script("3", "x")]).len(), 3);
    }

    #[test]
    fn a_baseline_stands_for_everything_up_to_it() {
        let scripts = [script("1", "a"), script("2", "b"), script("3", "c")];
        let baseline = HistoryRow { kind: "BASELINE".to_owned(), checksum: None, ..row(&scripts[1]) };
        assert_eq!(pending(&[baseline], &scripts), ["V3__it.sql"]);
    }

    #[test]
    fn a_migration_taken_back_by_repair_does_not_count_as_run() {
        let (one, two) = (script("1", "a"), script("2", "b"));
        let history = [row(&one), row(&two), HistoryRow { kind: "DELETE".to_owned(), ..row(&one) }];
        assert!(pending(&history, &[two]).is_empty());
    }

    #[test]
    fn rows_without_a_version_do_not_matter() {
        let one = script("1", "a");
        let schema = HistoryRow { version: None, kind: "SCHEMA".to_owned(), ..row(&one) };
        assert_eq!(pending(&[schema], &[one]), ["V1__it.sql"]);
    }
}
