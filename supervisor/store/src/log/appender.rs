//! Writes batches to the end of the files of one kind.

use std::path::PathBuf;
use std::sync::Arc;

use types::hash::Hash;

use super::cursor::{Cursor, Tail};
use super::frame;
use super::segment::{self, Kind};
use super::spare::{Chore, Spares};
use crate::bytes::length;
use crate::disk::{Disk, File, Mode};
use crate::error::Error;

/// How files grow, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    /// A file that has a batch gets no other that would make it larger than this.
    pub(super) segment_bytes: u64,
    /// How much is prepared at once.
    pub(super) step_bytes: u64,
    /// What stays prepared behind an ordinary batch.
    pub(super) reserve_bytes: u64,
}

/// Where a batch begins: the first index of its file, its offset there in bytes, and the index of its first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Spot {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) index: u64,
}

/// The end of a series of files.
#[derive(Debug)]
pub(super) struct Appender {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    kind: Kind,
    id: [u8; 16],
    growth: Growth,
    file: Box<dyn File>,
    path: PathBuf,
    seed: u32,
    /// The index of the first entry of the file.
    first: u64,
    /// The batch that was written last.
    last: Option<Spot>,
    /// Where the next batch goes.
    offset: u64,
    /// How far the file is prepared: all zeros from `offset` to here, flushed.
    prepared: u64,
    next: u64,
    /// Set by a failed write or flush: what the disk holds is unknown.
    failed: bool,
    spares: Spares,
    /// A spare was asked for while this file is filled: should it fail, it is tried again in the next one.
    asked: bool,
    buffer: Vec<u8>,
    leaves: Vec<Hash>,
}

impl Appender {
    /// Makes the first file of a series, whose first entry has the index `first`.
    pub(super) fn create(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        (kind, id): (Kind, [u8; 16]),
        first: u64,
        growth: Growth,
    ) -> Result<Self, Error> {
        let (file, path) = segment::create(&*disk, &dir, (kind, first), &id, growth.step_bytes)?;
        let prepared = segment::HEADER_BYTES + growth.step_bytes;
        let seed = frame::seed(&id, &kind.magic());
        let (offset, next, failed) = (segment::HEADER_BYTES, first, false);
        let (buffer, leaves) = (Vec::new(), Vec::new());
        Ok(Self {
            spares: Spares::new(Arc::clone(&disk), &dir),
            asked: false,
            disk,
            dir,
            kind,
            id,
            growth,
            file,
            path,
            seed,
            first,
            last: None,
            offset,
            prepared,
            next,
            failed,
            buffer,
            leaves,
        })
    }

    /// Goes on where a cursor found the end; cuts a torn tail.
    pub(super) fn resume(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        (kind, id): (Kind, [u8; 16]),
        growth: Growth,
        cursor: &Cursor,
        tail: Tail,
    ) -> Result<Self, Error> {
        let path = cursor.path().to_owned();
        let file = disk.open(&path, Mode::Append).map_err(|e| Error::io("open", &path, e))?;
        let offset = cursor.offset();
        let fail = |e| Error::io("repair the end of", &path, e);
        if tail.torn_bytes > 0 {
            segment::zero(&*file, &path, offset, offset + tail.torn_bytes, None)?;
        }
        if let Some((Spot { offset: at, .. }, bytes)) = cursor.last() {
            // The last batch may be in memory alone, if its flush failed and the process was started anew: a page that
            // failed counts as clean. Written again it is dirty again, and flushed for certain.
            let mut batch = vec![0; crate::bytes::size(bytes)];
            file.read_at(at, &mut batch).map_err(fail)?;
            file.write_at(at, &batch).map_err(fail)?;
        }
        file.sync().map_err(|e| Error::flush(&path, e))?;
        // Likewise for the name of a file that was made last.
        disk.sync_dir(&dir).map_err(|e| Error::flush(&path, e))?;
        let mut prepared = file.len().map_err(fail)?.max(offset);
        // A copy of a log may have holes where zeros were; without space for them the rest counts as not prepared.
        if file.allocate(offset, prepared - offset).is_err() {
            prepared = offset;
        }
        let (seed, next) = (frame::seed(&id, &kind.magic()), cursor.next());
        let (buffer, leaves, failed) = (Vec::new(), Vec::new(), false);
        Ok(Self {
            spares: Spares::new(Arc::clone(&disk), &dir),
            asked: false,
            disk,
            dir,
            kind,
            id,
            growth,
            file,
            path,
            seed,
            first: cursor.first().unwrap_or_default(),
            last: cursor.last().map(|(spot, _)| spot),
            offset,
            prepared,
            next,
            failed,
            buffer,
            leaves,
        })
    }

