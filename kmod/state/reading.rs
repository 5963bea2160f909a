// SPDX-License-Identifier: GPL-2.0-only

//! Values, from the firmware and from the cache.

use super::{
    calls::now,
    Shared, //
};
use crate::{
    board::Cached,
    counters::Counter,
    event::event,
    failure::{
        kernel_failure,
        refuse,
        room_failure,
        wait_failure,
        Outcome, //
    },
    glue::{
        self,
        Who, //
    },
    time::NSEC_PER_MSEC,
    token::{
        self,
        Token, //
    },
    uapi,
};
use kernel::{
    bindings,
    prelude::*, //
};

/// Most entries that are looked up under the board's lock at once: some microseconds.
const LOOK_MAX: usize = 64;
/// There is no value in the cache.
const NO_DATA: i32 = bindings::ENODATA as i32;
/// How often a snapshot is begun anew before it is given up.
const SNAPSHOT_ATTEMPTS: u32 = 4;

/// Which cached values will do.
#[derive(Clone, Copy)]
pub(crate) struct Age {
    /// When the call began.
    began: u64,
    /// Those from this time on.
    since: u64,
    /// The firmware is not asked for others.
    only_cached: bool,
}

impl Age {
    /// No older than so many milliseconds, or `DSMIL_AGE_ANY`.
    pub(crate) fn new(max_age_ms: u32) -> Self {
        let began = now();
        let only_cached = max_age_ms == uapi::DSMIL_AGE_ANY;
        let span = u64::from(max_age_ms) * NSEC_PER_MSEC.unsigned_abs();
        Self {
            began,
            since: if only_cached {
                0
            } else {
                began.saturating_sub(span)
            },
            only_cached,
        }
    }
}

/// A snapshot that has succeeded.
pub(crate) struct Snapshot {
    /// In ascending order of ids, then selects.
    pub(crate) entries: KVVec<uapi::dsmil_read_entry>,
    /// Generation of all values.
    pub(crate) generation: u64,
    /// When it began, CLOCK_BOOTTIME in nanoseconds.
    pub(crate) time: u64,
    /// Entries with an error.
    pub(crate) failed: u32,
}

impl Shared {
    /// Fills in the entries of a read: each its value, or its error. Returns how many failed.
    ///
    /// # Errors
    ///
    /// The limit of the rate, or a signal: then nothing is filled in that means something.
    pub(crate) fn read(&self, entries: &mut [uapi::dsmil_read_entry], age: Age) -> Outcome<u32> {
        if age.only_cached {
            return Ok(self.read_cached::<false>(entries, age));
        }
        let wanted = |entry: &&uapi::dsmil_read_entry| {
            self.place(entry, None)
                .is_ok_and(|(index, _)| self.usable(index, entry.select, age).is_none())
        };
        let mut budget = entries.iter().filter(wanted).count() as u32;
        self.take_reads(budget)?;
        let mut failed = 0;
        let mut done = Ok(());
        for entry in entries {
            if budget > 0 && glue::is_interrupted() {
                done = refuse(uapi::DSMIL_REASON_INTERRUPTED);
                break;
            }
            let asked = self.read_entry(entry, age);
            budget = budget.saturating_sub(u32::from(asked));
            failed += u32::from(entry.error != 0);
        }
        // Of two tokens at one location the second costs no call; a signal leaves some out.
        if budget > 0 {
            self.limits.lock().read.give_back(budget);
        }
        done.map(|()| failed)
    }

    /// Fills in the entries from the cache alone; quicker if they are said to be in the table's order. Returns
    /// how many failed.
    fn read_cached<const IN_ORDER: bool>(
        &self,
        entries: &mut [uapi::dsmil_read_entry],
        age: Age,
    ) -> u32 {
        let (mut failed, mut cached) = (0, 0);
        let mut near = None;
        for some in entries.chunks_mut(LOOK_MAX) {
            let look = self.board.look();
            for entry in some {
                let found = match self.place(entry, near) {
                    Ok((index, _)) => {
                        near = IN_ORDER.then_some(index);
                        look.cached(index, entry.select).ok_or(NO_DATA)
                    }
                    Err(error) => Err(-error.to_errno()),
                };
                match found {
                    Ok(found) => {
                        entry.value = found.value;
                        entry.age_ns = age.began.saturating_sub(found.time);
                        cached += 1;
                    }
                    Err(error) => {
                        *entry = blank(entry.id, entry.select);
                        entry.error = error;
                        failed += 1;
                    }
                }
            }
        }
        self.counters.add(Counter::Cached, cached);
        failed
    }

    /// Every readable token with each of the selects, of one generation.
    pub(crate) fn snapshot(&self, selects: u32, room: u32, age: Age) -> Outcome<Snapshot> {
        let mut attempts = SNAPSHOT_ATTEMPTS;
        let mut entries = self.snapshot_entries(selects, room)?;
        loop {
            let Some(generation) = self.board.settled_generation() else {
                return refuse(uapi::DSMIL_REASON_INTERRUPTED);
            };
            let failed = if age.only_cached {
                self.read_cached::<true>(&mut entries, age)
            } else {
                self.read(&mut entries, age)?
            };
            if self.board.published().generation == generation {
                return Ok(Snapshot {
                    entries,
                    generation,
                    time: age.began,
                    failed,
                });
            }
            attempts -= 1;
            if attempts == 0 {
                return refuse(uapi::DSMIL_REASON_CHANGED);
            }
            self.counters.count(Counter::SnapshotsAgain);
            for entry in &mut entries {
                *entry = blank(entry.id, entry.select);
            }
        }
    }

