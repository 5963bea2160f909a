//! The administrator's files of a unit: its own, and its drop-ins.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::UnitFile;
use crate::Error;
use crate::error::{length, shown};

/// The most bytes of all files of one unit together, with their names: what the log takes before they change.
pub const UNIT_BYTES_MAX: usize = 24 << 10;
/// The most drop-ins of one unit.
const FILES_MAX: usize = 64;
/// What is being written; systemd passes over it.
const ASIDE: &str = ".dsmil-new";

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Whether this can be the files of a unit: what was read from a disk or came from the daemon is not trusted.
pub(super) fn check(files: &[UnitFile]) -> Result<(), Error> {
    let bytes: usize = files.iter().map(|file| file.name.len() + file.content.len()).sum();
    let is_good = |file: &UnitFile| {
        let name = file.name.as_str();
        file.mode <= 0o777 && (name.is_empty() || is_drop_in(name))
    };
    let ordered = files.is_sorted_by(|a, b| a.name < b.name);
    if ordered && files.iter().all(is_good) && bytes <= UNIT_BYTES_MAX && files.len() <= FILES_MAX {
        Ok(())
    } else {
        Err(Error::Damaged("the files of a service are none".into()))
    }
}

fn is_drop_in(name: &str) -> bool {
    let plain = !name.starts_with('.') && !name.contains(['/', '\0']) && name.len() <= 200;
    plain && name.len() > ".conf".len() && name.ends_with(".conf")
}

/// What is there: the unit's own file under an empty name, then its drop-ins, ascending. Links are passed over: what they mean
/// is in the unit's state.
pub(super) fn read(folder: &Path, unit: &str) -> Result<Vec<UnitFile>, Error> {
    let mut found = Vec::new();
    let Some(top) = open_top(folder)? else { return Ok(found) };
    if let Some(file) = read_one(&top, unit, "")? {
        found.push(file);
    }
    if let Some(inner) = open_inner(&top, unit)? {
        let fail = |error| Error::io("read", drop_ins(unit).as_bytes(), error);
        for entry in Dir::read_from(&inner).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if is_drop_in(name)
                && let Some(file) = read_one(&inner, name, name)?
            {
                found.push(file);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes: usize = found.iter().map(|file| file.name.len() + file.content.len()).sum();
    for (what, found, limit) in [
        ("the size of all files of a service", bytes, UNIT_BYTES_MAX),
        ("the number of files of a service", found.len(), FILES_MAX),
    ] {
        if found > limit {
            return Err(Error::Limit { what, found: length(found), limit: length(limit) });
        }
    }
    Ok(found)
}

fn drop_ins(unit: &str) -> String {
    format!("{unit}.d")
}

fn open_top(folder: &Path) -> Result<Option<OwnedFd>, Error> {
    match rustix::fs::open(folder, READ | OFlags::DIRECTORY, Mode::empty()) {
        Ok(top) => Ok(Some(top)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io("open", folder.as_os_str().as_encoded_bytes(), error)),
    }
}

fn open_inner(top: &OwnedFd, unit: &str) -> Result<Option<OwnedFd>, Error> {
    let name = drop_ins(unit);
    match openat(top, &name, READ | OFlags::DIRECTORY, Mode::empty()) {
        Ok(inner) => Ok(Some(inner)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::io("open", name.as_bytes(), error)),
    }
}

fn read_one(folder: &OwnedFd, path: &str, name: &str) -> Result<Option<UnitFile>, Error> {
    let fail = |action, error| Error::io(action, path.as_bytes(), error);
    let file = match openat(folder, path, READ, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(error) => return Err(fail("open", error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| fail("look at", error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::Invalid(format!("{} is no file", shown(path.as_bytes()))));
    }
    let mut content = Vec::new();
    let limit = length(UNIT_BYTES_MAX) + 1;
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(file), limit), &mut content)
        .map_err(|error| Error::io("read", path.as_bytes(), error))?;
    Ok(Some(UnitFile { name: name.to_owned(), mode: stat.st_mode & 0o777, content }))
}

/// Makes what is there what is wanted, durably; each file is replaced at once. All that is there belongs to the caller's user
/// afterwards, which is root.
pub(super) fn write(folder: &Path, unit: &str, there: &[UnitFile], wanted: &[UnitFile]) -> Result<(), Error> {
    let shown_folder = folder.as_os_str().as_encoded_bytes();
    let top = open_top(folder)?.ok_or_else(|| Error::io("open", shown_folder, Errno::NOENT))?;
    guard(&top, shown_folder)?;
    let is_there = |file: &&UnitFile| !there.contains(file);
    let goes = |file: &&UnitFile| !wanted.iter().any(|other| other.name == file.name);
    if wanted.iter().chain(there).any(|file| !file.name.is_empty()) {
        write_inner(&top, unit, &|| wanted.iter().filter(is_there), &|| there.iter().filter(goes))?;
    }
    for file in wanted.iter().filter(is_there).filter(|file| file.name.is_empty()) {
        put(&top, unit, file)?;
    }
    if there.iter().filter(goes).any(|file| file.name.is_empty()) {
        remove(&top, unit)?;
    }
    flush(&top, shown_folder)
}

/// The drop-ins, in a folder of their own that is there only with one of them.
fn write_inner<'f, A: Iterator<Item = &'f UnitFile>, B: Iterator<Item = &'f UnitFile>>(
    top: &OwnedFd,
    unit: &str,
    new: &dyn Fn() -> A,
    gone: &dyn Fn() -> B,
) -> Result<(), Error> {
    let name = drop_ins(unit);
    let fail = |action, error| Error::io(action, name.as_bytes(), error);
    let mut new = new().filter(|file| !file.name.is_empty()).peekable();
    let inner = match (open_inner(top, unit)?, new.peek()) {
        (Some(inner), _) => inner,
        (None, None) => return Ok(()),
        (None, Some(_)) => {
            rustix::fs::mkdirat(top, &name, Mode::from_raw_mode(0o755))
                .map_err(|error| fail("make", error))?;
            let inner = open_inner(top, unit)?.ok_or_else(|| fail("open", Errno::NOENT))?;
            rustix::fs::fchmod(&inner, Mode::from_raw_mode(0o755)).map_err(|error| fail("change", error))?;
            inner
        }
    };
    guard(&inner, name.as_bytes())?;
    for file in new {
        put(&inner, &file.name, file)?;
    }
    for file in gone().filter(|file| !file.name.is_empty()) {
        remove(&inner, &file.name)?;
    }
    sweep(&inner, &name)?;
    flush(&inner, name.as_bytes())?;
    match rustix::fs::unlinkat(top, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(fail("remove", error)),
    }
}

/// Removes what a crash left while it was being written.
fn sweep(inner: &OwnedFd, name: &str) -> Result<(), Error> {
    let fail = |error| Error::io("read", name.as_bytes(), error);
    for entry in Dir::read_from(inner).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        if let Ok(left) = entry.file_name().to_str()
            && left.starts_with('.')
            && left.ends_with(ASIDE)
        {
            remove(inner, left)?;
        }
    }
    Ok(())
}

