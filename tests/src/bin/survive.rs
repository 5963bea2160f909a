//! Turns what a run of survival tells into the file `NAME.json`, a table, and an exit status.
//!
//! ```text
//! survive NAME <LINES
//! ```
//!
//! Lines that hold no figure go through to the standard output. `BENCH_OUT` is the folder of figures and `BENCH_COMMIT` the
//! commit that was built; `scripts/survive.sh` sets both.

#![forbid(unsafe_code)]

use std::io::stdin;
use std::process::ExitCode;

use ::tests::bench::Bench;
use ::tests::survive::Told;
use anyhow::{Context as _, ensure};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<bool> {
    let name = std::env::args().nth(1).context("usage: survive NAME <LINES")?;
    let mut bench = Bench::begin(name.leak())?;
    bench.note("in the virtual laptop; the goal is what no sample may exceed".to_owned());
    let mut told = Vec::new();
    for line in stdin().lines() {
        let line = line?;
        match Told::parse(&line).with_context(|| line.clone())? {
            Some(figure) => told.push(figure),
            None => println!("{line}"),
        }
    }
    ensure!(!told.is_empty(), "no figure was told: the run did not come to its end");
    let is_reached = told.iter().all(Told::is_reached);
    bench.finish(&told.into_iter().map(Told::figure).collect::<Vec<_>>())?;
    Ok(is_reached)
}
