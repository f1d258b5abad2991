//! The change envelope.

mod avro_round_trip;
mod golden;
mod modes;
mod notices;
mod rules;
mod speed;
mod tables;
