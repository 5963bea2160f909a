//! Reads the batches of a log's files in order, and tells a torn tail from damage.
//!
//! A writer flushes each batch before it writes the next, so after a crash the last batch alone can be incomplete, and
//! what lies behind it is zero as it was prepared. A sector (512 bytes) is written as a whole or not at all. So bad bytes
//! are a *torn tail* only if
//!
//! - no file follows, no valid batch follows, and nothing but zeros follows farther away than one batch reaches; and
//! - a sector is still zero where the bad part of the batch lies. Where each sector was written, the batch was complete,
//!   and a wrong CRC means that it was changed afterwards.
//!
//! Everything else is damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::appender::Spot;
use super::frame::{self, Entries, HEADER_BYTES, Header};
use super::segment::{self, Kind};
use crate::bytes::{length, size};
use crate::disk::{Disk, File, Mode};
use crate::error::{Error, Place};

/// How much is read at once, in bytes.
const WINDOW_BYTES: usize = 1 << 20;
/// The unit that a disk writes as a whole, in bytes.
const SECTOR_BYTES: u64 = 512;
/// How often, and how long apart, a tail is read again while a writer may be in the middle of it.
const RETRIES: u32 = 20;
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Where the batches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tail {
    /// What of a torn batch lies behind the last whole one, in bytes; 0 where the tail is clean.
    pub(super) torn_bytes: u64,
}

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

    /// What it means that no whole batch is at the cursor: `None` to look again in the file that the cursor is in then,
    /// else where the batches end.
    fn tail(&mut self) -> Result<Option<Tail>, Error> {
        let firsts = segment::list(&*self.disk, &self.dir, self.kind)?;
        let here = self.first().unwrap_or_default();
        let following = firsts.iter().copied().find(|first| *first > here);
        if following.is_some() && self.whole_batch()?.is_some() {
            // The writer went on in this file, and to the next, after the cursor had looked.
            return Ok(None);
        }
        self.window.clear();
        let rest = self.non_zero_until()?;
        if let Some(first) = following {
            if let Some(end) = rest {
                let why = "bytes behind its last batch are not zero";
                return Err(match first == self.next {
                    true => Error::damaged(self.path(), end.saturating_sub(1), Place::File, why),
                    false => self.damage("bytes of it were changed"),
                });
            }
            if first != self.next {
                return Err(Error::damaged(
                    self.path(),
                    self.offset,
                    self.missing(first),
                    "they are missing",
                ));
            }
            return self.enter(first).map(|()| None);
        }
        let Some(end) = rest else { return Ok(Some(Tail::default())) };
        if end > self.offset + length(super::BATCH_BYTES_MAX)
            || self.batch_follows(end)?
            || !self.is_torn()?
        {
            return Err(self.damage("bytes of it were changed"));
        }
        Ok(Some(Tail { torn_bytes: end - self.offset }))
    }

    fn missing(&self, until: u64) -> Place {
        match self.kind {
            Kind::Entries => Place::Entries(self.next..until),
            Kind::Heads => Place::Head(self.next),
        }
    }

    /// The damage at the cursor, naming the first bad entry of the batch.
    fn damage(&mut self, why: &'static str) -> Error {
        let (mut index, mut offset) = (self.next, self.offset);
        if let Ok(Some(header)) = self.header_at(offset)
            && let Ok(payload) = self.payload(&header, offset)
        {
            let mut entries = Entries::new(&header, payload);
            let bad = entries.by_ref().find(|entry| !entry.is_sound());
            // Without a bad entry the parsing stopped at one whose length leads nowhere, or the padding is bad.
            let found = bad.map(|entry| (entry.index, entry.offset));
            let stopped = (!entries.is_complete()).then_some((entries.next_index(), entries.offset));
            if let Some((bad, at)) = found.or(stopped) {
                (index, offset) = (bad, offset + length(HEADER_BYTES + at));
            }
        }
        Error::damaged(self.path(), offset, self.one(index), why)
    }

    /// Where the last byte from the cursor on that is not zero ends; `None` where all are zero.
    fn non_zero_until(&mut self) -> Result<Option<u64>, Error> {
        let Some(Segment { file, path, .. }) = &self.segment else { return Ok(None) };
        let (mut at, mut end) = (self.offset, None);
        loop {
            let part = self.window.read(&**file, at, WINDOW_BYTES).map_err(|e| Error::io("read", path, e))?;
            if part.is_empty() {
                return Ok(end);
            }
            if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
                end = Some(at + length(last + 1));
            }
            at += length(part.len());
        }
    }

    /// Whether a valid batch lies between the cursor and `end`.
    fn batch_follows(&mut self, end: u64) -> Result<bool, Error> {
        let step = length(frame::ALIGN);
        let mut at = self.offset + step;
        while at < end {
            let Some(Segment { file, path, .. }) = &self.segment else { break };
            let part = self.window.read(&**file, at, frame::MAGIC.len());
            if part.map_err(|e| Error::io("read", path, e))? == frame::MAGIC && self.header_at(at)?.is_some()
            {
                return Ok(true);
            }
            at += step;
        }
        Ok(false)
    }

    /// Whether a sector is still zero where the batch at the cursor is bad.
    fn is_torn(&mut self) -> Result<bool, Error> {
        let start = self.offset;
        let Some(header) = self.header_at(start)? else {
            return self.has_zero_sector(
                start,
                start + length(HEADER_BYTES),
                start,
                start + length(HEADER_BYTES),
            );
        };
        let body = start + length(HEADER_BYTES);
        let payload = self.payload(&header, start)?;
        let mut bad = Vec::new();
        let mut entries = Entries::new(&header, payload);
        let mut at = 0;
        for entry in entries.by_ref() {
            let end = entry.offset + frame::RECORD_BYTES + entry.bytes.len();
            if !entry.is_sound() {
                bad.push((at, end));
            }
            at = end;
        }
        if !entries.is_complete() {
            bad.push((at, header.payload_bytes));
        }
        let end = start + header.batch_bytes();
        for (from, to) in bad {
            if self.has_zero_sector(body + length(from), body + length(to), start, end)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether one of the sectors that `from..to` touches is zero as far as it belongs to the batch `start..end`.
    fn has_zero_sector(&mut self, from: u64, to: u64, start: u64, end: u64) -> Result<bool, Error> {
        let mut sector = from - from % SECTOR_BYTES;
        while sector < to {
            let (at, until) = (sector.max(start), (sector + SECTOR_BYTES).min(end));
            let Some(Segment { file, path, .. }) = &self.segment else { break };
            let piece = self.window.read(&**file, at, size(until.saturating_sub(at)));
            let piece = piece.map_err(|e| Error::io("read", path, e))?;
            // Where the file ends earlier it was cut: room for a batch is flushed before the batch is written.
            if !piece.is_empty() && piece.iter().all(|byte| *byte == 0) {
                return Ok(true);
            }
            sector += SECTOR_BYTES;
        }
        Ok(false)
    }
}

/// A part of a file in memory, so that small batches do not cost a read each.
#[derive(Default)]
struct Window {
    buffer: Vec<u8>,
    start: u64,
    bytes: usize,
}

impl Window {
    /// Forgets what it holds; the file may have changed.
    fn clear(&mut self) {
        self.bytes = 0;
    }

    /// The bytes at `offset`; fewer where the file ends.
    fn read(&mut self, file: &dyn File, offset: u64, bytes: usize) -> std::io::Result<&[u8]> {
        let held = offset.checked_sub(self.start).map(size).filter(|skip| skip + bytes <= self.bytes);
        let skip = match held {
            Some(skip) => skip,
            None => {
                let wanted = bytes.max(WINDOW_BYTES);
                if self.buffer.len() < wanted {
                    self.buffer.resize(wanted, 0);
                }
                self.bytes = 0;
                self.bytes = file.read_at(offset, &mut self.buffer)?;
                self.start = offset;
                0
            }
        };
        let end = (skip + bytes).min(self.bytes);
        Ok(self.buffer.get(skip..end).unwrap_or_default())
    }
}
