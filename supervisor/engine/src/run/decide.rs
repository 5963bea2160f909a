//! What follows from what is asked of runs and heard of their tasks.

use std::sync::Arc;

use policy::Action;
use sha2::{Digest, Sha256};
use types::hash::Hash;
use types::peer::Peer;
use types::time::Time;
use types::workflow::{OnFailure, Step, Who, Workflow};

use super::desk::Desk;
use super::encoding;
use super::fact::{Advance, Released, RunAccepted, RunEnd, TaskEnd, TaskRef, TaskResult};
use super::look::VALUE_MAX;
use super::state::{OPEN_MAX, OPEN_OF_USER_MAX, OUTPUTS_MAX, Run, TaskState, Timer};
use super::turn::Turn;
use crate::command::RequestId;
use crate::decide::{Decision, gate};
use crate::fact::{Error, Fact};
use crate::fleet::decide::breaker;
use crate::input::{Input, Room};
use crate::reply::{Answer, Body, Refusal, Reply};
use crate::state::State;

/// Largest encoded workflow, bytes, and list of parameters: both stand in one entry of the log.
pub const WORKFLOW_MAX: usize = 40 << 10;
/// Largest list of parameters, bytes of JSON.
pub const PARAMS_MAX: usize = 16 << 10;
/// Most characters of a failure's message that are recorded.
const MESSAGE_MAX: usize = 1_000;

/// Somebody wants a workflow run.
pub(crate) fn accept(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    workflow: &Arc<Workflow>,
    params: &str,
) -> Result<Decision, Error> {
    let refuse = |refusal| Ok(Decision::reply(Reply { request, body: Body::Refused(refusal) }));
    let (workflow_hash, encoded) = hashed(state, workflow)?;
    let bytes = encoded.as_ref().map_or(0, Vec::len);
    if let Err(refusal) = admit(state, input, &peer, workflow, (bytes, params.len())) {
        return refuse(refusal);
    }
    let mut fact = RunAccepted {
        run: state.runs.next.max(1),
        request: request.0,
        asker: peer.into(),
        grant: (&policy::Grant { order: Hash::default(), rules: state.rules.version, expires_ns: 0 }).into(),
        name: workflow.name.to_string(),
        workflow_hash: workflow_hash.0,
        workflow: encoded.map(Into::into),
        params: params.to_owned(),
    };
    match gate(state, input, (request, peer), Action::Run, fact.order())? {
        Ok(grant) => fact.grant = (&grant).into(),
        Err(denied) => return Ok(denied),
    }
    let run = Run::new(&fact, Arc::clone(workflow), state.runs.virtual_time, input.time);
    let mut desk = Desk::new(state, input.time);
    desk.facts.push(Fact::RunAccepted(Box::new(fact)));
    let mut turn = Turn::new(&run);
    turn.play(Vec::new());
    let ended = turn.out.end.clone();
    desk.settle(turn);
    let body = match ended {
        None => Body::Begun(run.number),
        Some(end) => answer(run.number, &end),
    };
    Ok(Decision { facts: desk.facts, replies: vec![Reply { request, body }] })
}

/// The hash of a workflow's encoding; and the encoding, unless it is that of a workflow that is remembered.
fn hashed(state: &State, workflow: &Workflow) -> Result<(Hash, Option<Vec<u8>>), Error> {
    let mut known = state.runs.workflows.iter();
    // The same file is the same workflow, unless it was understood by an earlier version.
    if let Some((hash, _)) = known.find(|(_, (one, _))| one.hash == workflow.hash && **one == *workflow) {
        return Ok((*hash, None));
    }
    let encoded = encoding::encode(workflow)?;
    let hash = Hash(Sha256::digest(&encoded).into());
    let is_known = state.runs.workflows.contains_key(&hash);
    Ok((hash, (!is_known).then_some(encoded)))
}

