//! The result of an effect leads to the next point of its work, and of one that waits for it.
//!
//! - [`prune`]: of the order that removes what is not needed

mod prune;

use super::{Decision, again, confirm};
use crate::fact::{Fact, Outcome, Progress};
use crate::input::{Input, StepResult};
use crate::order::{Order, Valued, VaultChange, Write, digest};
use crate::reply::{Answer, Body, Captured, PlanReport, Refusal, Reply};
use crate::state::{State, Work};
use types::time::Time;

pub(super) fn step(state: &State, input: &Input, work: &Work, result: &StepResult) -> Decision {
    let mut decision = of(state, input.time, work, result);
    // Who said what is to become of a restore is told how it ended.
    if let (Some(answered), Some(Fact::Finished { outcome, .. })) = (work.answered, decision.facts.first()) {
        let bodies = decision.replies.iter().filter(|reply| reply.request == work.request);
        let told = bodies.map(|reply| match outcome {
            Outcome::Undone { .. } => again::taken_back(work),
            _ => reply.body.clone(),
        });
        let more: Vec<_> = told.map(|body| Reply { request: answered, body }).collect();
        decision.replies.extend(more);
    }
    let failed = decision.facts.iter().find_map(|fact| match fact {
        Fact::Finished { outcome: Outcome::Failed { reason }, .. } => Some(reason.clone()),
        _ => None,
    });
    let waiting = state.works.values().find(|other| other.after == Some(work.number));
    if let (Some(reason), Some(waiting)) = (failed, waiting) {
        let reason = format!("the checkpoint before it failed, so nothing was done: {reason}");
        let outcome = Outcome::Failed { reason: reason.clone() };
        let end = finished(waiting, outcome, Body::Refused(Refusal::Failed(reason)));
        decision.facts.extend(end.facts);
        decision.replies.extend(end.replies);
    }
    decision
}

fn of(state: &State, now: Time, work: &Work, result: &StepResult) -> Decision {
    match (&work.order, result) {
        (_, StepResult::Failed(reason)) => failed(work, reason),
        (Order::ReadTokens { .. }, StepResult::Read(values)) => done(work, Answer::Read(values.clone())),
        (Order::WriteTokens { writes }, result) => write(work, writes, result),
        (Order::CreateCheckpoint { .. }, StepResult::Captured(captured)) => captured_fact(work, captured),
        (Order::CreateCheckpoint { .. }, StepResult::Signed { key }) => signed(work, key),
        (Order::VerifyCheckpoint { .. }, StepResult::Verified(report)) => {
            done(work, Answer::Verified(report.clone()))
        }
        (Order::PlanRestore { .. }, StepResult::Planned(report)) => done(work, Answer::Plan(report.clone())),
        (Order::Restore { confirm_s, .. }, result) => restore(work, *confirm_s, now, result),
        (Order::Diff { .. }, StepResult::Compared(report)) => done(work, Answer::Diff(report.clone())),
        (Order::DeleteCheckpoint { number, name }, StepResult::Done) => {
            done(work, Answer::Deleted { number: *number, name: name.clone() })
        }
        (Order::Prune { .. }, result) => prune::step(state, work, result),
        (Order::Seal { .. }, StepResult::Sealed(blob)) => {
            finished(work, Outcome::Sealed { blob: digest(blob).0 }, Body::Done(Answer::Sealed(blob.clone())))
        }
        (Order::Unseal { .. }, StepResult::Done) => done(work, Answer::Unsealed),
        (Order::Vault { change }, result) => vault(work, *change, result),
        (_, other) => failed(work, &unexpected(work, other)),
    }
}

fn unexpected(work: &Work, result: &StepResult) -> String {
    format!("“{}” ended a step with a result that does not belong to it: {result:?}", work.order.title())
}

fn progress(work: &Work, progress: Progress, phase: &'static str) -> Decision {
    Decision::fact(Fact::Progressed { work: work.number, progress })
        .with(Reply { request: work.request, body: Body::Progress(phase) })
}

fn finished(work: &Work, outcome: Outcome, body: Body) -> Decision {
    Decision::fact(Fact::Finished { work: work.number, outcome }).with(Reply { request: work.request, body })
}

fn done(work: &Work, answer: Answer) -> Decision {
    finished(work, Outcome::Done, Body::Done(answer))
}

/// Most bytes of a reason that is recorded: it may hold what a program printed.
const REASON_MAX: usize = 2048;

fn cut(reason: &str) -> &str {
    reason.get(..reason.floor_char_boundary(REASON_MAX)).unwrap_or(reason)
}

/// A failure is undone where something may have changed, and ends the work where nothing has.
fn failed(work: &Work, reason: &str) -> Decision {
    let reason = cut(reason);
    let undo = Progress::Undoing { reason: reason.to_owned() };
    match (&work.order, &work.progress) {
        // What failed is the undo itself.
        (_, Some(Progress::Undoing { reason: first })) => {
            let reason = format!("{first}; and undoing it failed: {reason}");
            finished(work, Outcome::Failed { reason: reason.clone() }, Body::Refused(Refusal::Failed(reason)))
        }
        // The kernel undid the write before it reported the failure; the confirmation is what may be in doubt.
        (Order::WriteTokens { .. }, Some(Progress::Written)) => progress(work, undo, "undoing"),
        // In place and verified, only old copies are left over.
        (Order::Restore { .. }, Some(Progress::Verified | Progress::Answered { .. })) => {
            let reason =
                format!("restored and verified, but what was replaced could not be removed: {reason}");
            finished(work, Outcome::Failed { reason: reason.clone() }, Body::Refused(Refusal::Failed(reason)))
        }
        (Order::Restore { .. }, Some(_)) => progress(work, undo, "undoing"),
        _ => finished(
            work,
            Outcome::Failed { reason: reason.to_owned() },
            Body::Refused(Refusal::Failed(reason.to_owned())),
        ),
    }
}

