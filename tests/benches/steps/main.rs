//! steps: durable steps of workflows on 80 real agent processes, and what the same processes do without engine and disk
//!
//! 80 runs of three steps that do nothing are always under way. Each step's result is flushed before the next step begins; the client of a run
//! waits for its end and begins the next one.

#[path = "../log/socket/daemon.rs"]
mod daemon;

mod bare;
mod client;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, ensure};
use client::{Client, ask};
use daemon::Daemon;
use serde_json::{Map, Value, json};
use tests::bench::{Arm, Bench, Better, Figure, Peer, ROUNDS, Scratch, alternate};

/// Agents, and runs under way.
const AGENTS: usize = 80;
/// Steps of a run.
const STEPS: usize = 3;
/// Where the agents are defined meanwhile: only root may write there, up to the root of the tree.
const FOLDER: &str = "/etc/dsmil-bench-agents";
/// One round.
const TIME: Duration = Duration::from_secs(2);

/// What one round gave.
#[derive(Debug)]
pub struct Round {
    /// Steps, or round trips, in a second.
    rate: f64,
    /// One run in a hundred takes longer, milliseconds.
    p99_ms: f64,
}

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
    let result = measured();
    fs::remove_dir_all(FOLDER).ok();
    result
}

fn measured() -> anyhow::Result<()> {
    let bench = Bench::begin("steps")?;
    let scratch = bench.scratch()?;
    let agent = agent(scratch.path())?;
    let daemon = started(&scratch, &agent)?;
    let mut clients = (0..AGENTS)
        .map(|place| Client::connect(daemon.socket(), place, &workflow()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // Until all processes are there.
    client::run(&mut clients, TIME)?;
    if env::var("BENCH_PROFILE").is_ok_and(|profile| !profile.is_empty()) {
        for _ in 0..10 {
            let round = client::run(&mut clients, TIME)?;
            println!("{:.0} steps/s, p99 {:.1} ms", round.rate, round.p99_ms);
        }
        return Ok(());
    }
    let mut children = bare::Children::start(&agent, AGENTS)?;
    let mut arms: Vec<Arm<'_, Round>> = vec![
        ("ours", Box::new(|| client::run(&mut clients, TIME))),
        ("pipes", Box::new(|| children.run(TIME))),
    ];
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let agents = ask(daemon.socket(), &json!({ "command": "agents" }))?;
    let processes: usize = agents
        .get("agents")
        .and_then(Value::as_array)
        .map_or(0, |all| all.iter().filter_map(|one| one.get("instances")?.as_array().map(Vec::len)).sum());
    ensure!(processes >= AGENTS, "only {processes} processes of agents ran");
    drop(clients);
    let facts = daemon.stop()?;
    let of = |name: &str, value: fn(&Round) -> f64| -> Vec<f64> {
        results.get(name).map(|rounds| rounds.iter().map(value).collect()).unwrap_or_default()
    };
    let notes = vec![
        format!(
            "{processes} processes of {AGENTS} agents, {AGENTS} runs of {STEPS} steps under way; the clients share the processors"
        ),
        format!(
            "each step's result is in the log, flushed, before the next step begins; {facts} facts in all, heads signed each second"
        ),
    ];
    let pipes = |value: fn(&Round) -> f64, goal| Peer {
        name: "pipes",
        version: "the same program over pipes, one thread, no engine, no disk".to_owned(),
        samples: of("pipes", value),
        goal,
    };
    let figures = [
        Figure {
            variant: "steps",
            metric: "durable steps/s, 80 runs of 3 steps on 80 agents",
            better: Better::Higher,
            ours: of("ours", |round| round.rate),
            peers: vec![pipes(|round| round.rate, Some(0.2))],
            notes: notes.clone(),
            more: Map::new(),
        },
        Figure {
            variant: "steps",
            metric: "p99 ms of a run of 3 durable steps, 80 under way",
            better: Better::Lower,
            ours: of("ours", |round| round.p99_ms),
            peers: Vec::new(),
            notes,
            more: Map::new(),
        },
    ];
    bench.finish(&figures)
}

/// The agent's program, where its user can reach it.
fn agent(scratch: &Path) -> anyhow::Result<PathBuf> {
    let program = env::var_os("AGENT").context("AGENT names no agent: use “make bench”")?;
    let folder = env::temp_dir().join(format!("dsmil-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
    let copy = folder.join("agent");
    fs::copy(&program, &copy).with_context(|| format!("copying {}", program.to_string_lossy()))?;
    fs::create_dir_all(scratch.join("agents"))?;
    Ok(copy)
}

/// A daemon whose agents are approved.
fn started(scratch: &Scratch, agent: &Path) -> anyhow::Result<Daemon> {
    let folder = Path::new(FOLDER);
    fs::create_dir_all(folder)?;
    for number in 0..AGENTS {
        let text = format!(
            "---\nname: bench-{number}\ndescription: Answers at once.\ncommand: [{}]\ncapabilities: [bench.read]\n\
             limits: {{output_second: 1GiB}}\n---\n",
            agent.display()
        );
        fs::write(folder.join(format!("bench-{number}.md")), text)?;
    }
    let user = env::var("BENCH_AGENT_USER").unwrap_or_else(|_| "games".into());
    let more = format!("\n[agents]\nfolders = [{folder:?}]\nuser = {user:?}\n");
    let daemon = Daemon::start(scratch, "", &more)?;
    let agents = loop {
        let known = ask(daemon.socket(), &json!({ "command": "agents" }))?;
        let agents = known.get("agents").and_then(Value::as_array).cloned().unwrap_or_default();
        if agents.len() >= AGENTS {
            break agents;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let wrong: Vec<_> = agents.iter().filter(|one| one.get("state") != Some(&json!("waits"))).collect();
    ensure!(wrong.is_empty(), "agents cannot be approved: {wrong:?}");
    let agents: Vec<Value> =
        agents.iter().map(|one| json!({ "name": one.get("name"), "hash": one.get("hash") })).collect();
    ask(daemon.socket(), &json!({ "command": "approve_agents", "agents": agents }))?;
    Ok(daemon)
}

fn workflow() -> String {
    "name: bench\nsteps:\n  - id: a\n    agent: {capability: bench.read}\n  - id: b\n    needs: a\n    agent: {capability: bench.read}\n  \
     - id: c\n    needs: b\n    agent: {capability: bench.read}\n"
        .to_owned()
}
