//! The face to agents: the files that define them.
//!
//! - [`definition`]: reads an agent's file; [`print`] writes one

pub mod definition;

pub mod print;
