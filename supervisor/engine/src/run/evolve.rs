//! What a fact does to runs: only what stands in it, nothing is decided here.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::hash::Hash;
use types::time::Time;
use types::workflow::{Mode, Who, Workflow};

use super::encoding;
use super::fact::RunAccepted;
use super::fact::{Advance, RunEnd, StepEnd, StepOpen, StepStatus, TaskBegin, TaskEnd, TaskRef, TaskResult};
use super::state::{ENDED_MAX, Ended, Run, Runs, StepState, Task, TaskState, Timer, WORKFLOWS_MAX, Waiting};
use crate::command::RequestId;
use crate::fleet::Fleet;

/// A run was accepted.
pub fn accepted(runs: &mut Runs, fact: &RunAccepted, now: Time) {
    runs.next = runs.next.max(fact.run.saturating_add(1));
    let hash = Hash(fact.workflow_hash);
    let known = runs.workflows.get(&hash).map(|(known, _)| Arc::clone(known));
    let read = || fact.workflow.as_ref().and_then(|bytes| encoding::decode(bytes).ok()).map(Arc::new);
    // A record that was proven to be ours holds what we wrote.
    let Some(workflow) = known.or_else(read) else { return };
    remember(runs, hash, &workflow, fact.run);
    let run = Run::new(fact, workflow, runs.virtual_time, now);
    runs.timers.insert((run.deadline_ns, Timer::Run(run.number)));
    runs.by_request.insert(run.request, run.number);
    runs.open.insert(run.number, run);
}

impl Run {
    /// A run at its beginning.
    pub(super) fn new(fact: &RunAccepted, workflow: Arc<Workflow>, tag: u64, now: Time) -> Self {
        Self {
            number: fact.run,
            request: RequestId(fact.request),
            asker: fact.asker,
            grant: fact.grant.clone(),
            order: fact.order().hash().unwrap_or_default(),
            workflow_hash: Hash(fact.workflow_hash),
            params: fact.params.as_str().into(),
            began: now,
            deadline_ns: now.boottime_ns.saturating_add(nanoseconds(workflow.timeout.0)),
            paused: false,
            tag,
            steps: vec![StepState::default(); workflow.steps.len()],
            bytes: 0,
            workflow,
        }
    }
}

/// Milliseconds in nanoseconds.
pub(crate) const fn nanoseconds(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(1_000_000)
}

fn remember(runs: &mut Runs, hash: Hash, workflow: &Arc<Workflow>, run: u64) {
    runs.workflows.insert(hash, (Arc::clone(workflow), run));
    if runs.workflows.len() > WORKFLOWS_MAX {
        let oldest = runs.workflows.iter().min_by_key(|(_, (_, run))| *run).map(|(hash, _)| *hash);
        oldest.and_then(|oldest| runs.workflows.remove(&oldest));
    }
}

/// A run took a turn. One that has ended already only gives back what its tasks held.
pub fn advanced(runs: &mut Runs, fleet: &mut Fleet, fact: &Advance, now: Time) {
    for end in &fact.ended {
        if let Some(instance) = end.instance {
            fleet.judge(instance, &end.result, now);
            if !end.goes_on {
                fleet.release(instance, end.task, now);
            }
        }
        ended(runs, end, now);
    }
    fact.released.iter().for_each(|released| fleet.release(released.instance, released.task, now));
    let output = fact.ended.first().and_then(|end| match &end.result {
        TaskResult::Done { output } => Some(output.as_str()),
        _ => None,
    });
    fact.steps.iter().for_each(|end| step_ended(runs, (fact.run, end), output));
    if let Some(run) = runs.open.get_mut(&fact.run) {
        fact.opened.iter().for_each(|open| step_opened(run, open));
    }
    if let Some(paused) = fact.paused {
        pause(runs, fact.run, paused);
    }
    fact.queued.iter().for_each(|task| queued(runs, *task));
    for begin in &fact.begun {
        begun(runs, begin, now);
        fleet.occupy(begin.instance, begin.task);
    }
    if let Some(end) = &fact.end {
        run_ended(runs, fact.run, end, now);
    }
}