/// That nobody but root can put anything in the place of what is written in a folder.
fn guard(folder: impl AsFd, path: &[u8]) -> Result<(), Error> {
    let stat = rustix::fs::fstat(folder).map_err(|error| Error::io("look at", path, error))?;
    if stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0 {
        return Ok(());
    }
    Err(Error::Refused(format!("{} can be written by others than root", shown(path))))
}

fn put(folder: &OwnedFd, path: &str, file: &UnitFile) -> Result<(), Error> {
    let fail = |action, error: Errno| Error::io(action, path.as_bytes(), error);
    if let Ok(stat) = rustix::fs::statat(folder, path, AtFlags::SYMLINK_NOFOLLOW)
        && FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
    {
        return Err(Error::Refused(format!("{} is a link or no file, and is left", shown(path.as_bytes()))));
    }
    let aside = format!(".{path}{ASIDE}");
    remove(folder, &aside)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written = openat(folder, &aside, flags, Mode::from_raw_mode(0o600));
    let mut written = std::fs::File::from(written.map_err(|error| fail("make", error))?);
    std::io::Write::write_all(&mut written, &file.content)
        .map_err(|error| Error::io("write", path.as_bytes(), error))?;
    rustix::fs::fchmod(&written, Mode::from_raw_mode(file.mode)).map_err(|error| fail("change", error))?;
    rustix::fs::fsync(&written).map_err(|error| fail("flush", error))?;
    rustix::fs::renameat(folder, &aside, folder, path).map_err(|error| fail("place", error))
}

fn remove(folder: &OwnedFd, path: &str) -> Result<(), Error> {
    match rustix::fs::unlinkat(folder, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::io("remove", path.as_bytes(), error)),
    }
}

fn flush(folder: &OwnedFd, path: &[u8]) -> Result<(), Error> {
    rustix::fs::fsync(folder).map_err(|error| Error::io("flush", path, error))
}
