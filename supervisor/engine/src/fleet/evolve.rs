//! What a fact does to agents: only what stands in it.

use std::collections::BTreeSet;

use types::agent::{Milliseconds, Retry};
use types::hash::Hash;
use types::time::Time;

use super::fact::AgentFact;
use super::{AGENTS_MAX, Agent, Breaker, Fleet, Instance};
use crate::run::Runs;
use crate::run::fact::{TaskRef, TaskResult};

/// Something about agents happened.
pub fn evolve(fleet: &mut Fleet, runs: &Runs, fact: &AgentFact, now: Time) {
    match fact {
        AgentFact::Defined { name, .. } => {
            let Ok(name) = name.parse() else { return };
            let before = fleet.agents.get(&name);
            let approved = before.and_then(|before| before.approved);
            if before.is_some() || fleet.agents.len() < AGENTS_MAX {
                fleet.agents.extend(defined(fact, approved).map(|agent| (name, agent)));
            }
        }
        AgentFact::Gone { name } => {
            let Ok(name) = name.parse() else { return };
            // Of one that was never approved of there is nothing to keep.
            if fleet.agents.get(&name).is_some_and(|agent| agent.approved.is_none()) {
                fleet.agents.remove(&name);
            } else if let Some(agent) = fleet.agents.get_mut(&name) {
                agent.is_present = false;
            }
        }
        AgentFact::Approved { files, .. } => {
            for file in files {
                if let Some(agent) = file.name.parse().ok().and_then(|name| fleet.agents.get_mut(&name)) {
                    agent.approved = Some(Hash(file.hash));
                }
            }
        }
        AgentFact::Started { instance, name, hash, run } => {
            fleet.next = fleet.next.max(instance.saturating_add(1));
            let Ok(agent) = name.parse() else { return };
            let of = runs.open.get(run);
            let started = Instance {
                agent,
                hash: Hash(*hash),
                run: *run,
                order: of.map(|run| run.order).unwrap_or_default(),
                grant: of.map(|run| run.grant.clone()),
                ready: None,
                leaving: false,
                idle_since_ns: now.boottime_ns,
                tasks: BTreeSet::new(),
            };
            fleet.instances.insert(*instance, started);
        }
        AgentFact::Ready { instance, pid, tasks } => {
            if let Some(found) = fleet.instances.get_mut(instance) {
                found.ready = Some((*pid, *tasks));
                found.idle_since_ns = now.boottime_ns;
            }
            fleet.note_free(*instance);
        }
        AgentFact::Ended { instance, is_failure, .. } => {
            fleet.forget_free(*instance);
            if let Some(gone) = fleet.instances.remove(instance)
                && *is_failure
            {
                fleet.failed(&gone.agent);
            }
        }
        AgentFact::Leaving { instance, .. } => {
            fleet.forget_free(*instance);
            if let Some(found) = fleet.instances.get_mut(instance) {
                found.leaving = true;
            }
        }
        AgentFact::Breaker { name, open_ns } => {
            if let Some(agent) = name.parse().ok().and_then(|name| fleet.agents.get_mut(&name)) {
                agent.breaker = Breaker {
                    open_until_ns: open_ns.map(|open_ns| now.boottime_ns.saturating_add(open_ns)),
                    ..Breaker::default()
                };
            }
        }
        AgentFact::EmergencyStop { .. } => {
            fleet.instances.clear();
            fleet.free.clear();
        }
    }
}

fn defined(fact: &AgentFact, approved: Option<Hash>) -> Option<Agent> {
    let AgentFact::Defined {
        path,
        uid,
        hash,
        capabilities,
        retry_limit,
        retry_delay_ms,
        retry_delay_max_ms,
        timeout_ms,
        ..
    } = fact
    else {
        return None;
    };
    Some(Agent {
        path: path.clone(),
        uid: *uid,
        hash: Hash(*hash),
        capabilities: capabilities.iter().filter_map(|text| text.parse().ok()).collect(),
        retry: Retry {
            limit: *retry_limit,
            delay: Milliseconds(*retry_delay_ms),
            delay_max: Milliseconds(*retry_delay_max_ms),
        },
        timeout: Milliseconds(*timeout_ms),
        is_present: true,
        approved,
        breaker: Breaker::default(),
    })
}

impl Breaker {
    fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
    }
}

impl Fleet {
    /// The daemon came up: the processes of before are gone with the daemon of before.
    pub fn restarted(&mut self) {
        self.instances.clear();
        self.free.clear();
        self.agents.values_mut().for_each(|agent| agent.breaker = Breaker::default());
    }

    /// A process takes a task.
    pub fn occupy(&mut self, instance: u64, task: TaskRef) {
        if let Some(found) = self.instances.get_mut(&instance) {
            found.tasks.insert(task);
        }
        self.note_free(instance);
    }

    /// It is through with one.
    pub fn release(&mut self, instance: u64, task: TaskRef, now: Time) {
        if let Some(found) = self.instances.get_mut(&instance) {
            found.tasks.remove(&task);
            found.idle_since_ns = now.boottime_ns;
        }
        self.note_free(instance);
    }

    /// What the end of a task says of its agent.
    pub fn judge(&mut self, instance: u64, result: &TaskResult, now: Time) {
        let Some(name) = self.instances.get(&instance).map(|found| &found.agent) else { return };
        let Some(agent) = self.agents.get_mut(name) else { return };
        match result {
            TaskResult::Done { .. } => {
                agent.breaker.failures = 0;
                // What was begun before it opened proves nothing.
                let counts = agent.is_trusted(now.boottime_ns);
                agent.breaker.successes = agent.breaker.successes.saturating_add(u32::from(counts));
            }
            TaskResult::Failed { .. } => agent.breaker.fail(),
            TaskResult::Cancelled | TaskResult::Unknown => {}
        }
    }

    /// One of its processes failed.
    fn failed(&mut self, name: &types::agent::Name) {
        if let Some(agent) = self.agents.get_mut(name) {
            agent.breaker.fail();
        }
    }

    /// Which processes can take a task, from how they stand.
    pub fn note_all_free(&mut self) {
        let all: Vec<u64> = self.instances.keys().copied().collect();
        all.into_iter().for_each(|instance| self.note_free(instance));
    }

    fn note_free(&mut self, instance: u64) {
        let Some(found) = self.instances.get(&instance) else { return };
        let taken = found.tasks.len();
        let is_free = !found.leaving
            && found.ready.is_some_and(|(_, tasks)| taken < usize::try_from(tasks).unwrap_or(usize::MAX));
        if !is_free {
            self.forget_free(instance);
        } else if let Some(free) = self.free.get_mut(&found.agent) {
            free.insert(instance);
        } else {
            self.free.insert(found.agent.clone(), [instance].into());
        }
    }

    fn forget_free(&mut self, instance: u64) {
        let Some(found) = self.instances.get(&instance) else { return };
        if let Some(free) = self.free.get_mut(&found.agent) {
            free.remove(&instance);
            if free.is_empty() {
                self.free.remove(&found.agent);
            }
        }
    }
}
