//! Snapshots: a place to start from, and the state there, in one file.
//!
//! Named by the number of entries before it, written as a whole or not at all, the newest [`KEPT`] kept, and of older ones so many that the
//! distances between them double: any past is near one. What the state's
//! bytes mean is the caller's. That a snapshot belongs to the log is proven when it is opened from there
//! ([`crate::log::Log::open_at`]); that its state is right, by its hash, which the caller records as a fact.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use types::hash::Hash;

use crate::blob;
use crate::bytes::{Fields, length};
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};
use crate::log::Start;

/// The largest state, in bytes.
pub const STATE_BYTES_MAX: u64 = 256 << 20;

/// How many snapshots are kept: the newest, and one more should that be damaged or not covered by a head.
pub const KEPT: usize = 2;

const MAGIC: [u8; 8] = *b"DSMILSNP";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 32;
/// Over the largest start: an edge of 8 levels of 255 hashes.
const START_BYTES_MAX: u64 = 128 << 10;
const EXTENSION: &str = ".snap";

/// A snapshot that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the log goes on.
    pub start: Start,
    /// The caller's bytes.
    pub state: Vec<u8>,
    /// The SHA-256 of the file.
    pub hash: Hash,
}

/// Writes a snapshot durably into the folder `dir`, which is made if it is not there (its parent must be), removes what is
/// not to be kept, and returns the SHA-256 of the file. `start` is what [`crate::log::Log::start`] gave when exactly
/// the entries before it were in the state.
///
/// # Errors
///
/// - [`Error::Limit`]: the state has more than [`STATE_BYTES_MAX`] bytes
/// - [`Error::Full`], [`Error::Io`]: nothing was written
/// - [`Error::Flush`]: written, but perhaps not durably
pub fn write(dir: &Path, start: &Start, state: &[u8]) -> Result<Hash, Error> {
    write_on(&Real, dir, start, state)
}

/// Reads the snapshot before which the log has `entries` entries.
///
/// # Errors
///
/// - [`Error::Absent`]: there is none of this number
/// - [`Error::Damaged`]: it is not what was written, or was renamed: take another, or open the log as a whole
/// - [`Error::Version`]: a newer release wrote it
/// - [`Error::Limit`], [`Error::Io`]: it cannot be read
pub fn read(dir: &Path, entries: u64) -> Result<Snapshot, Error> {
    read_on(&Real, dir, entries)
}

/// The numbers of the snapshots in the folder `dir`, ascending; none where the folder does not exist.
///
/// # Errors
///
/// - [`Error::Io`]: the folder cannot be read
pub fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    list_on(&Real, dir)
}

pub(crate) fn write_on(disk: &dyn Disk, dir: &Path, start: &Start, state: &[u8]) -> Result<Hash, Error> {
    let found = length(state.len());
    if found > STATE_BYTES_MAX {
        return Err(Error::Limit { what: "a state", found, limit: STATE_BYTES_MAX });
    }
    disk.create_dir(dir).map_err(|e| Error::io("make", dir, e))?;
    let place = start.encode();
    let mut file = Vec::with_capacity(HEADER_BYTES + place.len() + state.len() + 4);
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend([0; 4]);
    file.extend(length(place.len()).to_le_bytes());
    file.extend(found.to_le_bytes());
    file.extend(place);
    file.extend(state);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    blob::replace_on(disk, &path(dir, start.entries()), &file)?;
    remove_older(disk, dir);
    Ok(Hash(Sha256::digest(&file).into()))
}

pub(crate) fn read_on(disk: &dyn Disk, dir: &Path, entries: u64) -> Result<Snapshot, Error> {
    let path = path(dir, entries);
    let limit = STATE_BYTES_MAX + START_BYTES_MAX;
    let file = blob::read_on(disk, &path, limit).map_err(|error| match error {
        Error::Absent { path, .. } => Error::Absent { what: "snapshot", path },
        other => other,
    })?;
    let damaged = |why| Error::damaged(&path, 0, Place::File, why);
    let short = || damaged("it ends too early");
    let (covered, crc) = file.split_last_chunk::<4>().ok_or_else(short)?;
    let mut fields = Fields(covered);
    if fields.take() != Some(MAGIC) {
        return Err(damaged("this is no snapshot"));
    }
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(damaged("the checksum does not match"));
    }
    let found = fields.u32().ok_or_else(short)?;
    if found != VERSION {
        return Err(Error::Version { path, found, known: VERSION });
    }
    fields.u32().ok_or_else(short)?;
    let (place, state) = (fields.u64().ok_or_else(short)?, fields.u64().ok_or_else(short)?);
    let place = fields.slice(crate::bytes::size(place)).ok_or_else(short)?;
    let start = Start::decode(place).ok_or_else(|| damaged("it names no place in a log"))?;
    if state != length(fields.0.len()) || start.entries() != entries {
        return Err(damaged("it is the snapshot of another place"));
    }
    Ok(Snapshot { start, state: fields.0.to_vec(), hash: Hash(Sha256::digest(&file).into()) })
}

