//! Places where a test has the process die, one for each step between two things that must agree after a crash.
//!
//! They exist in the binary `s3-sink-failpoints` only, which is this crate with the feature `failpoints`; without the
//! feature [`hit`] is an empty function. A binary of its own, because cargo unifies features over a build: a feature that
//! the tests switched on for `s3-sink` would be on in everything built with them. `SINK_FAILPOINT=<name>:<n>` kills the
//! process at the n-th time it comes by.

/// A place; the text is its name in the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failpoint(pub &'static str);

/// Partitions were assigned and their positions found in the bucket; reading did not begin.
pub const POSITIONS_FOUND: Failpoint = Failpoint("assign.positions-found");
/// A record lies in its file.
pub const RECORD_TAKEN: Failpoint = Failpoint("read.record-taken");
/// A file is full; nothing of it is on its way.
pub const FILE_ENDED: Failpoint = Failpoint("publish.file-ended");
/// What the files of a range will be is written down; none of them is there.
pub const PLAN_WRITTEN: Failpoint = Failpoint("publish.plan-written");
/// An object is durable; others of its range may be missing.
pub const OBJECT_WRITTEN: Failpoint = Failpoint("publish.object-written");
/// All objects of a range are durable; the group's offset is not committed.
pub const RANGE_WRITTEN: Failpoint = Failpoint("commit.range-written");
/// The group's offset is committed; we did not take note of it.
pub const COMMITTED: Failpoint = Failpoint("commit.committed");
/// Partitions go away; their uploads ended, and are not committed.
pub const UPLOADS_ENDED: Failpoint = Failpoint("revoke.uploads-ended");
/// Partitions went away and are committed; the group was not told.
pub const GIVEN_UP: Failpoint = Failpoint("revoke.given-up");

/// Those that are passed whenever a range is published, as one object or several.
pub const OF_EACH_RANGE: [Failpoint; 6] =
    [POSITIONS_FOUND, RECORD_TAKEN, FILE_ENDED, OBJECT_WRITTEN, RANGE_WRITTEN, COMMITTED];
/// Those that are passed when partitions are taken away.
pub const OF_REVOCATION: [Failpoint; 2] = [UPLOADS_ENDED, GIVEN_UP];

/// The variable that arms one of them.
pub const VARIABLE: &str = "SINK_FAILPOINT";

/// Dies here if this place is armed and it is its turn.
#[cfg(feature = "failpoints")]
pub fn hit(point: Failpoint) {
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
    let Some((name, turn)) = armed else { return };
    if name == point.0 && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *turn {
        tracing::warn!(failpoint = name, turn, "dies here");
        // Neither destructors nor a farewell to any server: as if killed.
        std::process::abort();
    }
}

/// Does nothing: the feature is off.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn hit(_point: Failpoint) {}
