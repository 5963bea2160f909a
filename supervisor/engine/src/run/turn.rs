//! One turn of a run: what follows from the ends of some of its tasks.
//!
//! The run is not changed and not copied: what the turn has found out so far is looked at first, then the run as it stands.

use std::borrow::Cow;

use types::workflow::{Mode, OnFailure, Step};

use super::fact::{Advance, RunEnd, StepEnd, StepOpen, StepStatus, TaskEnd, TaskRef, TaskResult};
use super::look;
use super::state::{Run, StepState, TaskState};
use super::verdict::{self, Verdict};

/// A task that wants an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub task: TaskRef,
    /// JSON.
    pub input: String,
    /// It was not active before.
    pub is_new: bool,
}

/// A turn that is being worked out.
pub(super) struct Turn<'a> {
    pub run: &'a Run,
    pub out: Advance,
    pub wanted: Vec<Wanted>,
}

impl<'a> Turn<'a> {
    pub fn new(run: &'a Run) -> Self {
        Self { run, out: Advance { run: run.number, ..Advance::default() }, wanted: Vec::new() }
    }

    /// Works out what follows from these ends; an empty list opens what can be opened.
    pub fn play(&mut self, ended: Vec<TaskEnd>) {
        let mut touched: Vec<u32> = ended.iter().map(|end| end.task.step).collect();
        touched.dedup();
        self.out.ended = ended;
        for step in touched {
            self.judge(step);
        }
        self.flow();
        self.open_ready();
        self.finish();
    }

    /// A failed task is tried again.
    pub fn again(&mut self, task: TaskRef) {
        let next = TaskRef { attempt: task.attempt.saturating_add(1), ..task };
        self.want(next, false);
        self.open_ready();
        self.finish();
    }

    /// A run that paused goes on: what waited for it to is opened.
    pub fn resume(&mut self) {
        let waiting = self.run.active().filter(|(_, state)| matches!(state, TaskState::Queued { .. }));
        let waiting: Vec<_> = waiting.map(|(task, _)| task).collect();
        waiting.into_iter().for_each(|task| self.want(task, false));
        self.flow();
        self.open_ready();
        self.finish();
    }

    /// Ends the run, whatever is under way.
    pub fn end(&mut self, end: RunEnd) {
        self.wanted.clear();
        let ended: Vec<_> = self.out.ended.iter().map(|end| (end.task.step, end.task.index)).collect();
        let left = self.run.active().filter(|(task, _)| !ended.contains(&(task.step, task.index)));
        let cancelled: Vec<_> = left.filter_map(|(task, state)| cancelled(task, state)).collect();
        self.out.ended.extend(cancelled);
        self.out.end = Some(end);
    }

