//! Drives the node through every input that the module must refuse and every path that it must take, in the virtual
//! laptop and as root.
//!
//! ```text
//! uapi            a freshly loaded module without limits (read_rate=0 write_rate=0)
//! uapi short      the same, and of the checks those that make few calls of the firmware
//! uapi sleep      a freshly loaded one: the machine sleeps for some seconds
//! uapi limits     one with low rates and read_burst=8 write_burst=3
//! uapi unload     one that nobody has open; it is loaded again and again
//! uapi backend    one without limits that nobody has open: the way to the firmware goes away and comes back
//! uapi memory     one without limits, on a kernel that can be made to fail: what is told when there is no memory
//! uapi force      one that nobody has open, and is gone afterwards; only a new boot mends what is left
//! uapi confirm    a freshly loaded one: locks the kernel down while a change is pending, and confirms it
//! uapi undo       the same, and undoes it
//! uapi restart F  a freshly loaded one: restarts the machine while a change is pending; F tells what must stand then
//! ```
//!
//! All but `unload` and `force` seal an allow-list, so the module must be reloaded for the next. Values are as they
//! were afterwards. One line for each check, and the exit status is 0 if all passed.
//!
//! # Layout
//!
//! - `layout`, `forms`, `pointers`, `compat`: what holds and is refused whatever the state
//! - `reading`, `snapshot`, `limits`: information, the list, values, their age, how often
//! - `rights`, `sealing`: who may change something, and what
//! - `staging`, `writing`: what a transaction refuses, and what it does
//! - `owners`, `ending`, `sleeping`: whose it is, and what ends it
//! - `events`, `waiting`, `mapping`, `looking`: what is told; `watching`: by the client library
//! - `lockdown`, `unloading`, `backend`: what only the next boot, or the next load, mends
//! - `lacking`: what is told when the kernel has no memory
//! - `bench`: what the checks are about
//! - `raw`: ioctls as bytes, past the client library
//! - `laptop`, `memory`, `process`: the firmware past the module; bad memory; children
//! - `uapi`: generated from the header

mod bench;

mod compat;
mod forms;
mod layout;
mod pointers;

mod limits;
mod reading;
mod snapshot;

mod rights;
mod sealing;

mod staging;
mod writing;

mod ending;
mod owners;
mod sleeping;

mod events;
mod looking;
mod mapping;
mod waiting;
mod watching;

mod backend;
mod lacking;
mod lockdown;
mod unloading;

mod laptop;
mod memory;
mod process;
mod raw;

use std::env;
use std::process::ExitCode;

use crate::bench::{Bench, Tally};

#[path = "../../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

/// The node of the module.
const NODE: &str = "/dev/dsmil";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let run: fn(&mut Bench) = match *arguments.as_slice() {
        [] => everything,
        ["short"] => short,
        ["limits"] => limits::check,
        ["sleep"] => sleeping::real,
        ["confirm"] => |bench| lockdown::check(bench, true),
        ["undo"] => |bench| lockdown::check(bench, false),
        ["memory"] => lacking::check,
        ["unload"] => return told(&tallied(unloading::check)),
        ["backend"] => return told(&tallied(backend::check)),
        ["force"] => return told(&tallied(unloading::force)),
        [owners::CONFIRM, descriptor, number] => return alone(owners::confirm(descriptor, number)),
        ["restart", file] => return alone(unloading::restart(NODE, file)),
        _ => {
            eprintln!(
                "usage: uapi [short|sleep|limits|memory|unload|backend|force|confirm|undo|restart FILE]"
            );
            return ExitCode::from(2);
        }
    };
    match Bench::new(NODE) {
        Ok(mut bench) => {
            run(&mut bench);
            told(&bench.tally)
        }
        Err(why) => {
            println!("FAIL open {why}");
            ExitCode::FAILURE
        }
    }
}

fn everything(bench: &mut Bench) {
    layout::check(bench);
    reading::check(bench);
    forms::check(bench);
    pointers::before(bench);
    compat::before(bench);
    snapshot::check(bench);
    rights::check(bench);
    sealing::check(bench);
    staging::check(bench);
    pointers::check(bench);
    compat::check(bench);
    writing::check(bench);
    snapshot::sealed(bench);
    owners::check(bench);
    ending::check(bench);
    events::check(bench);
    waiting::check(bench);
    mapping::check(bench);
    watching::check(bench);
    looking::check(bench);
    sleeping::check(bench);
}

/// Where a call of the firmware takes a third of a second: every kind of operation, and each end of a change.
fn short(bench: &mut Bench) {
    forms::check(bench);
    sealing::check(bench);
    staging::check(bench);
    pointers::check(bench);
    owners::check(bench);
    ending::check(bench);
    events::check(bench);
    waiting::check(bench);
    mapping::check(bench);
}

fn alone(done: bench::Check) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("FAIL {why}");
            ExitCode::FAILURE
        }
    }
}

fn tallied(run: fn(&mut Tally)) -> Tally {
    let mut tally = Tally::new(NODE);
    run(&mut tally);
    tally
}

fn told(tally: &Tally) -> ExitCode {
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
