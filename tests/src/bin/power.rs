//! Cuts the power of the virtual laptop, drops what was not flushed, and looks at what is left ([`tests::power`]).
//!
//! ```text
//! power --script scripts/laptop.sh --laptops target/laptop --verifier target/debug/dsmil [TIMES] [--restores] [--looks N] [--seed N]
//! ```
//!
//! Progress goes to the standard error; the standard output has one line for each figure.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use ::tests::power::run::{Config, run};
use ::tests::survive::Told;
use clap::Parser;

/// Power cuts of the virtual laptop that drop what was not flushed.
#[derive(Parser)]
struct Arguments {
    /// How often the power goes.
    #[arg(default_value_t = 30)]
    times: u32,
    /// After each boot, so many earlier points of it are looked at without booting.
    #[arg(long, default_value_t = 6)]
    looks: u32,
    /// The same seed chooses the same moments and losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// In the middle of restores.
    #[arg(long)]
    restores: bool,
    /// What boots the laptop.
    #[arg(long)]
    script: PathBuf,
    /// Where laptops lie.
    #[arg(long)]
    laptops: PathBuf,
    /// The command dsmil.
    #[arg(long)]
    verifier: PathBuf,
}

fn main() -> ExitCode {
    match figures(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn figures(arguments: Arguments) -> anyhow::Result<bool> {
    let Arguments { times, looks, seed, restores, script, laptops, verifier } = arguments;
    let figures = run(&Config { script, laptops, verifier, cuts: times, looks, seed, restores })?;
    for figure in &figures {
        println!("{}", figure.line()?);
    }
    Ok(figures.iter().all(Told::is_reached))
}
