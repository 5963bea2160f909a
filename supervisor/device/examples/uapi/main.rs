//! Drives the node of a freshly loaded module through every input it must refuse and every path it must take.
//!
//! Run as root where the module is loaded and nothing is sealed yet:
//!
//! ```text
//! uapi [NODE [TOKEN...]]
//! ```
//!
//! NODE is `/dev/dsmil` if not given. TOKENs are the ones it may write; without them it takes DSMIL devices that
//! the module does not deny. It seals them, so the module must be reloaded for a second run. Values are as they
//! were afterwards. One line for each check, and the exit status is 0 if all passed.
//!
//! # Layout
//!
//! - `forms`: what is refused whatever the state
//! - `reading`: information, the list, values
//! - `sealing`: before the seal, and the seal
//! - `writing`: what a transaction refuses, and what it does
//! - `undoing`: what brings the old values back
//! - `watching`: snapshots, the cache, events, mapped pages
//! - `bench`: what the checks are about
//! - `raw`: ioctls as bytes, past the client library
//! - `memory`, `process`: memory that cannot be written; children, and threads without capabilities
//! - `uapi`: generated from the header

mod bench;

mod forms;
mod reading;
mod sealing;
mod undoing;
mod watching;
mod writing;

mod memory;
mod process;
mod raw;

use std::env;
use std::process::ExitCode;

use device::{Device, Patience};
use types::token::{Token, TokenId};

use crate::bench::Bench;

#[path = "../../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let node = arguments.next().unwrap_or_else(|| "/dev/dsmil".to_owned());
    let ids: Result<Vec<TokenId>, _> = arguments.map(|id| id.parse()).collect();
    let Ok(ids) = ids else {
        eprintln!("usage: uapi [NODE [TOKEN...]]");
        return ExitCode::from(2);
    };
    // Polling may meet the limits, which are not what most checks are about.
    let open = || Device::open(&node).map(|device| device.with_patience(Patience::USUAL));
    let (device, tokens) = match open().and_then(|d| d.tokens().map(|t| (d, t))) {
        Ok(opened) => opened,
        Err(why) => {
            println!("FAIL open {why}");
            return ExitCode::FAILURE;
        }
    };
    let free = |t: &&Token| t.denied.is_none() && !t.shares_location && t.id.device().is_some();
    let own = if ids.is_empty() { tokens.iter().filter(free).map(|t| t.id).take(4).collect() } else { ids };
    let mut bench = Bench { node, device, tokens, own, passed: 0, failed: 0 };
    forms::check(&mut bench);
    reading::check(&mut bench);
    sealing::before(&mut bench);
    sealing::check(&mut bench);
    writing::check(&mut bench);
    undoing::check(&mut bench);
    watching::check(&mut bench);
    println!("{} passed, {} failed", bench.passed, bench.failed);
    if bench.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
