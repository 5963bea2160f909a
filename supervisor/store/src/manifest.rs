//! Numbered files that are written once and never overwritten: the manifests of checkpoints.

use std::path::{Path, PathBuf};

use crate::blob;
use crate::bytes::{Fields, length};
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};

/// The largest manifest, in bytes: large lists belong into chunks.
pub const BYTES_MAX: u64 = 64 << 20;

/// The version that is written.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"DSMILMAN";
const HEADER_BYTES: usize = 32;

/// Writes manifest `number` into the folder `dir`, which is made if it is not there (its parent must be).
///
/// # Errors
///
/// - [`Error::Exists`]: the number is taken
/// - [`Error::Limit`]: more than [`BYTES_MAX`] bytes
/// - [`Error::Full`], [`Error::Io`]: nothing was written
/// - [`Error::Flush`]: written, but perhaps not durably
pub fn put(dir: &Path, number: u64, bytes: &[u8]) -> Result<(), Error> {
    put_on(&Real, dir, number, bytes)
}

/// Reads manifest `number` of the folder `dir` and checks it.
///
/// # Errors
///
/// - [`Error::Absent`]: there is none of this number
/// - [`Error::Damaged`]: it is not what was written, or was renamed
/// - [`Error::Version`]: a newer release wrote it
/// - [`Error::Limit`], [`Error::Io`]: it cannot be read
pub fn get(dir: &Path, number: u64) -> Result<Vec<u8>, Error> {
    get_on(&Real, dir, number)
}

/// Removes manifest `number` of the folder `dir`, durably: after a crash it is there whole or gone, and once this has returned it is
/// gone for good.
///
/// # Errors
///
/// - [`Error::Absent`]: there is none of this number, durably
/// - [`Error::Io`]: it is still there
/// - [`Error::Flush`]: removed, but perhaps not durably; can be repeated
pub fn remove(dir: &Path, number: u64) -> Result<(), Error> {
    remove_on(&Real, dir, number)
}

/// The numbers that exist in the folder `dir`, ascending; none where the folder does not exist.
///
/// # Errors
///
/// - [`Error::Io`]: the folder cannot be read
pub fn list(dir: &Path) -> Result<Vec<u64>, Error> {
    list_on(&Real, dir)
}

pub(crate) fn put_on(disk: &dyn Disk, dir: &Path, number: u64, bytes: &[u8]) -> Result<(), Error> {
    let found = length(bytes.len());
    if found > BYTES_MAX {
        return Err(Error::Limit { what: "a manifest", found, limit: BYTES_MAX });
    }
    disk.create_dir(dir).map_err(|e| Error::io("make", dir, e))?;
    let mut file = Vec::with_capacity(HEADER_BYTES + bytes.len());
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend(number.to_le_bytes());
    file.extend(found.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&file), bytes);
    file.extend(crc.to_le_bytes());
    file.extend(bytes);
    blob::create_on(disk, &path(dir, number), &file)
}

pub(crate) fn get_on(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Vec<u8>, Error> {
    let path = path(dir, number);
    let file = blob::read_on(disk, &path, BYTES_MAX + length(HEADER_BYTES)).map_err(|error| match error {
        Error::Absent { path, .. } => Error::Absent { what: "manifest", path },
        other => other,
    })?;
    let damaged = |why| Error::damaged(&path, 0, Place::File, why);
    let mut fields = Fields(&file);
    if fields.take() != Some(MAGIC) {
        return Err(damaged("this is no manifest"));
    }
    let short = || damaged("the header is incomplete");
    let version = fields.u32().ok_or_else(short)?;
    if version > VERSION {
        return Err(Error::Version { path, found: version, known: VERSION });
    }
    let (named, size) = (fields.u64().ok_or_else(short)?, fields.u64().ok_or_else(short)?);
    let crc = fields.u32().ok_or_else(short)?;
    let head = file.get(..HEADER_BYTES - 4).ok_or_else(short)?;
    if version != VERSION || crc32c::crc32c_append(crc32c::crc32c(head), fields.0) != crc {
        return Err(damaged("the checksum does not match"));
    }
    if named != number || size != length(fields.0.len()) {
        return Err(damaged("it is the manifest of another number"));
    }
    Ok(fields.0.to_vec())
}

pub(crate) fn remove_on(disk: &dyn Disk, dir: &Path, number: u64) -> Result<(), Error> {
    let path = path(dir, number);
    let removed = match disk.remove(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::Absent { what: "manifest", path: path.clone() })
        }
        removed => removed.map_err(|e| Error::io("remove", &path, e)),
    };
    // Also where there is none: an earlier call may have removed it and failed here.
    if matches!(removed, Ok(()) | Err(Error::Absent { .. }))
        && !matches!(disk.list(dir), Err(e) if e.kind() == std::io::ErrorKind::NotFound)
    {
        disk.sync_dir(dir).map_err(|e| Error::flush(&path, e))?;
    }
    removed
}

