//! Reads the batches of a log's files in order.
//!
//! - `tail`: where they end, and whether that is a torn tail or damage
//! - `window`: a part of a file in memory

mod tail;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::appender::Spot;
use super::frame::{self, Entries, HEADER_BYTES, Header};
use super::segment::{self, Kind};
use crate::bytes::length;
use crate::disk::{Disk, File, Mode};
use crate::error::{Error, Place};

pub(super) use tail::Tail;
use window::Window;

/// How often, and how long apart, a tail is read again while a writer may be in the middle of it.
const RETRIES: u32 = 20;
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// A whole batch.
pub(super) struct Batch<'a> {
    header: Header,
    payload: &'a [u8],
    /// Where it begins in its file, in bytes.
    pub(super) offset: u64,
}

impl<'a> Batch<'a> {
    /// What it takes in the file.
    pub(super) fn bytes(&self) -> u64 {
        self.header.batch_bytes()
    }

    pub(super) fn entries(&self) -> Entries<'a> {
        Entries::new(&self.header, self.payload)
    }

    /// Where in the file the record of an entry begins.
    pub(super) fn place(&self, entry: &frame::Entry<'_>) -> u64 {
        self.offset + length(HEADER_BYTES + entry.offset)
    }
}

/// What a step of a cursor finds.
pub(super) enum Step<'a> {
    Batch(Batch<'a>),
    End(Tail),
}

/// The file that a cursor is in.
struct Segment {
    file: Box<dyn File>,
    path: PathBuf,
    first: u64,
    seed: u32,
}

/// A place between two batches.
pub(super) struct Cursor {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    kind: Kind,
    /// Of the first file; all others must have the same.
    id: Option<[u8; 16]>,
    segment: Option<Segment>,
    /// Where the next batch begins in this file, in bytes.
    offset: u64,
    /// The index that its first entry must have.
    next: u64,
    /// Where the last whole batch of this file lies, and its bytes.
    last: Option<(Spot, u64)>,
    window: Window,
    /// Whether another process may write at the same time.
    live: bool,
}

