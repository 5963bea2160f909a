//! What follows from what is heard of agents and their processes.

use policy::Action;
use types::agent::{Definition, Name};
use types::hash::Hash;
use types::peer::Peer;
use types::time::Time;

use super::fact::{AgentFact, Approval};
use super::{AGENTS_MAX, Agent, BREAKER_FAILURES, BREAKER_OPEN_NS, BREAKER_SUCCESSES, IDLE_NS};
use crate::command::RequestId;
use crate::decide::{Decision, gate};
use crate::fact::{Error, Fact};
use crate::input::{Input, Room};
use crate::order::Order;
use crate::reply::{Answer, Body, Refusal, Reply};
use crate::run;
use crate::run::desk::Desk;
use crate::state::State;

/// Most agents that are approved of at once.
pub const APPROVALS_MAX: usize = 256;
/// Most characters of a reason that are recorded.
const REASON_MAX: usize = 500;

/// A file that describes an agent, as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Where.
    pub path: String,
    /// Who owns it.
    pub uid: u32,
    /// What it says.
    pub definition: Definition,
}

/// All files that there are: what is new, changed or gone is recorded.
pub(crate) fn found(state: &State, found: &[Found]) -> Decision {
    let mut facts = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for one in found.iter().take(AGENTS_MAX) {
        let definition = &one.definition;
        names.insert(&definition.name);
        let known = state.fleet.agents.get(&definition.name);
        let is_same = known.is_some_and(|known| {
            known.is_present && (known.hash, known.uid, &known.path) == (definition.hash, one.uid, &one.path)
        });
        if !is_same {
            facts.push(Fact::Agent(defined(one)));
        }
    }
    let gone = state.fleet.agents.iter().filter(|(name, agent)| agent.is_present && !names.contains(name));
    facts.extend(gone.map(|(name, _)| Fact::Agent(AgentFact::Gone { name: name.to_string() })));
    Decision { facts, replies: Vec::new() }
}

fn defined(found: &Found) -> AgentFact {
    let definition = &found.definition;
    AgentFact::Defined {
        name: definition.name.to_string(),
        path: found.path.clone(),
        uid: found.uid,
        hash: definition.hash.0,
        capabilities: definition.capabilities.iter().map(ToString::to_string).collect(),
        retry_limit: definition.retry.limit,
        retry_delay_ms: definition.retry.delay.0,
        retry_delay_max_ms: definition.retry.delay_max.0,
        timeout_ms: definition.timeout.0,
    }
}

/// An owner approves of files.
pub(crate) fn approve(
    state: &State,
    input: &Input,
    (request, peer): (RequestId, Peer),
    files: &[(Name, Hash)],
) -> Result<Decision, Error> {
    let refuse = |refusal| Ok(Decision::reply(Reply { request, body: Body::Refused(refusal) }));
    if input.room < Room::Orders {
        return refuse(Refusal::NoRoom);
    }
    if files.is_empty() || files.len() > APPROVALS_MAX {
        return refuse(Refusal::Invalid(format!("1 to {APPROVALS_MAX} agents are approved of at once")));
    }
    for (name, hash) in files {
        match state.fleet.agents.get(name) {
            Some(agent) if agent.is_present && agent.hash == *hash => {}
            Some(agent) if agent.is_present => {
                return refuse(Refusal::Invalid(format!(
                    "the file of “{name}” is another one by now: look at it again, it is {}",
                    agent.hash
                )));
            }
            _ => return refuse(Refusal::NotFound(format!("agent “{name}”: “dsmil agent list” shows them"))),
        }
    }
    let files: Vec<Approval> =
        files.iter().map(|(name, hash)| Approval { name: name.to_string(), hash: hash.0 }).collect();
    let order = Order::ApproveAgents { files: files.clone() };
    match gate(state, input, (request, peer), Action::Approve, order)? {
        Ok(grant) => {
            let approved =
                AgentFact::Approved { request: request.0, asker: peer.into(), files, grant: (&grant).into() };
            let reply = Reply { request, body: Body::Done(Answer::Approved) };
            Ok(Decision::fact(Fact::Agent(approved)).with(reply))
        }
        Err(denied) => Ok(denied),
    }
}

/// Somebody has an agent's processes end.
pub(crate) fn restart(state: &State, (request, peer): (RequestId, Peer), name: &Name) -> Decision {
    let refuse = |refusal| Decision::reply(Reply { request, body: Body::Refused(refusal) });
    if state.rules.role(&peer) < policy::Role::Operator {
        return refuse(Refusal::Denied(policy::Denial::Role { needed: policy::Role::Operator }));
    }
    let Some(agent) = state.fleet.agents.get(name) else {
        return refuse(Refusal::NotFound(format!("agent “{name}”: “dsmil agent list” shows them")));
    };
    let its = state.fleet.instances.iter().filter(|(_, one)| one.agent == *name && !one.leaving);
    let reason = || format!("as user {} asked", peer.uid);
    let leaving = |(instance, _): (&u64, _)| AgentFact::Leaving { instance: *instance, reason: reason() };
    let mut facts: Vec<Fact> = its.map(leaving).map(Fact::Agent).collect();
    if agent.breaker.open_until_ns.is_some() {
        facts.push(Fact::Agent(AgentFact::Breaker { name: name.to_string(), open_ns: None }));
    }
    let ended = facts.len();
    Decision { facts, replies: vec![Reply { request, body: Body::Done(Answer::Restarted { ended }) }] }
}

