//! Agents that are known, and their processes.
//!
//! - [`fact`]: what is recorded of them
//! - `evolve`: what that changes
//! - [`decide`]: what follows from what is heard of them

pub mod fact;

pub mod decide;

pub(crate) mod evolve;

use std::collections::{BTreeMap, BTreeSet};

use policy::capability::Class;
use types::agent::{Capability, Milliseconds, Name, Retry};
use types::hash::Hash;
use types::workflow::Who;

use crate::fact::Grant;
use crate::run::fact::TaskRef;

/// Processes of agents at once at most.
pub const INSTANCES_MAX: usize = 128;
/// Processes of one agent at once at most.
pub const INSTANCES_OF_AGENT_MAX: usize = 16;
/// Known agents at most; the files beyond are not looked at.
pub const AGENTS_MAX: usize = 1024;

/// How long a process may have nothing to do before it is ended, nanoseconds: five minutes.
pub const IDLE_NS: u64 = 300_000_000_000;

/// Failures in a row after which an agent gets no task for a while.
pub const BREAKER_FAILURES: u32 = 5;
/// For how long, nanoseconds.
pub const BREAKER_OPEN_NS: u64 = 60_000_000_000;
/// Successes in a row after which it is trusted again.
pub const BREAKER_SUCCESSES: u32 = 3;

/// Agents and their processes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fleet {
    /// By name; also those whose file is gone, for what was approved of them.
    pub agents: BTreeMap<Name, Agent>,
    /// By number, which is never used twice.
    pub instances: BTreeMap<u64, Instance>,
    /// Processes that can take a task, by agent. No set is empty.
    pub free: BTreeMap<Name, BTreeSet<u64>>,
    /// The number that the next process gets.
    pub next: u64,
}

/// An agent as its file describes it, as far as decisions rest on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Agent {
    /// Where its file lies.
    pub path: String,
    /// Who owns the file.
    pub uid: u32,
    /// SHA-256 of the file.
    pub hash: Hash,
    /// What it asks to be allowed.
    pub capabilities: Vec<Capability>,
    /// How often a failed task is tried again.
    pub retry: Retry,
    /// How long one attempt may take.
    pub timeout: Milliseconds,
    /// The file is there.
    pub is_present: bool,
    /// The file of which the owner approved.
    pub approved: Option<Hash>,
    /// Whether it is given tasks.
    pub breaker: Breaker,
}

/// Keeps tasks from an agent that fails again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: u32,
    /// It gets no task before this: CLOCK_BOOTTIME, nanoseconds. It is on probation after it, until it has succeeded often enough.
    pub open_until_ns: Option<u64>,
    /// Successes in a row on probation.
    pub successes: u32,
}

/// A process of an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Instance {
    /// Its agent.
    pub agent: Name,
    /// The file that it runs by.
    pub hash: Hash,
    /// For which run it was started, and the order and the ground of that.
    pub run: u64,
    /// SHA-256 of the order.
    pub order: Hash,
    /// On what ground.
    pub grant: Option<Grant>,
    /// It has said hello: its process id, and how many tasks it works on at once.
    pub ready: Option<(i32, u32)>,
    /// It is told to end, and gets nothing more.
    pub leaving: bool,
    /// Since when it has nothing to do, CLOCK_BOOTTIME in nanoseconds.
    pub idle_since_ns: u64,
    /// What it is at, also what it was told to stop.
    pub tasks: BTreeSet<TaskRef>,
}

impl Agent {
    /// Whether its file is there and is the one that was approved.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.is_present && self.approved == Some(self.hash)
    }

    /// Whether it may be given a task now.
    #[must_use]
    pub fn is_trusted(&self, now_ns: u64) -> bool {
        self.breaker.open_until_ns.is_none_or(|until_ns| until_ns <= now_ns)
    }

    /// Whether what it was interrupted at can be done again: it changes nothing, or only through the gate, which knows what was asked before.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        let class = |capability: &Capability| policy::capability::class(capability.kind());
        self.capabilities.iter().all(|one| matches!(class(one), Class::Reads | Class::Asks))
    }

    /// Whether nothing that it does needs to be held back: several of it may do the same, and only one counts.
    #[must_use]
    pub fn only_reads(&self) -> bool {
        self.capabilities.iter().all(|one| policy::capability::class(one.kind()) == Class::Reads)
    }

    /// Whether it asks to be allowed this. What names no place is met by any.
    #[must_use]
    pub fn can(&self, wanted: &Capability) -> bool {
        self.capabilities.iter().any(|has| has.meets(wanted))
    }

    /// Whether it may do what is asked of one of these.
    #[must_use]
    pub fn is_one_of(&self, name: &Name, who: &Who) -> bool {
        match who {
            Who::Agents(names) => names.contains(name),
            Who::Capability(capability) => self.can(capability),
        }
    }
}

impl Fleet {
    /// How many processes an agent has.
    #[must_use]
    pub fn instances_of(&self, name: &Name) -> usize {
        self.instances.values().filter(|instance| instance.agent == *name).count()
    }
}
