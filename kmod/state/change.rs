// SPDX-License-Identifier: GPL-2.0-only

//! Write, confirm, undo, and what else ends a change.

use super::{
    deadline,
    Shared,
    State, //
};
use crate::{
    failure::{
        entry_failure,
        refuse,
        Outcome, //
    },
    firmware::Smbios,
    transaction::{
        self,
        Entry,
        Owner,
        Phase,
        Progress,
        Undone, //
    },
    uapi,
};
use kernel::{
    prelude::*,
    sync::Arc,
    time::NSEC_PER_MSEC, //
};

/// Attempts at an undo before the machine goes down; there is no time for the pauses between others.
const SHUTDOWN_ATTEMPTS: usize = 3;

/// A write that is asked for.
pub(crate) struct Request {
    /// As they came from user space.
    pub(crate) entries: KVec<uapi::dsmil_write_entry>,
    /// From the commit to the undo, within the interface's limits.
    pub(crate) deadline_ms: u32,
}

/// A write that is pending.
pub(crate) struct Written {
    /// Its number, never 0.
    pub(crate) transaction: u64,
    /// As they came, with the values that stood there.
    pub(crate) entries: KVec<uapi::dsmil_write_entry>,
}

impl Shared {
    /// Writes, and leaves it pending; after a failure `undo` says what it left behind (`DSMIL_UNDO_*`).
    ///
    /// The deadline runs from here on, whatever becomes of the answer.
    pub(crate) fn write(
        self: &Arc<Self>,
        request: Request,
        owner: Owner,
        undo: &mut u32,
    ) -> Outcome<Written> {
        let Request {
            mut entries,
            deadline_ms,
        } = request;
        // The table may be sealed before the state is locked, but never takes back what it let pass.
        let checked = self.check(&entries)?;
        let mut state = self.state.lock();
        if state.closing {
            return refuse(uapi::DSMIL_REASON_BUSY);
        }
        state.machine.may_begin().or_else(refuse)?;
        state.entries = checked;
        let committed = transaction::commit(&mut Smbios, &mut state.entries);
        if let Err(failure) = committed {
            *undo = self.roll_back(&mut state, owner);
            return Err(entry_failure(&failure, &state.entries));
        }
        state.generation += 1;
        let deadline = deadline::now().saturating_add(i64::from(deadline_ms) * NSEC_PER_MSEC);
        let transaction = state.machine.committed(owner, deadline);
        for (entry, done) in entries.iter_mut().zip(&state.entries) {
            entry.old = done.old;
        }
        self.arm(&state);
        Ok(Written {
            transaction,
            entries,
        })
    }

    /// Undoes a commit that failed; returns `DSMIL_UNDO_*`.
    fn roll_back(self: &Arc<Self>, state: &mut State, owner: Owner) -> u32 {
        let written = |entry: &Entry| entry.progress != Progress::Untouched;
        if !state.entries.iter().any(written) {
            return uapi::DSMIL_UNDO_NONE;
        }
        state.machine.failed(owner);
        let undone = self.undo_now(state, uapi::DSMIL_OUTCOME_FAILED);
        if undone.failure.is_some() {
            uapi::DSMIL_UNDO_RETRYING
        } else if undone.left > 0 {
            uapi::DSMIL_UNDO_LEFT
        } else {
            uapi::DSMIL_UNDO_DONE
        }
    }

    /// Keeps the pending change, if it is the owner's and not yet due.
    pub(crate) fn confirm(self: &Arc<Self>, number: u64, owner: Owner) -> (Undone, Outcome<()>) {
        let mut state = self.state.lock();
        self.expire(&mut state);
        let done = state.machine.may_settle(number, owner).or_else(refuse);
        if done.is_ok() {
            state.machine.confirmed();
            state.entries.clear();
        }
        (Undone::default(), done)
    }

    /// Brings the old values back now, if the pending change is the owner's.
    pub(crate) fn undo(self: &Arc<Self>, number: u64, owner: Owner) -> (Undone, Outcome<()>) {
        let mut state = self.state.lock();
        self.expire(&mut state);
        if let Err(reason) = state.machine.may_settle(number, owner) {
            return (Undone::default(), refuse(reason));
        }
        let undone = self.undo_now(&mut state, uapi::DSMIL_OUTCOME_UNDONE);
        let done = match undone.failure {
            Some(failure) => Err(entry_failure(&failure, &state.entries)),
            None => Ok(()),
        };
        (undone, done)
    }

    /// Undoes a transaction whose number did not reach its owner.
    pub(crate) fn abandon(self: &Arc<Self>, number: u64, owner: Owner) {
        let mut state = self.state.lock();
        if state.machine.may_settle(number, owner).is_ok() {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_FAILED);
        }
    }

    /// A file is closed by a process, or for good (`None`).
    pub(crate) fn closed(self: &Arc<Self>, file: u64, process: Option<i32>) {
        let mut state = self.state.lock();
        if state.machine.closes(file, process) {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_CLOSED);
        }
    }

    /// The machine or the module goes down: the last chance to undo.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.closing = true;
        for _ in 0..SHUTDOWN_ATTEMPTS {
            if state.machine.phase() == Phase::Idle {
                break;
            }
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_SHUTDOWN);
        }
    }
}
