//! The anchor of the log: what the chip remembers of it, so that a disk that was put back is noticed.
//!
//! Three NV indices:
//!
//! | index | what | written by |
//! |---|---|---|
//! | counter | counts anchorings; wears the chip, so only now and then | a signature of the general key |
//! | record | log id, size and root of the log, and the counter's value that belongs to it | a signature of the general key |
//! | orderly | counts heads between anchorings; kept in memory | the authorisation value |
//!
//! # Order
//!
//! The log's newest head names counter c + 1, is flushed, then [`advance_anchor`](Handle::advance_anchor) writes the record and
//! increments. So at a start the counter is what the newest head names, or one less if the power failed in between.
//! The same goes for the orderly counter.
//!
//! # What is detected, by [`check`]
//!
//! - *A truncated log*: it ends before the record's size, or its newest head names an earlier counter.
//! - *An older copy of the disk*: its newest head names a counter that the chip has passed.
//! - *A log of another machine, or another log of this one*: its id, or its root at the record's size, is another.
//! - *An anchor that was removed* and one that was *defined anew*: the names differ if attributes, policy or key do; where an
//!   attacker defines the same index again, it is unwritten and he cannot write the record, since the policy asks for
//!   a signature of the general key. A counter defined anew begins above all counters that the chip ever had,
//!   so a value that an older log names cannot be reached again. The orderly counter has an authorisation value only: who
//!   defines it anew can increment it, above what any head names, and we then cannot; both show.
//!
//! # What is not
//!
//! - Between two anchorings only the orderly counter tells: an older copy of the disk *from after the last anchoring* is
//!   detected while the chip keeps its power. After a power loss that counter jumps forward (by at most 255 on swtpm),
//!   and a copy from after the last anchoring that lacks no more heads than that passes for the newest: that is the window. `check` says so
//!   (`is_window_open`). A suspend is no power loss: the chip is told to keep its state, and counts a restart but no reset.
//! - An attacker with root on the running machine can act as the daemon.
//! - TPM2_Clear removes the anchor together with the storage root key: that shows as another TPM.
//! - Denial: who knows the owner's authorisation can remove the anchor. It is detected, not prevented.

use types::hash::Hash;

use crate::attest::Clock;
use crate::capability::{self, property};
use crate::chip::Chip;
use crate::codec::{Reader, Writer};
use crate::counters::Kind;
use crate::nv::{Index, NvKind, NvName, NvWriter};
use crate::{Error, Handle, code};

/// How often an index can be written before it may fail: what chips are at least made for.
pub const NV_ENDURANCE: u64 = 100_000;

/// Anchorings that may follow each other quickly. Each hour with power allows one more up to this number, so that an index
/// has some 88,000 writes in ten years, however often programs start.
pub const ANCHORINGS_AT_ONCE: u8 = 24;
/// The hours of the chip's clock that the record has room for: 1,900 years.
const HOUR_MAX: u32 = 0xff_ffff;

/// Where the three indices are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnchorHandles {
    /// The counter of anchorings.
    pub counter: u32,
    /// The record.
    pub record: u32,
    /// The counter of heads.
    pub orderly: u32,
}

impl Default for AnchorHandles {
    /// In the owner's range, where nothing else is known to lie.
    fn default() -> Self {
        Self { counter: 0x0180_d510, record: 0x0180_d511, orderly: 0x0180_d512 }
    }
}

/// The names of the three indices, once written: kept in the log, so that others in their place are noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnchorNames {
    /// The counter's.
    pub counter: NvName,
    /// The record's.
    pub record: NvName,
    /// The orderly counter's.
    pub orderly: NvName,
}

/// What is anchored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPoint {
    /// The log's id.
    pub log_id: [u8; 16],
    /// Entries.
    pub size: u64,
    /// Its root at this size.
    pub root: Hash,
}

/// The record as it is in the chip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AnchorRecord {
    /// What was anchored last.
    pub point: LogPoint,
    /// The counter's value that belongs to it: what the counter has, or one more if the increment is missing.
    pub counter: u64,
    /// How often the record was written since it was defined, this time included; see [`NV_ENDURANCE`].
    pub writes: u64,
    /// How many anchorings could follow this one at once; see [`Anchor::allowed`].
    pub left: u8,
    /// The chip's clock then, hours.
    pub hour: u32,
}

/// What the chip remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anchor {
    /// The names of the three indices.
    pub names: AnchorNames,
    /// Anchorings, on top of where the chip began to count.
    pub counter: u64,
    /// Heads between anchorings, on top of where the chip began to count.
    pub orderly: u64,
    /// What was anchored last.
    pub record: AnchorRecord,
    /// The chip's clock: equal `resets` and `restarts` mean that the orderly counter cannot have jumped.
    pub clock: Clock,
}