/// What does not depend on the rules.
fn admit(
    state: &State,
    input: &Input,
    peer: &Peer,
    workflow: &Workflow,
    (encoded, params): (usize, usize),
) -> Result<(), Refusal> {
    if input.room < Room::Orders {
        return Err(Refusal::NoRoom);
    }
    if encoded > WORKFLOW_MAX {
        return Err(Refusal::Invalid(format!(
            "the workflow takes {encoded} bytes, more than {WORKFLOW_MAX}: split it"
        )));
    }
    if params > PARAMS_MAX {
        return Err(Refusal::Invalid(format!("the parameters take {params} bytes, more than {PARAMS_MAX}")));
    }
    if state.runs.open.len() >= OPEN_MAX {
        return Err(Refusal::Busy(format!("the most that runs at once ({OPEN_MAX} runs)")));
    }
    if peer.uid != 0 && state.runs.of_user(peer.uid) >= OPEN_OF_USER_MAX {
        return Err(Refusal::Busy(format!(
            "the most that runs at once for one user ({OPEN_OF_USER_MAX} runs)"
        )));
    }
    if workflow.on_failure == OnFailure::RollBack {
        return Err(Refusal::Invalid("on-failure: roll-back is not supported yet".to_owned()));
    }
    for step in &workflow.steps {
        let fits = |who: &Who| {
            state.fleet.agents.iter().any(|(name, agent)| agent.is_approved() && agent.is_one_of(name, who))
        };
        if !fits(&step.who) {
            return Err(Refusal::NotFound(format!(
                "approved agent for step “{}”, which wants {} (“dsmil agent list” shows them, “dsmil agent approve” approves)",
                step.id,
                shown(&step.who)
            )));
        }
        refuse_unheld(state, step)?;
    }
    Ok(())
}

/// What cannot be held back, or not yet, is refused before anything begins.
fn refuse_unheld(state: &State, step: &Step) -> Result<(), Refusal> {
    if step.checkpoint_before {
        return Err(Refusal::Invalid(format!("step “{}”: checkpoint-before is not supported yet", step.id)));
    }
    if step.on_failure == Some(OnFailure::RollBack) {
        return Err(Refusal::Invalid(format!(
            "step “{}”: on-failure: roll-back is not supported yet",
            step.id
        )));
    }
    if step.mode.copies() == 1 {
        return Ok(());
    }
    let acts =
        state.fleet.agents.iter().find(|(name, agent)| {
            agent.is_approved() && agent.is_one_of(name, &step.who) && !agent.only_reads()
        });
    match acts {
        Some((name, _)) => Err(Refusal::Invalid(format!(
            "step “{}”: agent “{name}” may change what cannot be held back until it is known which copy counts: name agents that only read",
            step.id
        ))),
        None => Ok(()),
    }
}

fn shown(who: &Who) -> String {
    match who {
        Who::Agents(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        Who::Capability(capability) => format!("one that can {capability}"),
    }
}

/// What whoever began a run is told at its end.
fn answer(run: u64, end: &RunEnd) -> Body {
    match end {
        RunEnd::Done => Body::Done(Answer::Ran { run }),
        RunEnd::Failed { reason } => Body::Refused(Refusal::Failed(format!("run {run} failed: {reason}"))),
        RunEnd::Cancelled { reason } => {
            Body::Refused(Refusal::Failed(format!("run {run} was cancelled: {reason}")))
        }
    }
}

/// Asked again: how it stands.
pub(crate) fn again(state: &State, request: RequestId) -> Option<Decision> {
    let number = state.runs.of(request)?;
    let body = match state.runs.ended.get(&number) {
        Some(ended) => answer(number, &ended.end),
        None => Body::Begun(number),
    };
    Some(Decision::reply(Reply { request, body }))
}

/// A turn that is over: its facts, and what those who wait are told.
fn settled(mut desk: Desk<'_>, turn: Turn<'_>) -> Decision {
    let told = turn
        .out
        .end
        .as_ref()
        .map(|end| Reply { request: turn.run.request, body: answer(turn.run.number, end) });
    desk.settle(turn);
    desk.hand_on();
    Decision { facts: desk.facts, replies: told.into_iter().collect() }
}

/// How an agent said that a task ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// With this output, JSON.
    Done(String),
    /// It failed.
    Failed {
        /// What kind of failure.
        code: String,
        /// What happened.
        message: String,
        /// Another attempt may help.
        retry: bool,
    },
}

