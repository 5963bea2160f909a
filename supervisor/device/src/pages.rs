//! The state and the cached values without a system call.

use std::mem::offset_of;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use types::token::{Select, TokenId};
use types::unit::MilliCelsius;

use crate::error::system;
use crate::info::{heat, outcome, temperature};
use crate::mapping::Mapping;
use crate::uapi::{self, dsmil_cell, dsmil_page};
use crate::{Error, Heat, Outcome};

/// Attempts at a consistent look. The module changes the pages for some microseconds at a time; whoever meets more than
/// this keeps it from running and must not wait for it.
const ATTEMPTS_MAX: u32 = 1024;

/// Bytes of a [`Place`]'s unit.
const WORD: u32 = 8;

// What is read here of a cell, and how.
const _: () = assert!(
    offset_of!(dsmil_cell, time_ns) == 0
        && offset_of!(dsmil_cell, value) == 8
        && offset_of!(dsmil_cell, id) == 12
        && offset_of!(dsmil_cell, select) == 14
);

/// The mapped pages of a node: read-only, and as fresh as the module's cache.
///
/// What the head says of the cells is looked at once, when they are mapped. Copies of what never changes are kept, so
/// that nothing that is found later is trusted with an address.
#[derive(Debug)]
pub struct Pages {
    reader: Reader<Mapping>,
}

/// Where one value is: found once by [`Pages::find`], then read by [`Pages::get`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(Place);

/// What a location held when the firmware was last asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The location's value.
    pub value: u32,
    /// When the firmware gave it: CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
}

/// One value of the pages, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The token.
    pub id: TokenId,
    /// Which value.
    pub select: Select,
    /// What it held.
    pub cached: Cached,
}

/// A consistent copy of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The module's state.
    pub state: PageState,
    /// The values that were ever read, in ascending order of ids, then of the selects' codes.
    pub values: Vec<Held>,
}

/// The module's state at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageState {
    /// Raised when a commit or an undo begins to write, and when it has ended.
    pub generation: u64,
    /// Number of the present or, when idle, the last transaction; 0: none since the module was loaded.
    pub transaction: u64,
    /// Where the transaction stands.
    pub phase: Phase,
    /// When it is dropped or undone, or its undo tried again: CLOCK_BOOTTIME, nanoseconds.
    pub deadline_ns: Option<u64>,
    /// Attempts of an undo that failed so far.
    pub attempts: u32,
    /// Changes of the present transaction.
    pub entries: u32,
    /// How the last transaction that ended did.
    pub outcome: Outcome,
    /// Locations that undos left alone because somebody else had changed them, since load.
    pub left: u32,
    /// Number of the newest event; 0: none since the module was loaded.
    pub events: u64,
    /// What the processor's temperature means.
    pub heat: Heat,
    /// The processor's temperature, if it is known.
    pub temperature: Option<MilliCelsius>,
}

/// Where the module's one transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Idle,
    /// Begun, and not yet committed.
    Open,
    /// Written, waiting for its confirmation.
    Pending,
    /// An undo failed and is being retried.
    Undoing,
    /// One that this build does not know.
    Other(u32),
}

impl Pages {
    pub(crate) fn map(fd: BorrowedFd<'_>, bytes: usize) -> Result<Self, Error> {
        let mapping = Mapping::new(fd, bytes).map_err(|source| system("map", source))?;
        Ok(Self { reader: Reader::new(mapping)? })
    }

    /// Where a value is, if the firmware's table has the token. Constant while the module is loaded.
    #[must_use]
    pub fn find(&self, id: TokenId, select: Select) -> Option<Cell> {
        self.reader.find(id, select)
    }

    /// What a cell holds, if its value was ever read. Takes a few instructions; a cell of other pages gives whatever
    /// is in its place here.
    ///
    /// # Errors
    ///
    /// [`Error::Changed`]: the module kept changing the pages, or is kept from ending a change; ask it with
    /// [`crate::Device::read_cached`].
    #[inline]
    pub fn get(&self, cell: Cell) -> Result<Option<Cached>, Error> {
        self.reader.get(cell)
    }

