//! The shared language of haus-am-see: names, positions, table shapes, the change envelope.
//!
//! Stands under every other crate and does no I/O. It promises that a name or a position is spelled in one place.

pub mod cell;
pub mod connect_record;
pub mod envelope;
pub mod lsn;
pub mod names;
pub mod secret;
pub mod table;
