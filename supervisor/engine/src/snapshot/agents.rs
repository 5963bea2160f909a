//! Agents and runs as bytes. Queues and timers follow from the tasks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use types::agent::{Milliseconds, Retry};
use types::hash::Hash;

use super::Moment;
use crate::command::RequestId;
use crate::fact::{Asker, Grant};
use crate::fleet::{Agent as Known, Breaker, Fleet, Instance as Process};
use crate::run::encoding;
use crate::run::fact::{RunEnd, StepStatus, TaskRef};
use crate::run::state::{self, Runs, TaskState, Timer, Waiting};
use crate::state::State;

/// Agents and runs.
#[derive(Encode, Decode)]
#[cbor(map)]
pub struct Agents {
    #[n(0)]
    agents: Vec<Agent>,
    #[n(1)]
    instances: Vec<Instance>,
    #[n(2)]
    next_instance: u64,
    #[n(3)]
    workflows: Vec<Workflow>,
    #[n(4)]
    runs: Vec<Run>,
    #[n(5)]
    next_run: u64,
    #[n(6)]
    virtual_time: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Agent {
    #[n(0)]
    name: String,
    #[n(1)]
    path: String,
    #[n(2)]
    uid: u32,
    #[cbor(n(3), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(4)]
    capabilities: Vec<String>,
    #[n(5)]
    retry_limit: u32,
    #[n(6)]
    retry_delay_ms: u64,
    #[n(7)]
    retry_delay_max_ms: u64,
    #[n(8)]
    timeout_ms: u64,
    #[n(9)]
    is_present: bool,
    #[n(10)]
    approved: Option<minicbor::bytes::ByteArray<32>>,
    #[n(11)]
    failures: u32,
    #[n(12)]
    open_until_ns: Option<u64>,
    #[n(13)]
    successes: u32,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Instance {
    #[n(0)]
    number: u64,
    #[n(1)]
    agent: String,
    #[cbor(n(2), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(3)]
    run: u64,
    #[cbor(n(4), with = "minicbor::bytes")]
    order: [u8; 32],
    #[n(5)]
    grant: Option<Grant>,
    #[n(6)]
    pid: Option<i32>,
    #[n(7)]
    capacity: Option<u32>,
    #[n(8)]
    leaving: bool,
    #[n(9)]
    idle_since_ns: u64,
    #[n(10)]
    tasks: Vec<TaskRef>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Workflow {
    #[cbor(n(0), with = "minicbor::bytes")]
    hash: [u8; 32],
    #[n(1)]
    encoded: ByteVec,
    /// The run that used it last; none: it is only remembered by runs.
    #[n(2)]
    last: Option<u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Run {
    #[n(0)]
    number: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    request: [u8; 16],
    #[n(2)]
    asker: Asker,
    #[n(3)]
    grant: Grant,
    #[cbor(n(4), with = "minicbor::bytes")]
    order: [u8; 32],
    #[cbor(n(5), with = "minicbor::bytes")]
    workflow: [u8; 32],
    #[n(6)]
    params: String,
    #[n(7)]
    began: Moment,
    #[n(8)]
    deadline_ns: u64,
    #[n(9)]
    paused: bool,
    #[n(10)]
    tag: u64,
    #[n(11)]
    steps: Vec<Step>,
    #[n(12)]
    end: Option<RunEnd>,
    #[n(13)]
    ended: Option<Moment>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Step {
    #[n(0)]
    status: Option<StepStatus>,
    #[n(1)]
    is_open: bool,
    #[n(2)]
    output: Option<String>,
    #[n(3)]
    reason: Option<String>,
    #[n(4)]
    dissent: Vec<u32>,
    #[n(5)]
    items: Vec<String>,
    #[n(6)]
    tasks: Vec<Task>,
    #[n(7)]
    next: u32,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Task {
    #[n(0)]
    attempt: u32,
    #[n(1)]
    state: At,
}

#[derive(Encode, Decode)]
#[cbor(map)]
enum At {
    #[n(0)]
    New,
    #[n(1)]
    Queued(#[n(0)] u64),
    #[n(2)]
    Running {
        #[n(0)]
        instance: u64,
        #[n(1)]
        deadline_ns: u64,
    },
    #[n(3)]
    Backoff(#[n(0)] u64),
    #[n(4)]
    Done(#[n(0)] String),
    #[n(5)]
    Failed {
        #[n(0)]
        code: String,
        #[n(1)]
        message: String,
    },
    #[n(6)]
    Cancelled,
    #[n(7)]
    Unknown,
}

impl Agents {
    /// Nothing where there is nothing.
    pub fn of(state: &State) -> Option<Self> {
        let (fleet, runs) = (&state.fleet, &state.runs);
        if *fleet == Fleet::default() && *runs == Runs::default() {
            return None;
        }
        let ended = runs.ended.values().map(|ended| run(&ended.run, Some(ended)));
        Some(Self {
            agents: fleet.agents.iter().map(|(name, known)| agent(name.as_str(), known)).collect(),
            instances: fleet.instances.iter().map(|(number, process)| instance(*number, process)).collect(),
            next_instance: fleet.next,
            workflows: workflows(runs),
            runs: runs.open.values().map(|open| run(open, None)).chain(ended).collect(),
            next_run: runs.next,
            virtual_time: runs.virtual_time,
        })
    }

    /// As they were.
    pub fn into_parts(self) -> (Fleet, Runs) {
        let mut fleet = Fleet { next: self.next_instance, ..Fleet::default() };
        fleet.agents.extend(self.agents.into_iter().filter_map(known));
        fleet.instances.extend(self.instances.into_iter().filter_map(process));
        fleet.note_all_free();
        let mut runs = Runs { next: self.next_run, virtual_time: self.virtual_time, ..Runs::default() };
        let mut workflows = BTreeMap::new();
        for one in self.workflows {
            let Ok(workflow) = encoding::decode(&one.encoded).map(Arc::new) else { continue };
            if let Some(last) = one.last {
                runs.workflows.insert(Hash(one.hash), (Arc::clone(&workflow), last));
            }
            workflows.insert(one.hash, workflow);
        }
        for one in self.runs {
            let Some(workflow) = workflows.get(&one.workflow) else { continue };
            put(&mut runs, one, workflow);
        }
        (fleet, runs)
    }
}

fn agent(name: &str, known: &Known) -> Agent {
    Agent {
        name: name.to_owned(),
        path: known.path.clone(),
        uid: known.uid,
        hash: known.hash.0,
        capabilities: known.capabilities.iter().map(ToString::to_string).collect(),
        retry_limit: known.retry.limit,
        retry_delay_ms: known.retry.delay.0,
        retry_delay_max_ms: known.retry.delay_max.0,
        timeout_ms: known.timeout.0,
        is_present: known.is_present,
        approved: known.approved.map(|hash| hash.0.into()),
        failures: known.breaker.failures,
        open_until_ns: known.breaker.open_until_ns,
        successes: known.breaker.successes,
    }
}

fn known(agent: Agent) -> Option<(types::agent::Name, Known)> {
    let known = Known {
        path: agent.path,
        uid: agent.uid,
        hash: Hash(agent.hash),
        capabilities: agent.capabilities.iter().filter_map(|text| text.parse().ok()).collect(),
        retry: Retry {
            limit: agent.retry_limit,
            delay: Milliseconds(agent.retry_delay_ms),
            delay_max: Milliseconds(agent.retry_delay_max_ms),
        },
        timeout: Milliseconds(agent.timeout_ms),
        is_present: agent.is_present,
        approved: agent.approved.map(|hash| Hash(hash.into())),
        breaker: Breaker {
            failures: agent.failures,
            open_until_ns: agent.open_until_ns,
            successes: agent.successes,
        },
    };
    Some((agent.name.parse().ok()?, known))
}

fn instance(number: u64, process: &Process) -> Instance {
    Instance {
        number,
        agent: process.agent.to_string(),
        hash: process.hash.0,
        run: process.run,
        order: process.order.0,
        grant: process.grant.clone(),
        pid: process.ready.map(|(pid, _)| pid),
        capacity: process.ready.map(|(_, capacity)| capacity),
        leaving: process.leaving,
        idle_since_ns: process.idle_since_ns,
        tasks: process.tasks.iter().copied().collect(),
    }
}

fn process(instance: Instance) -> Option<(u64, Process)> {
    let process = Process {
        agent: instance.agent.parse().ok()?,
        hash: Hash(instance.hash),
        run: instance.run,
        order: Hash(instance.order),
        grant: instance.grant,
        ready: instance.pid.zip(instance.capacity),
        leaving: instance.leaving,
        idle_since_ns: instance.idle_since_ns,
        tasks: instance.tasks.into_iter().collect(),
    };
    Some((instance.number, process))
}

/// Those that are remembered, and those that runs still have.
fn workflows(runs: &Runs) -> Vec<Workflow> {
    let all = runs.open.values().chain(runs.ended.values().map(|ended| &ended.run));
    let mut used: BTreeMap<Hash, (&Arc<types::workflow::Workflow>, Option<u64>)> =
        all.map(|run| (run.workflow_hash, (&run.workflow, None))).collect();
    used.extend(runs.workflows.iter().map(|(hash, (workflow, last))| (*hash, (workflow, Some(*last)))));
    let encoded = used.into_iter().filter_map(|(hash, (workflow, last))| {
        Some(Workflow { hash: hash.0, encoded: encoding::encode(workflow).ok()?.into(), last })
    });
    encoded.collect()
}

fn run(run: &state::Run, ended: Option<&state::Ended>) -> Run {
    Run {
        number: run.number,
        request: run.request.0,
        asker: run.asker,
        grant: run.grant.clone(),
        order: run.order.0,
        workflow: run.workflow_hash.0,
        params: run.params.as_ref().to_owned(),
        began: run.began.into(),
        deadline_ns: run.deadline_ns,
        paused: run.paused,
        tag: run.tag,
        steps: run.steps.iter().map(step).collect(),
        end: ended.map(|ended| ended.end.clone()),
        ended: ended.map(|ended| ended.at.into()),
    }
}

fn step(step: &state::StepState) -> Step {
    Step {
        status: step.status,
        is_open: step.is_open,
        output: step.output.as_deref().map(str::to_owned),
        reason: step.reason.clone(),
        dissent: step.dissent.clone(),
        items: step.items.iter().map(|item| item.as_ref().to_owned()).collect(),
        tasks: step.tasks.iter().map(|task| Task { attempt: task.attempt, state: at(&task.state) }).collect(),
        next: step.next,
    }
}

fn at(state: &TaskState) -> At {
    match state {
        TaskState::New => At::New,
        TaskState::Queued { tag } => At::Queued(*tag),
        TaskState::Running { instance, deadline_ns } => {
            At::Running { instance: *instance, deadline_ns: *deadline_ns }
        }
        TaskState::Backoff { at_ns } => At::Backoff(*at_ns),
        TaskState::Done { output } => At::Done(output.as_ref().to_owned()),
        TaskState::Failed { code, message } => At::Failed { code: code.clone(), message: message.clone() },
        TaskState::Cancelled => At::Cancelled,
        TaskState::Unknown => At::Unknown,
    }
}

fn stood(at: At) -> TaskState {
    match at {
        At::New => TaskState::New,
        At::Queued(tag) => TaskState::Queued { tag },
        At::Running { instance, deadline_ns } => TaskState::Running { instance, deadline_ns },
        At::Backoff(at_ns) => TaskState::Backoff { at_ns },
        At::Done(output) => TaskState::Done { output: output.into() },
        At::Failed { code, message } => TaskState::Failed { code, message },
        At::Cancelled => TaskState::Cancelled,
        At::Unknown => TaskState::Unknown,
    }
}

/// A run comes back, with its place in queues and timers if it is under way.
fn put(runs: &mut Runs, one: Run, workflow: &Arc<types::workflow::Workflow>) {
    let steps: Vec<state::StepState> = one.steps.into_iter().map(step_of).collect();
    let done = steps.iter().flat_map(|step| &step.tasks).map(|task| match &task.state {
        TaskState::Done { output } => output.len(),
        _ => 0,
    });
    let run = state::Run {
        number: one.number,
        request: RequestId(one.request),
        asker: one.asker,
        grant: one.grant,
        order: Hash(one.order),
        workflow: Arc::clone(workflow),
        workflow_hash: Hash(one.workflow),
        params: one.params.into(),
        began: one.began.into(),
        deadline_ns: one.deadline_ns,
        paused: one.paused,
        tag: one.tag,
        bytes: done.sum(),
        steps,
    };
    runs.by_request.insert(run.request, run.number);
    if let (Some(end), Some(at)) = (one.end, one.ended) {
        runs.ended.insert(run.number, state::Ended { run, end, at: at.into() });
        return;
    }
    runs.timers.insert((run.deadline_ns, Timer::Run(run.number)));
    for (task, state) in run.active() {
        match state {
            TaskState::Queued { tag } if !run.paused => {
                let Some(who) = run.who(task.step, task.index) else { continue };
                let waiting = Waiting { priority: Reverse(run.workflow.priority), tag: *tag, task };
                runs.queues.entry(who.into_owned()).or_default().insert(waiting);
            }
            TaskState::Running { deadline_ns, .. } => {
                runs.timers.insert((*deadline_ns, Timer::Task(task)));
            }
            TaskState::Backoff { at_ns } => drop(runs.timers.insert((*at_ns, Timer::Again(task)))),
            _ => {}
        }
    }
    runs.open.insert(run.number, run);
}

fn step_of(step: Step) -> state::StepState {
    let tasks: Vec<state::Task> = step
        .tasks
        .into_iter()
        .map(|task| state::Task { attempt: task.attempt, state: stood(task.state) })
        .collect();
    let count = |of: &dyn Fn(&TaskState) -> bool| {
        u32::try_from(tasks.iter().filter(|task| of(&task.state)).count()).unwrap_or(u32::MAX)
    };
    state::StepState {
        status: step.status,
        is_open: step.is_open,
        output: step.output.map(Into::into),
        reason: step.reason,
        dissent: step.dissent,
        items: step.items.into_iter().map(Into::into).collect(),
        active: count(&TaskState::is_active),
        done: count(&|state| matches!(state, TaskState::Done { .. })),
        next: step.next,
        tasks,
    }
}
