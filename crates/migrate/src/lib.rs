//! Runs the `migrations/` of the storefront as Flyway does, so that either can take over from the other.
//!
//! Stands before everything else in the flow: `haus up` calls it once Postgres answers, the compose zone calls real
//! Flyway on the same files. What is shared with Flyway, and checked against it in `tests/`: the table
//! `flyway_schema_history` (columns, index, types), the checksum of a script, the order of versions, the
//! `${placeholder}` syntax and the advisory lock, so that the two also exclude each other.
//!
//! Promises: each script runs in one transaction together with its row in the history, so it has run wholly or not at
//! all; nothing runs while the history and the folder contradict each other; a second run finds nothing to do.
//!
//! Versioned SQL scripts only: a repeatable (`R__`) or undo (`U1__`) script is refused by name.

mod checksum;
mod history;
mod placeholders;
mod plan;
mod run;
mod script;
mod version;

pub use checksum::checksum;
pub use placeholders::{PlaceholderError, Placeholders, replace_placeholders};
pub use plan::Problem;
pub use run::{Applied, MigrateError, Report, run, validate};
pub use script::{Script, ScriptError, read_scripts};
pub use version::{Version, VersionError};
