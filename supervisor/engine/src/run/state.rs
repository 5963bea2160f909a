//! Runs as they stand.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use types::hash::Hash;
use types::time::Time;
use types::workflow::{Compare, Mode, Priority, Who, Workflow};

use super::fact::{RunEnd, StepStatus, TaskRef};
use crate::command::RequestId;
use crate::fact::{Asker, Grant};

/// Open runs at most; more are refused as busy.
pub const OPEN_MAX: usize = 16_384;
/// Open runs of one user but root.
pub const OPEN_OF_USER_MAX: usize = 4_096;
/// Ended runs that are remembered with their outputs; the oldest is forgotten first.
pub const ENDED_MAX: usize = 256;
/// What the outputs of one run may take, bytes.
pub const OUTPUTS_MAX: usize = 8 << 20;
/// Workflows that are remembered while no run uses them.
pub const WORKFLOWS_MAX: usize = 64;

/// All runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Runs {
    /// Under way, by number.
    pub open: BTreeMap<u64, Run>,
    /// The last [`ENDED_MAX`] that ended, by number.
    pub ended: BTreeMap<u64, Ended>,
    /// Numbers of both by request.
    pub by_request: BTreeMap<RequestId, u64>,
    /// Workflows by the hash of their encoding, each with the run that used it last.
    pub workflows: BTreeMap<Hash, (Arc<Workflow>, u64)>,
    /// Tasks that wait for an agent, by who may do them. No queue is empty.
    pub queues: BTreeMap<Who, BTreeSet<Waiting>>,
    /// What is due when: CLOCK_BOOTTIME of the present boot, nanoseconds.
    pub timers: BTreeSet<(u64, Timer)>,
    /// The tag of the task that was taken from a queue last: what comes new is tagged no earlier.
    pub virtual_time: u64,
    /// The number that the next run gets.
    pub next: u64,
}

/// One run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// The request that began it.
    pub request: RequestId,
    /// Who asked.
    pub asker: Asker,
    /// On what ground.
    pub grant: Grant,
    /// SHA-256 of the order that was granted.
    pub order: Hash,
    /// What is done.
    pub workflow: Arc<Workflow>,
    /// SHA-256 of the workflow's encoding.
    pub workflow_hash: Hash,
    /// The values of its parameters in the workflow's order, as one JSON list.
    pub params: Arc<str>,
    /// When it was accepted.
    pub began: Time,
    /// When its time is up: CLOCK_BOOTTIME of the present boot, nanoseconds.
    pub deadline_ns: u64,
    /// Nothing new begins.
    pub paused: bool,
    /// Tag of the task that it queued last, for fairness among runs.
    pub tag: u64,
    /// In the workflow's order.
    pub steps: Vec<StepState>,
    /// What the outputs of its tasks take, bytes.
    pub bytes: usize,
}

/// A step as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StepState {
    /// How it ended; none while it has not.
    pub status: Option<StepStatus>,
    /// It has become tasks.
    pub is_open: bool,
    /// What came out: JSON.
    pub output: Option<Arc<str>>,
    /// Why it failed or was skipped.
    pub reason: Option<String>,
    /// Copies whose output was another one.
    pub dissent: Vec<u32>,
    /// The items, each as JSON, where there is a task for each.
    pub items: Vec<Arc<str>>,
    /// Its tasks.
    pub tasks: Vec<Task>,
    /// How many of them are queued, running or waiting to be tried again.
    pub active: u32,
    /// How many are done.
    pub done: u32,
    /// All before this one were queued once.
    pub next: u32,
}

/// A task as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Task {
    /// The attempt that it is at, from 1; 0: not queued yet.
    pub attempt: u32,
    /// How it stands.
    pub state: TaskState,
}

