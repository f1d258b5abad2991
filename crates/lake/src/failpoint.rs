//! The places where a test has the lake die ([`service::failpoint`]), one for each step between two things that must agree
//! after a crash. They act in the binary `lake-failpoints` only. As every layer commits in the same way, the turn says of
//! which layer.

pub use service::failpoint::{Failpoint, VARIABLE, hit, under_way};

/// A table was made; nothing is in it.
pub const TABLE_MADE: Failpoint = Failpoint("table.made");
/// Data files are written; no manifest names them.
pub const FILES_WRITTEN: Failpoint = Failpoint("commit.files-written");
/// Manifests and their list are written; the catalog knows nothing of it.
pub const SNAPSHOT_WRITTEN: Failpoint = Failpoint("commit.snapshot-written");
/// The commit is on its way to the catalog, which may take it before or after we are gone, or never see it.
pub const COMMIT_SENT: Failpoint = Failpoint("commit.sent");
/// The catalog has the commit; we did not take note of it.
pub const COMMIT_ANSWERED: Failpoint = Failpoint("commit.answered");
/// A topic is staged; shape did not begin.
pub const STAGED: Failpoint = Failpoint("layer.staged");
/// The current state is committed; the history of the same events is not.
pub const CURRENT_SHAPED: Failpoint = Failpoint("layer.current-shaped");
/// Every topic is shaped; no mart was rebuilt.
pub const SHAPED: Failpoint = Failpoint("layer.shaped");
/// Snapshots expired; the files that only they needed are still there.
pub const EXPIRED: Failpoint = Failpoint("maintain.expired");

/// Those of a pass.
pub const OF_PASS: [Failpoint; 8] =
    [TABLE_MADE, FILES_WRITTEN, SNAPSHOT_WRITTEN, COMMIT_SENT, COMMIT_ANSWERED, STAGED, CURRENT_SHAPED, SHAPED];
/// Those of maintenance, which commits by the same steps.
pub const OF_MAINTENANCE: [Failpoint; 5] = [FILES_WRITTEN, SNAPSHOT_WRITTEN, COMMIT_SENT, COMMIT_ANSWERED, EXPIRED];