pub(crate) fn list_on(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, Error> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|e| Error::io("list", dir, e))?,
    };
    // A number that is not written as `write` writes it is somebody else's file.
    let number =
        |name: &String| name.strip_suffix(EXTENSION)?.parse().ok().filter(|n| file_name(*n) == *name);
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// One that stays takes space until the next is written, and nothing else.
fn remove_older(disk: &dyn Disk, dir: &Path) {
    for number in superfluous(&list_on(disk, dir).unwrap_or_default()) {
        let _ = disk.remove(&path(dir, number));
    }
    // Of snapshots alone: the log's own unfinished files are in use.
    for name in disk.list(dir).unwrap_or_default() {
        if name.strip_suffix(".tmp").is_some_and(|name| name.ends_with(EXTENSION)) {
            let _ = disk.remove(&dir.join(name));
        }
    }
}

/// Of ascending numbers those that are not kept: between two that are, the distance to the newest doubles at most twice.
fn superfluous(numbers: &[u64]) -> Vec<u64> {
    let newest = numbers.last().copied().unwrap_or_default();
    let second = numbers.iter().rev().nth(KEPT - 1);
    let (mut kept, mut superfluous) = (second.map_or(0, |second| newest - second), Vec::new());
    for number in numbers.iter().rev().skip(KEPT) {
        let distance = newest - number;
        if distance >= 2 * kept {
            kept = distance;
        } else {
            superfluous.push(*number);
        }
    }
    superfluous
}

fn file_name(entries: u64) -> String {
    format!("{entries:020}{EXTENSION}")
}

fn path(dir: &Path, entries: u64) -> PathBuf {
    dir.join(file_name(entries))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::sim::Sim;
    use crate::log::tests::create;
    use crate::log::{Config, Log};

    const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

    fn dir() -> &'static Path {
        Path::new("/snapshots")
    }

    fn log() -> Log {
        create(&Sim::default(), &SMALL).unwrap()
    }

    /// Of a long life few stay, and none is far from any past.
    #[test]
    fn older_ones_are_thinned_out() {
        let mut numbers = Vec::new();
        for newest in (1..=1000).map(|number| number * 100) {
            numbers.push(newest);
            let gone = superfluous(&numbers);
            numbers.retain(|number| !gone.contains(number));
            assert!(numbers.len() <= 14, "{numbers:?}");
            assert_eq!(numbers.last(), Some(&newest));
            for pair in numbers.windows(2) {
                assert!(newest - pair[0] <= 4 * (newest - pair[1]) + 200, "{numbers:?}");
            }
        }
    }

    #[test]
    fn the_newest_are_kept_and_read_back() {
        let (disk, mut log) = (Sim::default(), log());
        assert!(list_on(&disk, dir()).unwrap().is_empty());
        for round in 0..5_u8 {
            log.append(&[vec![round; 500]]).unwrap();
            let start = log.start().unwrap();
            let hash = write_on(&disk, dir(), &start, &[round; 3000]).unwrap();
            let read = read_on(&disk, dir(), start.entries()).unwrap();
            assert_eq!(read, Snapshot { start, state: vec![round; 3000], hash });
            let file = blob::read_on(&disk, &disk.files(".snap").pop().unwrap(), 1 << 20).unwrap();
            assert_eq!(hash, Hash(Sha256::digest(file).into()));
        }
        assert_eq!(list_on(&disk, dir()).unwrap(), [3, 4, 5]);
        assert!(matches!(read_on(&disk, dir(), 2), Err(Error::Absent { .. })));
        crate::disk::Disk::rename(&disk, &path(dir(), 5), &path(dir(), 9)).unwrap();
        assert!(matches!(read_on(&disk, dir(), 9), Err(Error::Damaged(_))));
    }

    #[test]
    fn a_crash_leaves_the_one_before_or_the_new() {
        let mut log = log();
        log.append(&["a"]).unwrap();
        let old = log.start().unwrap();
        log.append(&["b"]).unwrap();
        let new = log.start().unwrap();
        for cut in 0..10 {
            let disk = Sim::default();
            write_on(&disk, dir(), &old, &[1; 700]).unwrap();
            disk.cut_power_after(cut);
            let done = write_on(&disk, dir(), &new, &[2; 900]).is_ok();
            let choices = disk.choices();
            for mask in 0_u32..1 << choices {
                let mut bits = mask;
                let crashed = disk.crash(&mut || (bits & 1 == 1, bits >>= 1).0);
                let found = list_on(&crashed, dir()).unwrap();
                assert!(found.contains(&1) && (!done || found.contains(&2)), "{found:?}");
                found.iter().for_each(|number| drop(read_on(&crashed, dir(), *number).unwrap()));
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_refused(at: prop::sample::Index, by in 1_u8.., cut: bool) {
            let (disk, mut log) = (Sim::default(), log());
            log.append(&["a", "b", "c"]).unwrap();
            write_on(&disk, dir(), &log.start().unwrap(), b"the state").unwrap();
            disk.tamper(&path(dir(), 3), |bytes| {
                let at = at.index(bytes.len());
                if cut { bytes.truncate(at) } else { bytes[at] ^= by }
            });
            prop_assert!(matches!(read_on(&disk, dir(), 3), Err(Error::Damaged(_))));
        }
    }
}
