//! The pure simulation: seeded, repeatable, without I/O.

pub mod chance;
pub mod pace;
pub mod population;
pub mod rhythm;
pub mod rows;
pub mod traffic;
mod vocabulary;
