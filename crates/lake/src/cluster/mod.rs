//! Queries of models on more machines than this one: a Ballista cluster of `lake scheduler` and `lake executor`.
//!
//! ```text
//!  lake run ── optimised plan ──▶ lake scheduler ◀── asks for tasks ── lake executor ── files ──▶ object store
//!           ◀── rows of the last stage ───────────────────────────────┘  ◀── shuffles ──▶ other executors
//! ```
//!
//! Only the query runs there. A plan names the files of a pinned snapshot, not tables: scheduler and executors ask no catalog,
//! and read by the same reader as the lake, with access to the store of their own. Writing, tests and publishing stay with the
//! lake. Behind the cargo feature `cluster`; without it [`absent`] says how to build it.

#[cfg(not(feature = "cluster"))]
mod absent;
#[cfg(feature = "cluster")]
mod client;
#[cfg(feature = "cluster")]
mod codec;
#[cfg(feature = "cluster")]
mod executor;
#[cfg(feature = "cluster")]
mod logs;
#[cfg(feature = "cluster")]
mod scheduler;
pub mod settings;

#[cfg(not(feature = "cluster"))]
pub use absent::{Cluster, execute, schedule};
#[cfg(feature = "cluster")]
pub use {client::Cluster, executor::execute, scheduler::schedule};

/// A message between processes of the cluster: a plan names all files that it reads.
#[cfg(feature = "cluster")]
const MESSAGE_BYTES_MAX: usize = 64 << 20;
