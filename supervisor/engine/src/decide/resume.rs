//! What a start finds unfinished.
//!
//! Nobody was told that these works had ended, so each is free to end either way; what must not be is something in
//! between. A write goes back, a restore, a deletion and a pruning go on, everything else changed nothing.

use super::confirm;
use crate::fact::{Fact, Outcome, Progress};
use crate::order::Order;
use crate::state::Work;
use types::time::Time;

/// How a work goes on that was under way when nobody was there any more to do it.
#[must_use]
pub fn resume(work: &Work, now: Time) -> Fact {
    let progressed = |progress| Fact::Progressed { work: work.number, progress };
    match (&work.order, &work.progress) {
        // Once it is being undone there is no way back, and the first reason stays the reason.
        (_, Some(undoing @ Progress::Undoing { .. })) => progressed(undoing.clone()),
        // The kernel undoes what was not confirmed; after a power cut there is no kernel that would.
        (Order::WriteTokens { .. }, Some(_)) => progressed(Progress::Undoing {
            reason: "the daemon stopped before the change was acknowledged".to_owned(),
        }),
        // It is in place. What an undo would need may be half removed, so only the removal can go on.
        (Order::Restore { .. }, Some(Progress::Verified)) => progressed(Progress::Verified),
        (Order::Restore { .. }, Some(kept @ Progress::Answered { keep: true, .. })) => {
            progressed(kept.clone())
        }
        (Order::Restore { .. }, Some(Progress::Answered { keep: false, asker, .. })) => {
            progressed(Progress::Undoing { reason: confirm::asked(asker) })
        }
        // It stays in place, and goes on waiting, as long as there is time.
        (Order::Restore { .. }, Some(awaiting @ Progress::Awaiting { .. })) => {
            progressed(match awaiting.left_ns(now) {
                Some(0) | None => Progress::Undoing { reason: confirm::PASSED.to_owned() },
                Some(_) => awaiting.clone(),
            })
        }
        (Order::Restore { .. }, Some(_)) => progressed(Progress::Resumed),
        // Its file may be gone already, so that only the rest can be done.
        (Order::DeleteCheckpoint { .. }, _) => progressed(Progress::Resumed),
        // Some may be gone already; nobody could say which, and the rules may no longer choose them.
        (
            Order::Prune { dry_run: false, .. },
            Some(point @ (Progress::Chosen { .. } | Progress::Removed { .. })),
        ) => progressed(point.clone()),
        // What was handed over is gone with the daemon; each change is whole or not there, and may be asked for again.
        (Order::Vault { .. }, _) => Fact::Finished {
            work: work.number,
            outcome: Outcome::Failed {
                reason: "the daemon stopped while it ran: “dsmil tpm status” shows whether it was done; if not, ask again"
                    .to_owned(),
            },
        },
        _ => Fact::Finished { work: work.number, outcome: Outcome::Interrupted },
    }
}
