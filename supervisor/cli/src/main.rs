//! dsmil: asks the daemon for one thing and shows the answer; checks the log also without the daemon.
//!
//! # Layout
//!
//! - [`arguments`]: the command line and what runs for it
//! - [`status`], [`tokens`], [`checkpoint`], [`log`], [`tpm`], [`agent`], [`run`], [`runs`], [`stop`], [`metrics`], [`completions`], [`man`]: one file for each subcommand
//! - [`session`]: a connection to the daemon, and the warning about what its answers lack
//! - [`progress`]: what is under way, on the error output
//! - [`question`]: a question on the terminal before something is changed; [`secret`]: what must not be shown
//! - [`output`]: the standard output: tables for people, one JSON document for programs
//! - [`time`]: moments on the command line
//! - [`fault`]: what can go wrong, and the exit code that says so
//!
//! # Invariants
//!
//! - The command decides nothing: it translates arguments into one request and an answer into text.
//! - The standard output holds the answer alone; progress, warnings, questions and errors go to the error output.
//! - No text of an answer reaches a terminal with control characters in it: file names and log entries are not ours.
//! - A reader that goes away is no error.

#![forbid(unsafe_code)]

mod arguments;

mod agent;
mod checkpoint;
mod completions;
mod log;
mod man;
mod metrics;
mod run;
mod runs;
mod status;
mod stop;
mod tokens;
mod tpm;

mod fault;
mod output;
mod progress;
mod question;
mod secret;
mod session;
mod time;

use std::process::ExitCode;

fn main() -> ExitCode {
    match arguments::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => ExitCode::from(exit.code()),
    }
}
