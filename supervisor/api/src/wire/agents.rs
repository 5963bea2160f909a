//! Agents, their processes, and runs of workflows.

use std::collections::BTreeMap;

use engine::State;
use engine::run::fact::{RunEnd, StepStatus};
use engine::run::state::{Ended, Run as Standing, StepState, TaskState};
use serde::{Deserialize, Serialize};
use types::time::Time;

use super::record::rfc3339;

/// An agent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Agent {
    /// What it is called.
    pub name: String,
    /// `approved`, `waits` (its file is not approved), `rests` (it failed too often), `gone` (its file is), `wrong` (its file has mistakes).
    pub state: String,
    /// Where its file lies.
    pub path: String,
    /// Who owns the file.
    pub uid: u32,
    /// SHA-256 of the file.
    pub hash: String,
    /// What it asks to be allowed.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Its processes.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// In how many seconds it is given tasks again, where it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_s: Option<u64>,
    /// What is wrong with its file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<String>,
}

/// A process of an agent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Instance {
    /// Its number.
    pub number: u64,
    /// `starting`, `idle`, `working` or `leaving`.
    pub state: String,
    /// Its process id, once it has said hello.
    pub pid: Option<i32>,
    /// The tasks that it is at.
    pub tasks: Vec<String>,
}

/// A run of a workflow.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// What the workflow is called.
    pub workflow: String,
    /// `running`, `paused`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked.
    pub uid: u32,
    /// When it was accepted, RFC 3339, UTC.
    pub began: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How long it has taken, milliseconds.
    pub took_ms: u64,
    /// Steps that have ended, and all.
    pub progress: (u32, u32),
    /// Its steps; only where one run is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// A step of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Step {
    /// What it is called.
    pub id: String,
    /// The steps that it needs.
    pub needs: Vec<String>,
    /// Its mode.
    pub mode: String,
    /// `waiting`, `queued`, `running`, `unknown`, `done`, `failed` or `skipped`.
    pub state: String,
    /// Why it failed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What came out, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Tasks that are done, and all.
    pub tasks: (u32, u32),
    /// Attempts so far.
    pub attempts: u32,
    /// Copies that said otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dissent: Vec<u32>,
}

/// How the beginning of a run is told: the phase that a request to run reaches first.
#[must_use]
pub fn begun(run: u64) -> String {
    format!("run {run}")
}

/// The run that a phase tells the beginning of.
#[must_use]
pub fn begun_of(phase: &str) -> Option<u64> {
    phase.strip_prefix("run ")?.parse().ok()
}

/// All agents that are known.
#[must_use]
pub fn agents(state: &State, now: Time) -> Vec<Agent> {
    let mut instances: BTreeMap<&str, Vec<Instance>> = BTreeMap::new();
    for (number, one) in &state.fleet.instances {
        let word = match one.ready {
            _ if one.leaving => "leaving",
            None => "starting",
            Some(_) if one.tasks.is_empty() => "idle",
            Some(_) => "working",
        };
        instances.entry(one.agent.as_str()).or_default().push(Instance {
            number: *number,
            state: word.to_owned(),
            pid: one.ready.map(|(pid, _)| pid),
            tasks: one.tasks.iter().map(ToString::to_string).collect(),
        });
    }
    let agent = |(name, known): (&types::agent::Name, &engine::fleet::Agent)| {
        let rests_ns =
            known.breaker.open_until_ns.map_or(0, |until_ns| until_ns.saturating_sub(now.boottime_ns));
        let word = match (known.is_present, known.is_approved()) {
            (false, _) => "gone",
            (true, false) => "waits",
            (true, true) if rests_ns > 0 => "rests",
            (true, true) => "approved",
        };
        Agent {
            name: name.to_string(),
            state: word.to_owned(),
            path: known.path.clone(),
            uid: known.uid,
            hash: known.hash.to_string(),
            capabilities: known.capabilities.iter().map(ToString::to_string).collect(),
            instances: instances.get(name.as_str()).cloned().unwrap_or_default(),
            rests_s: (rests_ns > 0).then(|| rests_ns.div_ceil(1_000_000_000)),
            mistakes: Vec::new(),
        }
    };
    state.fleet.agents.iter().map(agent).collect()
}

/// All runs that are remembered, by number, without their steps.
#[must_use]
pub fn runs(state: &State, now: Time) -> Vec<Run> {
    let open = state.runs.open.values().map(|run| standing(run, now));
    let mut all: Vec<Run> = state.runs.ended.values().map(ended).chain(open).collect();
    all.sort_by_key(|run| run.number);
    all
}

/// One run with its steps.
#[must_use]
pub fn run(state: &State, number: u64, now: Time) -> Option<Run> {
    let (mut shown, run) = match state.runs.open.get(&number) {
        Some(run) => (standing(run, now), run),
        None => {
            let over = state.runs.ended.get(&number)?;
            (ended(over), &over.run)
        }
    };
    shown.steps =
        run.steps.iter().zip(&run.workflow.steps).map(|(step, said)| self::step(run, step, said)).collect();
    Some(shown)
}

fn standing(run: &Standing, now: Time) -> Run {
    let over = run.steps.iter().filter(|step| step.status.is_some()).count();
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Run {
        number: run.number,
        workflow: run.workflow.name.to_string(),
        state: if run.paused { "paused" } else { "running" }.to_owned(),
        reason: None,
        uid: run.asker.uid,
        began: rfc3339(run.began.wall_ns),
        ended: None,
        took_ms: took_ms(run.began, now),
        progress: (count(over), count(run.steps.len())),
        steps: Vec::new(),
    }
}

fn took_ms(began: Time, until: Time) -> u64 {
    let ns = if began.boot == until.boot {
        until.boottime_ns.saturating_sub(began.boottime_ns)
    } else {
        u64::try_from(until.wall_ns.saturating_sub(began.wall_ns)).unwrap_or(0)
    };
    ns / 1_000_000
}

fn ended(over: &Ended) -> Run {
    let word = match over.end {
        RunEnd::Done => "done",
        RunEnd::Failed { .. } => "failed",
        RunEnd::Cancelled { .. } => "cancelled",
    };
    Run {
        state: word.to_owned(),
        reason: over.end.reason().map(str::to_owned),
        ended: Some(rfc3339(over.at.wall_ns)),
        ..standing(&over.run, over.at)
    }
}

fn step(run: &Standing, step: &StepState, said: &types::workflow::Step) -> Step {
    let has = |of: &dyn Fn(&TaskState) -> bool| step.tasks.iter().any(|task| of(&task.state));
    let word = match step.status {
        Some(StepStatus::Done) => "done",
        Some(StepStatus::Failed) => "failed",
        Some(StepStatus::Skipped) => "skipped",
        None if has(&|state| matches!(state, TaskState::Unknown)) => "unknown",
        None if has(&|state| matches!(state, TaskState::Running { .. })) => "running",
        None if step.is_open => "queued",
        None => "waiting",
    };
    let name = |place: &usize| run.workflow.steps.get(*place).map(|step| step.id.to_string());
    Step {
        id: said.id.to_string(),
        needs: said.needs.iter().filter_map(name).collect(),
        mode: said.mode.word().to_owned(),
        state: word.to_owned(),
        reason: step.reason.clone(),
        output: step.output.as_deref().map(str::to_owned),
        tasks: (step.done, u32::try_from(step.tasks.len()).unwrap_or(u32::MAX)),
        attempts: step.tasks.iter().map(|task| task.attempt).sum(),
        dissent: step.dissent.clone(),
    }
}
