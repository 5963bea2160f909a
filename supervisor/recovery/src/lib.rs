//! The components of a checkpoint: capture, plan, restore, verify; and the helper that changes files.
//!
//! # Layout
//!
//! - [`manifest`]: what a checkpoint states, and its signed statement
//! - [`component`]: what every component does
//! - [`files`]: folders with everything in them
//! - [`remembered`]: how files looked after a restore, so that they need not be read
//! - [`tokens`]: firmware tokens
//! - [`settings`]: settings of the running kernel
//! - [`databases`]: SQLite databases, and those of PostgreSQL servers
//! - [`services`]: units of systemd
//! - [`restore`]: all of them together, in phases
//! - `limit`: how long each of these phases may take
//! - [`export`]: the files of a checkpoint as a tar archive
//! - [`browse`]: the files of a checkpoint as a tree, for looking into it
//! - [`diff`]: what differs between two checkpoints
//! - [`worker`]: the one who changes files, in steps that a crash cannot tear
//! - [`helper`]: a worker at the other end of a socket
//! - [`replay`]: the log folded into the state
//! - [`shelf`]: checkpoints in their folder, held against signature, log and chunks
//! - [`rescue`]: a restore without the daemon
//! - [`vault`]: what holds the repository's key, and the ways to it
//!
//! Formats, phases and the helper's protocol stand in `docs/checkpoints.md`.
//!
//! # Invariants
//!
//! - A checkpoint holds what was read, and is never empty.
//! - Nothing is changed before the whole checkpoint was found authentic and the plan was made.
//! - Until a restore is cleaned up, what it replaced is still there.
//! - Only [`worker`] changes files, settings, databases and services, and only a [`tokens::TokenPort`] changes tokens.

#![forbid(unsafe_code)]

pub mod browse;
pub mod component;
pub mod databases;
pub mod diff;
mod error;
pub mod export;
pub mod files;
pub mod helper;
mod limit;
pub mod manifest;
pub mod remembered;
pub mod replay;
pub mod rescue;
pub mod restore;
pub mod services;
pub mod settings;
pub mod shelf;
pub mod tokens;
pub mod vault;
pub mod worker;

pub use error::{Error, shown};

#[cfg(test)]
mod tests;
