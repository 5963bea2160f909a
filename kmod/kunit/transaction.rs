// SPDX-License-Identifier: GPL-2.0-only

//! Cases of `transaction`; the host runs them too, beside its properties.

use crate::{
    transaction::{
        self,
        Entry,
        Fate,
        Fault,
        Firmware,
        Undone, //
    },
    uapi, //
};

/// What goes wrong at a call.
#[derive(Clone, Copy)]
enum Wrong {
    /// An error, without effect.
    Error,
    /// An error, though a write took place.
    LateError,
    /// Success, though a write did not.
    Ignored,
}

/// Firmware of three locations.
struct Shelf {
    values: [u32; 3],
    calls: u32,
    /// What goes wrong, from which call on, and for how many.
    wrong: Option<(Wrong, u32, u32)>,
    /// A commit is stopped once so many calls were made.
    stop: Option<u32>,
}

const FAULT: Fault = Fault {
    error: 5,
    status: -1,
};
const OLD: [u32; 3] = [10, 20, 30];
const NEW: [u32; 3] = [11, 21, 31];

impl Shelf {
    fn new() -> Self {
        Self {
            values: OLD,
            calls: 0,
            wrong: None,
            stop: None,
        }
    }

    /// From the next call on so many go wrong.
    fn break_for(&mut self, wrong: Wrong, skip: u32, count: u32) {
        self.wrong = Some((wrong, self.calls + skip, count));
    }

    fn next(&mut self) -> Option<Wrong> {
        let call = self.calls;
        self.calls += 1;
        self.wrong
            .filter(|(_, first, count)| (*first..first.saturating_add(*count)).contains(&call))
            .map(|(wrong, _, _)| wrong)
    }

    fn place(&mut self, location: u16) -> Result<&mut u32, Fault> {
        self.values.get_mut(usize::from(location)).ok_or(FAULT)
    }
}

impl Firmware for Shelf {
    fn read(&mut self, location: u16, _select: u8) -> Result<u32, Fault> {
        match self.next() {
            Some(Wrong::Error | Wrong::LateError) => Err(FAULT),
            _ => self.place(location).map(|value| *value),
        }
    }

    fn write(&mut self, location: u16, _select: u8, value: u32) -> Result<(), Fault> {
        match self.next() {
            None => *self.place(location)? = value,
            Some(Wrong::Error) => return Err(FAULT),
            Some(Wrong::LateError) => {
                *self.place(location)? = value;
                return Err(FAULT);
            }
            Some(Wrong::Ignored) => {}
        }
        Ok(())
    }

    fn has_password(&mut self) -> bool {
        false
    }

    fn stop(&mut self) -> Option<u32> {
        (self.stop == Some(self.calls)).then_some(uapi::DSMIL_REASON_INTERRUPTED)
    }
}

fn entries() -> [Entry; 3] {
    [0_u16, 1, 2].map(|location| {
        let new = NEW.get(usize::from(location)).copied().unwrap_or(0);
        Entry::new(location, location, 0, new, None)
    })
}

/// Undoes and tells nobody.
fn undo(shelf: &mut Shelf, entries: &mut [Entry]) -> Undone {
    transaction::undo(shelf, entries, |_, _, _| {})
}

#[cfg_attr(not(test), kernel::macros::kunit_tests(dsmil_transaction))]
mod tests {
    use super::*;

    #[test]
    fn commit_writes_all_and_undo_brings_all_back() {
        let (mut shelf, mut entries) = (Shelf::new(), entries());
        assert_eq!(transaction::commit(&mut shelf, &mut entries), Ok(()));
        assert_eq!(shelf.values, NEW);
        // Each is read, then written and read back.
        assert_eq!(shelf.calls, 9);
        assert_eq!(transaction::touched(&entries), 3);
        let undone = undo(&mut shelf, &mut entries);
        assert_eq!((undone.undone, undone.left), (3, 0));
        assert_eq!(shelf.values, OLD);
        assert_eq!(shelf.calls, 18);
        assert_eq!(transaction::touched(&entries), 0);
    }