    /// What a value is, if it was ever read. [`Self::find`] and [`Self::get`] in one.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn value(&self, id: TokenId, select: Select) -> Result<Option<Cached>, Error> {
        self.find(id, select).map_or(Ok(None), |cell| self.get(cell))
    }

    /// The module's state.
    ///
    /// # Errors
    ///
    /// As [`Self::get`]; [`crate::Device::info`] says the same.
    pub fn state(&self) -> Result<PageState, Error> {
        self.reader.state()
    }

    /// State and values of one moment.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn all(&self) -> Result<Contents, Error> {
        self.reader.all()
    }
}

/// Where something lies: words of eight bytes from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) usize);

/// Memory that somebody else writes while it is read here: each number is loaded at once, in relaxed order.
pub(crate) trait Memory {
    /// Its size, at least that of the head.
    fn bytes(&self) -> usize;
    /// The four bytes at `AT` of the head.
    fn head32<const AT: usize>(&self) -> u32;
    /// The eight bytes at `AT` of the head.
    fn head64<const AT: usize>(&self) -> u64;
    /// Time and value of the cell at a place; zeroes, which are no value, beyond the end.
    fn cell(&self, place: Place) -> (u64, u32);
    /// Id, select and reserved byte of the cell at a place, as they lie there.
    fn label(&self, place: Place) -> Option<u32>;
    /// Loads before this are made before those after it: an acquire fence.
    fn fence(&self);
}

/// The sequence lock's reading side over any memory.
#[derive(Debug)]
pub(crate) struct Reader<M> {
    memory: M,
    /// The cells' names, ascending: id, then select.
    names: Vec<(u16, u8)>,
    /// The first cell.
    first: usize,
    /// Words between two cells.
    step: usize,
}

impl<M: Memory> Reader<M> {
    /// Looks at what the head says of the cells.
    pub(crate) fn new(memory: M) -> Result<Self, Error> {
        let (found, needed) = (memory.head32::<{ offset_of!(dsmil_page, abi) }>(), uapi::DSMIL_ABI_VERSION);
        if found < needed {
            return Err(Error::Abi { found, needed });
        }
        let offset = memory.head32::<{ offset_of!(dsmil_page, cells_offset) }>();
        let bytes = memory.head32::<{ offset_of!(dsmil_page, cell_bytes) }>();
        let cells = memory.head32::<{ offset_of!(dsmil_page, cells) }>();
        let strange = || system("map", Errno::EPROTO);
        let wide = |value: u32| usize::try_from(value).map_err(|_| strange());
        let end = u64::from(offset) + u64::from(bytes) * u64::from(cells);
        let fits = offset.is_multiple_of(WORD)
            && bytes.is_multiple_of(WORD)
            && wide(offset)? >= size_of::<dsmil_page>()
            && wide(bytes)? >= size_of::<dsmil_cell>()
            && usize::try_from(end).is_ok_and(|end| end <= memory.bytes());
        if !fits {
            return Err(strange());
        }
        let (first, step) = (wide(offset / WORD)?, wide(bytes / WORD)?);
        let mut names = Vec::with_capacity(wide(cells)?);
        for index in 0..wide(cells)? {
            let label = memory.label(Place(first + index * step)).ok_or_else(strange)?;
            let [low, high, select, _] = label.to_ne_bytes();
            let name = (u16::from_ne_bytes([low, high]), select);
            // Ascending, or a search would miss some.
            if names.last().is_some_and(|last| *last >= name) {
                return Err(strange());
            }
            names.push(name);
        }
        Ok(Self { memory, names, first, step })
    }

    fn place(&self, index: usize) -> Place {
        Place(self.first + index * self.step)
    }

    pub(crate) fn find(&self, id: TokenId, select: Select) -> Option<Cell> {
        let found = self.names.binary_search(&(id.0, select.code()));
        found.ok().map(|index| Cell(self.place(index)))
    }

    #[inline]
    pub(crate) fn get(&self, cell: Cell) -> Result<Option<Cached>, Error> {
        self.consistent(|memory| memory.cell(cell.0)).map(cached)
    }