    /// Where the next batch goes.
    ///
    /// # Errors
    ///
    /// - [`Error::Flush`]: an earlier write or flush failed
    pub(super) fn end(&self) -> Result<Spot, Error> {
        self.check()?;
        Ok(Spot { segment: self.first, offset: self.offset, index: self.next })
    }

    /// Where the last batch is, or where the first one goes.
    ///
    /// # Errors
    ///
    /// - [`Error::Flush`]: an earlier write or flush failed
    pub(super) fn last(&self) -> Result<Spot, Error> {
        self.end().map(|end| self.last.unwrap_or(end))
    }

    /// The index that the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Appends one batch with one write and one flush and returns the leaf hashes of its entries.
    pub(super) fn append(&mut self, entries: &[impl AsRef<[u8]>], urgent: bool) -> Result<&[Hash], Error> {
        self.check()?;
        let bytes = length(frame::measure(entries)?);
        let room = bytes + if urgent { 0 } else { self.growth.reserve_bytes };
        self.make_room(room).inspect_err(|error| {
            self.failed = matches!(error, Error::Flush { .. });
        })?;
        frame::encode(&mut self.buffer, &mut self.leaves, (self.seed, self.offset, self.next), entries);
        let written = self.file.append_at(self.offset, &self.buffer).and_then(|()| self.file.sync());
        written.map_err(|e| {
            self.failed = true;
            Error::flush(&self.path, e)
        })?;
        self.last = Some(Spot { segment: self.first, offset: self.offset, index: self.next });
        self.offset += bytes;
        self.next += length(entries.len());
        Ok(&self.leaves)
    }

    /// Prepares the next step ahead of need, so that no batch has to wait for it.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        self.check()?;
        let ahead = self.prepared - self.offset;
        let end = self.prepared + self.growth.step_bytes;
        if ahead >= self.growth.step_bytes / 2 + self.growth.reserve_bytes || end > self.growth.segment_bytes
        {
            return Ok(());
        }
        self.extend(end).inspect_err(|error| self.failed = matches!(error, Error::Flush { .. }))
    }

    /// The work of making the next file ready, once this one is half full.
    pub(super) fn chore(&mut self) -> Option<Chore> {
        if self.asked || self.failed || self.offset < self.growth.segment_bytes / 2 {
            return None;
        }
        let chore = self.spares.chore(self.growth.segment_bytes, self.growth.step_bytes);
        self.asked = chore.is_some();
        chore
    }

    /// Prepares room for so many bytes beyond the reserve, in a new file if this one must not grow any more.
    pub(super) fn ensure(&mut self, bytes: u64) -> Result<(), Error> {
        self.check()?;
        self.make_room(bytes + self.growth.reserve_bytes)
            .inspect_err(|error| self.failed = matches!(error, Error::Flush { .. }))
    }

    fn check(&self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::flush(&self.path, std::io::Error::other("an earlier flush failed")));
        }
        Ok(())
    }

    fn make_room(&mut self, room: u64) -> Result<(), Error> {
        let end = self.offset + room;
        if end <= self.prepared {
            return Ok(());
        }
        if self.offset > segment::HEADER_BYTES && end > self.growth.segment_bytes {
            return self.next_file(room);
        }
        self.extend(self.prepared + (end - self.prepared).next_multiple_of(self.growth.step_bytes.max(1)))
    }

    /// The spare one, or a new one with as many steps as there must be.
    fn next_file(&mut self, room: u64) -> Result<(), Error> {
        let place = (self.kind, self.next);
        let spare = self.spares.take(segment::HEADER_BYTES + room);
        let adopted = spare.map(|spare| {
            let bytes = spare.bytes;
            segment::adopt(&*self.disk, &self.dir, place, &self.id, spare).map(|made| (made, bytes))
        });
        let ((file, path), prepared) = match adopted {
            Some(Ok(adopted)) => adopted,
            // A failed flush is final. Anything else is the spare's business, and it is gone.
            Some(Err(error @ Error::Flush { .. })) => return Err(error),
            Some(Err(_)) | None => {
                let zeros = room.next_multiple_of(self.growth.step_bytes.max(1));
                let made = segment::create(&*self.disk, &self.dir, place, &self.id, zeros)?;
                (made, segment::HEADER_BYTES + zeros)
            }
        };
        (self.file, self.path, self.first) = (file, path, self.next);
        (self.offset, self.prepared, self.asked) = (segment::HEADER_BYTES, prepared, false);
        Ok(())
    }

    fn extend(&mut self, end: u64) -> Result<(), Error> {
        segment::zero(&*self.file, &self.path, self.prepared, end, None)?;
        self.prepared = end;
        Ok(())
    }
}
