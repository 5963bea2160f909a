//! Small files that are replaced as a whole or not at all.
//!
//! A reader sees the old bytes or the new ones; after `Ok` the new ones survive a power cut.

use std::io;
use std::path::{Path, PathBuf};

use crate::bytes::{length, size};
use crate::disk::real::Real;
use crate::disk::{Disk, Mode};
use crate::error::Error;

/// Writes `bytes` to `path`, replacing what was there.
///
/// # Errors
///
/// - [`Error::Full`]: no space; the old file stands
/// - [`Error::Io`]: the operating system refused; the old file or the new one stands, whole
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace_on(&Real, path, bytes)
}

/// Writes `bytes` to `path`, which must not exist.
///
/// # Errors
///
/// - [`Error::Exists`]: `path` exists; it was left as it is
/// - [`Error::Full`], [`Error::Io`]: as for [`replace`]
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    create_on(&Real, path, bytes)
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
///
/// - [`Error::Absent`]: there is no such file
/// - [`Error::Limit`]: it is larger than `limit`
/// - [`Error::Io`]: the operating system refused
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    read_on(&Real, path, limit)
}

pub(crate) fn replace_on(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = write_temporary(disk, path, bytes)?;
    disk.rename(&temporary, path).map_err(|e| Error::io("replace", path, e))?;
    sync_parent(disk, path)
}

pub(crate) fn create_on(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = write_temporary(disk, path, bytes)?;
    match disk.rename_new(&temporary, path) {
        Ok(()) => sync_parent(disk, path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // What is left of it would be overwritten by the next write, so failing to remove it is no loss.
            let _ = disk.remove(&temporary);
            Err(Error::Exists { path: path.into() })
        }
        Err(error) => Err(Error::io("create", path, error)),
    }
}

pub(crate) fn read_on(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let refused = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotFound => Error::Absent { what: "file", path: path.into() },
        _ => Error::io("read", path, cause),
    };
    let file = disk.open(path, Mode::Read).map_err(refused)?;
    let found = file.len().map_err(refused)?;
    if found > limit {
        return Err(Error::Limit { what: "a file", found, limit });
    }
    let mut bytes = vec![0; size(found)];
    let count = file.read_at(0, &mut bytes).map_err(refused)?;
    bytes.truncate(count);
    Ok(bytes)
}

/// The name under which a file is prepared: never one of the names that readers look for.
pub(crate) fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

fn write_temporary(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<PathBuf, Error> {
    let temporary = temporary_name(path);
    let write = || {
        let file = disk.open(&temporary, Mode::Create)?;
        file.allocate(0, length(bytes.len()).max(1))?;
        file.write_at(0, bytes)?;
        file.sync()
    };
    write().map_err(|e| {
        let _ = disk.remove(&temporary);
        Error::io("write", path, e)
    })?;
    Ok(temporary)
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(parent).map_err(|e| Error::flush(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::sim::Sim;

    #[test]
    fn files_are_replaced_created_and_limited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(matches!(read(&path, 10), Err(Error::Absent { .. })));
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"two");
        assert!(matches!(read(&path, 2), Err(Error::Limit { .. })));
        assert!(matches!(create(&path, b"three"), Err(Error::Exists { .. })));
        assert_eq!(read(&path, 10).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_leaves_the_old_or_the_new() {
        let path = Path::new("/folder/file");
        for cut in 0..8 {
            let disk = Sim::default();
            replace_on(&disk, path, &[1; 900]).unwrap();
            disk.cut_power_after(cut);
            let done = replace_on(&disk, path, &[2; 1400]).is_ok();
            let choices = disk.choices();
            for mask in 0_u32..1 << choices {
                let mut bits = mask;
                let crashed = disk.crash(&mut || (bits & 1 == 1, bits >>= 1).0);
                let found = read_on(&crashed, path, 9999).unwrap();
                assert!(found == [2; 1400] || (!done && found == [1; 900]));
            }
        }
    }
}