/// Whether a process is at an attempt whose end somebody waits for.
pub(crate) fn is_waited_for(state: &State, instance: u64, task: TaskRef) -> bool {
    let found = state.runs.task(task);
    found.is_some_and(
        |(_, found)| matches!(found.state, TaskState::Running { instance: at, .. } if at == instance),
    )
}

/// A process ended a task.
pub(crate) fn heard(state: &State, now: Time, (instance, task): (u64, TaskRef), said: &Said) -> Decision {
    let mut desk = Desk::new(state, now);
    let is_at_it = state.fleet.instances.get(&instance).is_some_and(|found| found.tasks.contains(&task));
    if !is_at_it {
        return Decision::default();
    }
    let running = state.runs.task(task).filter(|_| is_waited_for(state, instance, task));
    let Some((run, _)) = running else {
        // Nobody waits for it any more.
        let released = vec![Released { task, instance }];
        desk.facts.push(Fact::Advanced(Box::new(Advance { run: task.run, released, ..Advance::default() })));
        desk.free(instance);
        desk.hand_on();
        return Decision { facts: desk.facts, replies: Vec::new() };
    };
    let result = match said {
        Said::Done(output) if output.len() > VALUE_MAX => {
            let message = format!("the output has {} bytes, more than {VALUE_MAX}", output.len());
            TaskResult::Failed { code: "too-large".to_owned(), message, again_ns: None }
        }
        Said::Done(output) if run.bytes.saturating_add(output.len()) > OUTPUTS_MAX => {
            let message = format!("the outputs of the run take more than {OUTPUTS_MAX} bytes");
            TaskResult::Failed { code: "too-large".to_owned(), message, again_ns: None }
        }
        Said::Done(output) => TaskResult::Done { output: output.clone() },
        Said::Failed { code, message, retry } => {
            failure(state, now, (run, task, instance), (code, message), *retry)
        }
    };
    let end = TaskEnd { task, instance: Some(instance), goes_on: false, result };
    let mut turn = Turn::new(run);
    turn.play(vec![end]);
    settled(desk, turn)
}

/// A failed attempt: again after a pause, if there is one more.
fn failure(
    state: &State,
    now: Time,
    (run, task, instance): (&Run, TaskRef, u64),
    (code, message): (&str, &str),
    may_help: bool,
) -> TaskResult {
    let of_agent = || {
        let name = &state.fleet.instances.get(&instance)?.agent;
        Some(state.fleet.agents.get(name)?.retry)
    };
    let retry = run.described(task.step).and_then(|step| step.retry).or_else(of_agent).unwrap_or_default();
    let again_ns = (may_help && task.attempt <= retry.limit).then(|| {
        let doubled = retry.delay.0.saturating_mul(1 << (task.attempt.saturating_sub(1)).min(32));
        let most_ns = super::evolve::nanoseconds(doubled.min(retry.delay_max.0));
        jittered(most_ns, task, now)
    });
    TaskResult::Failed {
        code: code.chars().take(64).collect(),
        message: message.chars().take(MESSAGE_MAX).collect(),
        again_ns,
    }
}

/// Anything from nothing to the whole (“full jitter”): what failed together is not tried again together. The input's time is the chance in it.
fn jittered(most_ns: u64, task: TaskRef, now: Time) -> u64 {
    let mut hash = Sha256::new();
    hash.update(task.to_string());
    hash.update(now.boottime_ns.to_be_bytes());
    hash.update(now.boot.0);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.iter_mut().zip(digest).for_each(|(byte, hashed)| *byte = hashed);
    most_ns.checked_add(1).map_or(most_ns, |whole| u64::from_be_bytes(first) % whole)
}

