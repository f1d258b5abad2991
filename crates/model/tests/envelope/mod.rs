//! The change envelope.

mod avro_round_trip;
mod golden;
mod speed;
mod tables;
