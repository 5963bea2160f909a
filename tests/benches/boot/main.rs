//! boot: from the call to the first word of a command inside the virtual laptop, module and daemon up

use std::io::Read as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Map, json};
use tests::bench::{Bench, Better, Figure, progress};

/// Each takes many seconds and has no peer to take turns with.
const RUNS: usize = 5;
/// What `make laptop` promises, in seconds.
const LIMIT_S: f64 = 20.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let bench = Bench::begin("boot")?;
    // The first boot also packs the first file system of the guest, once per kernel.
    boot()?;
    let (mut to_command, mut to_exit) = (Vec::new(), Vec::new());
    for run in 1..=RUNS {
        let (command, exit) = boot().with_context(|| format!("run {run}"))?;
        progress(run, RUNS);
        to_command.push(command.as_secs_f64());
        to_exit.push(exit.as_secs_f64());
    }
    let limit = format!("goal: the command within {LIMIT_S} s of the call");
    let note = "software emulation unless KVM is really there; warm cache, built before".to_owned();
    let figure = |metric, ours, more| Figure {
        variant: "laptop",
        metric,
        better: Better::Lower,
        ours,
        peers: vec![],
        notes: vec![limit.clone(), note.clone()],
        more,
    };
    let goal = Map::from_iter([("goal_absolute".to_owned(), json!(LIMIT_S))]);
    bench.finish(&[
        figure("s from call to command, module and daemon up", to_command, goal),
        figure("s from call to exit, laptop shut down", to_exit, Map::new()),
    ])
}

/// The time until the command in the guest says its first word, and until all is over.
fn boot() -> anyhow::Result<(Duration, Duration)> {
    let began = Instant::now();
    let mut laptop = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/laptop.sh"))
        .args(["command", "echo here"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting scripts/laptop.sh")?;
    let mut words = laptop.stdout.take().context("no output")?;
    let mut first = [0; 4];
    let said = words.read_exact(&mut first);
    let command = began.elapsed();
    std::io::copy(&mut words, &mut std::io::sink())?;
    let status = laptop.wait()?;
    ensure!(status.success() && said.is_ok() && first == *b"here", "the laptop gave {status}");
    Ok((command, began.elapsed()))
}
