// SPDX-License-Identifier: GPL-2.0-only

//! The mapped pages: what user space sees without a system call, and the module's own cache.
//!
//! # Invariants
//!
//! - The sequence is odd exactly while the pages are being changed; changes exclude each other.
//! - A cell with a time holds what its location held at that time, as far as this module knows: our own
//!   writes invalidate it before they begin and set it anew when they have been read back.
//! - Time and value of a cell only ever change together, within one change.

use crate::{
    glue::Pages,
    heat,
    token::Token,
    uapi::{
        self,
        dsmil_cell,
        dsmil_page, //
    },
};
use core::mem::offset_of;
use kernel::{
    new_condvar, new_spinlock,
    prelude::*,
    sync::{
        CondVar,
        SpinLock,
        SpinLockGuard, //
    },
};

/// Selects of a location.
pub(crate) const SELECTS: usize = 3;
const _: () = assert!(uapi::DSMIL_SELECT_AC as usize + 1 == SELECTS);
/// Bytes of a cell.
const CELL: usize = size_of::<dsmil_cell>();
/// Where the cells begin.
const CELLS: usize = size_of::<dsmil_page>();

/// What the head of the pages says of the transaction.
#[derive(Clone, Copy, Default)]
pub(crate) struct Status {
    /// `DSMIL_STATE_*`.
    pub(crate) state: u32,
    /// `DSMIL_OUTCOME_*`.
    pub(crate) outcome: u32,
    /// Entries of the present transaction.
    pub(crate) entries: u32,
    /// Failed attempts at the undo under way.
    pub(crate) attempts: u32,
    /// Locations that undos have left alone.
    pub(crate) left: u32,
    /// Number of the present or last transaction.
    pub(crate) transaction: u64,
    /// When something is due, CLOCK_BOOTTIME in nanoseconds; 0: nothing.
    pub(crate) deadline_ns: u64,
}

/// A cached value.
#[derive(Clone, Copy)]
pub(crate) struct Cached {
    /// The location's value.
    pub(crate) value: u32,
    /// When the firmware was asked for it, CLOCK_BOOTTIME in nanoseconds, never 0.
    pub(crate) time: u64,
}

/// What is published beside the cells.
#[derive(Clone, Copy, Default)]
pub(crate) struct Published {
    /// About the transaction.
    pub(crate) status: Status,
    /// Raised when writing begins and when it has ended: odd in between.
    pub(crate) generation: u64,
    /// `DSMIL_HEAT_*`.
    pub(crate) heat: u32,
    /// The temperature in thousandths of a degree Celsius.
    pub(crate) temperature_mc: i32,
    /// Number of the newest event.
    pub(crate) events: u64,
    sequence: u32,
}

/// The pages and what stands in them.
#[pin_data]
pub(crate) struct Board {
    #[pin]
    published: SpinLock<Published>,
    /// Told when writing has ended.
    #[pin]
    settled: CondVar,
    pages: Pages,
}

