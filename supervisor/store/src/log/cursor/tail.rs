//! Where the batches end: cleanly, in a torn tail, or in damage.
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

use super::window::WINDOW_BYTES;
use super::{Cursor, Segment};
use crate::bytes::{length, size};
use crate::error::{Error, Place};
use crate::log::BATCH_BYTES_MAX;
use crate::log::frame::{self, Entries, HEADER_BYTES};
use crate::log::segment::{self, Kind};

/// The unit that a disk writes as a whole, in bytes.
const SECTOR_BYTES: u64 = 512;

/// Where the batches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::log) struct Tail {
    /// What of a torn batch lies behind the last whole one, in bytes; 0 where the tail is clean.
    pub(in crate::log) torn_bytes: u64,
}

impl Cursor {
    /// What it means that no whole batch is at the cursor: `None` to look again in the file that the cursor is in then,
    /// else where the batches end.
    pub(super) fn tail(&mut self) -> Result<Option<Tail>, Error> {
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
        if end > self.offset + length(BATCH_BYTES_MAX) || self.batch_follows(end)? || !self.is_torn()? {
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