    fn described(&self, step: u32) -> Option<&'a Step> {
        self.run.described(step)
    }

    fn before(&self, step: u32) -> Option<&'a StepState> {
        self.run.step(step)
    }

    /// How a step has ended, if it has.
    pub fn status(&self, step: u32) -> Option<StepStatus> {
        let now = self.out.steps.iter().find(|end| end.step == step).map(|end| end.status);
        now.or_else(|| self.before(step).and_then(|before| before.status))
    }

    /// The output of a step that is done.
    pub fn output(&self, step: u32) -> Option<Cow<'_, str>> {
        let Some(end) = self.out.steps.iter().find(|end| end.step == step) else {
            return self.before(step)?.output.as_deref().map(Cow::Borrowed);
        };
        if end.status != StepStatus::Done {
            return None;
        }
        if let Some(output) = &end.output {
            return Some(Cow::Borrowed(output));
        }
        if matches!(self.described(step)?.mode, Mode::Parallel { .. } | Mode::Pipeline { .. }) {
            let outputs: Vec<&str> =
                (0..self.tasks(step)).filter_map(|index| self.task_output(step, index)).collect();
            return Some(Cow::Owned(format!("[{}]", outputs.join(","))));
        }
        match &self.out.ended.first()?.result {
            TaskResult::Done { output } => Some(Cow::Borrowed(output)),
            _ => None,
        }
    }

    fn opened(&self, step: u32) -> Option<&StepOpen> {
        self.out.opened.iter().find(|open| open.step == step)
    }

    fn is_open(&self, step: u32) -> bool {
        self.opened(step).is_some() || self.before(step).is_some_and(|before| before.is_open)
    }

    /// How many tasks an open step has.
    pub fn tasks(&self, step: u32) -> u32 {
        match self.opened(step) {
            Some(open) => open.tasks,
            None => {
                self.before(step).map_or(0, |before| u32::try_from(before.tasks.len()).unwrap_or(u32::MAX))
            }
        }
    }

    /// The item of a task, as JSON.
    pub fn item(&self, step: u32, index: u32) -> Option<&str> {
        let place = usize::try_from(index).ok()?;
        match self.opened(step) {
            Some(open) => open.items.get(place).map(String::as_str),
            None => self.before(step)?.items.get(place).map(AsRef::as_ref),
        }
    }

    /// The output of a task that is done.
    pub fn task_output(&self, step: u32, index: u32) -> Option<&str> {
        if let Some(end) = self.out.ended.iter().find(|end| end.task.step == step && end.task.index == index)
        {
            return match &end.result {
                TaskResult::Done { output } => Some(output),
                _ => None,
            };
        }
        match &self.run.task(step, index)?.state {
            TaskState::Done { output } => Some(output),
            _ => None,
        }
    }

    /// Whether a task has failed for good.
    pub fn failure(&self, step: u32, index: u32) -> Option<(&str, &str)> {
        if let Some(end) = self.out.ended.iter().find(|end| end.task.step == step && end.task.index == index)
        {
            return match &end.result {
                TaskResult::Failed { code, message, again_ns: None } => Some((code, message)),
                TaskResult::Cancelled => Some(("cancelled", "it was cancelled")),
                _ => None,
            };
        }
        match &self.run.task(step, index)?.state {
            TaskState::Failed { code, message } => Some((code, message)),
            TaskState::Cancelled => Some(("cancelled", "it was cancelled")),
            _ => None,
        }
    }

    /// Tasks of a step that are queued, running, or wait to be tried again.
    fn active(&self, step: u32) -> u32 {
        let before = self.before(step).map_or(0, |before| before.active);
        let is_over = |end: &&TaskEnd| {
            end.task.step == step
                && !matches!(end.result, TaskResult::Failed { again_ns: Some(_), .. } | TaskResult::Unknown)
        };
        let over = self.out.ended.iter().filter(is_over).count();
        let new = self.wanted.iter().filter(|wanted| wanted.task.step == step && wanted.is_new).count();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        before.saturating_add(count(new)).saturating_sub(count(over))
    }

    /// Tasks of a step that are done.
    pub fn done(&self, step: u32) -> u32 {
        let before = self.before(step).map_or(0, |before| before.done);
        let is_done = |end: &&TaskEnd| end.task.step == step && matches!(end.result, TaskResult::Done { .. });
        before
            .saturating_add(u32::try_from(self.out.ended.iter().filter(is_done).count()).unwrap_or(u32::MAX))
    }

    /// The first task of a step that was never wanted.
    fn next(&self, step: u32) -> u32 {
        let before = self.before(step).map_or(0, |before| before.next);
        let new = self.wanted.iter().filter(|wanted| wanted.task.step == step);
        new.map(|wanted| wanted.task.index.saturating_add(1)).max().unwrap_or(0).max(before)
    }

    /// Looks at a step of which tasks have ended.
    fn judge(&mut self, step: u32) {
        if self.status(step).is_some() {
            return;
        }
        let Some(described) = self.described(step) else { return };
        match verdict::of(self, step, &described.mode) {
            Verdict::GoesOn => {}
            Verdict::Judge => self.want(
                TaskRef { run: self.run.number, step, index: described.mode.copies(), attempt: 1 },
                true,
            ),
            Verdict::Done { output, dissent } => {
                self.end_step(StepEnd { step, status: StepStatus::Done, output, dissent, reason: None });
            }
            Verdict::Failed { reason } => self.fail(step, reason),
        }
    }

    fn fail(&mut self, step: u32, reason: String) {
        self.end_step(StepEnd {
            step,
            status: StepStatus::Failed,
            output: None,
            dissent: Vec::new(),
            reason: Some(reason),
        });
    }

    /// A step ends; what is still under way for it is not wanted any more.
    fn end_step(&mut self, end: StepEnd) {
        let step = end.step;
        self.wanted.retain(|wanted| wanted.task.step != step);
        let ended: Vec<u32> =
            self.out.ended.iter().filter(|end| end.task.step == step).map(|end| end.task.index).collect();
        let left = self.run.active().filter(|(task, _)| task.step == step && !ended.contains(&task.index));
        let cancelled: Vec<_> = left.filter_map(|(task, state)| cancelled(task, state)).collect();
        self.out.ended.extend(cancelled);
        self.out.steps.push(end);
    }

    /// Steps with a task for each item take up as many as they may. Later stages first: what they take up makes room in those before.
    fn flow(&mut self) {
        for step in (0..u32::try_from(self.run.steps.len()).unwrap_or(0)).rev() {
            if self.is_open(step) && self.status(step).is_none() {
                self.fill(step);
            }
        }
    }

    fn fill(&mut self, step: u32) {
        let Some(described) = self.described(step) else { return };
        let at_once = match &described.mode {
            Mode::Parallel { at_once, .. } | Mode::Pipeline { at_once, .. } => *at_once,
            _ => return,
        };
        let all = self.tasks(step);
        while self.status(step).is_none() && self.active(step) < at_once {
            let index = self.next(step);
            if index >= all || !self.is_available(step, described, index) || !self.has_room(step, index) {
                return;
            }
            self.want(TaskRef { run: self.run.number, step, index, attempt: 1 }, true);
        }
    }

    /// Whether a stage's task has what it works on.
    fn is_available(&self, step: u32, described: &Step, index: u32) -> bool {
        match (&described.mode, stage_before(described)) {
            (Mode::Pipeline { each: None, .. }, Some(before)) => self.task_output(before, index).is_some(),
            _ => self.item(step, index).is_some(),
        }
    }

    /// Whether the stage behind takes up what comes of one more task.
    fn has_room(&self, step: u32, index: u32) -> bool {
        let behind =
            (0..).zip(&self.run.workflow.steps).find_map(|(place, described)| match described.mode {
                Mode::Pipeline { each: None, buffer, .. } if stage_before(described) == Some(step) => {
                    Some((place, buffer))
                }
                _ => None,
            });
        behind.is_none_or(|(place, buffer)| index.saturating_sub(self.next(place)) < buffer)
    }

    /// A task wants an agent, or its step fails because its input cannot be made.
    fn want(&mut self, task: TaskRef, is_new: bool) {
        match look::input(self, task) {
            Ok(input) => self.wanted.push(Wanted { task, input, is_new }),
            Err(reason) => self.fail(task.step, reason),
        }
    }

    /// Opens what has all that it needs, until nothing is left to open: what is skipped lets others go on.
    fn open_ready(&mut self) {
        let mut goes_on = !self.out.paused.unwrap_or(self.run.paused);
        while goes_on && self.failed_step().is_none() {
            goes_on = false;
            for step in 0..u32::try_from(self.run.steps.len()).unwrap_or(0) {
                if self.status(step).is_none() && !self.is_open(step) && self.is_ready(step) {
                    self.open(step);
                    goes_on = true;
                }
            }
        }
    }

    /// Whether all that a step needs has ended. A later stage begins with the one before.
    fn is_ready(&self, step: u32) -> bool {
        let Some(described) = self.described(step) else { return false };
        if matches!(described.mode, Mode::Pipeline { each: None, .. }) {
            return stage_before(described)
                .is_some_and(|before| self.is_open(before) || self.status(before).is_some());
        }
        described.needs.iter().all(|need| u32::try_from(*need).is_ok_and(|need| self.status(need).is_some()))
    }

    fn open(&mut self, step: u32) {
        let Some(described) = self.described(step) else { return };
        match look::opening(self, described) {
            look::Opening::Skipped(reason) => self.end_step(StepEnd {
                step,
                status: StepStatus::Skipped,
                output: None,
                dissent: Vec::new(),
                reason: Some(reason),
            }),
            look::Opening::Failed(reason) => self.fail(step, reason),
            look::Opening::Tasks { tasks: 0, .. } => self.end_step(StepEnd {
                step,
                status: StepStatus::Done,
                output: Some("[]".to_owned()),
                dissent: Vec::new(),
                reason: None,
            }),
            look::Opening::Tasks { tasks, items } => {
                self.out.opened.push(StepOpen { step, tasks, items });
                if matches!(described.mode, Mode::Parallel { .. } | Mode::Pipeline { .. }) {
                    self.flow();
                } else {
                    for index in 0..described.mode.copies() {
                        if self.status(step).is_none() {
                            self.want(TaskRef { run: self.run.number, step, index, attempt: 1 }, true);
                        }
                    }
                }
            }
        }
    }

    /// The first step whose failure ends the run.
    fn failed_step(&self) -> Option<&StepEnd> {
        self.out.steps.iter().find(|end| {
            let own = self.described(end.step).and_then(|step| step.on_failure);
            end.status == StepStatus::Failed
                && own.unwrap_or(self.run.workflow.on_failure) != OnFailure::Continue
        })
    }

    /// The run ends with its last step, or with one whose failure ends it.
    fn finish(&mut self) {
        if let Some(failed) = self.failed_step() {
            let name = self.described(failed.step).map(|step| step.id.to_string()).unwrap_or_default();
            let reason = format!("step “{name}”: {}", failed.reason.as_deref().unwrap_or("failed"));
            self.end(RunEnd::Failed { reason });
        } else if (0..u32::try_from(self.run.steps.len()).unwrap_or(0))
            .all(|step| self.status(step).is_some())
        {
            self.out.end = Some(RunEnd::Done);
        }
    }
}

/// The stage of which a later stage takes the outputs.
pub(super) fn stage_before(described: &Step) -> Option<u32> {
    described.needs.first().and_then(|need| u32::try_from(*need).ok())
}

/// A task that an agent is at, and that is not wanted any more. One that waits ends with its step.
fn cancelled(task: TaskRef, state: &TaskState) -> Option<TaskEnd> {
    let TaskState::Running { instance, .. } = state else { return None };
    Some(TaskEnd { task, instance: Some(*instance), goes_on: true, result: TaskResult::Cancelled })
}