fn ended(runs: &mut Runs, end: &TaskEnd, now: Time) {
    let state = match &end.result {
        TaskResult::Done { output } => TaskState::Done { output: output.as_str().into() },
        TaskResult::Failed { code, message, again_ns: None } => {
            TaskState::Failed { code: code.clone(), message: message.clone() }
        }
        TaskResult::Failed { again_ns: Some(again_ns), .. } => {
            TaskState::Backoff { at_ns: now.boottime_ns.saturating_add(*again_ns) }
        }
        TaskResult::Cancelled => TaskState::Cancelled,
        TaskResult::Unknown => TaskState::Unknown,
    };
    put(runs, end.task, state);
}

/// An attempt waits for an agent; one that another process had begun waits anew.
fn queued(runs: &mut Runs, task: TaskRef) {
    let Some(run) = runs.open.get_mut(&task.run) else { return };
    run.tag = run.tag.max(runs.virtual_time).saturating_add(1);
    let tag = run.tag;
    put(runs, task, TaskState::Queued { tag });
}

fn begun(runs: &mut Runs, begin: &TaskBegin, now: Time) {
    if let Some((_, Task { state: TaskState::Queued { tag }, .. })) = runs.task(begin.task) {
        runs.virtual_time = runs.virtual_time.max(*tag);
    }
    let deadline_ns = now.boottime_ns.saturating_add(begin.timeout_ns);
    put(runs, begin.task, TaskState::Running { instance: begin.instance, deadline_ns });
}

/// A task stands otherwise than before: the one place that keeps queues, timers and counts in step.
fn put(runs: &mut Runs, task: TaskRef, state: TaskState) {
    let Runs { open, queues, timers, .. } = runs;
    let Some(run) = open.get_mut(&task.run) else { return };
    let priority = Reverse(run.workflow.priority);
    let Some(who) = run.who(task.step, task.index).map(Cow::into_owned) else { return };
    let paused = run.paused;
    let Some(step) = usize::try_from(task.step).ok().and_then(|place| run.steps.get_mut(place)) else {
        return;
    };
    let Some(found) = usize::try_from(task.index).ok().and_then(|index| step.tasks.get_mut(index)) else {
        return;
    };
    let before = TaskRef { attempt: found.attempt, ..task };
    match found.state {
        TaskState::Queued { tag } => leave(queues, &who, &Waiting { priority, tag, task: before }),
        TaskState::Running { deadline_ns, .. } => drop(timers.remove(&(deadline_ns, Timer::Task(before)))),
        TaskState::Backoff { at_ns } => drop(timers.remove(&(at_ns, Timer::Again(before)))),
        _ => {}
    }
    match &state {
        TaskState::Queued { tag } if !paused => {
            queues.entry(who).or_default().insert(Waiting { priority, tag: *tag, task });
        }
        TaskState::Running { deadline_ns, .. } => drop(timers.insert((*deadline_ns, Timer::Task(task)))),
        TaskState::Backoff { at_ns } => drop(timers.insert((*at_ns, Timer::Again(task)))),
        TaskState::Done { output } => run.bytes = run.bytes.saturating_add(output.len()),
        _ => {}
    }
    let (was, is) = (found.state.is_active(), state.is_active());
    step.active = step.active.saturating_add(u32::from(is)).saturating_sub(u32::from(was));
    step.done = step.done.saturating_add(u32::from(matches!(state, TaskState::Done { .. })));
    step.next = step.next.max(task.index.saturating_add(1));
    *found = Task { attempt: task.attempt, state };
}

fn step_opened(run: &mut Run, open: &StepOpen) {
    let Some(step) = usize::try_from(open.step).ok().and_then(|place| run.steps.get_mut(place)) else {
        return;
    };
    step.is_open = true;
    step.items = open.items.iter().map(|item| item.as_str().into()).collect();
    step.tasks = vec![Task::default(); usize::try_from(open.tasks).unwrap_or(0)];
}