/// What is heard of a process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// It has said hello.
    Ready {
        /// Its process id.
        pid: i32,
        /// How many tasks it works on at once.
        tasks: u32,
    },
    /// A task ended.
    Task(run::fact::TaskRef, run::decide::Said),
    /// It has ended.
    Ended {
        /// Why.
        reason: String,
        /// It was not asked to.
        is_failure: bool,
    },
}

/// Something is heard of a process.
pub(crate) fn heard(state: &State, now: Time, instance: u64, heard: &Heard) -> Decision {
    let Some(found) = state.fleet.instances.get(&instance) else { return Decision::default() };
    match heard {
        Heard::Ready { pid, tasks } => {
            let tasks = (*tasks).max(1);
            let mut desk = Desk::new(state, now);
            desk.facts.push(Fact::Agent(AgentFact::Ready { instance, pid: *pid, tasks }));
            desk.welcome(instance, tasks);
            Decision { facts: desk.facts, replies: Vec::new() }
        }
        Heard::Task(task, said) => {
            let mut decision = run::decide::heard(state, now, (instance, *task), said);
            let name = &found.agent;
            let is_failure = matches!(said, run::decide::Said::Failed { .. });
            // That it has stopped, as it was told to, speaks neither for nor against it.
            let counts = run::decide::is_waited_for(state, instance, *task);
            if let Some(agent) = state.fleet.agents.get(name).filter(|_| counts) {
                decision.facts.extend(breaker(name, agent, is_failure, now).map(Fact::Agent));
            }
            decision
        }
        Heard::Ended { reason, is_failure } => {
            let reason: String = reason.chars().take(REASON_MAX).collect();
            let is_failure = *is_failure && !found.leaving;
            let mut desk = Desk::new(state, now);
            let ended = AgentFact::Ended { instance, reason: reason.clone(), is_failure };
            desk.facts.push(Fact::Agent(ended));
            desk.gone(instance);
            if let Some(agent) = state.fleet.agents.get(&found.agent).filter(|_| is_failure) {
                desk.facts.extend(breaker(&found.agent, agent, true, now).map(Fact::Agent));
            }
            run::decide::lost(state, now, instance, &reason, desk)
        }
    }
}

/// Whether the breaker turns, given one more success or failure.
pub(crate) fn breaker(name: &Name, agent: &Agent, is_failure: bool, now: Time) -> Option<AgentFact> {
    if !agent.is_trusted(now.boottime_ns) {
        return None;
    }
    let is_on_probation = agent.breaker.open_until_ns.is_some();
    let open_ns = match is_failure {
        true if is_on_probation || agent.breaker.failures.saturating_add(1) >= BREAKER_FAILURES => {
            Some(BREAKER_OPEN_NS)
        }
        false if is_on_probation && agent.breaker.successes.saturating_add(1) >= BREAKER_SUCCESSES => None,
        _ => return None,
    };
    Some(AgentFact::Breaker { name: name.to_string(), open_ns })
}

/// What time brings to processes: those that have had nothing to do for long, or that run by a file which is not approved any more, end;
/// and what waits gets a process if there may be one now.
pub(crate) fn tick(state: &State, now: Time) -> Decision {
    let mut desk = Desk::new(state, now);
    for (number, instance) in &state.fleet.instances {
        let is_idle = instance.tasks.is_empty() && instance.ready.is_some() && !instance.leaving;
        if !is_idle {
            continue;
        }
        let agent = state.fleet.agents.get(&instance.agent);
        let is_current = agent.is_some_and(|agent| agent.is_approved() && agent.hash == instance.hash);
        let reason = if !is_current {
            "its file has changed, or is not approved"
        } else if now.boottime_ns.saturating_sub(instance.idle_since_ns) >= IDLE_NS {
            "it had nothing to do"
        } else {
            continue;
        };
        let leaving = AgentFact::Leaving { instance: *number, reason: reason.to_owned() };
        desk.facts.push(Fact::Agent(leaving));
        desk.gone(*number);
    }
    desk.serve_queues();
    Decision { facts: desk.facts, replies: Vec::new() }
}

/// Everything was stopped: no process is left, and no run goes on.
pub(crate) fn stopped(
    state: &State,
    (request, peer): (RequestId, Peer),
    (frozen_ns, killed_ns): (Option<u64>, Option<u64>),
    left: &[i32],
) -> Decision {
    let stop = AgentFact::EmergencyStop {
        asker: peer.into(),
        request: request.0,
        frozen_ns,
        killed_ns,
        left: left.to_vec(),
    };
    let mut decision = run::decide::stopped(state, peer);
    decision.facts.insert(0, Fact::Agent(stop));
    let answer = Answer::Stopped { frozen_ns, killed_ns, left: left.to_vec() };
    decision.with(Reply { request, body: Body::Done(answer) })
}