impl Cursor {
    /// A cursor before the batch that holds entry `from`, or at the very end.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        kind: Kind,
        from: u64,
        live: bool,
    ) -> Result<Self, Error> {
        let mut cursor = Self {
            disk,
            dir: dir.into(),
            kind,
            id: None,
            segment: None,
            offset: 0,
            next: 0,
            last: None,
            window: Window::default(),
            live,
        };
        let firsts = segment::list(&*cursor.disk, dir, kind)?;
        if let Some(first) = firsts.iter().rev().find(|first| **first <= from).or(firsts.first()) {
            cursor.enter(*first)?;
        }
        Ok(cursor)
    }

    /// A cursor before the batch at this place, or at the end if that is there.
    pub(super) fn at(
        disk: Arc<dyn Disk>,
        dir: &Path,
        kind: Kind,
        spot: Spot,
        live: bool,
    ) -> Result<Self, Error> {
        let mut cursor = Self::new(disk, dir, kind, spot.segment, live)?;
        if cursor.first() != Some(spot.segment) {
            return Err(Error::damaged(
                dir,
                0,
                cursor.one(spot.segment),
                "the file that begins with it is missing",
            ));
        }
        (cursor.offset, cursor.next) = (spot.offset, spot.index);
        Ok(cursor)
    }

    /// The log's id, once a file was found.
    pub(super) fn id(&self) -> Option<[u8; 16]> {
        self.id
    }

    /// The index that the next entry has.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The file that the cursor is in; the folder where there is none yet.
    pub(super) fn path(&self) -> &Path {
        self.segment.as_ref().map_or(&self.dir, |segment| &segment.path)
    }

    /// Where in the file the next batch begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The index of the first entry of the file, if there is a file.
    pub(super) fn first(&self) -> Option<u64> {
        self.segment.as_ref().map(|segment| segment.first)
    }

    /// Where the last whole batch of this file lies, and its bytes.
    pub(super) fn last(&self) -> Option<(Spot, u64)> {
        self.last
    }

    /// What names an entry of this kind in an error.
    fn one(&self, index: u64) -> Place {
        match self.kind {
            Kind::Entries => Place::Entry(index),
            Kind::Heads => Place::Head(index),
        }
    }

    fn enter(&mut self, first: u64) -> Result<(), Error> {
        let path = self.kind.path(&self.dir, first);
        let file = self.disk.open(&path, Mode::Read).map_err(|e| Error::io("open", &path, e))?;
        let id = segment::read_header(&*file, &path, self.kind, first)?;
        if *self.id.get_or_insert(id) != id {
            return Err(Error::damaged(&path, 0, Place::File, "it belongs to another log"));
        }
        let seed = frame::seed(&id, &self.kind.magic());
        self.segment = Some(Segment { file, path, first, seed });
        (self.offset, self.next, self.last) = (segment::HEADER_BYTES, first, None);
        self.window.clear();
        Ok(())
    }

    /// The next batch, or where they end. After an end it can be asked again: a writer may have gone on.
    pub(super) fn step(&mut self) -> Result<Step<'_>, Error> {
        let mut retries = if self.live { RETRIES } else { 0 };
        loop {
            if self.segment.is_none() {
                let Some(first) = segment::list(&*self.disk, &self.dir, self.kind)?.first().copied() else {
                    return Ok(Step::End(Tail::default()));
                };
                self.enter(first)?;
            }
            if let Some(header) = self.whole_batch()? {
                let (offset, next) = (self.offset, self.next);
                if header.first != next {
                    let why = "the entries before it are missing";
                    return Err(Error::damaged(self.path(), offset, self.one(next), why));
                }
                self.offset += header.batch_bytes();
                self.next += u64::from(header.entries);
                let segment = self.first().unwrap_or_default();
                self.last = Some((Spot { segment, offset, index: next }, header.batch_bytes()));
                let payload = self.payload(&header, offset)?;
                return Ok(Step::Batch(Batch { header, payload, offset }));
            }
            self.window.clear();
            match self.tail() {
                Ok(None) => {}
                Ok(Some(tail)) if tail.torn_bytes == 0 || retries == 0 => return Ok(Step::End(tail)),
                Err(error) if retries == 0 => return Err(error),
                // A writer may be in the middle of its write.
                _ => std::thread::sleep(RETRY_INTERVAL),
            }
            retries = retries.saturating_sub(1);
        }
    }

    fn payload(&mut self, header: &Header, offset: u64) -> Result<&[u8], Error> {
        let Some(Segment { file, path, .. }) = &self.segment else { return Ok(&[]) };
        let start = offset + length(HEADER_BYTES);
        self.window.read(&**file, start, header.payload_bytes).map_err(|e| Error::io("read", path, e))
    }

    /// The header of the batch at the cursor, if that batch is whole.
    fn whole_batch(&mut self) -> Result<Option<Header>, Error> {
        let Some(header) = self.header_at(self.offset)? else { return Ok(None) };
        let payload = self.payload(&header, self.offset)?;
        if payload.len() != header.payload_bytes || !header.fits(payload) {
            return Ok(None);
        }
        // A payload whose CRC is right was written so, unless somebody computed a new one: then its inside is checked.
        let mut entries = Entries::new(&header, payload);
        let sound = entries.by_ref().all(|entry| entry.is_sound()) && entries.is_complete();
        Ok((sound && entries.padding().iter().all(|byte| *byte == 0)).then_some(header))
    }

    fn header_at(&mut self, offset: u64) -> Result<Option<Header>, Error> {
        let Some(Segment { file, path, seed, .. }) = &self.segment else { return Ok(None) };
        let bytes =
            self.window.read(&**file, offset, HEADER_BYTES).map_err(|e| Error::io("read", path, e))?;
        Ok(bytes.first_chunk().and_then(|bytes| Header::decode(bytes, *seed, offset)))
    }
}
