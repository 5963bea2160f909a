//! The operations that change files, one by one.
//!
//! Everything that a restore changes goes through here, so that a test can stop the process before any of them.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, AtFlags, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Before each operation, after a write, and after everything is durable; see [`fault`].
#[cfg(not(test))]
mod fault {
    pub(super) fn point() {}
    pub(super) fn written(_: &std::fs::File, _: u64, _: usize) {}
    pub(super) fn flushed() {}
}

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
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)?;
    fault::written(file, at, bytes.len());
    Ok(())
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

/// Has the kernel begin to write a file's bytes, so that less is left when everything is made durable. A hint.
pub(super) fn write_soon(file: impl AsFd) {
    let _ = fs::fadvise(file, 0, None, fs::Advice::DontNeed);
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
    fs::syncfs(dir)?;
    fault::flushed();
    Ok(())
}

/// Stops before the operation of a chosen number: the process, as SIGKILL would, or this thread's work alone, as a power cut would, after which
/// [`Loss`] takes away what was not flushed.
#[cfg(test)]
pub(crate) mod fault {
    use std::cell::RefCell;
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Operations left before the end; 0 means never.
    static LEFT: AtomicU64 = AtomicU64::new(0);

    /// The process ends before the operation of this number, counted from 1.
    pub(crate) fn arm(operation: u64) {
        LEFT.store(operation, Ordering::SeqCst);
    }

    std::thread_local! {
        static LOSS: RefCell<Loss> = const { RefCell::new(Loss { left: 0, unflushed: Vec::new() }) };
    }

    /// What a thread unwinds with.
    pub(crate) struct PowerCut;

    /// What becomes of bytes that were not flushed.
    pub(crate) enum Bytes {
        Kept,
        Zeros,
        Gone,
    }

    /// What was written and not flushed.
    pub(crate) struct Loss {
        left: u64,
        unflushed: Vec<(File, u64, usize)>,
    }

    impl Loss {
        /// Decides for each write.
        pub(crate) fn strike(&mut self, mut decide: impl FnMut() -> Bytes) {
            for (file, at, count) in self.unflushed.drain(..) {
                match decide() {
                    Bytes::Kept => {}
                    Bytes::Zeros => file.write_all_at(&vec![0; count], at).unwrap(),
                    Bytes::Gone => file.set_len(at.min(file.metadata().unwrap().len())).unwrap(),
                }
            }
        }
    }

    /// The power is cut before this thread's operation of this number, counted from 1.
    pub(crate) fn cut_before(operation: u64) {
        LOSS.with_borrow_mut(|loss| *loss = Loss { left: operation, unflushed: Vec::new() });
    }

    /// No cut comes any more; gives what was not flushed.
    pub(crate) fn end() -> Loss {
        LOSS.replace(Loss { left: 0, unflushed: Vec::new() })
    }

    pub(super) fn written(file: &File, at: u64, count: usize) {
        LOSS.with_borrow_mut(|loss| {
            if loss.left > 0 {
                loss.unflushed.push((file.try_clone().unwrap(), at, count));
            }
        });
    }

    pub(super) fn flushed() {
        LOSS.with_borrow_mut(|loss| loss.unflushed.clear());
    }

    pub(super) fn point() {
        let before = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if before == Ok(1) {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            std::process::abort();
        }
        let is_cut = LOSS.with_borrow_mut(|loss| {
            let is_last = loss.left == 1;
            loss.left = loss.left.saturating_sub(1);
            is_last
        });
        if is_cut {
            std::panic::resume_unwind(Box::new(PowerCut));
        }
    }
}
