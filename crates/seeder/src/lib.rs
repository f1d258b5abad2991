//! The seeder: fills the storefront's database and keeps it busy.
//!
//! First in the flow: everything downstream sees only what is committed here. `simulation` is pure and seeded: it
//! decides what the shop's people do. `storefront` writes that to Postgres and keeps the database's invariants under
//! concurrency. `api` is the HTTP side, with the original's paths, parameters and defaults.
//!
//! Promises: the same seed, count and day give the same rows; every committed state has whole orders (items, one
//! payment, total = sum of items = payment), so that a reader of the change stream can check sums at any moment.

pub mod api;
pub mod program;
pub mod simulation;
pub mod storefront;
