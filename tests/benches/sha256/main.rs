//! sha256: hashing the log's leaves many at once, against the crate sha2, and verifying a log against hashing it
//!
//! Variants `leaves`, `leaves-sha-ni`, `leaves-avx512`, `leaves-avx2` (in this file) and `verify` (in [`verify`]).

mod verify;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::time::{ClockId, clock_gettime};
use serde_json::Map;
use sha2::{Digest as _, Sha256};
use store::sha256::Engine;
use tests::bench::{Arm, Bench, Better, Figure, Peer, alternate};
use types::hash::Hash;

/// The sizes of entries, in bytes, and how many come at once.
const SIZES: [usize; 4] = [64, 128, 512, 4096];
const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 80];
/// What counts as small, in bytes: up to here the goal holds.
const SMALL_BYTES: usize = 512;
/// From as many on the lanes are full.
const FULL: usize = 16;
/// CPU time that one arm takes in one round.
const TIME: Duration = Duration::from_millis(3);
/// More rounds than elsewhere: they are short.
const ROUNDS: usize = 21;

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
    let mut bench = Bench::begin("sha256")?;
    let names: Vec<_> = Engine::all().iter().map(Engine::name).collect();
    bench.note(format!("this processor has: {}; best takes {:?}", names.join(", "), Engine::best()));
    let mut figures = Vec::new();
    for size in SIZES {
        for batch in BATCHES {
            leaves(size, batch, &mut figures)?;
        }
    }
    figures.sort_by_key(|figure| figure.variant);
    figures.push(verify::figure(&bench.scratch()?)?);
    bench.finish(&figures)
}

/// CPU time of this thread so far: on a busy machine others take turns with it, which is none of its cost.
pub fn cpu_time() -> anyhow::Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("reading the clock of this thread")?;
    Ok(time.into())
}

/// The leaf hashes of the entries as the crate makes them, one after another.
pub fn hash_plainly<'a>(entries: impl Iterator<Item = &'a [u8]>, out: &mut Vec<Hash>) {
    out.extend(entries.map(|entry| Hash(Sha256::new_with_prefix([0]).chain_update(entry).finalize().into())));
}

/// Entries a second, in CPU time of this thread.
fn rate(entries: &[&[u8]], mut hash: impl FnMut(&mut Vec<Hash>)) -> anyhow::Result<f64> {
    let mut out = Vec::with_capacity(entries.len());
    let (began, mut count) = (cpu_time()?, 0);
    // As often between two looks at the clock that these cost nothing.
    let repeats = (1 << 16) / entries.iter().map(|entry| entry.len()).sum::<usize>().max(1) + 1;
    loop {
        for _ in 0..repeats {
            out.clear();
            hash(&mut out);
            std::hint::black_box(&mut out);
        }
        count += repeats * entries.len();
        let spent = cpu_time()?.saturating_sub(began);
        if spent >= TIME {
            return Ok(count as f64 / spent.as_secs_f64());
        }
    }
}

fn variant(engine: &Engine) -> &'static str {
    match engine.name() {
        "sha-ni" => "leaves-sha-ni",
        "avx512" => "leaves-avx512",
        "avx2" => "leaves-avx2",
        _ => "leaves",
    }
}

/// What the figure should reach; none where the peer is not what would run on a processor with these instructions alone.
fn goal(engine: &Engine, size: usize, batch: usize) -> Option<f64> {
    let has_avx512 = Engine::all().iter().any(|engine| engine.name() == "avx512");
    match engine.name() {
        "best" if has_avx512 && size <= SMALL_BYTES && batch >= FULL => Some(1.5),
        "best" | "sha-ni" => Some(1.0),
        _ => None,
    }
}

/// One figure for each implementation, of one size and batch.
fn leaves(size: usize, batch: usize, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let bytes: Vec<u8> = (0..=250).cycle().take(size * batch).collect();
    let entries: Vec<&[u8]> = bytes.chunks_exact(size).collect();
    let entries = entries.as_slice();
    let mut wanted = Vec::new();
    hash_plainly(entries.iter().copied(), &mut wanted);
    let engines: Vec<Engine> = Engine::all().into_iter().filter(|engine| engine.name() != "sha2").collect();
    let mut arms: Vec<Arm<'_, f64>> = Vec::new();
    for engine in &engines {
        let mut found = Vec::new();
        engine.hash(0, entries.iter().copied(), &mut found);
        ensure!(found == wanted, "{} hashes wrongly", engine.name());
        let round = move || rate(entries, |out| engine.hash(0, entries.iter().copied(), out));
        arms.push((engine.name(), Box::new(round)));
    }
    arms.push(("sha2", Box::new(|| rate(entries, |out| hash_plainly(entries.iter().copied(), out)))));
    let mut results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let peer = results.remove("sha2").unwrap_or_default();
    for engine in &engines {
        let version = "0.11".to_owned();
        figures.push(Figure {
            variant: variant(engine),
            metric: format!("entries/s of CPU time, {size} B, {batch} at once").leak(),
            better: Better::Higher,
            ours: results.remove(engine.name()).unwrap_or_default(),
            peers: vec![Peer {
                name: "sha2",
                version,
                samples: peer.clone(),
                goal: goal(engine, size, batch),
            }],
            notes: vec![],
            more: Map::new(),
        });
    }
    Ok(())
}
