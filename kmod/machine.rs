// SPDX-License-Identifier: GPL-2.0-only

//! Where the module's one transaction stands, whose it is, and when something is due.
//!
//! Pure like `token`: the time is an argument, what a commit and an undo do is in `transaction`.
//!
//! ```text
//!         begin            commit              confirm
//!   Idle ───────► Open ─────────────► Pending ─────────► Idle
//!                  │ ▲ └ rate limit ┐    │
//!                  │ └──────────────┘    │ undo, deadline, close, death, suspend, shutdown
//!                  │ the same, or        ▼
//!                  │ a failed commit   (undo) ── every entry settled ──► Idle
//!                  └─────────────────►   │  ▲
//!                          firmware fails▼  │ after a pause that doubles
//!                                      Undoing
//! ```
//!
//! # Invariants
//!
//! - Outside `Pending` and `Undoing` no entry is left to undo.
//! - `Open` and `Pending` end at their deadline at the latest, `Undoing` only when everything is undone.

use crate::{
    time::NSEC_PER_SEC,
    transaction::Undone,
    uapi, //
};

/// Pause after the first failed undo, in nanoseconds.
pub(crate) const RETRY_FIRST_NS: i64 = NSEC_PER_SEC;
/// Longest pause between two attempts, in nanoseconds.
const RETRY_MAX_NS: i64 = 64 * NSEC_PER_SEC;

/// Whose a transaction is: the open file and the process that began it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Number of the open file.
    pub(crate) file: u64,
    /// The process, as something that no other can have while this one is remembered.
    pub(crate) process: usize,
}

/// What a transaction was begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// From the beginning to the drop, and from the commit to the undo, in nanoseconds.
    pub(crate) period: i64,
    /// Suspend undoes it.
    pub(crate) undo_on_suspend: bool,
}

/// Where the transaction stands; times are CLOCK_BOOTTIME in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none.
    Idle,
    /// Begun, and not yet committed.
    Open {
        /// When it is dropped.
        deadline: i64,
    },
    /// Written, waiting for its confirmation.
    Pending {
        /// When it is undone.
        deadline: i64,
    },
    /// An undo failed.
    Undoing {
        /// When it is tried again.
        next: i64,
        /// Attempts that failed.
        attempts: u32,
        /// `DSMIL_OUTCOME_*` once it succeeds.
        outcome: u32,
    },
}

/// What an owner wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Add entries, or commit.
    Build,
    /// Keep what is committed.
    Confirm,
    /// End it, committed or not.
    Undo,
}

/// The state that the rules about one transaction at a time need.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    number: u64,
    owner: Owner,
    terms: Terms,
    outcome: u32,
    left: u32,
}

