//! What is under way, in the order of the calls.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use crate::bytes::size;
use crate::chunk::ChunkId;
use crate::chunk::codec::Body;
use crate::chunk::pack::Location;
use crate::error::Error;

/// What the writer is asked for.
pub(super) enum Order {
    Chunk(ChunkId, Body),
    Sync,
}

enum Slot {
    /// A worker has it, or will.
    Raw(ChunkId),
    Ready(Order),
}

/// What keeps the writer from going on.
#[derive(Default)]
pub(super) enum Trouble {
    #[default]
    None,
    /// The caller does not know yet.
    New(Error),
    /// The caller knows, and has not come back.
    Told,
    /// The caller has come back: it is tried again.
    Retried,
    /// Nothing goes on after a failed flush.
    Failed(Option<Error>),
}

#[derive(Default)]
pub(super) struct Line {
    /// What no worker has begun with.
    pub(super) raw: VecDeque<(u64, Vec<u8>)>,
    slots: VecDeque<Slot>,
    /// The ticket of the first slot.
    first: u64,
    /// Every ticket below it is done.
    pub(super) finished: u64,
    /// The bytes of all chunks under way, before compression.
    pub(super) bytes: usize,
    /// Where chunks lie that the caller has not asked about since.
    pub(super) stored: Vec<(ChunkId, Location)>,
    pub(super) trouble: Trouble,
    pub(super) closing: bool,
}

impl Line {
    pub(super) fn put(&mut self, id: ChunkId, plain: Vec<u8>) -> u64 {
        let ticket = self.first + crate::bytes::length(self.slots.len());
        self.bytes += plain.len();
        self.slots.push_back(Slot::Raw(id));
        self.raw.push_back((ticket, plain));
        ticket
    }

    pub(super) fn push(&mut self, order: Order) -> u64 {
        let ticket = self.first + crate::bytes::length(self.slots.len());
        self.slots.push_back(Slot::Ready(order));
        ticket
    }

    /// A chunk is compressed; says whether the writer can have it now.
    pub(super) fn fill(&mut self, ticket: u64, body: Body) -> bool {
        let place = size(ticket - self.first);
        if let Some(slot) = self.slots.get_mut(place)
            && let Slot::Raw(id) = slot
        {
            *slot = Slot::Ready(Order::Chunk(*id, body));
        }
        place == 0
    }

    /// What the writer does next.
    pub(super) fn next(&mut self) -> Option<Order> {
        match self.slots.pop_front()? {
            Slot::Ready(order) => {
                self.first += 1;
                Some(order)
            }
            raw @ Slot::Raw(_) => {
                self.slots.push_front(raw);
                None
            }
        }
    }

    pub(super) fn finish(&mut self, order: Option<Order>, stored: Option<(ChunkId, Location)>) {
        self.finished += 1;
        if let Some(Order::Chunk(_, body)) = order {
            self.bytes -= size(body.plain_bytes.into());
        }
        self.stored.extend(stored);
    }

    pub(super) fn under_way(&self) -> usize {
        self.slots.len()
    }

    /// Tells the caller what is wrong, if that is not known yet.
    pub(super) fn tell(&mut self, dir: &Path) -> Result<(), Error> {
        match std::mem::take(&mut self.trouble) {
            Trouble::New(error) => {
                self.trouble = Trouble::Told;
                Err(error)
            }
            Trouble::Failed(error) => {
                self.trouble = Trouble::Failed(None);
                Err(error.unwrap_or_else(|| failed(dir)))
            }
            other => {
                self.trouble = other;
                Ok(())
            }
        }
    }

    /// Whether what is under way cannot go on by itself.
    pub(super) fn troubled(&self, dir: &Path) -> Result<(), Error> {
        match &self.trouble {
            Trouble::None | Trouble::Retried => Ok(()),
            Trouble::Failed(_) => Err(failed(dir)),
            Trouble::New(Error::Full { path }) => Err(Error::Full { path: path.clone() }),
            Trouble::New(_) | Trouble::Told => {
                Err(Error::io("read what could not be written to", dir, io::Error::other("writing failed")))
            }
        }
    }
}

fn failed(dir: &Path) -> Error {
    Error::flush(dir, io::Error::other("an earlier flush failed"))
}
