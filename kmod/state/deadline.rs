// SPDX-License-Identifier: GPL-2.0-only

//! Undoing, when it is due and when it failed.

use super::{
    Shared,
    State, //
};
use crate::{
    firmware::Smbios,
    glue::ModuleReference,
    transaction::{
        self,
        Undone, //
    },
    uapi,
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::{
        msecs_to_jiffies,
        BootTime,
        ClockSource,
        NSEC_PER_MSEC, //
    },
    workqueue::{
        self,
        WorkItem, //
    },
};

/// Longest sleep of the work, in milliseconds: its timer stands still in suspend, the deadline does not,
/// so after a resume this is how late it can be.
const WORK_SLICE_MS: u32 = 1000;

// Work that is queued already is not queued anew for something that is due earlier, so nothing may be.
const _: () = assert!(WORK_SLICE_MS <= uapi::DSMIL_DEADLINE_MIN_MS);
const _: () = assert!(WORK_SLICE_MS as i64 * NSEC_PER_MSEC <= transaction::RETRY_FIRST_NS);

/// Now, on the clock of the deadlines.
pub(super) fn now() -> i64 {
    BootTime::ktime_get()
}

impl Shared {
    /// Undoes what is due, whether or not the work has come round to it.
    pub(super) fn expire(self: &Arc<Self>, state: &mut State) {
        if state.machine.due_in(now()) == Some(0) {
            self.undo_now(state, uapi::DSMIL_OUTCOME_EXPIRED);
        }
    }

    /// Attempts to undo; if the firmware fails, the work will try again.
    pub(super) fn undo_now(self: &Arc<Self>, state: &mut State, outcome: u32) -> Undone {
        let undone = transaction::undo(&mut Smbios, &mut state.entries);
        state.generation += 1;
        state.machine.undone(&undone, outcome, now());
        if let Some(failure) = undone.failure {
            let id = state.entries.get(failure.index).map_or(0, |entry| entry.id);
            pr_err!("undo of token {:#06x} failed, will be retried\n", id);
            if state.hold.is_none() {
                state.hold = ModuleReference::take(self.module);
            }
        } else {
            let number = state.machine.number();
            let Undone { undone, left, .. } = undone;
            pr_info!("change {number} undone: {undone} values back, {left} left to others\n");
            state.hold = None;
        }
        self.arm(state);
        undone
    }

    /// Has the work come round when something is due.
    ///
    /// On a queue that stands still in suspend: the firmware is not called while devices are asleep.
    pub(super) fn arm(self: &Arc<Self>, state: &State) {
        if let Some(delay) = state.machine.due_in(now()) {
            let delay_ms = u32::try_from(delay / NSEC_PER_MSEC + 1).unwrap_or(u32::MAX);
            let delay = msecs_to_jiffies(delay_ms.min(WORK_SLICE_MS));
            let queue = workqueue::system_freezable();
            // If it is queued already, it comes round within the slice and arms itself again.
            let _queued_already = queue.enqueue_delayed(self.clone(), delay);
        }
    }
}

impl WorkItem for Shared {
    type Pointer = Arc<Shared>;

    fn run(this: Arc<Shared>) {
        let mut state = this.state.lock();
        this.expire(&mut state);
        this.arm(&state);
    }
}
