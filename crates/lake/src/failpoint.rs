//! Places where a test has the process die, one for each step between two things that must agree after a crash.
//!
//! They exist in the binary `lake-failpoints` only, which is this crate with the feature `failpoints`; without the feature
//! [`hit`] is an empty function. `LAKE_FAILPOINT=<name>:<n>` kills the process at the n-th time it comes by: as every layer
//! commits in the same way, the turn says of which layer.

/// A place; the text is its name in the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failpoint(pub &'static str);

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

/// The variable that arms one of them.
pub const VARIABLE: &str = "LAKE_FAILPOINT";

/// Whether this place is armed and it is its turn.
#[cfg(feature = "failpoints")]
fn is_due(point: Failpoint) -> bool {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (name, turn) = text.split_once(':')?;
        Some((name.to_owned(), turn.parse().ok()?))
    });
    let Some((name, turn)) = armed else { return false };
    name == point.0 && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *turn
}

/// Dies here if this place is armed and it is its turn.
#[cfg(feature = "failpoints")]
pub fn hit(point: Failpoint) {
    if is_due(point) {
        tracing::warn!(failpoint = point.0, "dies here");
        // Neither destructors nor a farewell to any server: as if killed.
        std::process::abort();
    }
}

/// Runs `request`; if this place is armed and it is its turn, dies while the request is under way.
#[cfg(feature = "failpoints")]
pub async fn under_way<T>(point: Failpoint, request: impl Future<Output = T>) -> T {
    /// Long enough for the request to be written, short enough that the answer is seldom there.
    const UNDER_WAY: std::time::Duration = std::time::Duration::from_millis(5);
    if is_due(point) {
        tracing::warn!(failpoint = point.0, "dies here");
        let _ = tokio::time::timeout(UNDER_WAY, request).await;
        std::process::abort();
    }
    request.await
}

/// Does nothing: the feature is off.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_point: Failpoint) {}

/// Runs `request`: the feature is off.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub async fn under_way<T>(_point: Failpoint, request: impl Future<Output = T>) -> T {
    request.await
}
