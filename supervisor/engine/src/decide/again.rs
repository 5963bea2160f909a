//! What is told to somebody who asks again for what has ended.

use crate::command::RequestId;
use crate::fact::{Outcome, Progress};
use crate::order::{Order, VaultChange};
use crate::reply::{Answer, Body, Freed, PlanReport, Refusal};
use crate::state::{Checkpoint, Ended, State, Work};

pub(super) fn again(state: &State, ended: &Ended, request: RequestId) -> Body {
    let work = &ended.work;
    let failed = |reason: String| Body::Refused(Refusal::Failed(reason));
    match &ended.outcome {
        Outcome::Failed { reason } => failed(reason.clone()),
        Outcome::Undone { .. } if work.answered == Some(request) => taken_back(work),
        Outcome::Undone { reason } => failed(undone(reason)),
        Outcome::Interrupted => failed(
            "the daemon stopped while it ran, and nothing was changed: ask again as a new request".to_owned(),
        ),
        Outcome::Counted { value, .. }
            if matches!(&work.order, Order::Vault { change: VaultChange::Revoke }) =>
        {
            Body::Done(Answer::Counted { value: *value })
        }
        Outcome::Pruned { packs, chunks, bytes } => {
            let numbers = match &work.progress {
                Some(Progress::Removed { numbers, .. }) => numbers.clone(),
                _ => Vec::new(),
            };
            let freed = Freed { packs: *packs, chunks: *chunks, bytes: *bytes, ..Freed::default() };
            Body::Done(Answer::Pruned { numbers, freed })
        }
        Outcome::Done | Outcome::Signed { .. } | Outcome::Sealed { .. } | Outcome::Counted { .. } => {
            match answer(state, ended) {
                Some(answer) => Body::Done(answer),
                None => failed(format!("work {} has ended, and its answer is no longer known", work.number)),
            }
        }
    }
}

/// What was asked for has happened.
pub(super) fn taken_back(work: &Work) -> Body {
    let number = if let Order::Restore { number, .. } = &work.order { *number } else { 0 };
    Body::Done(Answer::TakenBack { number })
}

/// How a failure reads that left nothing behind.
pub(super) fn undone(reason: &str) -> String {
    format!("{reason}; everything is as it was before")
}

fn answer(state: &State, ended: &Ended) -> Option<Answer> {
    let work = &ended.work;
    match &work.order {
        Order::WriteTokens { .. } => Some(Answer::Written(work.before.clone())),
        Order::CreateCheckpoint { number, .. } => {
            // It may have been deleted since; that it was taken is what was asked.
            let known = state.checkpoints.get(number).cloned();
            let signed = || match &ended.outcome {
                Outcome::Signed { key } => {
                    work.captured.clone().map(|one| Checkpoint { key: key.clone(), ..one })
                }
                _ => None,
            };
            known.or_else(signed).map(Answer::Checkpoint)
        }
        Order::Restore { .. } => {
            let line =
                format!("work {} has restored it before; its single differences are not kept", work.number);
            work.plan.clone().map(|plan| Answer::Restored(PlanReport { lines: vec![line], ..plan }))
        }
        Order::DeleteCheckpoint { number, name } => {
            Some(Answer::Deleted { number: *number, name: name.clone() })
        }
        // What a preparation gave holds the repository's key, which is not kept.
        Order::Vault { change: VaultChange::Prepare { .. } } => None,
        Order::Vault { .. } => Some(Answer::VaultChanged),
        _ => None,
    }
}
