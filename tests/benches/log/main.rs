//! log: durable appends of 512 bytes, against the bare file and SQLite; through the socket, against UmaDB and PostgreSQL
//!
//! Variant `in-process`: all use the same group commit, in [`commit`]; what differs is one [`sinks::Sink`] each. Variant
//! [`socket`]: servers with their clients. Variant [`start`]: ten million entries open. `VARIANT` picks one of them, `PROFILE=SECONDS` runs the daemon alone.

mod commit;
mod sinks;
mod socket;
mod start;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use commit::Run;
use nix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};
use sinks::{Bare, Entry, Hashed, Ours, Sink};
use tests::bench::{Arm, Bench, Better, Figure, Peer, ROUNDS, Scratch, Spread, alternate};

/// As many writers as agents are promised to run at once.
const WRITERS: usize = 80;
/// How long one arm runs in one round.
const TIME: Duration = Duration::from_millis(1_000);
/// The same without writers: less to settle.
const TIME_ALONE: Duration = Duration::from_millis(300);

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
    let mut bench = Bench::begin("log")?;
    let scratch = bench.scratch()?;
    bench.note(format!("file system: {}", scratch.file_system()));
    if let Ok(seconds) = std::env::var("PROFILE") {
        return socket::profile(&scratch, seconds.parse()?);
    }
    let wanted = std::env::var("VARIANT").unwrap_or_default();
    ensure!(["", "in-process", "socket", "start"].contains(&&*wanted), "there is no variant “{wanted}”");
    let mut figures = Vec::new();
    let is_wanted = |variant: &str| wanted.is_empty() || wanted == variant;
    if is_wanted("in-process") {
        prove(&scratch)?;
        figures.extend(with_writers(&scratch)?);
        figures.extend(alone(&scratch)?);
    }
    if is_wanted("start") {
        figures.extend(start::figures(&scratch)?);
    }
    if is_wanted("socket") {
        figures.extend(socket::figures(&scratch)?);
    }
    bench.finish(&figures)
}

/// A peer as it goes into figures.
struct Kind {
    name: &'static str,
    version: String,
    goal: Option<f64>,
    open: fn(&Scratch) -> anyhow::Result<Box<dyn Sink>>,
}

/// Ours first.
fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind { name: "ours", version: String::new(), goal: None, open: |at| Ok(Box::new(Ours::open(at)?)) },
        Kind {
            name: "bare",
            version: "pre-zeroed file, pwrite, fdatasync".into(),
            goal: None,
            open: |at| Ok(Box::new(Bare::open(at)?)),
        },
        Kind {
            name: "bare-merkle",
            version: "the same, RFC 6962 tree with the crate sha2 0.11".into(),
            goal: Some(0.9),
            open: |at| Ok(Box::new(Hashed::open(at)?)),
        },
    ];
    kinds.extend(sqlite());
    kinds
}

#[cfg(feature = "sqlite")]
fn sqlite() -> Option<Kind> {
    Some(Kind {
        name: "sqlite",
        version: format!("{}, WAL, synchronous=FULL", rusqlite::version()),
        goal: Some(1.0),
        open: |at| Ok(Box::new(sinks::Sqlite::open(at)?)),
    })
}

/// Built without this peer.
#[cfg(not(feature = "sqlite"))]
const fn sqlite() -> Option<Kind> {
    None
}

/// What was acknowledged is there after opening again, in the order and number that was acknowledged.
fn prove(scratch: &Scratch) -> anyhow::Result<()> {
    let mut ours = Ours::open(scratch)?;
    let run = commit::run(&mut ours, scratch.path(), WRITERS, Duration::from_millis(200))?;
    let (root, dir) = (ours.root(), ours.dir().to_owned());
    ours.close();
    let mut seen = 0_u64;
    let log = store::log::Log::open(&dir, &store::log::Config::default(), &mut |_, _| seen += 1)?;
    ensure!(seen == run.appends() && log.root() == root, "{} acknowledged, {seen} found", run.appends());
    Ok(())
}