    pub(crate) fn state(&self) -> Result<PageState, Error> {
        self.consistent(state)
    }

    pub(crate) fn all(&self) -> Result<Contents, Error> {
        let mut held = Vec::with_capacity(self.names.len());
        let state = self.consistent(|memory| {
            held.clear();
            held.extend((0..self.names.len()).map(|index| memory.cell(self.place(index))));
            state(memory)
        })?;
        let values = self.names.iter().zip(held).filter_map(|((id, select), held)| {
            Some(Held { id: TokenId(*id), select: Select::from_code(*select)?, cached: cached(held)? })
        });
        Ok(Contents { state, values: values.collect() })
    }

    /// What `take` finds while nothing is being changed.
    #[inline]
    fn consistent<T>(&self, mut take: impl FnMut(&M) -> T) -> Result<T, Error> {
        match self.attempt(&mut take) {
            ControlFlow::Break(taken) => Ok(taken),
            ControlFlow::Continue(()) => self.keep_trying(take),
        }
    }

    #[cold]
    fn keep_trying<T>(&self, mut take: impl FnMut(&M) -> T) -> Result<T, Error> {
        for _ in 1..ATTEMPTS_MAX {
            std::hint::spin_loop();
            if let ControlFlow::Break(taken) = self.attempt(&mut take) {
                return Ok(taken);
            }
        }
        Err(Error::Changed)
    }

    #[inline]
    fn attempt<T>(&self, take: &mut impl FnMut(&M) -> T) -> ControlFlow<T> {
        let before = self.sequence();
        if before % 2 == 1 {
            return ControlFlow::Continue(());
        }
        // What is taken is at least as new as the sequence. A fence and not an acquiring load, which the standard
        // library does not promise to work on read-only memory.
        self.memory.fence();
        let taken = take(&self.memory);
        // If any of it is newer, so is the sequence that comes now.
        self.memory.fence();
        if self.sequence() == before { ControlFlow::Break(taken) } else { ControlFlow::Continue(()) }
    }

    #[inline]
    fn sequence(&self) -> u32 {
        self.memory.head32::<{ offset_of!(dsmil_page, sequence) }>()
    }
}

/// A cell's time and value; a time of zero is that of no value.
#[inline]
fn cached((time_ns, value): (u64, u32)) -> Option<Cached> {
    (time_ns != 0).then_some(Cached { value, time_ns })
}

fn state<M: Memory>(memory: &M) -> PageState {
    let deadline_ns = memory.head64::<{ offset_of!(dsmil_page, deadline_ns) }>();
    let felt = memory.head32::<{ offset_of!(dsmil_page, heat) }>();
    let temperature_mc = memory.head32::<{ offset_of!(dsmil_page, temperature_mc) }>();
    PageState {
        generation: memory.head64::<{ offset_of!(dsmil_page, generation) }>(),
        transaction: memory.head64::<{ offset_of!(dsmil_page, transaction) }>(),
        phase: match memory.head32::<{ offset_of!(dsmil_page, state) }>() {
            uapi::DSMIL_STATE_IDLE => Phase::Idle,
            uapi::DSMIL_STATE_OPEN => Phase::Open,
            uapi::DSMIL_STATE_PENDING => Phase::Pending,
            uapi::DSMIL_STATE_UNDOING => Phase::Undoing,
            other => Phase::Other(other),
        },
        deadline_ns: (deadline_ns != 0).then_some(deadline_ns),
        attempts: memory.head32::<{ offset_of!(dsmil_page, attempts) }>(),
        entries: memory.head32::<{ offset_of!(dsmil_page, entries) }>(),
        outcome: outcome(memory.head32::<{ offset_of!(dsmil_page, outcome) }>()),
        left: memory.head32::<{ offset_of!(dsmil_page, left) }>(),
        events: memory.head64::<{ offset_of!(dsmil_page, events) }>(),
        heat: heat(felt),
        temperature: temperature(felt, temperature_mc.cast_signed()),
    }
}

#[cfg(test)]
mod tests;
