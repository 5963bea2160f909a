//! What the facts about agents and runs say, in words.

use engine::fleet::fact::AgentFact;
use engine::run::fact::{Advance, TaskResult};
use types::hash::Hash;

/// Something about agents.
pub(super) fn agent(fact: &AgentFact) -> String {
    match fact {
        AgentFact::Defined { name, path, hash, .. } => {
            format!("“{name}” is defined by {path}, {}", Hash(*hash))
        }
        AgentFact::Gone { name } => format!("the file of “{name}” is gone"),
        AgentFact::Approved { files, .. } => {
            let files: Vec<_> =
                files.iter().map(|file| format!("“{}” {}", file.name, Hash(file.hash))).collect();
            format!("approved: {}", files.join(", "))
        }
        AgentFact::Started { instance, name, run, .. } => {
            format!("“{name}” starts as {instance}, for run {run}")
        }
        AgentFact::Ready { instance, pid, .. } => format!("{instance} is ready, process {pid}"),
        AgentFact::Ended { instance, reason, .. } => format!("{instance} has ended: {reason}"),
        AgentFact::Leaving { instance, reason } => format!("{instance} is told to end: {reason}"),
        AgentFact::Breaker { name, open_ns: Some(open_ns) } => {
            format!("“{name}” failed too often and rests for {} s", open_ns / 1_000_000_000)
        }
        AgentFact::Breaker { name, open_ns: None } => format!("“{name}” is trusted again"),
        AgentFact::EmergencyStop { frozen_ns, killed_ns, left, .. } => {
            let ms = |ns: &Option<u64>| {
                ns.map_or_else(|| "not in time".to_owned(), |ns| format!("{} ms", ns / 1_000_000))
            };
            format!(
                "emergency stop: stood still after {}, gone after {}, {} left",
                ms(frozen_ns),
                ms(killed_ns),
                left.len()
            )
        }
    }
}

/// A turn of a run.
pub(super) fn advanced(fact: &Advance) -> String {
    let mut said = Vec::new();
    for end in &fact.ended {
        said.push(match &end.result {
            TaskResult::Done { .. } => format!("{} done", end.task),
            TaskResult::Failed { code, message, again_ns } => {
                let again =
                    again_ns.map_or_else(String::new, |ns| format!(", again in {} ms", ns / 1_000_000));
                format!("{} failed ({code}: {message}){again}", end.task)
            }
            TaskResult::Cancelled => format!("{} cancelled", end.task),
            TaskResult::Unknown => format!("{} was interrupted: what it did is unknown", end.task),
        });
    }
    for end in &fact.steps {
        let reason = end.reason.as_deref().map_or_else(String::new, |reason| format!(": {reason}"));
        said.push(format!("step {} {}{reason}", end.step, end.status.word()));
    }
    said.extend(fact.opened.iter().map(|open| format!("step {} opens with {} tasks", open.step, open.tasks)));
    said.extend(fact.queued.iter().map(|task| format!("{task} waits for an agent")));
    said.extend(fact.begun.iter().map(|begin| format!("{} begins at {}", begin.task, begin.instance)));
    said.extend(fact.released.iter().map(|one| format!("{} was let go of", one.task)));
    said.extend(fact.paused.map(|paused| if paused { "paused" } else { "resumed" }.to_owned()));
    said.extend(fact.end.as_ref().map(|end| match end.reason() {
        Some(reason) => format!("{}: {reason}", end.word()),
        None => end.word().to_owned(),
    }));
    format!("run {}: {}", fact.run, said.join(", "))
}