impl Anchor {
    /// How many anchorings may follow each other now, at most [`ANCHORINGS_AT_ONCE`]: a daemon that starts over and over must not
    /// wear the chip out.
    pub fn allowed(&self) -> u8 {
        // The clock goes back a little at a power loss.
        let passed = self.clock.hour().saturating_sub(self.record.hour);
        let passed = u8::try_from(passed).unwrap_or(u8::MAX);
        self.record.left.saturating_add(passed).min(ANCHORINGS_AT_ONCE)
    }
}

impl Clock {
    fn hour(&self) -> u32 {
        u32::try_from(self.ms / 3_600_000).unwrap_or(HOUR_MAX).min(HOUR_MAX)
    }
}

/// The length of a record in the chip, bytes.
pub(crate) const RECORD: u16 = 84;
const MAGIC: u32 = u32::from_be_bytes(*b"DSMA");
/// The version of the record; refused when newer.
const VERSION: u32 = 1;

impl AnchorRecord {
    fn to_bytes(self) -> Vec<u8> {
        let LogPoint { log_id, size, root } = self.point;
        let writer = Writer::new().u32(MAGIC).u32(VERSION).bytes(&log_id).u64(size).bytes(&root.0);
        let allowance = u32::from(self.left) << 24 | self.hour.min(HOUR_MAX);
        writer.u64(self.counter).u64(self.writes).u32(allowance).to_vec()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if (reader.u32()?, reader.u32()?) != (MAGIC, VERSION) {
            return None;
        }
        let log_id = reader.take(16)?.try_into().ok()?;
        let (size, root) = (reader.u64()?, Hash(reader.take(32)?.try_into().ok()?));
        let (counter, writes) = (reader.u64()?, reader.u64()?);
        // Both are zero in a record of an older version.
        let (left, hour) = (reader.u8()?, reader.take(3)?);
        let hour = hour.iter().fold(0, |hour, byte| hour << 8 | u32::from(*byte));
        let point = LogPoint { log_id, size, root };
        reader.is_empty().then_some(Self { point, counter, writes, left, hour })
    }
}

/// The three indices as we define them.
pub(crate) struct Indices {
    pub(crate) counter: Index,
    pub(crate) record: Index,
    orderly: Index,
}

impl Indices {
    fn new(handles: AnchorHandles, key: &[u8]) -> Self {
        Self {
            counter: Index::new(handles.counter, NvKind::Counter, NvWriter::Key, key).written(),
            record: Index::new(handles.record, NvKind::Bytes(RECORD), NvWriter::Key, key).written(),
            orderly: Index::new(handles.orderly, NvKind::OrderlyCounter, NvWriter::Value, key).written(),
        }
    }

    fn names(&self) -> AnchorNames {
        AnchorNames { counter: self.counter.name(), record: self.record.name(), orderly: self.orderly.name() }
    }
}

impl Chip {
    pub(crate) fn indices(&self, handles: AnchorHandles) -> Indices {
        Indices::new(handles, &self.general_name)
    }

    fn define_anchor(&mut self, handles: AnchorHandles, point: LogPoint) -> Result<Anchor, Error> {
        let Indices { counter, record, orderly } = self.indices(handles);
        for index in [handles.counter, handles.record, handles.orderly] {
            if self.nv_public(index)?.is_some() {
                return Err(Error::NvDefined { index });
            }
        }
        let made = self.make_anchor(&counter, &record, &orderly, point);
        if made.is_err() {
            // Half an anchor would look like one that somebody touched.
            for index in [handles.counter, handles.record, handles.orderly] {
                let _ = self.nv_undefine(index);
            }
        }
        made?;
        self.read_anchor(handles)?.ok_or(Error::NvMissing { index: handles.counter })
    }

    fn make_anchor(
        &mut self,
        counter: &Index,
        record: &Index,
        orderly: &Index,
        point: LogPoint,
    ) -> Result<(), Error> {
        for index in [counter, record, orderly] {
            self.nv_define(&index.fresh())?;
        }
        self.nv_increment(&orderly.fresh())?;
        self.nv_increment(&counter.fresh())?;
        let value = self.nv_counter(counter)?.ok_or(Error::NvUnwritten { index: counter.handle })?;
        let (left, hour) = (ANCHORINGS_AT_ONCE - 1, self.clock()?.hour());
        let first = AnchorRecord { point, counter: value, writes: 1, left, hour };
        self.nv_write(&record.fresh(), &first.to_bytes())
    }

