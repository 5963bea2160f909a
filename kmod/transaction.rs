// SPDX-License-Identifier: GPL-2.0-only

//! The module's one transaction: what a commit and an undo do, and when an undo is due.
//!
//! Pure like `token`: the firmware is a trait, the time an argument, the entries are the caller's.
//!
//! ```text
//!            commit                 confirm
//!   Idle ─────────────► Pending ─────────────► Idle
//!    │                     │ undo, deadline, close, shutdown
//!    │ commit fails        ▼
//!    └────────────────► (undo) ── every entry settled ──► Idle
//!                          │  ▲
//!            firmware fails▼  │ after a pause that doubles
//!                        Undoing
//! ```
//!
//! # Invariants
//!
//! - A value is written only after the old one was read and saved.
//! - Outside `Pending` and `Undoing` no entry is left to undo.
//! - An undo writes a location only while it holds what the transaction put there, or after a write
//!   whose effect is unknown.

use crate::uapi;

/// Pause after the first failed undo, in nanoseconds.
pub(crate) const RETRY_FIRST_NS: i64 = 1_000_000_000;
/// Longest pause between two attempts, in nanoseconds.
const RETRY_MAX_NS: i64 = 64_000_000_000;

/// What the firmware, or the way to it, answered instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The error number, positive.
    pub(crate) error: i32,
    /// The firmware's own status, 0 if it was not reached.
    pub(crate) status: i32,
}

/// The two calls that a transaction makes. Both may sleep.
pub(crate) trait Firmware {
    /// The value of a location.
    fn read(&mut self, location: u16, select: u8) -> Result<u32, Fault>;
    /// Sets the value of a location.
    fn write(&mut self, location: u16, select: u8, value: u32) -> Result<(), Fault>;
}

/// How far an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was written: nothing to undo.
    Untouched,
    /// The firmware was told to write; whether it did is not known.
    Doubtful,
    /// Written and read back.
    Written,
}

/// One location's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The token through which it was asked for.
    pub(crate) id: u16,
    /// The storage behind it.
    pub(crate) location: u16,
    /// Which of the location's values.
    pub(crate) select: u8,
    /// The value to write.
    pub(crate) new: u32,
    /// The value that must stand there before.
    pub(crate) expected: Option<u32>,
    /// The value that stood there before; meaningful once read.
    pub(crate) old: u32,
    /// How far it has come.
    pub(crate) progress: Progress,
}

/// Why a commit or an undo stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `DSMIL_REASON_*`.
    pub(crate) reason: u32,
    /// Index of the entry.
    pub(crate) index: usize,
    /// What the firmware said, for `DSMIL_REASON_FIRMWARE`.
    pub(crate) fault: Option<Fault>,
    /// The value that was read, for the reasons that are about one.
    pub(crate) found: u32,
}

impl Failure {
    fn firmware(index: usize, fault: Fault) -> Self {
        Self {
            reason: uapi::DSMIL_REASON_FIRMWARE,
            index,
            fault: Some(fault),
            found: 0,
        }
    }

    fn value(reason: u32, index: usize, found: u32) -> Self {
        Self {
            reason,
            index,
            fault: None,
            found,
        }
    }
}

/// What an undo did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undone {
    /// Entries whose old value stands again.
    pub(crate) undone: u32,
    /// Entries left alone because somebody else had changed the location.
    pub(crate) left: u32,
    /// The first failure; the entries it concerns are still to be undone.
    pub(crate) failure: Option<Failure>,
}

/// The first entry that has location and select of an earlier one.
pub(crate) fn duplicate(entries: &[Entry]) -> Option<usize> {
    entries.iter().enumerate().position(|(index, entry)| {
        let mut earlier = entries.iter().take(index);
        earlier.any(|e| e.location == entry.location && e.select == entry.select)
    })
}

/// Saves the old values, checks the expected ones, then writes each entry, reads it back and compares.
///
/// After an error the caller undoes: the entries say what was written.
pub(crate) fn commit<F: Firmware>(firmware: &mut F, entries: &mut [Entry]) -> Result<(), Failure> {
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.old = firmware
            .read(entry.location, entry.select)
            .map_err(|fault| Failure::firmware(index, fault))?;
        if entry.expected.is_some_and(|expected| expected != entry.old) {
            let reason = uapi::DSMIL_REASON_EXPECTED;
            return Err(Failure::value(reason, index, entry.old));
        }
    }
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.progress = Progress::Doubtful;
        let written = firmware.write(entry.location, entry.select, entry.new);
        written.map_err(|fault| Failure::firmware(index, fault))?;
        let found = firmware
            .read(entry.location, entry.select)
            .map_err(|fault| Failure::firmware(index, fault))?;
        if found != entry.new {
            let reason = uapi::DSMIL_REASON_NOT_STUCK;
            return Err(Failure::value(reason, index, found));
        }
        entry.progress = Progress::Written;
    }
    Ok(())
}

