//! The folder in which a restore works, and the times of the root that its coming and going disturbs.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use minicbor::{Decode, Encode};
use rustix::fs::{AtFlags, Dir, FlockOperation, OFlags, flock, statat};
use rustix::io::Errno;

use super::effect::{Progress, Way};
use super::journal::Record;
use super::stage::Growing;
use super::{exchange, itself, journal, ops};
use crate::Error;
use crate::files::entry::{Stamp, times};
use crate::files::read;
use crate::files::root::Root;

pub(super) const FOLDER: &CStr = c".dsmil-restore";
pub(super) const JOURNAL: &CStr = c"journal";
pub(super) const JOURNAL_NEW: &CStr = c"journal.tmp";
pub(super) const DONE: &CStr = c"done";
const NEW: &CStr = c"new";
const OLD: &CStr = c"old";
const TIMES: &CStr = c"times";
const TIMES_NEW: &CStr = c"times.tmp";
/// Setting an attribute leaves a folder's times alone, so they can be noted in it before they are disturbed.
const TIMES_XATTR: &[u8] = b"trusted.dsmil.restore";
/// Longest note of two times, in bytes.
const TIMES_BYTES_MAX: usize = 64;

/// A root's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Times {
    #[n(0)]
    pub(super) mtime: Stamp,
    #[n(1)]
    pub(super) atime: Stamp,
}

/// The folder of one restore, open and locked.
#[derive(Debug)]
pub(super) struct Staging {
    pub(super) way: Way,
    pub(super) dir: OwnedFd,
    /// Missing only where making the folder was cut short.
    pub(super) parts: Option<Parts>,
    /// Numbers of staged entries, and whether a step uses them.
    pub(super) staged: HashMap<u64, bool>,
    /// The file whose bytes are coming.
    pub(super) growing: Option<Growing>,
    pub(super) records: Vec<Record>,
    /// Paths at which a step puts something.
    pub(super) placed: HashSet<Vec<u8>>,
    /// The root's times before the folder was made; known only to who made it, and to the journal.
    pub(super) times: Option<Times>,
}

impl Drop for Staging {
    /// Closing alone would leave the lock to whatever child has the descriptor until its exec.
    fn drop(&mut self) {
        let _ = flock(&self.dir, FlockOperation::Unlock);
    }
}

#[derive(Debug)]
pub(super) struct Parts {
    pub(super) new: OwnedFd,
    pub(super) old: OwnedFd,
}

impl Staging {
    /// Makes the folder.
    pub(super) fn create(root: &Root, way: Way) -> Result<Self, Error> {
        if Self::open(root)?.is_some() {
            return Err(Error::Unfinished(root.path().display().to_string()));
        }
        match way {
            Way::InPlace => Self::create_inside(root),
            Way::Exchange => Self::create_beside(root),
        }
    }

    fn create_beside(root: &Root) -> Result<Self, Error> {
        let (place, name) = exchange::folder(root)?;
        let failed = |e: Errno| Error::io("make", name.to_bytes(), e);
        ops::mkdir(&place.folder, &name).map_err(failed)?;
        let mut staging = Self::open(root)?.ok_or_else(|| failed(Errno::NOENT))?;
        ops::mkdir(&staging.dir, NEW).map_err(failed)?;
        ops::mkdir(&staging.dir, OLD).map_err(failed)?;
        staging.parts = Parts::open(&staging.dir)?;
        Ok(staging)
    }

    fn create_inside(root: &Root) -> Result<Self, Error> {
        finish_times(root, None)?;
        let dir = itself(root)?;
        let stat = read::stat_open(&dir).map_err(|e| Error::io("look at", b"", e))?;
        let now = Times { mtime: stat.stx_mtime.into(), atime: stat.stx_atime.into() };
        let noted = note_times(&dir, now)?;
        let failed = |e: Errno| Error::io("make", FOLDER.to_bytes(), e);
        ops::mkdir(root, FOLDER).map_err(failed)?;
        let mut staging = Self::open(root)?.ok_or_else(|| failed(Errno::NOENT))?;
        if !noted {
            write_times(&staging.dir, now)?;
        }
        ops::mkdir(&staging.dir, NEW).map_err(failed)?;
        ops::mkdir(&staging.dir, OLD).map_err(failed)?;
        staging.parts = Parts::open(&staging.dir)?;
        staging.times = Some(now);
        Ok(staging)
    }

    /// Opens the folder if it is there, beside the root or in it, and takes its lock.
    pub(super) fn open(root: &Root) -> Result<Option<Self>, Error> {
        if let Ok((place, name)) = exchange::folder(root)
            && let Some(found) = Self::open_at(root, (&place.folder, &name), Way::Exchange)?
        {
            return Ok(Some(found));
        }
        Self::open_at(root, (root, FOLDER), Way::InPlace)
    }

