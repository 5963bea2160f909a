//! A log of a disk's writes and flushes, in the form of the kernel's target `dm-log-writes`
//! (Documentation/admin-guide/device-mapper/log-writes.rst, drivers/md/dm-log-writes.c), as QEMU's driver `blklogwrites` makes it.
//!
//! All numbers are little-endian, everything lies on sectors. The first sector has u64 magic, u64 version, u64 entries, u32 bytes of
//! a sector. Each entry has a sector with u64 sector, u64 sectors, u64 flags, u64 bytes of a mark; what was written follows, save for
//! discards.
//!
//! QEMU writes an entry once what it tells of is done, and before the guest is told. So whatever the guest knows to be flushed has a flush behind
//! it in the log. QEMU brings the first sector up to date with some of the flushes only; how many entries there are shows in the entries.

/// Bytes of a sector: what a disk writes as a whole or not at all.
pub const SECTOR: usize = 512;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const MARK: u64 = 8;

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'log> {
    /// Where it was written, in sectors.
    pub sector: u64,
    /// What was written, whole sectors; nothing where it is a flush alone.
    pub data: &'log [u8],
    /// What was written before it is durable.
    pub is_flush: bool,
    /// It is durable itself.
    pub is_durable: bool,
    /// Where it ends in the log, in bytes.
    pub end: usize,
}

/// What is wrong with a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// The first sector is of something else.
    #[error("this is no log of writes of version {VERSION} with sectors of {SECTOR} bytes")]
    Foreign,
    /// An entry that no such log has.
    #[error("the log of writes has no entry at byte {offset}: {what}")]
    Entry {
        /// Where it begins.
        offset: usize,
        /// What it has.
        what: &'static str,
    },
}

/// The entries of a log for a disk of so many bytes, in order, up to the first that is not there wholly: QEMU was killed while it wrote that.
///
/// # Errors
///
/// It is another kind of file, or has what the laptop's disk is told not to offer (discards).
pub fn parse(log: &[u8], disk_bytes: u64) -> Result<Vec<Entry<'_>>, Error> {
    let mut entries = Vec::new();
    // Until the first flush there is no first sector.
    let Some(first) = log.get(..SECTOR) else { return Ok(entries) };
    if first.iter().any(|byte| *byte != 0) {
        let is_ours = number(first, 0) == MAGIC && number(first, 8) == VERSION;
        if !is_ours || number(first, 24) & 0xFFFF_FFFF != SECTOR as u64 {
            return Err(Error::Foreign);
        }
    }
    let mut offset = SECTOR;
    while let Some(head) = log.get(offset..offset + SECTOR) {
        let (sector, sectors, flags) = (number(head, 0), number(head, 8), number(head, 16));
        let what = |what| Error::Entry { offset, what };
        if head.iter().all(|byte| *byte == 0) {
            break;
        }
        if flags & !(FLUSH | FUA | MARK) != 0 {
            return Err(what("a discard, or flags that are unknown"));
        }
        if flags & MARK == 0 && number(head, 24) != 0 {
            return Err(what("bytes of a mark, and is none"));
        }
        let bytes = if flags & MARK == 0 {
            let end = sector.checked_add(sectors).and_then(|end| end.checked_mul(SECTOR as u64));
            if end.is_none_or(|end| end > disk_bytes) {
                return Err(what("a place behind the disk's end"));
            }
            usize::try_from(sectors).ok().and_then(|sectors| sectors.checked_mul(SECTOR))
        } else {
            usize::try_from(number(head, 24)).ok().and_then(|bytes| bytes.checked_next_multiple_of(SECTOR))
        };
        let begin = offset + SECTOR;
        let Some(end) = bytes.and_then(|bytes| begin.checked_add(bytes)) else {
            return Err(what("a length that no log has"));
        };
        let Some(data) = log.get(begin..end) else { break };
        if flags & MARK == 0 {
            let (is_flush, is_durable) = (flags & FLUSH != 0, flags & FUA != 0);
            entries.push(Entry { sector, data, is_flush, is_durable, end });
        }
        offset = end;
    }
    Ok(entries)
}