    #[test]
    fn commit_of_what_is_not_expected_writes_nothing() {
        let (mut shelf, mut entries) = (Shelf::new(), entries());
        if let Some(entry) = entries.last_mut() {
            entry.expected = Some(31);
        }
        let failure = transaction::commit(&mut shelf, &mut entries).err();
        assert!(failure.is_some_and(|failure| {
            failure.reason == uapi::DSMIL_REASON_EXPECTED
                && failure.index == Some(2)
                && failure.found == 30
        }));
        assert_eq!((shelf.values, shelf.calls), (OLD, 3));
        assert_eq!(transaction::touched(&entries), 0);
    }

    #[test]
    fn commit_that_fails_at_any_call_is_undone() {
        for wrong in [Wrong::Error, Wrong::LateError, Wrong::Ignored] {
            for call in 0..9 {
                let (mut shelf, mut entries) = (Shelf::new(), entries());
                shelf.break_for(wrong, call, 1);
                // What is ignored is a write; a read cannot be.
                let is_hit = !matches!(wrong, Wrong::Ignored) || call >= 3 && call % 2 == 1;
                let done = transaction::commit(&mut shelf, &mut entries);
                assert_eq!(done.is_err(), is_hit);
                let undone = undo(&mut shelf, &mut entries);
                assert!(undone.failure.is_none() && undone.left == 0);
                assert_eq!(shelf.values, OLD);
            }
        }
    }

    #[test]
    fn commit_that_is_stopped_says_why_and_is_undone() {
        for stop in [0, 1, 2, 3, 5, 7] {
            let (mut shelf, mut entries) = (Shelf::new(), entries());
            shelf.stop = Some(stop);
            let failure = transaction::commit(&mut shelf, &mut entries).err();
            assert!(failure.is_some_and(|failure| {
                failure.reason == uapi::DSMIL_REASON_INTERRUPTED && failure.index.is_none()
            }));
            assert_eq!(shelf.calls, stop);
            // Stopping is for commits.
            shelf.stop = Some(shelf.calls);
            assert!(undo(&mut shelf, &mut entries).failure.is_none());
            assert_eq!(shelf.values, OLD);
        }
    }

    #[test]
    fn undo_that_is_tried_again_overwrites_nobody() {
        let (mut shelf, mut entries) = (Shelf::new(), entries());
        assert_eq!(transaction::commit(&mut shelf, &mut entries), Ok(()));
        // All its writes fail, and then somebody else writes.
        shelf.break_for(Wrong::Ignored, 0, 9);
        let undone = undo(&mut shelf, &mut entries);
        assert!(undone.failure.is_some() && undone.undone == 0);
        assert_eq!(shelf.values, NEW);
        shelf.wrong = None;
        shelf.values = [11, 77, 31];
        let mut left = None;
        let undone = transaction::undo(&mut shelf, &mut entries, |_, entry, fate| {
            if let Fate::Left { found, .. } = fate {
                left = Some((entry.id, found));
            }
        });
        assert_eq!((undone.undone, undone.left), (2, 1));
        assert_eq!(left, Some((1, 77)));
        assert_eq!(shelf.values, [10, 77, 30]);
    }

    #[test]
    fn undo_tells_what_it_has_replaced() {
        let (mut shelf, mut entries) = (Shelf::new(), entries());
        // The second write takes place, but is said to have failed.
        shelf.break_for(Wrong::LateError, 5, 1);
        assert!(transaction::commit(&mut shelf, &mut entries).is_err());
        let mut replaced = [None; 3];
        transaction::undo(&mut shelf, &mut entries, |_, entry, fate| {
            if let (Fate::Back { replaced: from }, Some(place)) =
                (fate, replaced.get_mut(usize::from(entry.location)))
            {
                *place = Some(from);
            }
        });
        assert_eq!(replaced, [Some(11), Some(21), None]);
    }
}
