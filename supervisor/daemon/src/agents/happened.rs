//! What is told of agents.

use std::fmt;

use api::agent::lines::Violation;
use api::agent::protocol::{Code, Id, Level, Payload};
use sandbox::helper::NotStarted;
use sandbox::{Exit, Usage};
use types::agent::Capability;

/// All that one wake-up of the driver brought: the instance's number, and what happened to it.
pub type Batch = Vec<(u64, Happened)>;

/// What happened to an agent.
#[derive(Debug)]
pub enum Happened {
    /// It has answered the supervisor's hello.
    Ready {
        /// Its first process.
        pid: i32,
        /// Tasks that it can work on at once.
        tasks: u32,
    },
    /// How far a task is; of many that come together, only the last.
    Progress {
        /// The task.
        task: Id,
        /// What is done, in units of the agent's choice.
        done: u64,
        /// What there is to do in all.
        total: Option<u64>,
        /// What is being done, for people.
        text: Option<String>,
    },
    /// Something for the record.
    Log {
        /// The task that the agent says it belongs to; it need not be open.
        task: Option<Id>,
        /// How much it matters.
        level: Level,
        /// What is to be recorded.
        text: String,
    },
    /// It asks for something, and waits for [`answer`](super::fleet::Fleet::answer).
    Called {
        /// The call.
        id: Id,
        /// The task for which it asks; it is open.
        task: Id,
        /// What it asks for.
        capability: Capability,
        /// What it asks with.
        input: Payload,
    },
    /// A task is done.
    Done {
        /// The task.
        task: Id,
        /// What came out.
        output: Payload,
    },
    /// A task failed, or was cancelled.
    Failed {
        /// The task.
        task: Id,
        /// What kind of failure.
        code: Code,
        /// What happened, for people.
        message: String,
        /// Trying again may help.
        retry: bool,
    },
    /// What it has used, asked by [`usage`](super::fleet::Fleet::usage).
    Used(Usage),
    /// It has ended, and no process of it is left but those that are stuck. Its open tasks and calls are void.
    Ended {
        /// Why.
        why: Why,
        /// How its first process ended; none where it never started, or does not end.
        exit: Option<Exit>,
        /// What it has used; none where it never started or the kernel does not say.
        usage: Option<Usage>,
        /// Processes that cannot be killed now.
        stuck: u32,
        /// The last of what it wrote to stderr.
        stderr: String,
    },
    /// The helper has ended, and all agents with it (their ends are told, too): none can be started any more. The instance's number means
    /// nothing here.
    HelperLost(String),
}

/// Why an agent ended. What made us kill it stands before how it died.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// By itself, unasked.
    Exited,
    /// It was asked to end, and did.
    Ended,
    /// It was to be killed, or did not end in time when it was asked to.
    Killed,
    /// It was not started.
    NotStarted(NotStarted),
    /// It did not say hello in time.
    NoHello,
    /// It wrote what no agent may.
    Violation(Violation),
    /// It did not answer as many heartbeats in a row as it may miss.
    Silent,
    /// It does not read its stdin.
    NotReading,
    /// It closed its stdout and went on.
    ClosedStdout,
    /// It did not stop working on a task in time.
    IgnoredCancel(Id),
    /// The helper has ended, and it with it.
    HelperLost,
}

impl Why {
    /// The name under which it is recorded; names are never changed.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Ended => "ended",
            Self::Killed => "killed",
            Self::NotStarted(_) => "not-started",
            Self::NoHello => "no-hello",
            Self::Violation(violation) => violation.name(),
            Self::Silent => "silent",
            Self::NotReading => "not-reading",
            Self::ClosedStdout => "closed-stdout",
            Self::IgnoredCancel(_) => "ignored-cancel",
            Self::HelperLost => "helper-lost",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited => f.write_str("it ended by itself"),
            Self::Ended => f.write_str("it ended when it was asked to"),
            Self::Killed => f.write_str("it was killed"),
            Self::NotStarted(why) => write!(f, "it was not started: {why}"),
            Self::NoHello => f.write_str("it did not say hello in time"),
            Self::Violation(violation) => violation.fmt(f),
            Self::Silent => f.write_str("it did not answer heartbeats"),
            Self::NotReading => f.write_str("it does not read its stdin"),
            Self::ClosedStdout => f.write_str("it closed its stdout"),
            Self::IgnoredCancel(task) => write!(f, "it did not stop working on {task} in time"),
            Self::HelperLost => f.write_str("the helper of agents has ended"),
        }
    }
}
