//! The landing zone as the lake reads it: which objects there are, and what is in them as Arrow columns.

pub mod columns;
pub mod convert;
pub mod object;
pub mod s3;
pub mod store;