/// How a task stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum TaskState {
    /// Not queued yet.
    #[default]
    New,
    /// It waits for an agent.
    Queued {
        /// Its place among those of the same priority.
        tag: u64,
    },
    /// An agent is at it.
    Running {
        /// Which process.
        instance: u64,
        /// When its time is up.
        deadline_ns: u64,
    },
    /// It failed and is tried again.
    Backoff {
        /// When.
        at_ns: u64,
    },
    /// Done.
    Done {
        /// What came out: JSON.
        output: Arc<str>,
    },
    /// Failed for good.
    Failed {
        /// What kind of failure.
        code: String,
        /// What happened.
        message: String,
    },
    /// Not wanted any more.
    Cancelled,
    /// It was interrupted, and nobody knows what it did.
    Unknown,
}

impl TaskState {
    /// Whether it is queued, running, or waits to be tried again or to be decided on.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Queued { .. } | Self::Running { .. } | Self::Backoff { .. } | Self::Unknown)
    }
}

/// A run that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// As it stood.
    pub run: Run,
    /// How it ended.
    pub end: RunEnd,
    /// When.
    pub at: Time,
}

/// A task in a queue: the least is taken first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Waiting {
    /// The run's.
    pub priority: Reverse<Priority>,
    /// Start-time fair queueing: each run's tasks are tagged one after the other, from where the queue stands.
    pub tag: u64,
    /// Which.
    pub task: TaskRef,
}

/// What is due at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Timer {
    /// A run's time is up.
    Run(u64),
    /// An attempt's time is up.
    Task(TaskRef),
    /// A failed task is tried again.
    Again(TaskRef),
}

impl Runs {
    /// The run that a request began.
    #[must_use]
    pub fn of(&self, request: RequestId) -> Option<u64> {
        self.by_request.get(&request).copied()
    }

    /// When something is due next: CLOCK_BOOTTIME, nanoseconds.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.timers.first().map(|(at_ns, _)| *at_ns)
    }

    /// How many runs a user has under way.
    #[must_use]
    pub fn of_user(&self, uid: u32) -> usize {
        self.open.values().filter(|run| run.asker.uid == uid).count()
    }

    /// The task, if its run is under way and it is at this attempt.
    #[must_use]
    pub fn task(&self, task: TaskRef) -> Option<(&Run, &Task)> {
        let run = self.open.get(&task.run)?;
        let found = run.task(task.step, task.index)?;
        (found.attempt == task.attempt).then_some((run, found))
    }
}

impl Run {
    /// A task.
    #[must_use]
    pub fn task(&self, step: u32, index: u32) -> Option<&Task> {
        self.step(step)?.tasks.get(usize::try_from(index).ok()?)
    }

    /// A step.
    #[must_use]
    pub fn step(&self, step: u32) -> Option<&StepState> {
        self.steps.get(usize::try_from(step).ok()?)
    }

    /// What the workflow says of a step.
    #[must_use]
    pub fn described(&self, step: u32) -> Option<&types::workflow::Step> {
        self.workflow.steps.get(usize::try_from(step).ok()?)
    }

    /// Who may do a task: whoever the step names, or, behind its copies, who judges them.
    #[must_use]
    pub fn who(&self, step: u32, index: u32) -> Option<Cow<'_, Who>> {
        let described = self.described(step)?;
        match &described.mode {
            Mode::Consensus { copies, compare: Compare::Judge { agent }, .. } if index >= *copies => {
                Some(Cow::Owned(Who::Agents(vec![agent.clone()])))
            }
            _ => Some(Cow::Borrowed(&described.who)),
        }
    }

    /// All tasks that are active.
    pub fn active(&self) -> impl Iterator<Item = (TaskRef, &TaskState)> {
        let run = self.number;
        (0..).zip(&self.steps).filter(|(_, step)| step.active > 0).flat_map(move |(place, step)| {
            (0..).zip(&step.tasks).filter(|(_, task)| task.state.is_active()).map(move |(index, task)| {
                (TaskRef { run, step: place, index, attempt: task.attempt }, &task.state)
            })
        })
    }
}