    fn open_at(root: &Root, (above, name): (impl AsFd, &CStr), way: Way) -> Result<Option<Self>, Error> {
        let foreign = || {
            let folder = match way {
                Way::InPlace => root.path().join(OsStr::from_bytes(name.to_bytes())),
                Way::Exchange => root.path().with_file_name(OsStr::from_bytes(name.to_bytes())),
            };
            Error::Refused(format!("{} was made by somebody else: remove it", folder.display()))
        };
        let dir = match read::open(above, name, OFlags::DIRECTORY) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(foreign()),
            Err(e) => return Err(Error::io("open", name.to_bytes(), e)),
        };
        let stat = read::stat_open(&dir).map_err(|e| Error::io("look at", name.to_bytes(), e))?;
        // Whoever else can write into it could make us put back anything they like.
        if stat.stx_uid != rustix::process::geteuid().as_raw() || stat.stx_mode & 0o077 != 0 {
            return Err(foreign());
        }
        match flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let path = root.path().display();
                return Err(Error::Refused(format!(
                    "another process restores {path}: wait for it, or stop it"
                )));
            }
            Err(e) => return Err(Error::io("lock", name.to_bytes(), e)),
        }
        let parts = Parts::open(&dir)?;
        Ok(Some(Self {
            way,
            dir,
            parts,
            staged: HashMap::new(),
            growing: None,
            records: Vec::new(),
            placed: HashSet::new(),
            times: None,
        }))
    }

    /// How far this restore is.
    pub(super) fn progress(&self) -> Result<Progress, Error> {
        Ok(match (self.has(JOURNAL)?, self.has(DONE)?) {
            (false, false) => Progress::Loose,
            (false, true) => Progress::Finished,
            (true, false) => Progress::Committed,
            (true, true) => Progress::Executed,
        })
    }

    pub(super) fn parts(&self) -> Result<&Parts, Error> {
        self.parts
            .as_ref()
            .ok_or_else(|| Error::Refused("the folder of the restore is incomplete: clean up".into()))
    }

    fn has(&self, name: &CStr) -> Result<bool, Error> {
        exists(&self.dir, name)
    }

    /// Makes an empty file, which says something by being there.
    pub(super) fn mark(&self, name: &CStr) -> Result<(), Error> {
        let failed = |e: Errno| Error::io("make", name.to_bytes(), e);
        match ops::create(&self.dir, name) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(e) => return Err(failed(e)),
        }
        ops::sync(&self.dir).map_err(failed)
    }

    pub(super) fn unmark(&self, name: &CStr) -> Result<(), Error> {
        let failed = |e: Errno| Error::io("remove", name.to_bytes(), e);
        match ops::unlink(&self.dir, name) {
            Ok(()) => ops::sync(&self.dir).map_err(failed),
            Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    /// Makes what was executed final.
    pub(super) fn finish(&self, root: &Root) -> Result<(), Error> {
        match self.progress()? {
            Progress::Committed => {
                Err(Error::Refused("the restore is neither executed nor undone: do either first".into()))
            }
            Progress::Executed => {
                if self.way == Way::InPlace
                    && let Some(times) = journal::load(&self.dir)?.times_after()
                {
                    self.note_times(root, times)?;
                }
                // From here on nothing in the folder is needed any more.
                self.unmark(JOURNAL)
            }
            Progress::Loose | Progress::Finished | Progress::None => Ok(()),
        }
    }

    /// Notes the times that the root shall have when the folder is gone.
    pub(super) fn note_times(&self, root: &Root, times: Times) -> Result<(), Error> {
        if note_times(itself(root)?, times)? { Ok(()) } else { write_times(&self.dir, times) }
    }

    /// Removes the folder, and gives the root the times that it is to have.
    pub(super) fn clean(&mut self, root: &Root) -> Result<(), Error> {
        self.growing = None;
        if matches!(self.progress()?, Progress::Committed | Progress::Executed) {
            return Err(Error::Refused("the restore is neither finished nor undone: do either first".into()));
        }
        let failed = |name: &CStr, e: Errno| Error::io("remove", name.to_bytes(), e);
        for name in [NEW, OLD, exchange::TREE] {
            if let Ok(folder) = read::open(&self.dir, name, OFlags::DIRECTORY) {
                empty(&folder)?;
                ops::rmdir(&self.dir, name).map_err(|e| failed(name, e))?;
            }
        }
        let written = read_times(&self.dir);
        for name in [JOURNAL_NEW, TIMES, TIMES_NEW, DONE] {
            match ops::unlink(&self.dir, name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(failed(name, e)),
            }
        }
        match self.way {
            Way::Exchange => {
                let (place, name) = exchange::folder(root)?;
                ops::rmdir(&place.folder, &name).map_err(|e| failed(&name, e))
            }
            Way::InPlace => {
                ops::rmdir(root, FOLDER).map_err(|e| failed(FOLDER, e))?;
                finish_times(root, written)
            }
        }
    }
}

impl Parts {
    fn open(dir: &OwnedFd) -> Result<Option<Self>, Error> {
        let part = |name: &CStr| match read::open(dir, name, OFlags::DIRECTORY) {
            Ok(part) => Ok(Some(part)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("open", name.to_bytes(), e)),
        };
        Ok(part(NEW)?.zip(part(OLD)?).map(|(new, old)| Self { new, old }))
    }
}

/// Whether a name is there.
pub(super) fn exists(dir: impl AsFd, name: &CStr) -> Result<bool, Error> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(e) => Err(Error::io("look at", name.to_bytes(), e)),
    }
}

