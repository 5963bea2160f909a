// SPDX-License-Identifier: GPL-2.0-only

//! What a commit and an undo do to the firmware.
//!
//! Pure like `token`: the firmware is a trait, the entries are the caller's.
//!
//! # Invariants
//!
//! - A value is written only after every old one was read and saved.
//! - An undo writes a location only while it holds what the transaction put there: the new value, or what was
//!   found right after one of its writes. Anything else is somebody else's and stays, however often the undo
//!   is tried. (The firmware compares nothing itself: what changes between the look and the write that
//!   follows at once is overwritten.)

use crate::uapi;

/// `EACCES`, asm-generic/errno-base.h.
const EACCES: i32 = 13;

/// What the firmware, or the way to it, answered instead of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The error number, positive.
    pub(crate) error: i32,
    /// The firmware's own status, 0 if it was not reached.
    pub(crate) status: i32,
}

/// The calls that a transaction makes. They may sleep.
pub(crate) trait Firmware {
    /// The value of a location.
    fn read(&mut self, location: u16, select: u8) -> Result<u32, Fault>;
    /// Sets the value of a location.
    fn write(&mut self, location: u16, select: u8, value: u32) -> Result<(), Fault>;
    /// A BIOS administrator password is set, without which a write may be refused or ignored. Asked
    /// after a write that failed, since no status says so.
    fn has_password(&mut self) -> bool;
    /// Why a commit is to stop here, if it is: `DSMIL_REASON_*`. Asked before each entry, of an undo never.
    fn stop(&mut self) -> Option<u32>;
}

/// How far an entry has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing was written: nothing to undo.
    Untouched,
    /// The firmware was told to write, and nothing has been asked of it since: what the next look finds is
    /// what that write left.
    Doubtful,
    /// Written, and looked at right after: [`Entry::seen`] is what that has left.
    Written,
    /// Written, and what that left could not be looked at: if it is another value than the new one and
    /// [`Entry::seen`], nobody can tell it from what others write.
    Unseen,
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
    /// The value that was read there last; meaningful once read.
    pub(crate) seen: u32,
    /// What an undo was to replace when it first wrote.
    pub(crate) replaced: Option<u32>,
    /// How far it has come.
    pub(crate) progress: Progress,
}

/// Why a commit or an undo stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `DSMIL_REASON_*`.
    pub(crate) reason: u32,
    /// Index of the entry to blame; none if a commit was stopped.
    pub(crate) index: Option<usize>,
    /// What the firmware said, for `DSMIL_REASON_FIRMWARE`.
    pub(crate) fault: Option<Fault>,
    /// The value that was read, for the reasons that are about one.
    pub(crate) found: u32,
}

impl Failure {
    fn firmware(index: usize, fault: Fault) -> Self {
        Self {
            reason: uapi::DSMIL_REASON_FIRMWARE,
            index: Some(index),
            fault: Some(fault),
            found: 0,
        }
    }

    fn value(reason: u32, index: usize, found: u32) -> Self {
        Self {
            reason,
            index: Some(index),
            fault: None,
            found,
        }
    }

