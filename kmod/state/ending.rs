// SPDX-License-Identifier: GPL-2.0-only

//! Undoing, whatever asks for it: a deadline, a close, a death, suspend, reboot, an undo that failed.

use super::{
    calls::Calls,
    Shared,
    State, //
};
use crate::{
    board::Status,
    counters::Counter,
    event::event,
    glue::{
        self,
        ModuleReference,
        Process, //
    },
    machine::{
        self,
        Phase, //
    },
    time::NSEC_PER_MSEC,
    transaction::{
        self,
        Entry,
        Fate,
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
    time::msecs_to_jiffies,
    workqueue::{
        self,
        WorkItem, //
    },
};

/// Longest sleep of the work, in milliseconds: its timer stands still in suspend, the deadline does not, and
/// nobody tells of the end of a process whose files others share. So this is how late either can be seen, and the
/// undo is to be over a second after: a timer of the kernel's wheel comes up to an eighth of its time late, and the
/// rest is for a machine that is busy.
const WORK_SLICE_MS: u32 = 400;
/// Attempts at an undo before the machine goes down or to sleep; there is no time for the pauses between others.
const LAST_ATTEMPTS: usize = 3;

// Work that is queued already is not queued anew for something that is due earlier, so nothing may be.
const _: () = assert!(WORK_SLICE_MS <= uapi::DSMIL_DEADLINE_MIN_MS);
const _: () = assert!(WORK_SLICE_MS as i64 * NSEC_PER_MSEC <= machine::RETRY_FIRST_NS);

/// How the machine goes to sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// The firmware stays in charge of a machine that is suspended.
    Suspend = 1,
    /// The machine is switched off, perhaps after what runs has been written to the disk: the reboot notice comes when
    /// that image can no longer know of it.
    Hibernate = 2,
    /// An image is about to take the place of this kernel, which is forgotten then.
    Restore = 3,
}

impl Sleep {
    /// The machine, or this kernel, will not know afterwards what was pending, or not before other systems have run.
    pub(super) fn powers_off(self) -> bool {
        self != Self::Suspend
    }
}

impl Shared {
    /// Ends what is due, or whose owner is gone, whether or not the work has come round to it.
    pub(super) fn end_what_is_due(self: &Arc<Self>, state: &mut State) {
        if state.machine.due_in(glue::now()) == Some(0) {
            self.undo_now(state, uapi::DSMIL_OUTCOME_EXPIRED, 0);
        } else if state.machine.is_owned() && !state.process.as_ref().is_some_and(Process::is_alive)
        {
            self.undo_now(state, uapi::DSMIL_OUTCOME_CLOSED, 0);
        }
    }

    /// Attempts to undo; if the firmware fails, the work will try again.
    pub(super) fn undo_now(
        self: &Arc<Self>,
        state: &mut State,
        outcome: u32,
        command: u32,
    ) -> Undone {
        let undone = self.write_back(state, command);
        match state.machine.undone(&undone, outcome, glue::now()) {
            Some(outcome) => {
                self.counters.count(Counter::Undone);
                self.ended(state, outcome, command);
            }
            None => self.retried_later(state, &undone, command),
        }
        self.arm(state);
        undone
    }

    fn write_back(&self, state: &mut State, command: u32) -> Undone {
        if transaction::touched(&state.entries) == 0 {
            return Undone::default();
        }
        let mut calls = state.calls(self, command);
        let who = state.event(uapi::DSMIL_EVENT_TOKEN, command);
        self.board.turn_generation();
        let undone = transaction::undo(&mut calls, &mut state.entries, |_, entry, fate| {
            self.tell_fate(who, entry, fate);
        });
        self.board.turn_generation();
        self.counters.add(Counter::Left, undone.left);
        let (number, back, left) = (state.machine.number(), undone.undone, undone.left);
        pr_info!("change {number} undone: {back} values back, {left} left to others\n");
        undone
    }

    fn tell_fate(&self, told: uapi::dsmil_event, entry: &Entry, fate: Fate) {
        let told = uapi::dsmil_event {
            id: entry.id,
            select: entry.select,
            ..told
        };
        match fate {
            // Whoever brought it back was told of when it was looked at.
            Fate::Stood => {}
            Fate::Back { replaced } => self.tell(uapi::dsmil_event {
                old: replaced,
                new_value: entry.old,
                detail: uapi::DSMIL_CAUSE_UNDO,
                ..told
            }),
            Fate::Left { found, unseen } => {
                if unseen {
                    // Nothing was known with which the cache could compare it.
                    self.tell_elsewhere(entry.id, entry.select, entry.seen, found);
                }
                self.tell(uapi::dsmil_event {
                    kind: uapi::DSMIL_EVENT_LEFT,
                    old: entry.old,
                    ..told
                });
            }
        }
    }

    /// The transaction has ended.
    pub(super) fn ended(&self, state: &mut State, outcome: u32, command: u32) {
        let told = state.event(uapi::DSMIL_EVENT_ENDED, command);
        state.entries.clear();
        state.process = None;
        state.hold = None;
        self.holder.store(0, Relaxed);
        self.publish(state);
        self.tell(uapi::dsmil_event {
            detail: outcome,
            ..told
        });
    }

    /// The undo has failed. Nobody owns it any more, and the module stays until it succeeds.
    fn retried_later(&self, state: &mut State, undone: &Undone, command: u32) {
        self.counters.count(Counter::UndosFailed);
        let failed = undone.failure.and_then(|failure| failure.index);
        let failed = failed.and_then(|index| state.entries.get(index));
        let id = failed.map_or(0, |entry| entry.id);
        // Who goes down says at the end what has become of it.
        if !self.closing.load(Relaxed) {
            pr_err!("undo of token {:#06x} failed, will be retried\n", id);
        }
        state.process = None;
        self.holder.store(0, Relaxed);
        if state.hold.is_none() {
            state.hold = ModuleReference::take(self.module);
        }
        self.publish(state);
        let attempts = match state.machine.phase() {
            Phase::Undoing { attempts, .. } => attempts,
            _ => 0,
        };
        self.tell(uapi::dsmil_event {
            id,
            detail: attempts,
            ..state.event(uapi::DSMIL_EVENT_RETRYING, command)
        });
    }