/// Brings back the old values that are not back yet, in reverse order, each read back and compared.
///
/// Goes on after a failure: what can be brought back is.
pub(crate) fn undo<F: Firmware>(firmware: &mut F, entries: &mut [Entry]) -> Undone {
    let mut result = Undone::default();
    for (index, entry) in entries.iter_mut().enumerate().rev() {
        if entry.progress == Progress::Untouched {
            continue;
        }
        match undo_entry(firmware, index, entry) {
            Ok(true) => result.undone += 1,
            Ok(false) => result.left += 1,
            Err(failure) => {
                result.failure.get_or_insert(failure);
                continue;
            }
        }
        entry.progress = Progress::Untouched;
    }
    result
}

/// True if the old value stands again, false if the location was left to somebody else.
fn undo_entry<F: Firmware>(
    firmware: &mut F,
    index: usize,
    entry: &mut Entry,
) -> Result<bool, Failure> {
    let failed = |fault| Failure::firmware(index, fault);
    let now = firmware
        .read(entry.location, entry.select)
        .map_err(failed)?;
    if now == entry.old {
        return Ok(true);
    }
    if now != entry.new && entry.progress == Progress::Written {
        return Ok(false);
    }
    // From here on our own write may be what stands there.
    entry.progress = Progress::Doubtful;
    firmware
        .write(entry.location, entry.select, entry.old)
        .map_err(failed)?;
    let found = firmware
        .read(entry.location, entry.select)
        .map_err(failed)?;
    if found != entry.old {
        let reason = uapi::DSMIL_REASON_NOT_STUCK;
        return Err(Failure::value(reason, index, found));
    }
    Ok(true)
}

/// Who may settle a transaction: the open file and the process that wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Number of the open file.
    pub(crate) file: u64,
    /// Thread group, in the initial namespace.
    pub(crate) process: i32,
}

/// Where the transaction stands; times are CLOCK_BOOTTIME in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// None.
    Idle,
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

/// The state that the rules about one transaction at a time need.
#[derive(Debug)]
pub(crate) struct Machine {
    phase: Phase,
    number: u64,
    owner: Owner,
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

    /// `DSMIL_OUTCOME_*` of the last transaction that ended.
    pub(crate) fn outcome(&self) -> u32 {
        self.outcome
    }

    /// Locations that undos have left alone.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// A new transaction may begin; else `DSMIL_REASON_*`.
    pub(crate) fn may_begin(&self) -> Result<(), u32> {
        match self.phase {
            Phase::Idle => Ok(()),
            Phase::Pending { .. } => Err(uapi::DSMIL_REASON_BUSY),
            Phase::Undoing { .. } => Err(uapi::DSMIL_REASON_UNDOING),
        }
    }

    /// The owner may confirm or undo transaction `number`; else `DSMIL_REASON_*`.
    pub(crate) fn may_settle(&self, number: u64, owner: Owner) -> Result<(), u32> {
        match self.phase {
            Phase::Pending { .. } if number == self.number && owner == self.owner => Ok(()),
            Phase::Pending { .. } if number == self.number => Err(uapi::DSMIL_REASON_NOT_OWNER),
            _ => Err(uapi::DSMIL_REASON_NO_TRANSACTION),
        }
    }

    /// A file is closed by a process, or for good (`None`): the pending change is to be undone.
    pub(crate) fn closes(&self, file: u64, process: Option<i32>) -> bool {
        let ours = process.is_none_or(|process| process == self.owner.process);
        matches!(self.phase, Phase::Pending { .. }) && self.owner.file == file && ours
    }

    /// Everything is written: the change is pending until `deadline`. Returns its number.
    pub(crate) fn committed(&mut self, owner: Owner, deadline: i64) -> u64 {
        self.number += 1;
        self.owner = owner;
        self.phase = Phase::Pending { deadline };
        self.number
    }

    /// The commit failed; what it had written is about to be undone.
    pub(crate) fn failed(&mut self, owner: Owner) {
        self.number += 1;
        self.owner = owner;
    }

    /// The change stays.
    pub(crate) fn confirmed(&mut self) {
        self.phase = Phase::Idle;
        self.outcome = uapi::DSMIL_OUTCOME_CONFIRMED;
    }

    /// An undo for the sake of `outcome` has been attempted.
    pub(crate) fn undone(&mut self, result: &Undone, outcome: u32, now: i64) {
        self.left = self.left.saturating_add(result.left);
        let (attempts, outcome) = match self.phase {
            Phase::Undoing {
                attempts, outcome, ..
            } => (attempts, outcome),
            _ => (0, outcome),
        };
        if result.failure.is_none() {
            self.phase = Phase::Idle;
            self.outcome = outcome;
            return;
        }
        let pause = RETRY_FIRST_NS
            .checked_shl(attempts.min(16))
            .map_or(RETRY_MAX_NS, |pause| pause.min(RETRY_MAX_NS));
        self.phase = Phase::Undoing {
            next: now.saturating_add(pause),
            attempts: attempts.saturating_add(1),
            outcome,
        };
    }

    /// Nanoseconds until an undo is due (0: now), or nothing to wait for.
    pub(crate) fn due_in(&self, now: i64) -> Option<i64> {
        let due = match self.phase {
            Phase::Idle => return None,
            Phase::Pending { deadline } => deadline,
            Phase::Undoing { next, .. } => next,
        };
        Some(due.saturating_sub(now).max(0))
    }
}
