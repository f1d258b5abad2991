//! Avro datums read in place: as JSON, or one field of them.
//!
//! Pure. Formats and layouts that must look into a value do it here; nothing is decoded into a tree. The Avro format
//! itself never comes here: it copies bytes.

mod datum;
mod json;
mod project;
mod schema;

pub use datum::{Found, find};
pub use json::{Decimals, write_json};
pub use project::{fits, project};
pub use schema::{FieldPath, PathError, Schema};
