//! What a fact about agents or runs asks to be done in the world.

use types::agent::Name;
use types::hash::Hash;

use super::fact::{Advance, TaskRef};
use crate::effect::Standing;
use crate::fact::{Fact, Grant};
use crate::fleet::fact::AgentFact;
use crate::state::State;

/// Something to do. Whoever does it redeems the grant first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Act {
    /// SHA-256 of the order on which it rests.
    pub order: Hash,
    /// On what ground.
    pub grant: Grant,
    /// How it stands to the grant.
    pub standing: Standing,
    /// What.
    pub what: What,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// Start a process of an agent.
    Start {
        /// Its number.
        instance: u64,
        /// The agent.
        name: Name,
        /// Where its file lies.
        path: String,
        /// SHA-256 of the file.
        hash: Hash,
    },
    /// Give it a task.
    Task {
        /// The process.
        instance: u64,
        /// The task.
        task: TaskRef,
        /// How long it may take, nanoseconds.
        timeout_ns: u64,
        /// With what: JSON.
        input: String,
    },
    /// Tell it to stop with one.
    Cancel {
        /// The process.
        instance: u64,
        /// The task.
        task: TaskRef,
    },
    /// End it.
    Leave {
        /// The process.
        instance: u64,
    },
}

impl What {
    /// Of which process.
    #[must_use]
    pub const fn instance(&self) -> u64 {
        match self {
            Self::Start { instance, .. }
            | Self::Task { instance, .. }
            | Self::Cancel { instance, .. }
            | Self::Leave { instance } => *instance,
        }
    }
}

/// What a fact asks to be done, given the state right after it.
pub fn acts(state: &State, fact: &Fact, mut each: impl FnMut(Act)) {
    match fact {
        Fact::Advanced(advance) => advanced(state, advance, each),
        Fact::Agent(AgentFact::Started { instance, .. }) => {
            let Some(found) = state.fleet.instances.get(instance) else { return };
            let (Some(grant), Some(agent)) = (found.grant.clone(), state.fleet.agents.get(&found.agent))
            else {
                return;
            };
            each(Act {
                order: found.order,
                grant,
                standing: Standing::GoingOn,
                what: What::Start {
                    instance: *instance,
                    name: found.agent.clone(),
                    path: agent.path.clone(),
                    hash: found.hash,
                },
            });
        }
        Fact::Agent(AgentFact::Leaving { instance, .. }) => {
            let found = state.fleet.instances.get(instance);
            if let Some((order, grant)) = found.and_then(|found| Some((found.order, found.grant.clone()?))) {
                each(Act {
                    order,
                    grant,
                    standing: Standing::Ending,
                    what: What::Leave { instance: *instance },
                });
            }
        }
        _ => {}
    }
}

fn advanced(state: &State, advance: &Advance, mut each: impl FnMut(Act)) {
    let open = state.runs.open.get(&advance.run);
    let Some(run) = open.or_else(|| state.runs.ended.get(&advance.run).map(|ended| &ended.run)) else {
        return;
    };
    for end in advance.ended.iter().filter(|end| end.goes_on) {
        let Some(instance) = end.instance else { continue };
        each(Act {
            order: run.order,
            grant: run.grant.clone(),
            standing: Standing::Ending,
            what: What::Cancel { instance, task: end.task },
        });
    }
    for begin in &advance.begun {
        each(Act {
            order: run.order,
            grant: run.grant.clone(),
            standing: Standing::GoingOn,
            what: What::Task {
                instance: begin.instance,
                task: begin.task,
                timeout_ns: begin.timeout_ns,
                input: begin.input.clone(),
            },
        });
    }
}