/// A u64 of a sector.
fn number(sector: &[u8], at: usize) -> u64 {
    let bytes = sector.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    u64::from_le_bytes(bytes.unwrap_or_default())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A write of so many sectors from that one on, each filled with its number and this; or a flush.
    pub(crate) type Step = Option<(u64, u64, u8)>;

    /// Sectors of the disk.
    pub(crate) const DISK: u64 = 24;

    pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0..DISK - 4, 1..5_u64, 1..=u8::MAX);
        proptest::collection::vec(proptest::option::weighted(0.8, write), 0..40)
    }

    /// What a sector holds after such a write.
    pub(crate) fn filled(sector: u64, with: u8) -> Vec<u8> {
        [u8::try_from(sector).unwrap(), with].repeat(SECTOR / 2)
    }

    fn words(words: &[u64]) -> Vec<u8> {
        let mut sector: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        sector.resize(SECTOR, 0);
        sector
    }

    /// The log of these steps, by another hand than the parser's.
    pub(crate) fn log_of(steps: &[Step]) -> Vec<u8> {
        let mut log = words(&[0x6a_7366_7773_6872, 1, 3, 512]);
        for step in steps {
            match *step {
                None => log.extend(words(&[0, 0, 1, 0])),
                Some((sector, count, with)) => {
                    log.extend(words(&[sector, count, 0, 0]));
                    (sector..sector + count).for_each(|sector| log.extend(filled(sector, with)));
                }
            }
        }
        log
    }

    fn what_is_in(entries: &[Entry<'_>]) -> Vec<Step> {
        let step = |entry: &Entry<'_>| {
            let count = (entry.data.len() / SECTOR) as u64;
            (!entry.is_flush).then(|| (entry.sector, count, entry.data[1]))
        };
        entries.iter().map(step).collect()
    }

    proptest! {
        #[test]
        fn a_log_has_what_was_done(steps in steps(), cut in any::<prop::sample::Index>()) {
            let log = log_of(&steps);
            let entries = parse(&log, DISK * SECTOR as u64).unwrap();
            // A write at sector 0 without data does not come about, so nothing looks like the end.
            prop_assert_eq!(what_is_in(&entries), steps);
            prop_assert_eq!(entries.last().map_or(SECTOR, |entry| entry.end), log.len());
            // Killed anywhere: what is there wholly, and nothing else.
            let cut = cut.index(log.len() + 1);
            let whole: Vec<_> = entries.iter().filter(|entry| entry.end <= cut).copied().collect();
            prop_assert_eq!(parse(&log[..cut], DISK * SECTOR as u64).unwrap(), whole);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000), as_ours: bool) {
            let mut log = log_of(&[]);
            log.extend(bytes);
            let from = if as_ours { 0 } else { SECTOR };
            drop(parse(&log[from..], 1 << 20));
        }
    }

    #[test]
    fn what_is_no_such_log_is_refused() {
        let log = log_of(&[Some((1, 2, 7)), None]);
        let disk = DISK * 512;
        let changed = |at: usize, byte: u8| {
            let mut log = log.clone();
            log[at] = byte;
            parse(&log, disk).map(|entries| entries.len())
        };
        assert_eq!(changed(600, 0), Ok(2));
        for at in [0, 8, 24, 25] {
            assert_eq!(changed(at, 9), Err(Error::Foreign), "{at}");
        }
        // A place behind the disk, a discard, a mark's length.
        for (at, byte) in [(512, 23), (518, 255), (528, 4), (536, 1)] {
            assert!(matches!(changed(at, byte), Err(Error::Entry { offset: 512, .. })), "{at}");
        }
        // The sectors that were never written: QEMU was killed before the first flush.
        assert_eq!(parse(&[&[0; 512], &log[512..]].concat(), disk).unwrap().len(), 2);
        assert_eq!(parse(&[0; 4096], disk).unwrap(), []);
        assert_eq!(parse(&[], disk).unwrap(), []);
    }
}