impl Machine {
    /// Nothing has happened yet.
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Idle,
            number: 0,
            owner: Owner {
                file: 0,
                process: 0,
            },
            terms: Terms {
                period: 0,
                undo_on_suspend: false,
            },
            outcome: uapi::DSMIL_OUTCOME_NONE,
            left: 0,
        }
    }

    /// Where it stands.
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Number of the present or last transaction, 0 if there was none.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Number of the file that the present or last transaction was begun through.
    pub(crate) fn file(&self) -> u64 {
        self.owner.file
    }

    /// The present or last transaction was begun so that sleep undoes it.
    pub(crate) fn undoes_on_suspend(&self) -> bool {
        self.terms.undo_on_suspend
    }

    /// `DSMIL_OUTCOME_*` of the last transaction that ended.
    pub(crate) fn outcome(&self) -> u32 {
        self.outcome
    }

    /// Locations that undos have left alone.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// There is one that its owner can still do something about.
    pub(crate) fn is_owned(&self) -> bool {
        matches!(self.phase, Phase::Open { .. } | Phase::Pending { .. })
    }

    /// Begins a transaction; its number, or `DSMIL_REASON_*`.
    pub(crate) fn begin(&mut self, owner: Owner, terms: Terms, now: i64) -> Result<u64, u32> {
        match self.phase {
            Phase::Idle => {}
            Phase::Open { .. } | Phase::Pending { .. } => return Err(uapi::DSMIL_REASON_BUSY),
            Phase::Undoing { .. } => return Err(uapi::DSMIL_REASON_UNDOING),
        }
        self.number += 1;
        self.owner = owner;
        self.terms = terms;
        self.phase = Phase::Open {
            deadline: now.saturating_add(terms.period),
        };
        Ok(self.number)
    }

    /// The owner may take a step of transaction `number`; else `DSMIL_REASON_*`.
    pub(crate) fn may(&self, step: Step, number: u64, owner: Owner) -> Result<(), u32> {
        if self.phase == Phase::Idle || number != self.number {
            return Err(uapi::DSMIL_REASON_NO_TRANSACTION);
        }
        if owner != self.owner {
            return Err(uapi::DSMIL_REASON_NOT_OWNER);
        }
        match (self.phase, step) {
            (Phase::Undoing { .. }, _) => Err(uapi::DSMIL_REASON_UNDOING),
            (Phase::Pending { .. }, Step::Build) => Err(uapi::DSMIL_REASON_COMMITTED),
            (Phase::Open { .. }, Step::Confirm) => Err(uapi::DSMIL_REASON_NOT_COMMITTED),
            _ => Ok(()),
        }
    }

    /// A file is closed by a process, or for good (`None`): the transaction is to be ended.
    pub(crate) fn closes(&self, file: u64, process: Option<usize>) -> bool {
        let ours = process.is_none_or(|process| process == self.owner.process);
        self.is_owned() && self.owner.file == file && ours
    }

    /// Before the machine goes to sleep the transaction is to be ended: as it was begun, and in any case what is
    /// written if the machine `powers_off`, since the firmware is then left to itself and to other systems.
    pub(crate) fn ends_in_sleep(&self, powers_off: bool) -> bool {
        match self.phase {
            Phase::Idle => false,
            Phase::Open { .. } => self.terms.undo_on_suspend,
            Phase::Pending { .. } | Phase::Undoing { .. } => self.ends_if_pending(powers_off),
        }
    }

    /// What is committed while the machine goes to sleep would be ended at once.
    pub(crate) fn ends_if_pending(&self, powers_off: bool) -> bool {
        powers_off || self.terms.undo_on_suspend
    }

    /// The machine is not to sleep before it is ended.
    pub(crate) fn keeps_awake(&self) -> bool {
        self.phase != Phase::Idle && self.terms.undo_on_suspend
    }

    /// Everything is written: the deadline runs anew.
    pub(crate) fn committed(&mut self, now: i64) {
        self.phase = Phase::Pending {
            deadline: now.saturating_add(self.terms.period),
        };
    }

    /// The change stays.
    pub(crate) fn confirmed(&mut self) {
        self.phase = Phase::Idle;
        self.outcome = uapi::DSMIL_OUTCOME_CONFIRMED;
    }

    /// An undo for the sake of `outcome` has been attempted; returns the outcome if that has ended it.
    pub(crate) fn undone(&mut self, result: &Undone, outcome: u32, now: i64) -> Option<u32> {
        self.left = self.left.saturating_add(result.left);
        // Why the first attempt was made is what counts.
        let (attempts, outcome) = match self.phase {
            Phase::Undoing {
                attempts, outcome, ..
            } => (attempts, outcome),
            _ => (0, outcome),
        };
        if result.failure.is_none() {
            self.phase = Phase::Idle;
            self.outcome = outcome;
            return Some(outcome);
        }
        let pause = RETRY_FIRST_NS
            .checked_shl(attempts.min(16))
            .map_or(RETRY_MAX_NS, |pause| pause.min(RETRY_MAX_NS));
        self.phase = Phase::Undoing {
            next: now.saturating_add(pause),
            attempts: attempts.saturating_add(1),
            outcome,
        };
        None
    }

    /// When something is due, if there is something to wait for.
    pub(crate) fn due_at(&self) -> Option<i64> {
        match self.phase {
            Phase::Idle => None,
            Phase::Open { deadline } | Phase::Pending { deadline } => Some(deadline),
            Phase::Undoing { next, .. } => Some(next),
        }
    }

    /// Nanoseconds until something is due (0: now), if there is something to wait for.
    pub(crate) fn due_in(&self, now: i64) -> Option<i64> {
        self.due_at().map(|due| due.saturating_sub(now).max(0))
    }
}
