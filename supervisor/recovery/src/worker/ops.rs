//! The operations that change files, one by one.
//!
//! Everything that a restore changes goes through here, so that a test can stop the process before any of them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Before each operation; see [`fault`].
#[cfg(not(test))]
fn point() {}

#[cfg(test)]
use fault::point;

pub(super) fn mkdir(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    point();
    fs::mkdirat(dir, name, Mode::RWXU)
}

pub(super) fn create(dir: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    point();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
}

pub(super) fn write(file: &std::fs::File, at: u64, bytes: &[u8]) -> io::Result<()> {
    point();
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

pub(super) fn truncate(file: impl AsFd, size: u64) -> Result<(), Errno> {
    point();
    fs::ftruncate(file, size)
}

pub(super) fn symlink(target: &CStr, dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    point();
    fs::symlinkat(target, dir, name)
}

pub(super) fn fifo(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    point();
    fs::mkfifoat(dir, name, Mode::RUSR | Mode::WUSR)
}

pub(super) fn link(from: impl AsFd, name: &CStr, to: impl AsFd, new: &CStr) -> Result<(), Errno> {
    point();
    // Without SYMLINK_FOLLOW the link itself would be linked, never what it points to.
    fs::linkat(from, name, to, new, AtFlags::empty())
}

pub(super) fn chown_open(file: impl AsFd, uid: u32, gid: u32) -> Result<(), Errno> {
    point();
    fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

pub(super) fn chown(dir: impl AsFd, name: &CStr, uid: u32, gid: u32) -> Result<(), Errno> {
    point();
    fs::chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn chmod_open(file: impl AsFd, mode: u32) -> Result<(), Errno> {
    point();
    fs::fchmod(file, Mode::from_raw_mode(mode))
}

pub(super) fn chmod(dir: impl AsFd, name: &CStr, mode: u32) -> Result<(), Errno> {
    point();
    fs::chmodat(dir, name, Mode::from_raw_mode(mode), AtFlags::empty())
}

pub(super) fn times_open(file: impl AsFd, times: &Timestamps) -> Result<(), Errno> {
    point();
    fs::futimens(file, times)
}

pub(super) fn times(dir: impl AsFd, name: &CStr, times: &Timestamps) -> Result<(), Errno> {
    point();
    fs::utimensat(dir, name, times, AtFlags::SYMLINK_NOFOLLOW)
}

pub(super) fn set_xattr_open(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    point();
    fs::fsetxattr(file, name, value, XattrFlags::empty())
}

pub(super) fn set_xattr(path: &[u8], name: &[u8], value: &[u8]) -> Result<(), Errno> {
    point();
    fs::lsetxattr(path, name, value, XattrFlags::empty())
}

pub(super) fn remove_xattr_open(file: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    point();
    fs::fremovexattr(file, name)
}

pub(super) fn remove_xattr(path: &[u8], name: &[u8]) -> Result<(), Errno> {
    point();
    fs::lremovexattr(path, name)
}

/// Moves a name; what stands at the new one is never replaced.
pub(super) fn rename(from: impl AsFd, name: &CStr, to: impl AsFd, new: &CStr) -> Result<(), Errno> {
    point();
    let (from, to) = (from.as_fd(), to.as_fd());
    match fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE) {
        // Some file systems (9p, older network ones) lack the flag; looking first is what is left.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            match fs::statat(to, new, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(_) => Err(Errno::EXIST),
                Err(Errno::NOENT) => fs::renameat(from, name, to, new),
                Err(error) => Err(error),
            }
        }
        result => result,
    }
}

/// Lets two names change what they stand for, at once.
pub(super) fn exchange(from: impl AsFd, name: &CStr, to: impl AsFd, other: &CStr) -> Result<(), Errno> {
    point();
    fs::renameat_with(from, name, to, other, RenameFlags::EXCHANGE)
}

/// Moves a name over another one: for our own files in the folder of the restore.
pub(super) fn replace(dir: impl AsFd, name: &CStr, new: &CStr) -> Result<(), Errno> {
    point();
    let dir = dir.as_fd();
    fs::renameat(dir, name, dir, new)
}

pub(super) fn unlink(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    point();
    fs::unlinkat(dir, name, AtFlags::empty())
}

pub(super) fn rmdir(dir: impl AsFd, name: &CStr) -> Result<(), Errno> {
    point();
    fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

pub(super) fn sync(file: impl AsFd) -> Result<(), Errno> {
    point();
    fs::fsync(file)
}

/// Makes everything on the file system durable: one flush instead of one for each file.
pub(super) fn sync_all(dir: impl AsFd) -> Result<(), Errno> {
    point();
    fs::syncfs(dir)
}

/// Stops the process before the operation of a chosen number, as a power cut or SIGKILL would.
#[cfg(test)]
pub(crate) mod fault {
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Operations left before the end; 0 means never.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// The process ends before the operation of this number, counted from 1.
    pub(crate) fn arm(operation: u64) {
        LEFT.store(operation, Ordering::SeqCst);
    }

    pub(super) fn point() {
        let before = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before == Ok(1) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}
