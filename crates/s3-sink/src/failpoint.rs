//! The places where a test has the sink die ([`service::failpoint`]), one for each step between two things that must agree
//! after a crash. They act in the binary `s3-sink-failpoints` only.

pub use service::failpoint::{Failpoint, VARIABLE, hit};

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
