//! What is recorded of runs. Encoded in facts and snapshots: keys and variants are only ever added.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::fact::{Asker, Grant};
use crate::order::{Order, digest};

/// One attempt at one task of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(map)]
pub struct TaskRef {
    /// The run.
    #[n(0)]
    pub run: u64,
    /// The step's place in the workflow.
    #[n(1)]
    pub step: u32,
    /// Which copy of it, or for which item.
    #[n(2)]
    pub index: u32,
    /// From 1.
    #[n(3)]
    pub attempt: u32,
}

impl TaskRef {
    /// What every attempt at the same work has in common: `r12.s3.i0`.
    #[must_use]
    pub fn key(self) -> String {
        format!("r{}.s{}.i{}", self.run, self.step, self.index)
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}.s{}.i{}.a{}", self.run, self.step, self.index, self.attempt)
    }
}

/// A text that names no task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotATask;

impl fmt::Display for NotATask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not the name of a task, such as r12.s3.i0.a1")
    }
}

impl std::error::Error for NotATask {}

impl FromStr for TaskRef {
    type Err = NotATask;

    fn from_str(text: &str) -> Result<Self, NotATask> {
        let mut parts = text.split('.');
        let mut part = |letter: char| {
            let digits = parts.next().and_then(|part| part.strip_prefix(letter)).ok_or(NotATask)?;
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit())
                && (digits == "0" || !digits.starts_with('0'));
            if is_plain { digits.parse::<u64>().map_err(|_| NotATask) } else { Err(NotATask) }
        };
        let small = |number: u64| u32::try_from(number).map_err(|_| NotATask);
        let task = Self {
            run: part('r')?,
            step: small(part('s')?)?,
            index: small(part('i')?)?,
            attempt: small(part('a')?)?,
        };
        if parts.next().is_some() { Err(NotATask) } else { Ok(task) }
    }
}

/// A run was granted.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct RunAccepted {
    /// Its number.
    #[n(0)]
    pub run: u64,
    /// The request.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub request: [u8; 16],
    /// Who asked.
    #[n(2)]
    pub asker: Asker,
    /// On what ground.
    #[n(3)]
    pub grant: Grant,
    /// What the workflow is called.
    #[n(4)]
    pub name: String,
    /// SHA-256 of the workflow's encoding.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub workflow_hash: [u8; 32],
    /// The encoding, where no run that is remembered had it.
    #[n(6)]
    pub workflow: Option<minicbor::bytes::ByteVec>,
    /// The values of its parameters in the workflow's order, as one JSON list.
    #[n(7)]
    pub params: String,
}

impl RunAccepted {
    /// What was granted.
    #[must_use]
    pub fn order(&self) -> Order {
        Order::Run {
            name: self.name.clone(),
            workflow: self.workflow_hash,
            params: digest(self.params.as_bytes()).0,
        }
    }
}

/// One turn of a run: what ended, and what follows from it.
///
/// All that was decided stands here, so that a later version, which may decide otherwise, still comes to the same state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Advance {
    /// The run.
    #[n(0)]
    pub run: u64,
    /// Attempts that ended.
    #[cbor(n(1), default, skip_if = "Vec::is_empty")]
    pub ended: Vec<TaskEnd>,
    /// Steps that ended.
    #[cbor(n(2), default, skip_if = "Vec::is_empty")]
    pub steps: Vec<StepEnd>,
    /// Steps that have become so many tasks.
    #[cbor(n(3), default, skip_if = "Vec::is_empty")]
    pub opened: Vec<StepOpen>,
    /// Tasks that wait for an agent.
    #[cbor(n(4), default, skip_if = "Vec::is_empty")]
    pub queued: Vec<TaskRef>,
    /// Attempts that begin.
    #[cbor(n(5), default, skip_if = "Vec::is_empty")]
    pub begun: Vec<TaskBegin>,
    /// The run's own end.
    #[n(6)]
    pub end: Option<RunEnd>,
    /// It pauses, or goes on.
    #[n(7)]
    pub paused: Option<bool>,
    /// Attempts that nobody waited for any more, and that have let go of their process.
    #[cbor(n(8), default, skip_if = "Vec::is_empty")]
    pub released: Vec<Released>,
}

