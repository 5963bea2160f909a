//! One step of a workflow.

use std::fmt;
use std::str::FromStr;

use super::template::{Expression, Template};
use super::{NotAWord, OnFailure, words};
use crate::agent::{Capability, Milliseconds, Name, Retry};

/// Most tasks that a step has at once: copies of one, or items of a list.
pub const AT_ONCE_MAX: u32 = 256;
/// Most items of a step that runs once for each.
pub const ITEMS_MAX: usize = 10_000;

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// What it is called within the workflow.
    pub id: Name,
    /// The places in [`Workflow::steps`](super::Workflow::steps) of what must be done before: ascending, none twice, no circle.
    pub needs: Vec<usize>,
    /// Who does it.
    pub who: Who,
    /// How many tasks it is, and which of their results counts.
    pub mode: Mode,
    /// What it is done with.
    pub input: Template,
    /// It is skipped where this is not true.
    pub when: Option<Expression>,
    /// How often a failed task is tried again; as the agent's file says where it is missing.
    pub retry: Option<Retry>,
    /// How long one attempt may take; as the agent's file says where it is missing.
    pub timeout: Option<Milliseconds>,
    /// A checkpoint is taken before it begins.
    pub checkpoint_before: bool,
    /// What becomes of the run if it fails; as the workflow says where it is missing.
    pub on_failure: Option<OnFailure>,
}

/// Who does a step.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Who {
    /// One of these, whichever is free; never empty.
    Agents(Vec<Name>),
    /// Any agent that may do this.
    Capability(Capability),
}

/// How many tasks a step is, and which of their results counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// One task; its output is the step's.
    Sequential,
    /// One task for each item of a list, several at once; the step's output is the list of theirs, in the items' order.
    Parallel {
        /// The list.
        each: Expression,
        /// How many at once, 1 to [`AT_ONCE_MAX`].
        at_once: u32,
    },
    /// One task for each output of the step before, as soon as that is there; what is not taken up yet holds that step back.
    Pipeline {
        /// The list that the first stage takes; later stages take the outputs of the one step that they need.
        each: Option<Expression>,
        /// Outputs of the stage before that may wait, 1 to [`AT_ONCE_MAX`].
        buffer: u32,
        /// How many at once, 1 to [`AT_ONCE_MAX`].
        at_once: u32,
    },
    /// The same task by several agents; what enough of them say alike is the output, and who said otherwise is recorded.
    Consensus {
        /// How many, 2 to [`AT_ONCE_MAX`].
        copies: u32,
        /// How many must agree: more than half of them.
        quorum: u32,
        /// What is alike.
        compare: Compare,
    },
    /// The same task by several agents; the first good result is the output, and the others are cancelled.
    Competitive {
        /// How many, 2 to [`AT_ONCE_MAX`].
        copies: u32,
    },
    /// The same task several times, on different processors.
    Redundant {
        /// How many, 2 to [`AT_ONCE_MAX`].
        copies: u32,
        /// Which result counts.
        take: Take,
    },
}

/// Which outputs are alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Compare {
    /// Equal as JSON values; the order of a map's keys does not matter.
    Equal,
    /// Equal but for numbers, which may differ by so many millionths of the larger one.
    Tolerance {
        /// Millionths.
        millionths: u32,
    },
    /// An agent is given all outputs as a list and names the place of the best.
    Judge {
        /// The agent.
        agent: Name,
    },
}

/// Which of several results of the same task counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Take {
    /// What more than half of them say alike.
    #[default]
    Majority,
    /// The first good one.
    First,
}

words!(Take, "majority, first", "majority" => Majority, "first" => First);

impl Mode {
    /// Its word in a file.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Parallel { .. } => "parallel",
            Self::Pipeline { .. } => "pipeline",
            Self::Consensus { .. } => "consensus",
            Self::Competitive { .. } => "competitive",
            Self::Redundant { .. } => "redundant",
        }
    }

    /// How many copies of the same task it makes.
    #[must_use]
    pub const fn copies(&self) -> u32 {
        match self {
            Self::Consensus { copies, .. }
            | Self::Competitive { copies }
            | Self::Redundant { copies, .. } => *copies,
            Self::Sequential | Self::Parallel { .. } | Self::Pipeline { .. } => 1,
        }
    }
}
