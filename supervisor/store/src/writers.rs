//! Who has a file open for writing.
//!
//! The kernel sets a file's ctime before it copies what a `write(2)` brings. So a reader that comes in between sees the new ctime
//! and the old bytes; only that the writer still has the file open tells.
//!
//! Unsafe code is allowed in here alone: `fcntl(2)` with commands that `nix` does not know.

#![expect(unsafe_code, reason = "leases: see the head of this file")]

use std::os::fd::{AsFd, AsRawFd as _};

use nix::errno::Errno;
use nix::libc::{F_RDLCK, F_SETLEASE, F_UNLCK, SIGURG, c_int, fcntl};

/// `F_SETSIG` of `include/uapi/asm-generic/fcntl.h`, which is the same on all architectures of this program.
const F_SETSIG: c_int = 10;

/// Whether nobody has a file, which must be open for reading only, open for writing or mapped writable; false also where that cannot be
/// known: it takes the file's owner or CAP_LEASE, and a file system with leases.
///
/// Who opens it for writing in this very moment waits for some microseconds (with O_NONBLOCK: is refused).
#[must_use]
pub fn has_none(file: impl AsFd) -> bool {
    let file = file.as_fd();
    // The kernel tells a holder of the opening with this signal: SIGIO would end the process, SIGURG is ignored unless asked for.
    let taken = control(file, F_SETSIG, SIGURG).and_then(|()| control(file, F_SETLEASE, F_RDLCK));
    taken.is_ok() && control(file, F_SETLEASE, F_UNLCK).is_ok()
}

fn control(file: impl AsFd, command: c_int, argument: c_int) -> nix::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed, and both commands take an int and no pointer.
    let result = unsafe { fcntl(file.as_fd().as_raw_fd(), command, argument) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::num::NonZeroUsize;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::Path;

    use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

    use super::*;

    fn reader(path: &Path) -> File {
        OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path).unwrap()
    }

    #[test]
    fn writers_are_seen_as_long_as_they_can_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let writer = File::create(&path).unwrap();
        let file = reader(&path);
        assert!(!has_none(&file), "open for writing");
        drop(writer);
        let other = reader(&path);
        assert!(has_none(&file), "open for reading twice");
        drop(other);

        let both = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        both.set_len(4096).unwrap();
        let (length, protection) =
            (NonZeroUsize::new(4096).unwrap(), ProtFlags::PROT_READ | ProtFlags::PROT_WRITE);
        // SAFETY: nothing refers to the mapping, and it is removed below.
        let mapped = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &both, 0) }.unwrap();
        drop(both);
        assert!(!has_none(&file), "mapped writable");
        // SAFETY: the whole mapping from above.
        unsafe { munmap(mapped, 4096) }.unwrap();
        assert!(has_none(&file));
        OpenOptions::new().write(true).open(&path).expect("no lease is left behind");
    }

    #[test]
    fn writers_that_come_just_then_are_not_refused_and_end_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        File::create(&path).unwrap();
        let file = reader(&path);
        std::thread::scope(|scope| {
            let opener = scope
                .spawn(|| (0..2_000).for_each(|_| drop(OpenOptions::new().write(true).open(&path).unwrap())));
            while !opener.is_finished() {
                let _ = has_none(&file);
            }
        });
        assert!(has_none(&file));
    }
}
