//! The real command against a daemon inside the test that speaks the real wire protocol.
//!
//! # Layout
//!
//! - [`daemon`]: the daemon, which says what a test has it say
//! - [`human`], [`json`]: what people and programs read
//! - [`exit`]: exit codes, and what goes wrong
//! - [`progress`]: what is shown on the way, and the question on a terminal
//! - [`folder`]: a log in a folder of its own
//! - [`offline`]: the log without a daemon
//! - [`show`], [`export`], [`salvage`], [`archive`]: one entry, the tree for others, a damaged log, old files elsewhere
//! - [`clock`]: clocks that were set back
//! - [`tpm`]: what is told of the TPM; [`vault`]: what is sealed by it; [`certified`]: its word on the log
//! - [`metrics`]: what is counted; [`agent`]: agents' files; [`run`]: workflows
//! - [`tar`]: a checkpoint as tar; [`mount`]: as a file system; [`rescue`]: restored without the daemon
//! - [`help`]: help, manual pages, completions
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests, where a failure is a finding"
)]

mod agent;
mod archive;
mod certified;
mod clock;
mod daemon;
mod exit;
mod export;
mod folder;
mod help;
mod human;
mod json;
mod metrics;
mod mount;
mod offline;
mod progress;
mod rescue;
mod run;
mod salvage;
mod show;
mod tar;
mod tpm;
mod vault;