fn step_ended(runs: &mut Runs, (number, end): (u64, &StepEnd), of_task: Option<&str>) {
    let active: Vec<_> = match runs.open.get(&number) {
        Some(run) => run.active().map(|(task, _)| task).filter(|task| task.step == end.step).collect(),
        None => return,
    };
    active.into_iter().for_each(|task| put(runs, task, TaskState::Cancelled));
    let Some(run) = runs.open.get_mut(&number) else { return };
    let Some(place) = usize::try_from(end.step).ok() else { return };
    let is_list = run
        .workflow
        .steps
        .get(place)
        .is_some_and(|step| matches!(step.mode, Mode::Parallel { .. } | Mode::Pipeline { .. }));
    let Some(step) = run.steps.get_mut(place) else { return };
    step.status = Some(end.status);
    step.reason.clone_from(&end.reason);
    step.dissent.clone_from(&end.dissent);
    if end.status == StepStatus::Done {
        step.output = match (&end.output, is_list) {
            (Some(output), _) => Some(output.as_str().into()),
            (None, true) => Some(list(&step.tasks).into()),
            (None, false) => of_task.map(Into::into),
        };
    }
}

/// The outputs of tasks as one JSON list: what stands in the log already is not written there again.
fn list(tasks: &[Task]) -> String {
    let outputs: Vec<&str> = tasks
        .iter()
        .filter_map(|task| match &task.state {
            TaskState::Done { output } => Some(output.as_ref()),
            _ => None,
        })
        .collect();
    format!("[{}]", outputs.join(","))
}

/// What waits for an agent leaves its queue while its run pauses, and comes back to its place.
fn pause(runs: &mut Runs, number: u64, paused: bool) {
    let Some(run) = runs.open.get_mut(&number) else { return };
    run.paused = paused;
    let run = &*run;
    for (task, state) in run.active() {
        let (TaskState::Queued { tag }, Some(who)) = (state, run.who(task.step, task.index)) else {
            continue;
        };
        let waiting = Waiting { priority: Reverse(run.workflow.priority), tag: *tag, task };
        if paused {
            leave(&mut runs.queues, &who, &waiting);
        } else {
            runs.queues.entry(who.into_owned()).or_default().insert(waiting);
        }
    }
}

fn leave(queues: &mut BTreeMap<Who, BTreeSet<Waiting>>, who: &Who, waiting: &Waiting) {
    if let Some(queue) = queues.get_mut(who) {
        queue.remove(waiting);
        if queue.is_empty() {
            queues.remove(who);
        }
    }
}

fn run_ended(runs: &mut Runs, number: u64, end: &RunEnd, now: Time) {
    let left: Vec<_> = match runs.open.get(&number) {
        Some(run) => run.active().map(|(task, _)| task).collect(),
        None => return,
    };
    left.into_iter().for_each(|task| put(runs, task, TaskState::Cancelled));
    let Some(run) = runs.open.remove(&number) else { return };
    runs.timers.remove(&(run.deadline_ns, Timer::Run(number)));
    runs.ended.insert(number, Ended { run, end: end.clone(), at: now });
    if runs.ended.len() > ENDED_MAX
        && let Some((_, oldest)) = runs.ended.pop_first()
    {
        runs.by_request.remove(&oldest.run.request);
    }
}

/// The daemon came up: another boot counts from zero, and time that passed meanwhile has passed.
pub fn started(runs: &mut Runs, now: Time) {
    runs.timers.clear();
    for run in runs.open.values_mut() {
        let timeout_ns = nanoseconds(run.workflow.timeout.0);
        let passed_ns = if run.began.boot == now.boot {
            now.boottime_ns.saturating_sub(run.began.boottime_ns)
        } else {
            u64::try_from(now.wall_ns.saturating_sub(run.began.wall_ns)).unwrap_or(0)
        };
        run.deadline_ns = now.boottime_ns.saturating_add(timeout_ns.saturating_sub(passed_ns));
        runs.timers.insert((run.deadline_ns, Timer::Run(run.number)));
        let number = run.number;
        for (place, step) in (0..).zip(&mut run.steps).filter(|(_, step)| step.active > 0) {
            for (index, task) in (0..).zip(&mut step.tasks) {
                if let TaskState::Backoff { at_ns } = &mut task.state {
                    let is_same = run.began.boot == now.boot;
                    *at_ns = if is_same { *at_ns } else { now.boottime_ns };
                    let again = TaskRef { run: number, step: place, index, attempt: task.attempt };
                    runs.timers.insert((*at_ns, Timer::Again(again)));
                }
            }
        }
    }
}