    fn read_anchor(&mut self, handles: AnchorHandles) -> Result<Option<Anchor>, Error> {
        let ours = self.indices(handles);
        let mut missing = Vec::new();
        for index in [&ours.counter, &ours.record, &ours.orderly] {
            match self.nv_public(index.handle)? {
                Some(found) if !found.is_like(index) => {
                    return Err(Error::NvForeign { index: index.handle });
                }
                Some(found) if !found.is_written() => {
                    return Err(Error::NvUnwritten { index: index.handle });
                }
                Some(_) => {}
                None => missing.push(index.handle),
            }
        }
        match missing.as_slice() {
            [] => {}
            [_, _, _] => return Ok(None),
            [index, ..] => return Err(Error::NvMissing { index: *index }),
        }
        let unwritten = |index: &Index| Error::NvUnwritten { index: index.handle };
        let counter = self.nv_counter(&ours.counter)?.ok_or_else(|| unwritten(&ours.counter))?;
        let orderly = self.nv_counter(&ours.orderly)?.ok_or_else(|| unwritten(&ours.orderly))?;
        let record = AnchorRecord::from_bytes(&self.nv_read(&ours.record)?);
        let record = record.ok_or(Error::NvForeign { index: handles.record })?;
        let clock = self.clock()?;
        Ok(Some(Anchor { names: ours.names(), counter, orderly, record, clock }))
    }

    fn advance_anchor(
        &mut self,
        handles: AnchorHandles,
        point: LogPoint,
        counter: u64,
    ) -> Result<Anchor, Error> {
        let before = self.read_anchor(handles)?.ok_or(Error::NvMissing { index: handles.counter })?;
        let is_counted = before.counter == counter;
        if !is_counted && before.counter.checked_add(1) != Some(counter) {
            return Err(Error::AnchorCount { counted: before.counter, named: counter });
        }
        let ours = self.indices(handles);
        // An answer may have been lost: what is done already is not done again, or the counter would be ahead of what the
        // newest head names, as it is for a log that was put back.
        let is_written = (before.record.point, before.record.counter) == (point, counter);
        if is_written && is_counted {
            return Ok(before);
        }
        let record = AnchorRecord {
            point,
            counter,
            writes: before.record.writes.saturating_add(1),
            left: before.allowed().saturating_sub(1),
            hour: before.clock.hour().max(before.record.hour),
        };
        // Where a record for this value is there, and the increment is missing, that comes first: a counter that does not go on
        // must not wear out the record too.
        let is_begun = before.record.counter == counter;
        if !is_begun {
            self.nv_write(&ours.record, &record.to_bytes())?;
        }
        if !is_counted {
            self.nv_increment(&ours.counter)?;
        }
        if is_begun && !is_written {
            self.nv_write(&ours.record, &record.to_bytes())?;
        }
        // Read back through the session: what somebody on the wire kept from the chip shows here.
        let after = self.read_anchor(handles)?.ok_or(Error::NvMissing { index: handles.counter })?;
        if (after.record.point, after.record.counter, after.counter) == (point, counter, counter) {
            Ok(after)
        } else {
            Err(Error::malformed("NV_Increment", "the anchor did not take what was written"))
        }
    }

    fn increment_orderly(&mut self, handles: AnchorHandles) -> Result<(), Error> {
        let orderly = self.indices(handles).orderly;
        self.nv_increment(&orderly)
    }

    /// TPM_PT_ORDERLY_COUNT, and the count that makes the chip write.
    fn orderly_writes_every(&mut self) -> Result<u32, Error> {
        let found = capability::properties(&mut self.base.link, property::ORDERLY_COUNT, 1)?;
        let count = found.iter().find(|(tag, _)| *tag == property::ORDERLY_COUNT).map(|(_, count)| *count);
        Ok(count.unwrap_or_default().saturating_add(1))
    }

