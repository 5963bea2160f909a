//! The leaf hashes of a log one after another: of entries that are there, and of those that were archived.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::hash::Hash;

use super::archived::{self, Archived};
use super::cursor::{Cursor, Step};
use super::segment::Kind;
use crate::bytes::{length, size};
use crate::disk::Disk;
use crate::error::{Error, Place};
use crate::merkle::leaf_hash;
use crate::tiles::{self, Edge, WIDTH, files};

/// The leaf hashes of a range of entries; fewer where the log ends.
pub(crate) struct Leaves {
    cursor: Cursor,
    range: Range<u64>,
    queue: VecDeque<Hash>,
}

impl Leaves {
    /// `live`: whether another process may write meanwhile.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path, range: Range<u64>, live: bool) -> Result<Self, Error> {
        let cursor = Cursor::new(disk, dir, Kind::Entries, range.start, live)?;
        if cursor.first().is_some_and(|first| first > range.start) {
            let place = Place::Entries(range.start..cursor.next().min(range.end).max(range.start + 1));
            return Err(Error::damaged(cursor.path(), 0, place, "the files that hold them are missing"));
        }
        Ok(Self { cursor, range, queue: VecDeque::new() })
    }
}

impl Iterator for Leaves {
    type Item = Result<Hash, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.is_empty() {
            if self.cursor.next() >= self.range.end {
                return None;
            }
            match self.cursor.step() {
                Ok(Step::Batch(batch)) => {
                    let wanted = batch.entries().filter(|entry| self.range.contains(&entry.index));
                    self.queue.extend(wanted.map(|entry| leaf_hash(entry.bytes)));
                }
                Ok(Step::End(_)) => return None,
                Err(error) => {
                    // Asked again it would fail again.
                    self.range.end = 0;
                    return Some(Err(error));
                }
            }
        }
        self.queue.pop_front().map(Ok)
    }
}

/// The leaf hashes of the entries that were archived, out of tiles.
pub(crate) struct ArchivedLeaves {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    archived: Option<Archived>,
    next: u64,
    queue: VecDeque<Hash>,
}

impl ArchivedLeaves {
    /// Of the log in this folder; none where nothing was archived.
    pub(crate) fn of_log(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        let archived = archived::read_on(&*disk, dir)?;
        Ok(Self { disk, dir: dir.into(), archived, next: 0, queue: VecDeque::new() })
    }

    /// How many they are.
    pub(crate) fn until(&self) -> u64 {
        self.archived.as_ref().map_or(0, Archived::until)
    }

    /// Compares the log and the tree over them with what was recorded when they were archived.
    pub(super) fn check(&self, tree: &Edge, id: Option<[u8; 16]>) -> Result<(), Error> {
        let path = self.dir.join(archived::NAME);
        match &self.archived {
            Some(archived) if id.is_some_and(|id| id != archived.id()) => {
                Err(Error::damaged(&path, 0, Place::File, "it belongs to another log"))
            }
            Some(archived) if archived.edge() != tree => {
                let why = "the tree in it is not the one of the tiles over the archived entries";
                Err(Error::damaged(&path, 0, Place::Entries(0..archived.until()), why))
            }
            _ => Ok(()),
        }
    }

    /// Reads the next tile; the last one that is not whole is in the mark of the archive.
    fn fill(&mut self) -> Result<(), Error> {
        let (index, width) =
            (self.next / length(WIDTH), size(self.until().saturating_sub(self.next).min(length(WIDTH))));
        let hashes = match (&self.archived, width) {
            (_, WIDTH) => files::read(&*self.disk, &self.dir, (0, index), WIDTH),
            (Some(archived), _) => Some(archived.edge().hashes(0).to_vec()),
            (None, _) => None,
        };
        let hashes = hashes.filter(|hashes| hashes.len() == width).ok_or_else(|| {
            let path = self.dir.join(tiles::path(0, index, WIDTH));
            let range = self.next..self.next + length(width);
            let why = "the tile over these archived entries is missing or torn";
            Error::damaged(&path, 0, Place::Entries(range), why)
        })?;
        self.next += length(width);
        self.queue.extend(hashes);
        Ok(())
    }
}

impl Iterator for ArchivedLeaves {
    type Item = Result<Hash, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.queue.is_empty()
            && self.next < self.until()
            && let Err(error) = self.fill()
        {
            self.archived = None;
            return Some(Err(error));
        }
        self.queue.pop_front().map(Ok)
    }
}
