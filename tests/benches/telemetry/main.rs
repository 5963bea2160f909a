//! telemetry: what the scheduler probe adds to a context switch, against bcc's runqlat and against empty probes
//!
//! Variant `histogram`: `perf bench sched pipe` on one CPU with nothing loaded, with empty probes, with ours, and with
//! runqlat of libbpf-tools. Two tasks on one CPU pass a word back and forth: one operation is two switches and two
//! wake-ups.

mod loaded;

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use loaded::{Loaded, attached};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::Map;
use tests::bench::{Arm, Bench, Better, Figure, Peer, ROUNDS, alternate, output};

/// Operations of one measurement: some half second.
const OPERATIONS: u32 = 250_000;
/// Operations to warm up what was just loaded, and to know what perf itself takes to start.
const OPERATIONS_WARM: u32 = 5_000;

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
    ensure!(nix::unistd::geteuid().is_root(), "loading probes needs root");
    let mut bench = Bench::begin("telemetry")?;
    let scratch = bench.scratch()?;
    let empty = loaded::compile(scratch.path())?;
    let empty = empty.as_path();
    let runqlat = output("dpkg-query", &["-W", "-f", "libbpf-tools ${Version}", "libbpf-tools"])
        .unwrap_or_else(|_| "libbpf-tools, not from a package".into());
    let cpu = last_cpu()?;
    bench.note(format!("{}; both tasks on CPU {cpu}", output("perf", &["--version"])?));
    let others = attached()?;
    if others > 0 {
        bench.note(format!("{others} probes of others were attached meanwhile: not to be trusted"));
    }
    let cpu = cpu.as_str();
    let arm = move |load: fn(&std::path::Path) -> anyhow::Result<Loaded>| {
        move || {
            let held = load(empty)?;
            let start = pipe(cpu, OPERATIONS_WARM)?;
            let whole = pipe(cpu, OPERATIONS)?;
            held.unload()?;
            Ok(Cost {
                cpu_ns: (whole.cpu_ns - start.cpu_ns) / f64::from(OPERATIONS - OPERATIONS_WARM),
                wall_ns: whole.wall_ns,
            })
        }
    };
    let mut arms: Vec<Arm<'_, Cost>> = vec![
        ("bare", Box::new(arm(|_| Ok(Loaded::Nothing)))),
        ("empty-probe", Box::new(arm(Loaded::empty))),
        ("ours", Box::new(arm(|_| Loaded::ours()))),
        ("runqlat", Box::new(arm(|_| Loaded::runqlat()))),
    ];
    let results = alternate(ROUNDS, &mut arms)?;
    let of = |name, value: fn(&Cost) -> f64| -> Vec<f64> {
        results.get(name).map(|costs| costs.iter().map(value).collect()).unwrap_or_default()
    };
    let wall = |name| of(name, |cost| cost.wall_ns);
    let added = |name| -> Vec<f64> {
        let cpu = |name| of(name, |cost| cost.cpu_ns);
        cpu(name).iter().zip(cpu("bare")).map(|(with, bare)| (with - bare) / 2.0).collect()
    };
    let version = |name| match name {
        "runqlat" => runqlat.clone(),
        "bare" => "no probe".into(),
        _ => "three programs of one instruction".into(),
    };
    let peer = |name, samples, goal| Peer { name, version: version(name), samples, goal };
    let peers =
        vec![peer("runqlat", added("runqlat"), Some(5.0)), peer("empty-probe", added("empty-probe"), None)];
    let notes = vec![
        "CPU time with it less the bare one of the same round, halved: an operation is two switches and two wake-ups"
            .into(),
        "runqlat keeps one histogram of the whole machine, ours one for each CPU".into(),
    ];
    let whole = ["bare", "empty-probe", "runqlat"].map(|name| peer(name, wall(name), None)).to_vec();
    bench.finish(&[
        Figure {
            variant: "histogram",
            metric: "CPU ns added per switch + wakeup, perf bench sched pipe on one CPU",
            better: Better::Lower,
            ours: added("ours"),
            peers,
            notes,
            more: Map::new(),
        },
        Figure {
            variant: "histogram",
            metric: "ns per operation, perf bench sched pipe on one CPU",
            better: Better::Lower,
            ours: wall("ours"),
            peers: whole,
            notes: vec!["wall-clock time, so against bare the slow-down; on a busy machine it tells more of the others".into()],
            more: Map::new(),
        },
    ])
}

/// What one operation takes, in nanoseconds.
#[derive(Debug)]
struct Cost {
    /// CPU time of both tasks, which does not count who else had the CPU.
    cpu_ns: f64,
    /// Wall-clock time.
    wall_ns: f64,
}

/// One run of perf: the CPU time is that of the whole run with perf's own start, the wall-clock time that of one operation.
fn pipe(cpu: &str, operations: u32) -> anyhow::Result<Cost> {
    let before = children_ns()?;
    let words = ["-c", cpu, "perf", "bench", "sched", "pipe", "-l", &operations.to_string()];
    let said = output("taskset", &words)?;
    let line = said.lines().find_map(|line| line.trim().strip_suffix(" usecs/op"));
    let micros: f64 = line.with_context(|| format!("perf gave no time: {said}"))?.trim().parse()?;
    Ok(Cost { cpu_ns: children_ns()? - before, wall_ns: micros * 1e3 })
}

/// CPU time of the children that have ended.
fn children_ns() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 * 1e3)
}

/// The last CPU that this process may use: the first one serves most interrupts.
fn last_cpu() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let last = list.and_then(|list| list.rsplit([',', '-']).next());
    Ok(last.context("/proc/self/status has no list of CPUs")?.trim().to_owned())
}
