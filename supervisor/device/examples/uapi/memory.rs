//! Memory that can be read, but not written: at all, or not before the writer dies.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const SIZE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// A page that holds one structure of the interface.
pub(crate) struct Page(std::ptr::NonNull<std::ffi::c_void>);

impl Page {
    /// A copy of `value` that cannot be written.
    pub(crate) fn read_only<T: Copy>(value: T) -> Result<Self, nix::Error> {
        let page = Self::new(value)?;
        // SAFETY: The page is ours.
        unsafe { mprotect(page.0, SIZE.get(), ProtFlags::PROT_READ) }?;
        Ok(page)
    }

    /// A copy of `value` on which whoever writes to it waits until it is killed or the descriptor is closed.
    pub(crate) fn stalling<T: Copy>(value: T) -> Result<(Self, OwnedFd), nix::Error> {
        let page = Self::new(value)?;
        // SAFETY: Makes a descriptor, which is nobody else's.
        let watch = unsafe {
            let made = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            OwnedFd::from_raw_fd(i32::try_from(Errno::result(made)?).map_err(|_| Errno::EBADF)?)
        };
        // linux/userfaultfd.h: the interface's version, with faults on writes; then the page, watched; then
        // protected. Nobody ever answers such a fault.
        let range = [
            u64::try_from(page.address()).map_err(|_| Errno::EFAULT)?,
            u64::try_from(SIZE.get()).unwrap_or(0),
        ];
        watching(&watch, 0xc018_aa3f, [0xaa, 1, 0, 0])?;
        watching(&watch, 0xc020_aa00, [range[0], range[1], 2, 0])?;
        watching(&watch, 0xc018_aa06, [range[0], range[1], 1, 0])?;
        Ok((page, watch))
    }

    fn new<T: Copy>(value: T) -> Result<Self, nix::Error> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A mapping of its own, at an address that the kernel chooses.
        let page = Self(unsafe { mmap_anonymous(None, SIZE, access, MapFlags::MAP_PRIVATE) }?);
        // SAFETY: The page is ours, writable, aligned, and larger than any structure of the interface.
        unsafe { page.0.cast::<T>().write(value) };
        Ok(page)
    }

    pub(crate) fn address(&self) -> usize {
        self.0.as_ptr().expose_provenance()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours, and nobody refers to it any more.
        let _ = unsafe { munmap(self.0, SIZE.get()) };
    }
}

/// One ioctl of a userfaultfd.
fn watching(watch: &OwnedFd, number: libc::c_ulong, mut argument: [u64; 4]) -> Result<(), Errno> {
    // SAFETY: No structure of these ioctls is longer than four words.
    let done = unsafe { libc::ioctl(watch.as_raw_fd(), number, argument.as_mut_ptr()) };
    Errno::result(done).map(|_| ())
}
