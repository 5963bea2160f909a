//! The face to agents: the files that define them, and what they and the supervisor say to each other.
//!
//! - [`definition`]: reads an agent's file; [`print`] writes one
//! - [`protocol`]: the messages on an agent's stdin and stdout
//! - [`call`]: what an agent may ask for in the middle of a task
//! - [`lines`]: cuts what an agent writes into lines, and stops at the first that no agent may write

pub mod call;

pub mod definition;

pub mod print;

pub mod protocol;

pub mod lines;