    fn stopped(reason: u32) -> Self {
        Self {
            reason,
            index: None,
            fault: None,
            found: 0,
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

/// What an undo did to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The old value stood there already.
    Stood,
    /// The old value is back.
    Back {
        /// What it has replaced.
        replaced: u32,
    },
    /// Somebody else had changed the location: left alone.
    Left {
        /// What stands there.
        found: u32,
        /// What the change itself had left there could not be looked at.
        unseen: bool,
    },
}

impl Entry {
    /// A change that is yet to be made.
    pub(crate) fn new(id: u16, location: u16, select: u8, new: u32, expected: Option<u32>) -> Self {
        Self {
            id,
            location,
            select,
            new,
            expected,
            old: 0,
            seen: 0,
            replaced: None,
            progress: Progress::Untouched,
        }
    }

    /// A value that stands there was put there by this change, as far as that can be told.
    fn is_ours(&self, found: u32) -> bool {
        match self.progress {
            Progress::Untouched => false,
            Progress::Doubtful => true,
            Progress::Written | Progress::Unseen => found == self.new || found == self.seen,
        }
    }

    fn read<F: Firmware>(&mut self, firmware: &mut F) -> Result<u32, Fault> {
        self.seen = firmware.read(self.location, self.select)?;
        Ok(self.seen)
    }

    /// Writes and looks at what that has left, also when the write is said to have failed.
    fn write<F: Firmware>(&mut self, firmware: &mut F, value: u32) -> Result<u32, Fault> {
        self.progress = Progress::Doubtful;
        let written = firmware.write(self.location, self.select, value);
        let found = self.read(firmware);
        self.progress = match found {
            Ok(_) => Progress::Written,
            Err(_) => Progress::Unseen,
        };
        written?;
        found
    }
}

/// An entry of `entries` has the location and the select of `entry`.
pub(crate) fn is_staged(entries: &[Entry], entry: &Entry) -> bool {
    entries
        .iter()
        .any(|e| e.location == entry.location && e.select == entry.select)
}

/// How many entries an undo has to look at.
pub(crate) fn touched(entries: &[Entry]) -> usize {
    entries
        .iter()
        .filter(|entry| entry.progress != Progress::Untouched)
        .count()
}

/// Saves the old values, checks the expected ones, then writes each entry, reads it back and compares.
///
/// After an error the caller undoes: the entries say what was written. Stops between two entries if it is to, so that
/// an undo that is called for waits for no more than one.
pub(crate) fn commit<F: Firmware>(firmware: &mut F, entries: &mut [Entry]) -> Result<(), Failure> {
    for (index, entry) in entries.iter_mut().enumerate() {
        go_on(firmware)?;
        entry.old = entry
            .read(firmware)
            .map_err(|fault| Failure::firmware(index, fault))?;
        if entry.expected.is_some_and(|expected| expected != entry.old) {
            let reason = uapi::DSMIL_REASON_EXPECTED;
            return Err(Failure::value(reason, index, entry.old));
        }
    }
    for (index, entry) in entries.iter_mut().enumerate() {
        go_on(firmware)?;
        write_entry(firmware, index, entry)?;
    }
    Ok(())
}

fn go_on<F: Firmware>(firmware: &mut F) -> Result<(), Failure> {
    firmware
        .stop()
        .map_or(Ok(()), |reason| Err(Failure::stopped(reason)))
}

fn write_entry<F: Firmware>(
    firmware: &mut F,
    index: usize,
    entry: &mut Entry,
) -> Result<(), Failure> {
    let failed = |fault| Failure::firmware(index, fault);
    // What a write that failed has left the undo looks at, which comes next.
    entry.progress = Progress::Doubtful;
    let written = firmware.write(entry.location, entry.select, entry.new);
    written.map_err(|fault| explain(firmware, failed(fault)))?;
    let found = entry.read(firmware).map_err(failed)?;
    entry.progress = Progress::Written;
    if found != entry.new {
        let reason = uapi::DSMIL_REASON_NOT_STUCK;
        return Err(explain(firmware, Failure::value(reason, index, found)));
    }
    Ok(())
}

/// Names the password where that is why a write failed or did not stick.
fn explain<F: Firmware>(firmware: &mut F, failure: Failure) -> Failure {
    // The firmware answered, if not what was hoped for.
    let answered = failure.fault.is_none_or(|fault| fault.status != 0);
    if !answered || !firmware.has_password() {
        return failure;
    }
    Failure {
        reason: uapi::DSMIL_REASON_PASSWORD,
        fault: failure.fault.map(|fault| Fault {
            error: EACCES,
            ..fault
        }),
        ..failure
    }
}

/// Brings back the old values that are not back yet, in reverse order, each read back and compared.
///
/// Goes on after a failure: what can be brought back is. Tells `report` of each entry that is settled.
pub(crate) fn undo<F: Firmware>(
    firmware: &mut F,
    entries: &mut [Entry],
    mut report: impl FnMut(&mut F, &Entry, Fate),
) -> Undone {
    let mut result = Undone::default();
    for (index, entry) in entries.iter_mut().enumerate().rev() {
        if entry.progress == Progress::Untouched {
            continue;
        }
        match undo_entry(firmware, index, entry) {
            Ok(fate) => {
                entry.progress = Progress::Untouched;
                match fate {
                    Fate::Stood | Fate::Back { .. } => result.undone += 1,
                    Fate::Left { .. } => result.left += 1,
                }
                report(firmware, entry, fate);
            }
            Err(failure) => {
                result.failure.get_or_insert(failure);
            }
        }
    }
    result
}

fn undo_entry<F: Firmware>(
    firmware: &mut F,
    index: usize,
    entry: &mut Entry,
) -> Result<Fate, Failure> {
    let failed = |fault| Failure::firmware(index, fault);
    let looked = firmware.read(entry.location, entry.select);
    if looked.is_err() && entry.progress == Progress::Doubtful {
        // The next look comes later, when others may have written.
        entry.progress = Progress::Unseen;
    }
    let now = looked.map_err(failed)?;
    if now == entry.old {
        return Ok(entry
            .replaced
            .map_or(Fate::Stood, |replaced| Fate::Back { replaced }));
    }
    if !entry.is_ours(now) {
        return Ok(Fate::Left {
            found: now,
            unseen: entry.progress == Progress::Unseen,
        });
    }
    entry.seen = now;
    let replaced = *entry.replaced.get_or_insert(now);
    let found = entry.write(firmware, entry.old).map_err(failed)?;
    if found != entry.old {
        let reason = uapi::DSMIL_REASON_NOT_STUCK;
        return Err(Failure::value(reason, index, found));
    }
    Ok(Fate::Back { replaced })
}