pub(crate) fn list_on(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, Error> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|e| Error::io("list", dir, e))?,
    };
    // A number that is not written as `put` writes it is somebody else's file.
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.parse().ok().filter(|n| &file_name(*n) == name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn file_name(number: u64) -> String {
    format!("{number:06}")
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(file_name(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::disk::sim::Sim;

    #[test]
    fn manifests_are_written_once_and_listed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("checkpoints");
        assert!(list(&dir).unwrap().is_empty());
        put(&dir, 2, b"two").unwrap();
        put(&dir, 1, b"").unwrap();
        put(&dir, 1_234_567, b"many").unwrap();
        assert!(matches!(put(&dir, 2, b"other"), Err(Error::Exists { .. })));
        std::fs::write(dir.join("1"), "somebody else's").unwrap();
        assert_eq!(list(&dir).unwrap(), [1, 2, 1_234_567]);
        assert_eq!(get(&dir, 2).unwrap(), b"two");
        assert!(matches!(get(&dir, 3), Err(Error::Absent { what: "manifest", .. })));
        std::fs::rename(dir.join("000001"), dir.join("000003")).unwrap();
        assert!(matches!(get(&dir, 3), Err(Error::Damaged(_))));
    }

    #[test]
    fn a_removed_manifest_stays_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("checkpoints");
        assert!(matches!(remove(&dir, 1), Err(Error::Absent { what: "manifest", .. })));
        put(&dir, 1, b"one").unwrap();
        put(&dir, 2, b"two").unwrap();
        remove(&dir, 1).unwrap();
        assert!(matches!(remove(&dir, 1), Err(Error::Absent { .. })));
        assert_eq!(list(&dir).unwrap(), [2]);
        let (dir, bytes) = (Path::new("/checkpoints"), vec![5; 1500]);
        for cut in 0..4 {
            let disk = Sim::default();
            put_on(&disk, dir, 1, &bytes).unwrap();
            put_on(&disk, dir, 2, b"two").unwrap();
            disk.cut_power_after(cut);
            let done = remove_on(&disk, dir, 1).is_ok();
            for mask in 0_u32..1 << disk.choices() {
                let mut bits = mask;
                let crashed = disk.crash(&mut || (bits & 1 == 1, bits >>= 1).0);
                let found = list_on(&crashed, dir).unwrap();
                assert!(found == [2] || !done && found == [1, 2], "{found:?}");
                assert!(done || found == [2] || get_on(&crashed, dir, 1).unwrap() == bytes);
                assert_eq!(get_on(&crashed, dir, 2).unwrap(), b"two");
            }
        }
    }

    #[test]
    fn a_crash_leaves_it_whole_or_not_at_all() {
        let dir = Path::new("/checkpoints");
        let bytes = vec![5; 1500];
        for cut in 0..8 {
            let disk = Sim::default();
            disk.cut_power_after(cut);
            let done = put_on(&disk, dir, 1, &bytes).is_ok();
            let choices = disk.choices();
            for mask in 0_u32..1 << choices {
                let mut bits = mask;
                let crashed = disk.crash(&mut || (bits & 1 == 1, bits >>= 1).0);
                let found = list_on(&crashed, dir).unwrap();
                assert!(!done || found == [1]);
                if found == [1] {
                    assert_eq!(get_on(&crashed, dir, 1).unwrap(), bytes);
                } else {
                    put_on(&crashed, dir, 1, &bytes).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_was_removed_stays_removed_and_the_others_stay() {
        let dir = Path::new("/checkpoints");
        for cut in 0..4 {
            let disk = Sim::default();
            put_on(&disk, dir, 1, b"one").unwrap();
            put_on(&disk, dir, 2, b"two").unwrap();
            disk.cut_power_after(cut);
            let done = remove_on(&disk, dir, 1).is_ok();
            for mask in 0_u32..1 << disk.choices() {
                let mut bits = mask;
                let crashed = disk.crash(&mut || (bits & 1 == 1, bits >>= 1).0);
                let found = list_on(&crashed, dir).unwrap();
                assert!(found == [2] || (found == [1, 2] && !done), "{found:?} after {cut}");
                for number in found {
                    get_on(&crashed, dir, number).unwrap();
                }
            }
        }
        let disk = Sim::default();
        assert!(matches!(remove_on(&disk, dir, 1), Err(Error::Absent { what: "manifest", .. })));
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_refused(bytes: Vec<u8>, at in any::<prop::sample::Index>(), by in 1_u8..) {
            let (disk, dir) = (Sim::default(), Path::new("/checkpoints"));
            put_on(&disk, dir, 9, &bytes).unwrap();
            prop_assert_eq!(get_on(&disk, dir, 9).unwrap(), bytes);
            disk.tamper(&dir.join("000009"), |file| {
                let at = at.index(file.len());
                file[at] ^= by;
            });
            let refused = matches!(get_on(&disk, dir, 9), Err(Error::Damaged(_) | Error::Version { .. }));
            prop_assert!(refused);
        }
    }
}