    /// Has the work come round when something is due.
    ///
    /// On a queue that stands still in suspend: the firmware is not called while devices are asleep.
    pub(super) fn arm(self: &Arc<Self>, state: &State) {
        if let Some(delay) = state.machine.due_in(glue::now()) {
            let delay_ms = u32::try_from(delay / NSEC_PER_MSEC + 1).unwrap_or(u32::MAX);
            let delay = msecs_to_jiffies(delay_ms.min(WORK_SLICE_MS));
            let queue = workqueue::system_freezable();
            // If it is queued already, it comes round within the slice and arms itself again.
            let _queued_already = queue.enqueue_delayed::<_, { Shared::DUE }>(self.clone(), delay);
        }
    }

    /// Shows in the mapped pages where the transaction stands.
    pub(super) fn publish(&self, state: &State) {
        let machine = &state.machine;
        let (phase, attempts) = match machine.phase() {
            Phase::Idle => (uapi::DSMIL_STATE_IDLE, 0),
            Phase::Open { .. } => (uapi::DSMIL_STATE_OPEN, 0),
            Phase::Pending { .. } => (uapi::DSMIL_STATE_PENDING, 0),
            Phase::Undoing { attempts, .. } => (uapi::DSMIL_STATE_UNDOING, attempts),
        };
        self.board.set_status(Status {
            state: phase,
            outcome: machine.outcome(),
            entries: state.entries.len() as u32,
            attempts,
            left: machine.left(),
            transaction: machine.number(),
            deadline_ns: machine.due_at().map_or(0, i64::unsigned_abs),
        });
    }

    /// A file is closed by a process, or for good (`None`).
    pub(crate) fn closed(self: &Arc<Self>, file: u64, process: Option<usize>) {
        // Closing any other file waits for nobody. One that is just becoming the holder is being used by a
        // call, so its last close is yet to come.
        if self.holder.load(Relaxed) != file {
            return;
        }
        if process.is_none_or(|process| process == self.owner.load(Relaxed)) {
            self.leaving.store(file, Relaxed);
        }
        let mut state = self.state.lock();
        if state.machine.closes(file, process) {
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_CLOSED, 0);
        }
    }

    /// The machine is about to sleep; devices are still awake. False if it had better not.
    pub(crate) fn falls_asleep(self: &Arc<Self>, sleep: Sleep) -> bool {
        self.sleeping.store(sleep as u32, Relaxed);
        let mut state = self.state.lock();
        for _ in 0..LAST_ATTEMPTS {
            if !state.machine.ends_in_sleep(sleep.powers_off()) {
                break;
            }
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_SUSPENDED, 0);
        }
        // Whoever begins with the flag wants no sleep with their change in force. Else the retries go on afterwards.
        // A kernel that is to be replaced has nothing to lose, what replaces it has.
        let may_sleep = !state.machine.keeps_awake() || sleep == Sleep::Restore;
        if !may_sleep {
            // No further notice comes to who refuses.
            self.sleeping.store(0, Relaxed);
            let number = state.machine.number();
            pr_err!("change {number} is not undone, as it must be before sleep: the machine stays awake\n");
        }
        may_sleep
    }

    /// The machine has come back from sleep, or did not get there.
    pub(crate) fn wakes_up(self: &Arc<Self>) {
        self.sleeping.store(0, Relaxed);
        self.end_what_is_due(&mut self.state.lock());
    }

    /// How the machine goes to sleep, if it does.
    pub(super) fn sleep(&self) -> Option<Sleep> {
        match self.sleeping.load(Relaxed) {
            0 => None,
            1 => Some(Sleep::Suspend),
            2 => Some(Sleep::Hibernate),
            _ => Some(Sleep::Restore),
        }
    }

    /// The machine or the module goes down: the last chance to undo.
    pub(crate) fn shut_down(self: &Arc<Self>) {
        self.closing.store(true, Relaxed);
        let mut state = self.state.lock();
        for _ in 0..LAST_ATTEMPTS {
            if state.machine.phase() == Phase::Idle {
                break;
            }
            self.undo_now(&mut state, uapi::DSMIL_OUTCOME_SHUTDOWN, 0);
        }
        if state.machine.phase() != Phase::Idle {
            let (number, kept) = (state.machine.number(), transaction::touched(&state.entries));
            pr_err!("change {number} is not undone: {kept} values may stay as it wrote them\n");
        }
    }
}

impl State {
    /// The firmware, as this transaction calls it.
    pub(super) fn calls<'a>(&self, shared: &'a Shared, command: u32) -> Calls<'a> {
        Calls {
            shared,
            transaction: self.machine.number(),
            who: self.who,
            command,
            file: self.machine.file(),
            undo_on_suspend: self.machine.undoes_on_suspend(),
        }
    }

    /// An event of a kind about this transaction.
    pub(super) fn event(&self, kind: u32, command: u32) -> uapi::dsmil_event {
        uapi::dsmil_event {
            transaction: self.machine.number(),
            command,
            ..event(kind, self.who)
        }
    }
}

impl WorkItem<{ Shared::DUE }> for Shared {
    type Pointer = Arc<Shared>;

    fn run(this: Arc<Shared>) {
        let mut state = this.state.lock();
        this.end_what_is_due(&mut state);
        this.arm(&state);
    }
}