    fn forget_anchor(&mut self, handles: AnchorHandles) -> Result<(), Error> {
        for index in [handles.counter, handles.record, handles.orderly] {
            match self.nv_undefine(index) {
                Ok(()) | Err(Error::NvMissing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The chip's clock.
    pub(crate) fn clock(&mut self) -> Result<Clock, Error> {
        let response = self.base.secured(code::READ_CLOCK, &[], &Writer::new(), &[])?;
        let mut reader = Reader::new(&response.parameters);
        let clock = reader.u64().and_then(|_time| Clock::read(&mut reader));
        clock.ok_or_else(|| Error::malformed("ReadClock", "not a time"))
    }
}

impl Handle {
    /// Defines the anchor of a log and writes its first record. Some forty commands, once in a log's life.
    ///
    /// # Errors
    /// - `NvDefined`: there is an anchor; [`forget_anchor`](Self::forget_anchor) removes it
    /// - `NvSpace`: the chip has no room left
    /// - `Authorization`: the owner hierarchy has an authorisation value
    pub async fn define_anchor(&self, handles: AnchorHandles, point: LogPoint) -> Result<Anchor, Error> {
        self.anchor(move |chip| chip.define_anchor(handles, point)).await
    }

    /// What the chip remembers; `None` where no anchor was ever defined, or all of it was removed. Seven commands.
    ///
    /// # Errors
    /// - `NvMissing`: a part of it was removed
    /// - `NvForeign`: a part of it was defined by somebody else, or under another key folder
    /// - `NvUnwritten`: a part of it was defined anew
    pub async fn read_anchor(&self, handles: AnchorHandles) -> Result<Option<Anchor>, Error> {
        self.anchor(move |chip| chip.read_anchor(handles)).await
    }

    /// Writes the record, increments the counter to `counter`, which is what it has or one more, and reads both back. What of it
    /// was done already is not done again, so it can be asked for once more where an answer was lost. Some thirty commands and
    /// two writes to the chip's memory; how often is the caller's to say, see [`Anchor::allowed`].
    ///
    /// # Errors
    /// - as [`read_anchor`](Self::read_anchor); `NvMissing` also where there is no anchor
    /// - `AnchorCount`: the counter is elsewhere
    pub async fn advance_anchor(
        &self,
        handles: AnchorHandles,
        point: LogPoint,
        counter: u64,
    ) -> Result<Anchor, Error> {
        self.anchor(move |chip| chip.advance_anchor(handles, point, counter)).await
    }

    /// Adds one to the orderly counter. One command; it wears the chip when it writes the counter down, as
    /// [`orderly_writes_every`](Self::orderly_writes_every) says. After
    /// an error it may have been done or not: [`read_anchor`](Self::read_anchor) tells.
    ///
    /// # Errors
    /// - `NvMissing`, `NvForeign`
    pub async fn increment_orderly(&self, handles: AnchorHandles) -> Result<(), Error> {
        self.anchor(move |chip| chip.increment_orderly(handles)).await
    }

    /// How many counts of an orderly counter the chip needs to write it down once: 256 where it is as the reference implementation, 1
    /// where it does not say. One command.
    pub async fn orderly_writes_every(&self) -> Result<u32, Error> {
        self.anchor(Chip::orderly_writes_every).await
    }

    /// Removes what there is of the anchor. Two commands each.
    pub async fn forget_anchor(&self, handles: AnchorHandles) -> Result<(), Error> {
        self.anchor(move |chip| chip.forget_anchor(handles)).await
    }

    async fn anchor<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Chip) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask_chip(Kind::Anchor, "the log's anchor", operation).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(left: u8, hour: u32) -> AnchorRecord {
        let point = LogPoint { log_id: [1; 16], size: 2, root: Hash([3; 32]) };
        AnchorRecord { point, counter: 4, writes: 5, left, hour }
    }

    #[test]
    fn a_record_reads_back_and_an_older_one_allows_what_its_clock_does() {
        for (left, hour) in [(0, 0), (23, 70_000), (u8::MAX, HOUR_MAX)] {
            let bytes = record(left, hour).to_bytes();
            assert_eq!(bytes.len(), usize::from(RECORD));
            assert_eq!(AnchorRecord::from_bytes(&bytes), Some(record(left, hour)));
        }
    }

    #[test]
    fn each_hour_allows_one_anchoring_more() {
        let name = NvName([0; 34]);
        let allowed = |left, hour, ms| {
            let clock = Clock { ms, resets: 0, restarts: 0, is_safe: true };
            let names = AnchorNames { counter: name, record: name, orderly: name };
            Anchor { names, counter: 4, orderly: 0, record: record(left, hour), clock }.allowed()
        };
        let hour = |hours: u64| hours * 3_600_000;
        assert_eq!(allowed(0, 100, hour(101) - 1), 0);
        assert_eq!(allowed(0, 100, hour(101)), 1);
        assert_eq!(allowed(5, 100, hour(107)), 12);
        assert_eq!(allowed(20, 100, hour(2000)), ANCHORINGS_AT_ONCE);
        // A clock that a power loss has put back.
        assert_eq!(allowed(3, 100, hour(99)), 3);
        assert_eq!(allowed(0, 0, u64::MAX), ANCHORINGS_AT_ONCE);
    }
}
