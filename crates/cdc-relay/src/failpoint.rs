//! The places where a test has the relay die ([`service::failpoint`]), one for each step between two things that must agree
//! after a crash. They act in the binary `cdc-relay-failpoints` only.

pub use service::failpoint::{Failpoint, VARIABLE, hit};

/// The slot's lock is held; nothing else was touched.
pub const LOCK_TAKEN: Failpoint = Failpoint("start.lock-taken");
/// The slot streams to us; the predecessor is not fenced yet.
pub const SLOT_TAKEN: Failpoint = Failpoint("start.slot-taken");
/// The predecessor is fenced; the stored position was not read yet.
pub const FENCED: Failpoint = Failpoint("start.fenced");
/// The stored position is known; nothing was decided.
pub const OFFSETS_READ: Failpoint = Failpoint("start.offsets-read");

/// The slot is made, and nothing in Kafka says so.
pub const SLOT_MADE: Failpoint = Failpoint("snapshot.slot-made");
/// The snapshot's plan is stored; no row was read.
pub const PLANNED: Failpoint = Failpoint("snapshot.planned");
/// Rows were handed to Kafka; neither they nor their progress are committed.
pub const ROWS_PRODUCED: Failpoint = Failpoint("snapshot.rows-produced");
/// Rows and their progress are committed.
pub const PROGRESS_COMMITTED: Failpoint = Failpoint("snapshot.progress-committed");
/// All rows are committed; the position to stream from is not.
pub const ALL_READ: Failpoint = Failpoint("snapshot.all-read");
/// The position to stream from is committed; the stream did not begin.
pub const SNAPSHOT_COMPLETE: Failpoint = Failpoint("snapshot.complete");

/// A change was decoded; it is not in Kafka's hands.
pub const DECODED: Failpoint = Failpoint("stream.decoded");
/// A change was handed to Kafka.
pub const PRODUCED: Failpoint = Failpoint("stream.produced");
/// The batch is complete; its position was not handed to Kafka.
pub const BATCH_COMPLETE: Failpoint = Failpoint("stream.batch-complete");
/// Records and position were handed to Kafka; the transaction is open.
pub const POSITION_PRODUCED: Failpoint = Failpoint("kafka.position-produced");
/// The Kafka transaction is committed; we did not take note of it.
pub const KAFKA_COMMITTED: Failpoint = Failpoint("kafka.committed");
/// We took note of the commit; the server was not told.
pub const BEFORE_FEEDBACK: Failpoint = Failpoint("stream.before-feedback");
/// The server was told the position.
pub const FEEDBACK_SENT: Failpoint = Failpoint("stream.feedback-sent");

/// Those every start passes.
pub const OF_START: [Failpoint; 4] = [LOCK_TAKEN, SLOT_TAKEN, FENCED, OFFSETS_READ];
/// Those of a snapshot.
pub const OF_SNAPSHOT: [Failpoint; 6] =
    [SLOT_MADE, PLANNED, ROWS_PRODUCED, PROGRESS_COMMITTED, ALL_READ, SNAPSHOT_COMPLETE];
/// Those of the stream; the two of Kafka's are passed by snapshots too.
pub const OF_STREAM: [Failpoint; 7] =
    [DECODED, PRODUCED, BATCH_COMPLETE, POSITION_PRODUCED, KAFKA_COMMITTED, BEFORE_FEEDBACK, FEEDBACK_SENT];