/// A process is gone: what it was at failed, or is unknown.
pub(crate) fn lost(state: &State, now: Time, instance: u64, reason: &str, mut desk: Desk<'_>) -> Decision {
    let tasks: Vec<TaskRef> = state
        .fleet
        .instances
        .get(&instance)
        .map(|found| found.tasks.iter().copied().collect())
        .unwrap_or_default();
    let mut replies = Vec::new();
    // A process has one task at a time, or a few: a run that has several of them takes a turn for each, but is seen as it was before.
    let mut runs: Vec<u64> = tasks.iter().map(|task| task.run).collect();
    runs.dedup();
    for number in runs {
        let Some(run) = state.runs.open.get(&number) else { continue };
        let of_run = tasks.iter().filter(|task| task.run == number);
        let running = of_run.filter(|task| {
            state.runs.task(**task).is_some_and(
                |(_, found)| matches!(found.state, TaskState::Running { instance: at, .. } if at == instance),
            )
        });
        let ended: Vec<TaskEnd> = running
            .map(|task| TaskEnd {
                task: *task,
                instance: None,
                goes_on: false,
                result: interrupted(state, now, (run, *task, instance), reason),
            })
            .collect();
        if ended.is_empty() {
            continue;
        }
        let mut turn = Turn::new(run);
        turn.play(ended);
        let end = turn.out.end.as_ref();
        replies.extend(end.map(|end| Reply { request: run.request, body: answer(number, end) }));
        desk.settle(turn);
    }
    desk.serve_queues();
    Decision { facts: desk.facts, replies }
}

/// What was interrupted is done again under the same key, unless its agent acts on the world in ways that nobody can ask about.
fn interrupted(state: &State, now: Time, of: (&Run, TaskRef, u64), reason: &str) -> TaskResult {
    let name = state.fleet.instances.get(&of.2).map(|found| &found.agent);
    let agent = name.and_then(|name| state.fleet.agents.get(name));
    if agent.is_some_and(|agent| !agent.is_repeatable()) {
        return TaskResult::Unknown;
    }
    failure(state, now, of, ("agent", reason), true)
}

/// What is due.
pub(crate) fn due(state: &State, now: Time) -> Decision {
    /// Timers at once at most: what is left is due in the next turn.
    const AT_ONCE_MAX: usize = 256;
    let mut decision = Decision::default();
    let due = state.runs.timers.iter().take_while(|(at_ns, _)| *at_ns <= now.boottime_ns).take(AT_ONCE_MAX);
    // Each run once: a second turn would be seen as it was before the first.
    let mut seen = std::collections::BTreeSet::new();
    for (_, timer) in due {
        let (number, task) = match timer {
            Timer::Run(number) => (*number, None),
            Timer::Task(task) | Timer::Again(task) => (task.run, Some(*task)),
        };
        let Some(run) = state.runs.open.get(&number) else { continue };
        if !seen.insert(number) {
            continue;
        }
        let mut turn = Turn::new(run);
        match (timer, task) {
            (Timer::Run(_), _) | (_, None) => {
                let reason = format!("its time of {} was up", run.workflow.timeout);
                turn.end(RunEnd::Failed { reason });
            }
            (Timer::Again(_), Some(task)) => turn.again(task),
            (Timer::Task(_), Some(task)) => {
                let Some(TaskState::Running { instance, .. }) =
                    run.task(task.step, task.index).map(|found| &found.state)
                else {
                    continue;
                };
                let result =
                    failure(state, now, (run, task, *instance), ("timeout", "its time was up"), true);
                turn.play(vec![TaskEnd { task, instance: Some(*instance), goes_on: true, result }]);
            }
        }
        let timed_out: Vec<u64> = turn
            .out
            .ended
            .iter()
            .filter(|end| end.goes_on && is_failure(end))
            .filter_map(|end| end.instance)
            .collect();
        let next = settled(Desk::new(state, now), turn);
        let agents = timed_out.iter().filter_map(|instance| {
            let name = &state.fleet.instances.get(instance)?.agent;
            breaker(name, state.fleet.agents.get(name)?, true, now).map(Fact::Agent)
        });
        decision.facts.extend(agents);
        decision.facts.extend(next.facts);
        decision.replies.extend(next.replies);
        // Processes are given away as they stood before: one turn with new tasks at a time.
        if decision.facts.iter().any(hands_out) {
            break;
        }
    }
    decision
}

