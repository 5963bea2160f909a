// SPDX-License-Identifier: GPL-2.0-only

//! How often what has happened, shown in debugfs.

use kernel::{
    fmt,
    sync::atomic::{
        Atomic,
        Relaxed, //
    },
};

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    /// Calls that read the firmware.
    Reads,
    /// Calls that read and failed.
    ReadsFailed,
    /// Calls that wrote to the firmware.
    Writes,
    /// Calls that wrote and failed.
    WritesFailed,
    /// Values served from the cache.
    Cached,
    /// Requests to read that the limit turned away.
    ReadsLimited,
    /// Commits that the limit turned away.
    CommitsLimited,
    /// Snapshots begun anew because something was written meanwhile.
    SnapshotsAgain,
    /// Transactions begun.
    Begun,
    /// Transactions committed.
    Committed,
    /// Transactions confirmed.
    Confirmed,
    /// Transactions undone or dropped.
    Undone,
    /// Attempts at an undo that failed.
    UndosFailed,
    /// Locations left to somebody else.
    Left,
    /// Refusals of changes.
    Refused,
    /// Values that somebody else had changed.
    Elsewhere,
}

/// Their names, in the order of [`Counter`].
const NAMES: [&str; 16] = [
    "reads",
    "reads_failed",
    "writes",
    "writes_failed",
    "cached",
    "reads_limited",
    "commits_limited",
    "snapshots_again",
    "begun",
    "committed",
    "confirmed",
    "undone",
    "undos_failed",
    "left",
    "refused",
    "changed_elsewhere",
];
const _: () = assert!(Counter::Elsewhere as usize + 1 == NAMES.len());

/// All counters, since the module was loaded.
pub(crate) struct Counters([Atomic<u64>; NAMES.len()]);

impl Counters {
    /// All zero.
    pub(crate) fn new() -> Self {
        Self(core::array::from_fn(|_| Atomic::new(0)))
    }

    /// It has happened once more.
    pub(crate) fn count(&self, what: Counter) {
        self.add(what, 1);
    }

    /// It has happened so many times more.
    pub(crate) fn add(&self, what: Counter, times: u32) {
        if let Some(counter) = self.0.get(what as usize) {
            counter.fetch_add(times.into(), Relaxed);
        }
    }

    /// A line for each: name, number.
    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, counter) in NAMES.iter().zip(&self.0) {
            writeln!(f, "{name} {}", counter.load(Relaxed))?;
        }
        Ok(())
    }
}