fn undone(work: &Work, reason: &str) -> Decision {
    let body = Body::Refused(Refusal::Failed(again::undone(reason)));
    finished(work, Outcome::Undone { reason: reason.to_owned() }, body)
}

fn write(work: &Work, writes: &[Write], result: &StepResult) -> Decision {
    match (&work.progress, result) {
        (None, StepResult::Before(values)) => match surprise(writes, values) {
            Some(reason) => failed(work, &reason),
            None => progress(work, Progress::Before { values: values.clone() }, "writing"),
        },
        (Some(Progress::Before { .. }), StepResult::Done) => progress(work, Progress::Written, "confirming"),
        (Some(Progress::Written), StepResult::Done) => done(work, Answer::Written(work.before.clone())),
        (Some(Progress::Undoing { reason }), StepResult::Done) => undone(work, reason),
        (_, other) => failed(work, &unexpected(work, other)),
    }
}

/// The first location that does not hold what was expected.
fn surprise(writes: &[Write], values: &[Valued]) -> Option<String> {
    writes.iter().find_map(|write| {
        let held = values.iter().find(|held| held.item == write.item);
        match (held, write.expected) {
            (None, _) => {
                Some(format!("token {} was not read before it was to be written", write.item.token()))
            }
            (Some(held), Some(expected)) if held.value != expected => Some(format!(
                "token {} holds {} and not {expected} as expected: nothing was written",
                write.item.token(),
                held.value
            )),
            _ => None,
        }
    })
}

fn captured_fact(work: &Work, captured: &Captured) -> Decision {
    let point = Progress::Captured {
        manifest: captured.manifest.0,
        files: captured.files,
        tokens: captured.tokens,
        bytes: captured.bytes,
        read: captured.read,
        others: captured.others,
    };
    progress(work, point, "signing")
}

fn signed(work: &Work, key: &str) -> Decision {
    match &work.captured {
        Some(checkpoint) => {
            let mut checkpoint = checkpoint.clone();
            key.clone_into(&mut checkpoint.key);
            finished(
                work,
                Outcome::Signed { key: key.to_owned() },
                Body::Done(Answer::Checkpoint(checkpoint)),
            )
        }
        None => failed(work, "a checkpoint was signed before it was captured"),
    }
}

fn restore(work: &Work, confirm_s: Option<u32>, now: Time, result: &StepResult) -> Decision {
    match (&work.progress, result) {
        (None | Some(Progress::Resumed), StepResult::Planned(report)) => planned(work, report),
        (Some(Progress::Planned { .. }), StepResult::Done) => progress(work, Progress::Prepared, "executing"),
        (Some(Progress::Prepared), StepResult::Done) => progress(work, Progress::Executed, "verifying"),
        (Some(Progress::Executed), StepResult::Done | StepResult::Planned(_)) => match confirm_s {
            Some(confirm_s) if has_changed(work) => {
                let report = if let StepResult::Planned(report) = result { Some(report) } else { None };
                confirm::wait(work, confirm_s, now, report)
            }
            _ => progress(work, Progress::Verified, "cleaning up"),
        },
        (Some(Progress::Verified | Progress::Answered { keep: true, .. }), StepResult::Planned(report)) => {
            // After a start nobody remembers but the log.
            let known = work.plan.as_ref().filter(|_| report.number == 0).unwrap_or(report);
            done(work, Answer::Restored(known.clone()))
        }
        (Some(Progress::Undoing { reason }), StepResult::Done) => undone(work, reason),
        (_, other) => failed(work, &unexpected(work, other)),
    }
}

/// What changed nothing needs no confirmation.
fn has_changed(work: &Work) -> bool {
    work.plan.as_ref().is_some_and(|plan| !plan.is_empty())
}

fn vault(work: &Work, change: VaultChange, result: &StepResult) -> Decision {
    match (change, result) {
        (VaultChange::Prepare { .. }, StepResult::Prepared(prepared)) => {
            let outcome = Outcome::Counted { counter: prepared.counter, value: prepared.value };
            finished(work, outcome, Body::Done(Answer::Prepared(prepared.clone())))
        }
        (VaultChange::Revoke, StepResult::Counted { counter, value }) => {
            let outcome = Outcome::Counted { counter: *counter, value: *value };
            finished(work, outcome, Body::Done(Answer::Counted { value: *value }))
        }
        (
            VaultChange::Install { .. } | VaultChange::InstallPolicy { .. } | VaultChange::Forget { .. },
            StepResult::Done,
        ) => done(work, Answer::VaultChanged),
        (_, other) => failed(work, &unexpected(work, other)),
    }
}

fn planned(work: &Work, report: &PlanReport) -> Decision {
    let point = Progress::Planned {
        added: report.added,
        changed: report.changed,
        removed: report.removed,
        tokens: report.tokens,
        writes: report.writes.clone(),
        others: report.others,
        settings: report.settings.clone(),
    };
    progress(work, point, "preparing")
}