fn with_writers(scratch: &Scratch) -> anyhow::Result<Vec<Figure>> {
    let kinds = kinds();
    let mut arms: Vec<Arm<'_, Run>> = Vec::new();
    for kind in &kinds {
        let mut sink = (kind.open)(scratch)?;
        let round = move || {
            let run = commit::run(&mut *sink, scratch.path(), WRITERS, TIME)?;
            sink.settle()?;
            Ok(run)
        };
        arms.push((kind.name, Box::new(round)));
    }
    let results = alternate(ROUNDS, &mut arms)?;
    let of = |name, value: fn(&Run) -> f64| -> Vec<f64> {
        results.get(name).map(|runs| runs.iter().map(value).collect()).unwrap_or_default()
    };
    let mut counts = Map::new();
    for kind in &kinds {
        counts.insert(kind.name.into(), counts_of(|value| of(kind.name, value)));
    }
    let figure = |metric, better, value: fn(&Run) -> f64, is_first: bool| Figure {
        variant: "in-process",
        metric,
        better,
        ours: of("ours", value),
        peers: kinds
            .iter()
            .skip(1)
            .map(|kind| Peer {
                name: kind.name,
                version: kind.version.clone(),
                samples: of(kind.name, value),
                goal: kind.goal.filter(|_| is_first),
            })
            .collect(),
        notes: if is_first { notes(&counts) } else { vec![] },
        more: Map::from_iter([("counts".to_owned(), Value::Object(counts.clone()))]),
    };
    Ok(vec![
        figure("durable appends/s, 80 writers, 512 B", Better::Higher, Run::rate, true),
        figure("p99 ms of a durable append, 80 writers, 512 B", Better::Lower, Run::p99_ms, false),
    ])
}

/// What carries over to other hardware.
fn counts_of(of: impl Fn(fn(&Run) -> f64) -> Vec<f64>) -> Value {
    let median = |value| Spread::of(&of(value)).map(|spread| (spread.median * 100.0).round() / 100.0);
    json!({
        "appends per commit": median(Run::batch),
        "flushes per thousand appends": median(Run::flushes),
        "bytes to the disk per append": median(Run::bytes),
        "context switches per append": median(Run::switches),
    })
}

fn notes(counts: &Map<String, Value>) -> Vec<String> {
    let mut notes: Vec<String> = counts
        .iter()
        .map(|(name, counts)| {
            format!("{name}: {}", counts.to_string().replace(['"', '{', '}'], "").replace(',', ", "))
        })
        .collect();
    notes.extend(
        [
            "one commit thread takes what has queued, one flush for all of it, then wakes the writers",
            "bare and bare-merkle overwrite blocks that were zeroed before the round; ours zeroes new ones in it, in another thread",
            "bare and sqlite cannot tell a changed byte, bare-merkle keeps no frames; ours has CRC and Merkle tree",
            "flushes and bytes are those of the whole disk",
        ]
        .map(str::to_owned),
    );
    notes
}

/// What a commit without writers gives: how many a second, and what each takes of the processor, in µs.
#[derive(Clone, Copy)]
struct Alone {
    rate: f64,
    cpu_us: f64,
}

/// CPU time of this process so far, the kernel's too: what others do on disk and processor does not count.
fn cpu_time() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// The sinks alone, without the cost of waking 80 writers, which is the same for all and hides the difference.
fn alone(scratch: &Scratch) -> anyhow::Result<[Figure; 2]> {
    let kinds = kinds();
    let batch: Vec<Entry> = (0..WRITERS).map(|writer| commit::entry(writer, 0)).collect();
    let batch = &batch;
    let mut arms: Vec<Arm<'_, Alone>> = Vec::new();
    for kind in &kinds {
        let mut sink = (kind.open)(scratch)?;
        let round = move || {
            let (began, cpu_began, mut commits) = (Instant::now(), cpu_time()?, 0_u32);
            while began.elapsed() < TIME_ALONE {
                sink.commit(batch)?;
                sink.prepare()?;
                commits += 1;
            }
            let time = began.elapsed();
            sink.settle()?;
            let cpu = cpu_time()?.saturating_sub(cpu_began);
            Ok(Alone {
                rate: f64::from(commits) / time.as_secs_f64(),
                cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(commits),
            })
        };
        arms.push((kind.name, Box::new(round)));
    }
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let of = |name, value: fn(&Alone) -> f64| -> Vec<f64> {
        results.get(name).map(|rounds| rounds.iter().map(value).collect()).unwrap_or_default()
    };
    let figure = |metric, better, value: fn(&Alone) -> f64, note: &str| {
        let peer = |kind: &Kind| Peer {
            name: kind.name,
            version: kind.version.clone(),
            samples: of(kind.name, value),
            goal: None,
        };
        Figure {
            variant: "in-process",
            metric,
            better,
            ours: of("ours", value),
            peers: kinds.iter().skip(1).map(peer).collect(),
            notes: vec!["the sinks alone, without queue and writers".into(), note.into()],
            more: Map::new(),
        }
    };
    let rate = "commits/s of 80 × 512 B, one after the other, one thread";
    let cpu = "CPU µs of a commit of 80 × 512 B, one thread, with the kernel's";
    Ok([
        figure(rate, Better::Higher, |alone| alone.rate, "wall-clock time, so mostly the disk's"),
        figure(
            cpu,
            Better::Lower,
            |alone| alone.cpu_us,
            "ours zeroes blocks in this time, the bare arms before it",
        ),
    ])
}