impl Board {
    /// Pages for a table: all cells empty, nothing pending.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(table: &[Token]) -> Result<impl PinInit<Self>> {
        let cells = table.len() * SELECTS;
        let pages = Pages::new(CELLS + cells * CELL)?;
        pages.put32(offset_of!(dsmil_page, abi), uapi::DSMIL_ABI_VERSION);
        // None overflows: the table has `TOKENS_MAX` entries at most.
        pages.put32(offset_of!(dsmil_page, cells_offset), CELLS as u32);
        pages.put32(offset_of!(dsmil_page, cell_bytes), CELL as u32);
        pages.put32(offset_of!(dsmil_page, cells), cells as u32);
        for (index, token) in table.iter().enumerate() {
            for select in 0..SELECTS {
                let at = cell(index, select as u8);
                let constant = u32::from(token.id) | (select as u32) << 16;
                pages.put32(at + offset_of!(dsmil_cell, id), constant);
            }
        }
        Ok(pin_init!(Self {
            published <- new_spinlock!(Published::default(), "dsmil::Board::published"),
            settled <- new_condvar!("dsmil::Board::settled"),
            pages,
        }))
    }

    /// The pages, to be mapped.
    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// What is published beside the cells.
    pub(crate) fn published(&self) -> Published {
        *self.published.lock()
    }

    /// Publishes where the transaction stands.
    pub(crate) fn set_status(&self, status: Status) {
        self.change(|pages, published| {
            published.status = status;
            pages.put32(offset_of!(dsmil_page, state), status.state);
            pages.put32(offset_of!(dsmil_page, outcome), status.outcome);
            pages.put32(offset_of!(dsmil_page, entries), status.entries);
            pages.put32(offset_of!(dsmil_page, attempts), status.attempts);
            pages.put32(offset_of!(dsmil_page, left), status.left);
            pages.put64(offset_of!(dsmil_page, transaction), status.transaction);
            pages.put64(offset_of!(dsmil_page, deadline_ns), status.deadline_ns);
        });
    }

    /// Writing to the firmware begins or has ended.
    pub(crate) fn turn_generation(&self) {
        let generation = self.change(|pages, published| {
            published.generation += 1;
            pages.put64(offset_of!(dsmil_page, generation), published.generation);
            published.generation
        });
        if generation % 2 == 0 {
            self.settled.notify_all();
        }
    }

    /// The generation, once nothing is being written: never odd. None if a signal comes first.
    pub(crate) fn settled_generation(&self) -> Option<u64> {
        let mut published = self.published.lock();
        while published.generation % 2 != 0 {
            if self.settled.wait_interruptible(&mut published) {
                return None;
            }
        }
        Some(published.generation)
    }

    /// Publishes the temperature; what was published before, and the new level.
    ///
    /// The level follows from the one before, so that of two looks at once only one sees it change.
    pub(crate) fn set_temperature(&self, temperature: Option<i32>) -> (Published, u32) {
        self.change(|pages, published| {
            let before = *published;
            let heat = heat::level(before.heat, temperature);
            let temperature_mc = temperature.unwrap_or(0);
            published.heat = heat;
            published.temperature_mc = temperature_mc;
            pages.put32(offset_of!(dsmil_page, heat), heat);
            pages.put32(
                offset_of!(dsmil_page, temperature_mc),
                temperature_mc as u32,
            );
            (before, heat)
        })
    }

    /// Publishes the number of the newest event.
    pub(crate) fn set_events(&self, newest: u64) {
        self.change(|pages, published| {
            // Two events may come here in the other order.
            published.events = published.events.max(newest);
            pages.put64(offset_of!(dsmil_page, events), published.events);
        });
    }

    /// Fills in what is published beside the cells. Returns when something is due, 0: never.
    #[inline]
    pub(crate) fn describe(&self, info: &mut uapi::dsmil_info) -> u64 {
        let published = self.published.lock();
        let status = &published.status;
        info.generation = published.generation;
        info.events = published.events;
        info.transaction = status.transaction;
        info.state = status.state;
        info.outcome = status.outcome;
        info.entries = status.entries;
        info.attempts = status.attempts;
        info.left = status.left;
        info.heat = published.heat;
        info.temperature_mc = published.temperature_mc;
        status.deadline_ns
    }

    /// The cached value of a token.
    pub(crate) fn cached(&self, index: usize, select: u8) -> Option<Cached> {
        self.look().cached(index, select)
    }

    /// Keeps everything as it is, to look at several values: not at more than a few dozen, since it holds a
    /// spin lock.
    #[inline]
    pub(crate) fn look(&self) -> Look<'_> {
        Look {
            _published: self.published.lock(),
            pages: &self.pages,
        }
    }

    /// Keeps a value that the firmware gave when it was asked at `time`, unless writing has gone on since
    /// `generation` or another reader has seen more. Returns what stood there, if this is the newer.
    pub(crate) fn keep(
        &self,
        index: usize,
        select: u8,
        found: Cached,
        generation: u64,
    ) -> Option<Cached> {
        let at = cell(index, select);
        self.change(|pages, published| {
            let before = pages.cached(at);
            let is_newest = before.is_none_or(|before| before.time <= found.time);
            if published.generation != generation || !is_newest {
                return None;
            }
            pages.put_cached(at, found);
            before
        })
    }

    /// Sets a cell to what was read while this module writes, or empties it. Returns what stood there.
    pub(crate) fn set(&self, index: usize, select: u8, found: Option<Cached>) -> Option<Cached> {
        let at = cell(index, select);
        let found = found.unwrap_or(Cached { value: 0, time: 0 });
        self.change(|pages, _| {
            let before = pages.cached(at);
            pages.put_cached(at, found);
            before
        })
    }

    /// Changes the pages under the sequence lock.
    ///
    /// Every store to the pages is a release: the odd sequence is seen before anything that changes, and
    /// everything that has changed before the even one.
    fn change<T>(&self, change: impl FnOnce(&Pages, &mut Published) -> T) -> T {
        let mut published = self.published.lock();
        let at = offset_of!(dsmil_page, sequence);
        published.sequence = published.sequence.wrapping_add(1);
        self.pages.put32(at, published.sequence);
        let done = change(&self.pages, &mut published);
        published.sequence = published.sequence.wrapping_add(1);
        self.pages.put32(at, published.sequence);
        done
    }
}

/// The cached values while nothing changes.
pub(crate) struct Look<'a> {
    _published: SpinLockGuard<'a, Published>,
    pages: &'a Pages,
}

impl Look<'_> {
    /// The cached value of a token.
    #[inline]
    pub(crate) fn cached(&self, index: usize, select: u8) -> Option<Cached> {
        self.pages.cached(cell(index, select))
    }
}

impl Pages {
    #[inline]
    fn cached(&self, at: usize) -> Option<Cached> {
        let time = self.get64(at + offset_of!(dsmil_cell, time_ns));
        let value = self.get32(at + offset_of!(dsmil_cell, value));
        (time != 0).then_some(Cached { value, time })
    }

    fn put_cached(&self, at: usize, found: Cached) {
        self.put64(at + offset_of!(dsmil_cell, time_ns), found.time);
        self.put32(at + offset_of!(dsmil_cell, value), found.value);
    }
}

/// Where the cell of a token and select stands.
fn cell(index: usize, select: u8) -> usize {
    CELLS + (index * SELECTS + usize::from(select)) * CELL
}
