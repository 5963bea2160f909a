// SPDX-License-Identifier: GPL-2.0-only

//! Begin, stage, commit, confirm, undo.

use super::{
    Shared,
    State,
    StateGuard, //
};
use crate::{
    board::Status,
    counters::Counter,
    failure::{
        entry_failure,
        kernel_failure,
        refusal_failure,
        refuse,
        wait_failure,
        Outcome, //
    },
    glue::{
        self,
        Process,
        Who, //
    },
    machine::{
        Owner,
        Step,
        Terms, //
    },
    token::Refusal,
    transaction::{
        self,
        Entry,
        Undone, //
    },
    uapi,
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
};

impl Shared {
    /// The state. Somebody may be at work on the firmware with it, for as long as that takes: whoever `refused` gives a
    /// reason for need not wait for them.
    fn enter(&self, refused: impl FnOnce(&Status) -> Option<u32>) -> Outcome<StateGuard<'_>> {
        if let Some(state) = self.state.try_lock() {
            return Ok(state);
        }
        match refused(&self.board.published().status) {
            Some(reason) => refuse(reason),
            None => Ok(self.state.lock()),
        }
    }

    /// The same for a step of a transaction: only its owner waits.
    fn enter_owned(&self, number: u64, owner: Owner) -> Outcome<StateGuard<'_>> {
        let holds =
            self.holder.load(Relaxed) == owner.file && self.owner.load(Relaxed) == owner.process;
        self.enter(|status| match status.state {
            uapi::DSMIL_STATE_OPEN | uapi::DSMIL_STATE_PENDING if !holds => {
                Some(if number == status.transaction {
                    uapi::DSMIL_REASON_NOT_OWNER
                } else {
                    uapi::DSMIL_REASON_NO_TRANSACTION
                })
            }
            _ => None,
        })
    }

    /// Begins a transaction for an open file and the running process; its number.
    pub(crate) fn begin(self: &Arc<Self>, file: u64, terms: Terms) -> Outcome<u64> {
        if self.allowed.as_ref().is_none() {
            return refuse(uapi::DSMIL_REASON_NOT_SEALED);
        }
        let process = Process::current().map_err(kernel_failure)?;
        let owner = Owner {
            file,
            process: process.key(),
        };
        let mut state = self.enter(|status| match status.state {
            uapi::DSMIL_STATE_OPEN | uapi::DSMIL_STATE_PENDING => Some(uapi::DSMIL_REASON_BUSY),
            uapi::DSMIL_STATE_UNDOING => Some(uapi::DSMIL_REASON_UNDOING),
            _ => None,
        })?;
        self.end_what_is_due(&mut state);
        // What sleep is to undo is not begun on the way there: it would be missed.
        if self.closing.load(Relaxed) || terms.undo_on_suspend && self.sleep().is_some() {
            return refuse(uapi::DSMIL_REASON_CLOSING);
        }
        let begun = state.machine.begin(owner, terms, glue::now());
        let number = begun.or_else(refuse)?;
        state.entries.clear();
        state.process = Some(process);
        state.who = Who::current();
        self.leaving.store(0, Relaxed);
        self.owner.store(owner.process, Relaxed);
        self.holder.store(file, Relaxed);
        self.counters.count(Counter::Begun);
        self.publish(&state);
        self.arm(&state);
        self.tell(state.event(uapi::DSMIL_EVENT_BEGUN, uapi::DSMIL_IOC_BEGIN));
        Ok(number)
    }

    /// Adds entries to the open transaction, all or none; how many it has then.
    pub(crate) fn stage(
        self: &Arc<Self>,
        number: u64,
        owner: Owner,
        wanted: &[uapi::dsmil_stage_entry],
    ) -> Outcome<u32> {
        let mut state = self.enter_owned(number, owner)?;
        self.end_what_is_due(&mut state);
        let may = state.machine.may(Step::Build, number, owner);
        may.or_else(refuse)?;
        let staged = state.entries.len();
        if staged + wanted.len() > uapi::DSMIL_TRANSACTION_MAX as usize {
            return refuse(uapi::DSMIL_REASON_FULL);
        }
        let added = self.add(&mut state.entries, wanted);
        if added.is_err() {
            state.entries.truncate(staged);
        }
        added?;
        self.publish(&state);
        Ok(state.entries.len() as u32)
    }

    /// Adds what may be written; leaves some of it behind if it fails.
    fn add(&self, entries: &mut KVec<Entry>, wanted: &[uapi::dsmil_stage_entry]) -> Outcome<()> {
        for (index, wanted) in wanted.iter().enumerate() {
            let entry = self
                .check(index, wanted)
                .map_err(|refusal| refusal_failure(&refusal))?;
            if transaction::is_staged(entries, &entry) {
                let refusal = Refusal::entry(uapi::DSMIL_REASON_DUPLICATE, index, entry.id);
                return Err(refusal_failure(&refusal));
            }
            entries
                .push(entry, GFP_KERNEL)
                .map_err(|error| kernel_failure(error.into()))?;
        }
        Ok(())
    }

    /// Writes what is staged and leaves it pending; the values that stood there. After a failure `undo` says what
    /// it left behind (`DSMIL_UNDO_*`). `room` is 0 or must be as many as are staged.
    ///
    /// The deadline runs from here on, whatever becomes of the answer.
    pub(crate) fn commit(
        self: &Arc<Self>,
        number: u64,
        owner: Owner,
        room: u32,
        undo: &mut u32,
    ) -> Outcome<KVec<u32>> {
        let mut state = self.enter_owned(number, owner)?;
        self.end_what_is_due(&mut state);
        let may = state.machine.may(Step::Build, number, owner);
        may.or_else(refuse)?;
        if state.entries.is_empty() {
            return refuse(uapi::DSMIL_REASON_EMPTY);
        }
        if self
            .sleep()
            .is_some_and(|sleep| state.machine.ends_if_pending(sleep.powers_off()))
        {
            return refuse(uapi::DSMIL_REASON_CLOSING);
        }
        let staged = state.entries.len() as u32;
        if room != 0 && room != staged {
            return refuse(uapi::DSMIL_REASON_COUNT);
        }
        let mut old = KVec::with_capacity(state.entries.len(), GFP_KERNEL)
            .map_err(|error| kernel_failure(error.into()))?;
        self.take_writes(staged)?;
        if let Err(failure) = self.write_all(&mut state) {
            let outcome = self.outcome_of(&failure);
            // Told of the entry before the undo forgets it.
            let failure = entry_failure(&failure, &state.entries);
            *undo = self.roll_back(&mut state, outcome);
            return Err(failure);
        }
        state.machine.committed(glue::now());
        self.counters.count(Counter::Committed);
        self.publish(&state);
        self.arm(&state);
        self.tell_committed(&state);
        for entry in &state.entries {
            old.push(entry.old, GFP_KERNEL)
                .map_err(|error| kernel_failure(error.into()))?;
        }
        Ok(old)
    }

    /// Takes so many entries from the limit.
    fn take_writes(&self, count: u32) -> Outcome<()> {
        let taken = self.limits.lock().write.take(count, glue::now());
        taken.map_err(|wait_ms| {
            self.counters.count(Counter::CommitsLimited);
            wait_failure(wait_ms)
        })
    }

    fn write_all(&self, state: &mut State) -> core::result::Result<(), transaction::Failure> {
        let mut calls = state.calls(self, uapi::DSMIL_IOC_COMMIT);
        self.board.turn_generation();
        let done = transaction::commit(&mut calls, &mut state.entries);
        self.board.turn_generation();
        done
    }

    fn tell_committed(&self, state: &State) {
        for entry in state.entries.iter().filter(|e| e.old != e.new) {
            self.tell(uapi::dsmil_event {
                id: entry.id,
                select: entry.select,
                old: entry.old,
                new_value: entry.new,
                detail: uapi::DSMIL_CAUSE_COMMIT,
                ..state.event(uapi::DSMIL_EVENT_TOKEN, uapi::DSMIL_IOC_COMMIT)
            });
        }
        self.tell(uapi::dsmil_event {
            detail: state.entries.len() as u32,
            ..state.event(uapi::DSMIL_EVENT_COMMITTED, uapi::DSMIL_IOC_COMMIT)
        });
    }

    /// Undoes a commit that failed or was stopped; returns `DSMIL_UNDO_*`.
    fn roll_back(self: &Arc<Self>, state: &mut State, outcome: u32) -> u32 {
        let touched = transaction::touched(&state.entries);
        let undone = self.undo_now(state, outcome, uapi::DSMIL_IOC_COMMIT);
        if undone.failure.is_some() {
            uapi::DSMIL_UNDO_RETRYING
        } else if undone.left > 0 {
            uapi::DSMIL_UNDO_LEFT
        } else if touched > 0 {
            uapi::DSMIL_UNDO_DONE
        } else {
            uapi::DSMIL_UNDO_NONE
        }
    }

    /// Keeps the pending change, if it is the owner's and not yet due.
    pub(crate) fn confirm(self: &Arc<Self>, number: u64, owner: Owner) -> (Undone, Outcome<()>) {
        let mut state = match self.enter_owned(number, owner) {
            Ok(state) => state,
            Err(failure) => return (Undone::default(), Err(failure)),
        };
        self.end_what_is_due(&mut state);
        let done = state.machine.may(Step::Confirm, number, owner);
        if done.is_ok() {
            state.machine.confirmed();
            self.counters.count(Counter::Confirmed);
            let outcome = uapi::DSMIL_OUTCOME_CONFIRMED;
            self.ended(&mut state, outcome, uapi::DSMIL_IOC_CONFIRM);
        }
        (Undone::default(), done.or_else(refuse))
    }

    /// Brings the old values back now, or drops what is staged, if it is the owner's.
    pub(crate) fn undo(self: &Arc<Self>, number: u64, owner: Owner) -> (Undone, Outcome<()>) {
        let mut state = match self.enter_owned(number, owner) {
            Ok(state) => state,
            Err(failure) => return (Undone::default(), Err(failure)),
        };
        self.end_what_is_due(&mut state);
        if let Err(reason) = state.machine.may(Step::Undo, number, owner) {
            return (Undone::default(), refuse(reason));
        }
        let outcome = uapi::DSMIL_OUTCOME_UNDONE;
        let undone = self.undo_now(&mut state, outcome, uapi::DSMIL_IOC_UNDO);
        let done = match undone.failure {
            Some(failure) => Err(entry_failure(&failure, &state.entries)),
            None => Ok(()),
        };
        (undone, done)
    }

    /// Undoes a transaction whose answer did not reach its owner.
    pub(crate) fn abandon(self: &Arc<Self>, number: u64, owner: Owner) {
        let mut state = self.state.lock();
        if state.machine.may(Step::Undo, number, owner).is_ok() {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_FAILED, 0);
        }
    }

    /// How a transaction ends whose commit ended so: what stopped it is what would have ended it a moment later.
    fn outcome_of(&self, failure: &transaction::Failure) -> u32 {
        match (failure.index, failure.reason) {
            (Some(_), _) => uapi::DSMIL_OUTCOME_FAILED,
            (None, uapi::DSMIL_REASON_CLOSING) if self.closing.load(Relaxed) => {
                uapi::DSMIL_OUTCOME_SHUTDOWN
            }
            (None, uapi::DSMIL_REASON_CLOSING) => uapi::DSMIL_OUTCOME_SUSPENDED,
            (None, _) => uapi::DSMIL_OUTCOME_CLOSED,
        }
    }
}
