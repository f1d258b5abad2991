//! The runner: lock, compare, run what is pending, record it.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::history::History;
use crate::placeholders::{PlaceholderError, Placeholders, replace_placeholders};
use crate::plan::{Plan, Problem, plan};
use crate::script::{Script, ScriptError, read_scripts};
use crate::version::{Version, VersionError};

/// What a run found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Migrations that ran now, in order. Empty when there was nothing to do. `validate` never runs any.
    pub applied: Vec<Applied>,
    /// File names that would run next. Empty after a run.
    pub pending: Vec<String>,
    /// The highest version the schema has now.
    pub schema_version: Option<Version>,
    /// File names of migrations that ran from a newer checkout and are not in this folder.
    pub future: Vec<String>,
}

/// A migration that ran now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: Version,
    /// File name.
    pub script: String,
    /// Time the script took.
    pub took: Duration,
}

/// Why a run stopped. Only [`MigrateError::Postgres`] and [`MigrateError::Locked`] may pass by themselves; all others
/// want a person, and their text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The server went away or refused a statement of the runner's own.
    #[error("Postgres: {}", database_message(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// Another runner holds the lock.
    #[error("another migration runner has held its lock for {waited_seconds} s: wait for it or stop it")]
    Locked {
        /// How long this one waited.
        waited_seconds: u64,
    },
    /// The folder is not right.
    #[error(transparent)]
    Scripts(#[from] ScriptError),
    /// A pending script cannot be filled in. Nothing was run.
    #[error("{script}: {source}")]
    Placeholder {
        /// File name.
        script: String,
        /// What is wrong.
        source: PlaceholderError,
    },
    /// History and folder contradict each other. Nothing was run.
    #[error("the migrations do not fit the database:{}", problem_lines(.0))]
    Contradiction(Vec<Problem>),
    /// A script failed. Nothing of it was kept; those before it were.
    #[error("{script} failed{}: {message}. Nothing of it was kept: correct the file and run again", at_line(*.line))]
    Failed {
        /// File name.
        script: String,
        /// Line in the file, where Postgres says one.
        line: Option<usize>,
        /// Postgres' message and SQL state, values of secret placeholders left out.
        message: String,
    },
    /// The history holds a version that is none.
    #[error("flyway_schema_history, row of {script}: {source}")]
    HistoryVersion {
        /// The row's script.
        script: String,
        /// What is wrong.
        source: VersionError,
    },
    /// The search path leads nowhere.
    #[error("the connection has no current schema: create schema public or set search_path")]
    NoSchema,
}

/// Brings the database of `client` to the newest version of `dir`.
///
/// `client` is taken whole, because a session's lock and transactions are in use; it must not be in a transaction.
/// All placeholders of all pending scripts are filled in before the first of them runs.
pub async fn run(client: &mut Client, dir: &Path, placeholders: &Placeholders) -> Result<Report, MigrateError> {
    let scripts = read_scripts(dir)?;
    let history = History::of(client).await?;
    history.lock().await?;
    let outcome = run_locked(client, &history, &scripts, placeholders).await;
    // The first error is the one that tells what happened.
    let unlocked = history.unlock().await;
    let report = outcome?;
    unlocked?;
    Ok(report)
}

/// Compares the database of `client` with `dir` and changes nothing. Contradictions are an error, pending scripts are not.
pub async fn validate(client: &Client, dir: &Path) -> Result<Report, MigrateError> {
    let scripts = read_scripts(dir)?;
    let history = History::of(client).await?;
    let rows = if history.exists().await? { history.rows().await? } else { Vec::new() };
    let Plan { pending, highest, future } = plan(&rows, &scripts).map_err(MigrateError::Contradiction)?;
    let pending = pending.into_iter().map(|script| script.name.clone()).collect();
    Ok(Report { applied: Vec::new(), pending, schema_version: highest, future })
}

async fn run_locked(
    client: &Client,
    history: &History<'_>,
    scripts: &[Script],
    placeholders: &Placeholders,
) -> Result<Report, MigrateError> {
    // Only under the lock is "not there" still true a moment later.
    if !history.exists().await? {
        history.create().await?;
    }
    let rows = history.rows().await?;
    let Plan { pending, highest, future } = plan(&rows, scripts).map_err(MigrateError::Contradiction)?;
    for script in &future {
        tracing::warn!(script, "the database is ahead of the migrations folder: this one is not in it");
    }
    let mut report = Report { schema_version: highest, future, ..Report::default() };
    let mut filled = Vec::with_capacity(pending.len());
    for script in pending {
        let text = replace_placeholders(&script.text, placeholders)
            .map_err(|source| MigrateError::Placeholder { script: script.name.clone(), source })?;
        filled.push((script, text));
    }
    for (script, text) in filled {
        let took = run_script(client, history, script, &text, placeholders).await?;
        tracing::info!(script = script.name, took_ms = took.as_millis(), "migration ran");
        report.schema_version = Some(script.version.clone());
        report.applied.push(Applied { version: script.version.clone(), script: script.name.clone(), took });
    }
    Ok(report)
}

/// Runs one script and records it, both or neither.
async fn run_script(
    client: &Client,
    history: &History<'_>,
    script: &Script,
    text: &str,
    placeholders: &Placeholders,
) -> Result<Duration, MigrateError> {
    let settings = client.query_one("SELECT current_setting('search_path'), current_setting('role')", &[]).await?;
    let (search_path, role): (String, String) = (settings.get(0), settings.get(1));
    // A byte order mark is no SQL.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);

    client.batch_execute("BEGIN").await?;
    let start = Instant::now();
    if let Err(error) = client.batch_execute(text).await {
        // When the connection is gone, so is the transaction.
        let _ = client.batch_execute("ROLLBACK").await;
        return Err(script_error(script, text, error, placeholders));
    }
    let took = start.elapsed();
    // What a script sets for its session must not reach the history's row or the next script.
    client
        .execute("SELECT set_config('search_path', $1, false), set_config('role', $2, false)", &[&search_path, &role])
        .await?;
    history.record(script, took).await?;
    client.batch_execute("COMMIT").await?;
    Ok(took)
}

fn script_error(
    script: &Script,
    text: &str,
    error: tokio_postgres::Error,
    placeholders: &Placeholders,
) -> MigrateError {
    let Some(database) = error.as_db_error() else {
        return MigrateError::Postgres(error);
    };
    let line = match database.position() {
        Some(tokio_postgres::error::ErrorPosition::Original(position)) => {
            let characters_before = (*position as usize).saturating_sub(1);
            Some(text.chars().take(characters_before).filter(|character| *character == '\n').count() + 1)
        }
        _ => None,
    };
    MigrateError::Failed {
        script: script.name.clone(),
        line,
        message: without_secrets(&database_message(&error), placeholders),
    }
}

/// Postgres quotes pieces of a statement in its messages, and a password may stand in one.
fn without_secrets(message: &str, placeholders: &Placeholders) -> String {
    let mut message = message.to_owned();
    for (name, value) in placeholders {
        let name = name.to_ascii_lowercase();
        if !value.is_empty() && (name.contains("password") || name.contains("secret")) {
            message = message.replace(value.as_str(), "****");
        }
    }
    message
}

/// One line: what Postgres says, or how the connection failed.
fn database_message(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(database) => {
            let detail = database.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
            format!("{}{detail} [{}]", database.message(), database.code().code())
        }
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

fn problem_lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" at line {line}")).unwrap_or_default()
}