/// An attempt that nobody waited for any more has let go of its process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Released {
    /// Which.
    #[n(0)]
    pub task: TaskRef,
    /// Of which process.
    #[n(1)]
    pub instance: u64,
}

/// An attempt begins.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct TaskBegin {
    /// Which.
    #[n(0)]
    pub task: TaskRef,
    /// At which process of an agent.
    #[n(1)]
    pub instance: u64,
    /// How long it may take, nanoseconds.
    #[n(2)]
    pub timeout_ns: u64,
    /// With what: JSON.
    #[n(3)]
    pub input: String,
}

/// An attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct TaskEnd {
    /// Which.
    #[n(0)]
    pub task: TaskRef,
    /// At which process; none where it had not begun.
    #[n(1)]
    pub instance: Option<u64>,
    /// That process is still at it, and is told to stop.
    #[cbor(n(2), default, skip_if = "is_unset")]
    pub goes_on: bool,
    /// How.
    #[n(3)]
    pub result: TaskResult,
}

fn is_unset(flag: &bool) -> bool {
    !*flag
}

/// How an attempt ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum TaskResult {
    /// As asked.
    #[n(0)]
    Done {
        /// What came out: JSON.
        #[n(0)]
        output: String,
    },
    /// It failed.
    #[n(1)]
    Failed {
        /// What kind of failure.
        #[n(0)]
        code: String,
        /// What happened, for people.
        #[n(1)]
        message: String,
        /// It is tried again in so many nanoseconds; not at all where it is missing.
        #[n(2)]
        again_ns: Option<u64>,
    },
    /// It is not wanted any more.
    #[n(2)]
    Cancelled,
    /// It was interrupted, and nobody knows what it did: its owner has to say.
    #[n(3)]
    Unknown,
}

/// A step has become tasks.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct StepOpen {
    /// Its place in the workflow.
    #[n(0)]
    pub step: u32,
    /// How many.
    #[n(1)]
    pub tasks: u32,
    /// The items, each as JSON, where there is a task for each.
    #[cbor(n(2), default, skip_if = "Vec::is_empty")]
    pub items: Vec<String>,
}

/// A step ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct StepEnd {
    /// Its place in the workflow.
    #[n(0)]
    pub step: u32,
    /// How.
    #[n(1)]
    pub status: StepStatus,
    /// Its output, JSON, where it is not that of the attempt which ended with it.
    #[n(2)]
    pub output: Option<String>,
    /// Copies whose output was another one than the step's.
    #[cbor(n(3), default, skip_if = "Vec::is_empty")]
    pub dissent: Vec<u32>,
    /// Why it failed or was skipped.
    #[n(4)]
    pub reason: Option<String>,
}

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum StepStatus {
    /// As asked.
    #[n(0)]
    Done,
    /// It failed.
    #[n(1)]
    Failed,
    /// Its condition did not hold, or what it needs did not end well.
    #[n(2)]
    Skipped,
}

impl StepStatus {
    /// As workflows and people read it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum RunEnd {
    /// All steps are done, or skipped, or failed where that was allowed.
    #[n(0)]
    Done,
    /// A step failed, or time was up.
    #[n(1)]
    Failed {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// Somebody ended it.
    #[n(2)]
    Cancelled {
        /// Why.
        #[n(0)]
        reason: String,
    },
}

impl RunEnd {
    /// As people read it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed { .. } => "failed",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// Why it is not done.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Failed { reason } | Self::Cancelled { reason } => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tasks_read_back_and_have_one_form() {
        let task = TaskRef { run: u64::MAX, step: 3, index: u32::MAX, attempt: 1 };
        assert_eq!(task.to_string().parse(), Ok(task));
        assert_eq!(TaskRef { run: 12, step: 3, index: 0, attempt: 7 }.key(), "r12.s3.i0");
        for bad in ["", "r1.s1.i1", "r1.s1.i1.a1.b", "r01.s1.i1.a1", "r1.s1.i+1.a1", "r1.s4294967296.i0.a1"] {
            assert_eq!(bad.parse::<TaskRef>(), Err(NotATask), "{bad}");
        }
    }
}