    fn snapshot_entries(&self, selects: u32, room: u32) -> Outcome<KVVec<uapi::dsmil_read_entry>> {
        let readable = self.tokens.iter().filter(|t| t.readable()).count() as u32;
        // Does not overflow: three times `TOKENS_MAX` at most.
        let needed = readable * selects.count_ones();
        if needed > room {
            return Err(room_failure(needed));
        }
        let no_memory = |error: kernel::alloc::AllocError| kernel_failure(error.into());
        let mut entries = KVVec::with_capacity(needed as usize, GFP_KERNEL).map_err(no_memory)?;
        for token in self.tokens.iter().filter(|t| t.readable()) {
            for select in (0..=uapi::DSMIL_SELECT_AC).filter(|s| selects & 1 << s != 0) {
                let entry = blank(token.id, select as u8);
                entries.push(entry, GFP_KERNEL).map_err(no_memory)?;
            }
        }
        Ok(entries)
    }

    /// Takes so many reads from the limit.
    fn take_reads(&self, count: u32) -> Outcome<()> {
        if count == 0 {
            return Ok(());
        }
        let taken = self.limits.lock().read.take(count, glue::now());
        taken.map_err(|wait_ms| {
            self.counters.count(Counter::ReadsLimited);
            wait_failure(wait_ms)
        })
    }

    /// Fills in one entry; true if the firmware was asked.
    fn read_entry(&self, entry: &mut uapi::dsmil_read_entry, age: Age) -> bool {
        let place = self.place(entry, None);
        *entry = blank(entry.id, entry.select);
        let (index, token) = match place {
            Ok(place) => place,
            Err(error) => {
                entry.error = -error.to_errno();
                return false;
            }
        };
        if let Some(found) = self.usable(index, entry.select, age) {
            entry.value = found.value;
            if found.time < age.began {
                entry.age_ns = age.began - found.time;
                self.counters.count(Counter::Cached);
            }
            return false;
        }
        self.read_fresh(entry, index, token);
        true
    }

    fn read_fresh(&self, entry: &mut uapi::dsmil_read_entry, index: usize, token: &Token) {
        let generation = self.board.published().generation;
        let time = now();
        match self.call_read(token.location, entry.select) {
            Ok(value) => {
                entry.value = value;
                let found = Cached { value, time };
                self.keep(index, token, entry.select, found, generation);
            }
            Err(fault) => {
                entry.status = fault.status;
                entry.error = fault.error;
                self.tell(uapi::dsmil_event {
                    id: token.id,
                    select: entry.select,
                    error: fault.error,
                    status: fault.status,
                    command: uapi::DSMIL_IOC_READ,
                    ..event(uapi::DSMIL_EVENT_FIRMWARE, Who::current())
                });
            }
        }
    }

    /// Keeps a value, and tells if somebody else has changed it.
    fn keep(&self, index: usize, token: &Token, select: u8, found: Cached, generation: u64) {
        // While something is being written, a value that was read beside it may be of any time.
        if generation % 2 != 0 {
            return;
        }
        let before = self.board.keep(index, select, found, generation);
        if token.shared {
            for (other, t) in self.tokens.iter().enumerate() {
                if t.location == token.location && other != index {
                    self.board.keep(other, select, found, generation);
                }
            }
        }
        if let Some(before) = before.filter(|before| before.value != found.value) {
            self.tell_elsewhere(token.id, select, before.value, found.value);
        }
    }

    /// The cached value, if it is young enough.
    fn usable(&self, index: usize, select: u8, age: Age) -> Option<Cached> {
        let found = self.board.cached(index, select)?;
        (found.time >= age.since).then_some(found)
    }

    /// The token that an entry is about, if it can be read; `near` is where the one before it stands.
    fn place(
        &self,
        entry: &uapi::dsmil_read_entry,
        near: Option<usize>,
    ) -> Result<(usize, &Token)> {
        let is_plain = entry.reserved == 0
            && entry.value == 0
            && entry.error == 0
            && entry.status == 0
            && entry.age_ns == 0;
        if !is_plain || u32::from(entry.select) > uapi::DSMIL_SELECT_AC {
            return Err(EINVAL);
        }
        let index = token::position_near(&self.tokens, entry.id, near).ok_or(ENOENT)?;
        let token = self.tokens.get(index).ok_or(ENOENT)?;
        if !token.readable() {
            return Err(EACCES);
        }
        Ok((index, token))
    }
}

/// An entry that says nothing yet.
fn blank(id: u16, select: u8) -> uapi::dsmil_read_entry {
    uapi::dsmil_read_entry {
        id,
        select,
        ..Default::default()
    }
}
