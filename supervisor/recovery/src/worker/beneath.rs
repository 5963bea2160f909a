//! Looking up paths that never leave their root.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::Error;
use crate::files::entry::{check_path, split};

/// How often a look-up is tried again that a rename elsewhere disturbed.
const TRIES_MAX: u32 = 64;

/// Neither upwards, nor through any link, nor into another file system.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// A name in an open folder.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    pub(super) name: CString,
}

/// Opens the folder that holds `path`, which is not the root itself.
pub(super) fn place(root: impl AsFd, path: &[u8]) -> Result<Place, Error> {
    checked(path)?;
    let (folder, name) =
        split(path).ok_or_else(|| Error::Refused("the root itself is never moved or replaced".into()))?;
    let folder = open(root, folder, OFlags::PATH | OFlags::DIRECTORY)?;
    Ok(Place { folder, name: text(name)? })
}

/// Opens the file or folder at `path`, for its metadata alone; the empty path is the root.
pub(super) fn entry(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Error> {
    checked(path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(root.as_fd(), path, flags | OFlags::NOATIME) {
        Err(error) if error.errno() == Some(Errno::PERM) => open(root, path, flags),
        result => result,
    }
}

/// Whether an error says that there is no such place, rather than that it cannot be reached.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP))
}

pub(super) fn text(bytes: &[u8]) -> Result<CString, Error> {
    CString::new(bytes).map_err(|_| Error::Refused("a name has a NUL".into()))
}

fn checked(path: &[u8]) -> Result<(), Error> {
    check_path(path).map_err(|why| Error::Refused(format!("{why}: {}", crate::error::shown(path))))
}

fn open(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Error> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let path = if path.is_empty() { &b"."[..] } else { path };
    for _ in 0..TRIES_MAX {
        match openat2(root.as_fd(), path, flags, Mode::empty(), RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return result.map_err(|e| Error::io("reach", path, e)),
        }
    }
    Err(Error::io("reach", path, Errno::AGAIN))
}
