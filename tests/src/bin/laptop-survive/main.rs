//! Kills and faults in the virtual laptop, and a look at what they leave.
//!
//! ```text
//! laptop-survive kills|faults|writes|checkpoints|restores|prunes [TIMES] [--seed N]
//! laptop-survive power --facts FILE [--restores] [--idle] [--seed N]
//! ```
//!
//! Progress goes to the standard error; the standard output has one line for each figure ([`tests::survive`]). The exit
//! status says whether all goals are reached. The same seed makes the same trials.
//!
//! # Layout
//!
//! - `kills`: SIGKILL of who changes firmware settings, straight through the kernel module
//! - `holder`: who is killed: a process with threads, children or sharers; `shared`: where it tells how far it is
//! - `faults`: faults of the firmware at each call of a change; `trial`: one of them; `others`: a password, somebody else
//!   who writes, unloading
//! - `laptop`: the firmware past the module, and the module
//! - `daemon`: SIGKILL of the daemon in the middle of what it does
//! - `power`: work until the power goes, and a look at what it left; the host cuts it (`tests::power`)
//! - `dice`: random numbers; `progress`: how far it is
//! - `raw`: the system calls that no crate has (the unsafe room, with `shared` and `holder`)

mod daemon;
mod dice;
mod faults;
mod holder;
mod kills;
mod laptop;
mod others;
mod power;
mod progress;
mod raw;
mod shared;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Parser, ValueEnum};
use tests::survive::Told;

use crate::daemon::Deed;
use crate::power::Works;

/// Kills and faults in the virtual laptop, and a look at what they leave.
#[derive(Parser)]
#[command(name = "laptop-survive")]
struct Arguments {
    /// What to try.
    #[arg(value_enum)]
    kind: Kind,
    /// How often: kills; of the faults so many of each list, all if absent.
    times: Option<u32>,
    /// The same seed makes the same trials.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What was acknowledged before the power went, for “power”.
    #[arg(long)]
    facts: Option<PathBuf>,
    /// Restores one checkpoint after the other, for “power”.
    #[arg(long)]
    restores: bool,
    /// Only looks, for “power”.
    #[arg(long)]
    idle: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// SIGKILL of who changes firmware settings through the kernel module; without the daemon.
    Kills,
    /// Faults of the firmware at each call of a change; without the daemon.
    Faults,
    /// SIGKILL of the daemon while it writes a token.
    Writes,
    /// SIGKILL of the daemon while it makes a checkpoint.
    Checkpoints,
    /// SIGKILL of the daemon while it restores one.
    Restores,
    /// SIGKILL of the daemon while it lets checkpoints go.
    Prunes,
    /// Looks for what was acknowledged, then works until the power goes.
    Power,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    let &Arguments { kind, times, seed, .. } = arguments;
    let figures = match kind {
        Kind::Kills => kills::run(times.unwrap_or(kills::TIMES), seed)?,
        Kind::Faults => faults::run(times, seed)?,
        Kind::Writes => daemon::run(Deed::Write, times.unwrap_or(12), seed)?,
        Kind::Checkpoints => daemon::run(Deed::Checkpoint, times.unwrap_or(12), seed)?,
        Kind::Restores => daemon::run(Deed::Restore, times.unwrap_or(12), seed)?,
        Kind::Prunes => daemon::run(Deed::Prune, times.unwrap_or(12), seed)?,
        Kind::Power => {
            let facts = arguments.facts.as_deref().context("“power” needs --facts FILE")?;
            let works = match (arguments.idle, arguments.restores) {
                (true, _) => Works::Not,
                (false, false) => Works::Notes,
                (false, true) => Works::Restores,
            };
            return power::run(facts, seed, works).map(|()| true);
        }
    };
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    ensure!(!figures.is_empty(), "nothing was tried");
    let is_reached = figures.iter().all(Told::is_reached);
    for figure in figures {
        println!("{}", figure.with("kernel", kernel.trim()).line()?);
    }
    Ok(is_reached)
}