/// Sets the root's times to what was noted, if anything was, and forgets the note.
pub(super) fn finish_times(root: &Root, written: Option<(Stamp, Stamp)>) -> Result<(), Error> {
    let dir = itself(root)?;
    let path = root.path().as_os_str().as_bytes();
    let mut note = [0; TIMES_BYTES_MAX];
    let noted = rustix::fs::fgetxattr(&dir, TIMES_XATTR, &mut note[..]);
    let noted = noted.ok().and_then(|count| minicbor::decode::<Times>(note.get(..count)?).ok());
    let Some((mtime, atime)) = noted.map(|times| (times.mtime, times.atime)).or(written) else {
        return Ok(());
    };
    ops::times_open(&dir, &times(mtime, atime)).map_err(|e| Error::io("set the times of", path, e))?;
    ops::sync(&dir).map_err(|e| Error::io("flush", path, e))?;
    if noted.is_some() {
        ops::remove_xattr_open(&dir, TIMES_XATTR)
            .map_err(|e| Error::io("remove an attribute of", path, e))?;
    }
    Ok(())
}

/// Notes the times in the root itself; whether it took them.
fn note_times(dir: impl AsFd, times: Times) -> Result<bool, Error> {
    match ops::set_xattr_open(dir, TIMES_XATTR, &encode(times)?) {
        Ok(()) => Ok(true),
        // No privilege, or a file system without attributes.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSPC | Errno::ACCESS) => Ok(false),
        Err(e) => Err(Error::io("set an attribute of", b"", e)),
    }
}

fn write_times(dir: &OwnedFd, times: Times) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::io("write", TIMES.to_bytes(), e);
    match ops::unlink(dir, TIMES_NEW) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(failed(e.into())),
    }
    let file = ops::create(dir, TIMES_NEW).map_err(|e| failed(e.into()))?;
    ops::write(&file.into(), 0, &encode(times)?).map_err(failed)?;
    ops::replace(dir, TIMES_NEW, TIMES).map_err(|e| failed(e.into()))
}

fn read_times(dir: &OwnedFd) -> Option<(Stamp, Stamp)> {
    let file = std::fs::File::from(read::open(dir, TIMES, OFlags::empty()).ok()?);
    let mut bytes = [0; TIMES_BYTES_MAX];
    let count = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0).ok()?;
    let times: Times = minicbor::decode(bytes.get(..count)?).ok()?;
    Some((times.mtime, times.atime))
}

fn encode(times: Times) -> Result<Vec<u8>, Error> {
    minicbor::to_vec(times).map_err(|e| Error::Invalid(e.to_string()))
}

/// Deletes everything in a folder that nobody else can enter. Folders are first flattened into it, so that trees of any
/// depth take neither stack nor descriptors.
fn empty(top: &OwnedFd) -> Result<(), Error> {
    let mut lifted = 0u64;
    loop {
        let names = names(top)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if remove_file(top, &name)? {
                continue;
            }
            let folder = read::open(top, &name, OFlags::DIRECTORY)
                .map_err(|e| Error::io("open", name.to_bytes(), e))?;
            for child in self::names(&folder)? {
                while !remove_file(&folder, &child)? {
                    let new = super::beneath::text(format!("lifted{lifted}").as_bytes())?;
                    lifted += 1;
                    match ops::rename(&folder, &child, top, &new) {
                        Ok(()) => break,
                        // What an earlier, interrupted clean-up lifted.
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(Error::io("move", child.to_bytes(), e)),
                    }
                }
            }
            match ops::rmdir(top, &name) {
                // Whoever still has it open put something into it: once more.
                Ok(()) | Err(Errno::NOTEMPTY) => {}
                Err(e) => return Err(Error::io("remove", name.to_bytes(), e)),
            }
        }
    }
}

/// Deletes a name that is no folder; whether it was none.
fn remove_file(dir: &OwnedFd, name: &CStr) -> Result<bool, Error> {
    match ops::unlink(dir, name) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(e) => Err(Error::io("remove", name.to_bytes(), e)),
    }
}

fn names(dir: &OwnedFd) -> Result<Vec<std::ffi::CString>, Error> {
    let failed = |e: std::io::Error| Error::io("list", FOLDER.to_bytes(), e);
    // Opened anew: a copy of the descriptor would share its place in the list.
    let handle = read::open(dir, c".", OFlags::DIRECTORY).map_err(|e| failed(e.into()))?;
    let mut names = Vec::new();
    for entry in Dir::new(handle).map_err(|e| failed(e.into()))? {
        let name = entry.map_err(|e| failed(e.into()))?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_ends_although_a_child_has_the_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let staging = Staging::create(&root, Way::InPlace).unwrap();
        let inherited = staging.dir.try_clone().unwrap();
        assert!(matches!(Staging::open(&root), Err(Error::Refused(_))), "it is locked");
        drop(staging);
        assert!(Staging::open(&root).unwrap().is_some());
        drop(inherited);
    }
}
