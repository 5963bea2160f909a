// SPDX-License-Identifier: GPL-2.0-only

//! The newest of a sequence of records, for readers who each have their own position.
//!
//! Pure like `token`; the caller owns the memory. One ring serves every reader, so that a record costs the same
//! whether nobody or a thousand files listen, and an idle file costs no memory.
//!
//! # Invariants
//!
//! - Records are numbered from 1; number n stands in slot (n − 1) modulo the number of slots until it is
//!   overwritten.
//! - A reader gets each number at most once, in order, and learns how many it has missed.

/// How many records have been put in, and so which are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ring {
    newest: u64,
}

/// What a reader gets next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// Number of the record; the reader's position once it has it.
    pub(crate) number: u64,
    /// Its slot.
    pub(crate) slot: usize,
    /// Records just before it that were overwritten before this reader came.
    pub(crate) lost: u64,
}

impl Ring {
    /// Number of the newest record, 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// The number and the slot of a record that is put in now; `slots` is not 0.
    pub(crate) fn put(&mut self, slots: usize) -> (u64, usize) {
        self.newest += 1;
        (self.newest, slot(self.newest, slots))
    }

    /// What a reader who has come up to record `position` gets next, if there is more.
    pub(crate) fn next(&self, position: u64, slots: usize) -> Option<Next> {
        if position >= self.newest {
            return None;
        }
        let oldest = self.newest.saturating_sub(slots as u64) + 1;
        let number = (position + 1).max(oldest);
        Some(Next {
            number,
            slot: slot(number, slots),
            lost: number - position - 1,
        })
    }
}

fn slot(number: u64, slots: usize) -> usize {
    let slot = number.saturating_sub(1) % (slots.max(1) as u64);
    // Always fits: it is smaller than `slots`.
    slot.try_into().unwrap_or(0)
}
