// SPDX-License-Identifier: GPL-2.0-only

//! Calls to the firmware that are seen by cache, counters and events.

use super::Shared;
use crate::{
    board::Cached,
    counters::Counter,
    event::event,
    firmware::Smbios,
    glue::{
        self,
        Who, //
    },
    transaction::{
        Fault,
        Firmware, //
    },
    uapi,
};
use kernel::sync::atomic::Relaxed;

/// The firmware, as a commit or an undo calls it.
///
/// Only under the lock of the state, while the generation says that writing goes on.
pub(super) struct Calls<'a> {
    pub(super) shared: &'a Shared,
    pub(super) transaction: u64,
    pub(super) who: Who,
    pub(super) command: u32,
    /// Number of the file that holds the transaction.
    pub(super) file: u64,
    /// It was begun so that sleep undoes it.
    pub(super) undo_on_suspend: bool,
}

impl Firmware for Calls<'_> {
    fn read(&mut self, location: u16, select: u8) -> Result<u32, Fault> {
        let time = now();
        let found = self.shared.call_read(location, select);
        match found {
            Ok(value) => self.found(location, select, Cached { value, time }),
            Err(fault) => self.tell(location, select, fault),
        }
        found
    }

    fn write(&mut self, location: u16, select: u8, value: u32) -> Result<(), Fault> {
        // From here on nothing is known of it, so that our own write is not taken for somebody else's.
        self.set(location, select, None);
        self.shared.counters.count(Counter::Writes);
        let done = Smbios.write(location, select, value);
        if let Err(fault) = done {
            self.shared.counters.count(Counter::WritesFailed);
            self.tell(location, select, fault);
        }
        done
    }

    fn has_password(&mut self) -> bool {
        Smbios.has_password()
    }

    fn stop(&mut self) -> Option<u32> {
        if glue::is_killed() {
            Some(uapi::DSMIL_REASON_INTERRUPTED)
        } else if self.shared.leaving.load(Relaxed) == self.file {
            Some(uapi::DSMIL_REASON_NO_TRANSACTION)
        } else if self.shared.closing.load(Relaxed)
            || self
                .shared
                .sleep()
                .is_some_and(|sleep| self.undo_on_suspend || sleep.powers_off())
        {
            Some(uapi::DSMIL_REASON_CLOSING)
        } else {
            None
        }
    }
}

impl Calls<'_> {
    /// Keeps what was read, and tells if somebody else has changed it since the last look.
    fn found(&self, location: u16, select: u8, found: Cached) {
        let before = self.set(location, select, Some(found));
        if let Some((id, before)) = before.filter(|(_, before)| before.value != found.value) {
            self.shared
                .tell_elsewhere(id, select, before.value, found.value);
        }
    }

    /// Sets all cells of a location or empties them. What stood in the first that held something, and its token.
    fn set(&self, location: u16, select: u8, found: Option<Cached>) -> Option<(u16, Cached)> {
        let mut first = None;
        for (index, token) in self.shared.tokens.iter().enumerate() {
            if token.location == location {
                let before = self.shared.board.set(index, select, found);
                first = first.or(before.map(|before| (token.id, before)));
            }
        }
        first
    }

    fn tell(&self, location: u16, select: u8, fault: Fault) {
        let mut tokens = self.shared.tokens.iter();
        let id = tokens.find(|t| t.location == location).map_or(0, |t| t.id);
        self.shared.tell(uapi::dsmil_event {
            transaction: self.transaction,
            command: self.command,
            id,
            select,
            error: fault.error,
            status: fault.status,
            ..event(uapi::DSMIL_EVENT_FIRMWARE, self.who)
        });
    }
}

impl Shared {
    /// Reads a location, counted.
    pub(super) fn call_read(&self, location: u16, select: u8) -> Result<u32, Fault> {
        self.counters.count(Counter::Reads);
        Smbios
            .read(location, select)
            .inspect_err(|_| self.counters.count(Counter::ReadsFailed))
    }

    /// Adds an event.
    pub(super) fn tell(&self, event: uapi::dsmil_event) {
        let newest = self.events.post(event);
        self.board.set_events(newest);
    }

    /// Somebody else has changed a value.
    pub(super) fn tell_elsewhere(&self, id: u16, select: u8, old: u32, new_value: u32) {
        self.counters.count(Counter::Elsewhere);
        self.tell(uapi::dsmil_event {
            id,
            select,
            old,
            new_value,
            detail: uapi::DSMIL_CAUSE_ELSEWHERE,
            ..event(uapi::DSMIL_EVENT_TOKEN, Who::default())
        });
    }

    /// The allow-list is sealed.
    pub(super) fn tell_sealed(&self, ids: usize) {
        self.tell(uapi::dsmil_event {
            command: uapi::DSMIL_IOC_ALLOW,
            detail: ids as u32,
            ..event(uapi::DSMIL_EVENT_SEALED, Who::current())
        });
    }

    /// A change is refused.
    pub(crate) fn tell_refused(&self, command: u32, failure: &uapi::dsmil_failure) {
        self.counters.count(Counter::Refused);
        self.tell(uapi::dsmil_event {
            command,
            reason: failure.reason,
            error: failure.error,
            status: failure.status,
            id: failure.id,
            ..event(uapi::DSMIL_EVENT_REFUSED, Who::current())
        });
    }
}

/// Now, as cells and events have it: never 0.
pub(super) fn now() -> u64 {
    glue::now().try_into().unwrap_or(1).max(1)
}