const fn is_failure(end: &TaskEnd) -> bool {
    matches!(end.result, TaskResult::Failed { .. })
}

fn hands_out(fact: &Fact) -> bool {
    match fact {
        Fact::Advanced(advance) => !advance.begun.is_empty() || !advance.queued.is_empty(),
        Fact::Agent(_) => true,
        _ => false,
    }
}

/// What a start finds under way: its agents are gone, and what they were at waits again under the same key, or for its owner.
pub(crate) fn resumed(state: &State) -> Vec<Fact> {
    let mut facts = Vec::new();
    for run in state.runs.open.values() {
        let mut advance = Advance { run: run.number, ..Advance::default() };
        for (task, found) in run.active() {
            let TaskState::Running { instance, .. } = found else { continue };
            let name = state.fleet.instances.get(instance).map(|found| &found.agent);
            let agent = name.and_then(|name| state.fleet.agents.get(name));
            if agent.is_some_and(|agent| !agent.is_repeatable()) {
                advance.ended.push(TaskEnd {
                    task,
                    instance: None,
                    goes_on: false,
                    result: TaskResult::Unknown,
                });
            } else {
                advance.queued.push(TaskRef { attempt: task.attempt.saturating_add(1), ..task });
            }
        }
        if advance != (Advance { run: run.number, ..Advance::default() }) {
            facts.push(Fact::Advanced(Box::new(advance)));
        }
    }
    facts
}

/// What can be done to a run that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Control {
    /// It ends, and what is under way is cancelled.
    Cancel,
    /// Nothing new begins.
    Pause,
    /// It goes on.
    Resume,
}

/// Somebody cancels, pauses or resumes a run.
pub(crate) fn control(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    number: u64,
    control: Control,
) -> Decision {
    let refuse = |refusal| Decision::reply(Reply { request, body: Body::Refused(refusal) });
    let Some(run) = state.runs.open.get(&number) else {
        return refuse(if state.runs.ended.contains_key(&number) {
            Refusal::Invalid(format!("run {number} has ended"))
        } else {
            Refusal::NotFound(format!("run {number}: “dsmil runs list” shows what there is"))
        });
    };
    let role = state.rules.role(&peer);
    // Whoever began a run may end it; others take an owner.
    if role < policy::Role::Owner && (run.asker.uid != peer.uid || role < policy::Role::Operator) {
        return refuse(Refusal::Denied(policy::Denial::Role { needed: policy::Role::Owner }));
    }
    let mut turn = Turn::new(run);
    match control {
        Control::Cancel => turn.end(RunEnd::Cancelled { reason: format!("as user {} asked", peer.uid) }),
        Control::Pause => turn.out.paused = Some(true),
        Control::Resume => {
            turn.out.paused = Some(false);
            turn.resume();
        }
    }
    let mut decision = settled(Desk::new(state, input.time), turn);
    decision.replies.push(Reply { request, body: Body::Done(Answer::Controlled { run: number }) });
    decision
}

/// Everything was stopped: all runs end.
pub(crate) fn stopped(state: &State, peer: Peer) -> Decision {
    let mut decision = Decision::default();
    for run in state.runs.open.values() {
        let end = RunEnd::Cancelled { reason: format!("user {} stopped everything", peer.uid) };
        decision.replies.push(Reply { request: run.request, body: answer(run.number, &end) });
        let advance = Advance { run: run.number, end: Some(end), ..Advance::default() };
        decision.facts.push(Fact::Advanced(Box::new(advance)));
    }
    decision
}
