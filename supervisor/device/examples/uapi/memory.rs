//! Memory that is not all there, cannot be written, or not before the writer dies.

use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;
const AREA: NonZeroUsize = NonZeroUsize::new(2 * PAGE).unwrap();

/// Two pages of our own, of which the second may be missing.
pub(crate) struct Area(NonNull<std::ffi::c_void>);

impl Area {
    /// A copy of `value` that cannot be written.
    pub(crate) fn read_only<T: Copy>(value: T) -> Result<Self, Errno> {
        let area = Self::new(&[value], 0, MapFlags::empty())?;
        // SAFETY: The area is ours.
        unsafe { mprotect(area.0, AREA.get(), ProtFlags::PROT_READ) }?;
        Ok(area)
    }

    /// From now on nobody can write the area at that address.
    pub(crate) fn protect(address: u64) -> Result<(), Errno> {
        let start = std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0));
        let start = NonNull::new(start).ok_or(Errno::EFAULT)?;
        // SAFETY: Callers pass the address of an area, which is ours.
        unsafe { mprotect(start, AREA.get(), ProtFlags::PROT_READ) }
    }

    /// Copies of `values` whose first `bytes` are there, and the rest is not; and where they begin.
    pub(crate) fn torn<T: Copy>(values: &[T], bytes: usize) -> Result<(Self, u64), Errno> {
        let at = PAGE - bytes;
        let area = Self::new(values, at, MapFlags::empty())?;
        // SAFETY: The second page is ours, and nobody refers to it.
        unsafe { munmap(area.0.byte_add(PAGE), PAGE) }?;
        let start = area.address() + u64::try_from(at).unwrap_or(0);
        Ok((area, start))
    }

    /// A copy of `value` at an address of 32 bits.
    pub(crate) fn low<T: Copy>(value: T) -> Result<Self, Errno> {
        Self::new(&[value], 0, MapFlags::MAP_32BIT)
    }

    /// The copy, as it is now.
    pub(crate) fn copy<T: Copy>(&self) -> T {
        // SAFETY: Whoever made the area put a `T` at its start, and any bytes are one: it is plain old data.
        unsafe { self.0.cast::<T>().read() }
    }

    /// An address at which nothing is mapped.
    pub(crate) fn gone() -> Result<u64, Errno> {
        Ok(Self::new(&[0_u8], 0, MapFlags::empty())?.address())
    }

    /// A copy of `value` on which whoever writes to it waits until it is killed or the descriptor is closed.
    pub(crate) fn stalling<T: Copy>(value: T) -> Result<(Self, OwnedFd), Errno> {
        let area = Self::new(&[value], 0, MapFlags::empty())?;
        // SAFETY: Makes a descriptor, which is nobody else's.
        let watch = unsafe {
            let made = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            OwnedFd::from_raw_fd(i32::try_from(Errno::result(made)?).map_err(|_| Errno::EBADF)?)
        };
        let range = [area.address(), u64::try_from(PAGE).unwrap_or(0)];
        // linux/userfaultfd.h: the interface's version, with faults on writes; then the page, watched; then
        // protected. Nobody ever answers such a fault.
        watching(&watch, 0xc018_aa3f, [0xaa, 1, 0, 0])?;
        watching(&watch, 0xc020_aa00, [range[0], range[1], 2, 0])?;
        watching(&watch, 0xc018_aa06, [range[0], range[1], 1, 0])?;
        Ok((area, watch))
    }

    fn new<T: Copy>(values: &[T], at: usize, flags: MapFlags) -> Result<Self, Errno> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        if at + size_of_val(values) > AREA.get() || !at.is_multiple_of(align_of::<T>()) {
            return Err(Errno::EINVAL);
        }
        // SAFETY: A mapping of its own, at an address that the kernel chooses.
        let area = Self(unsafe { mmap_anonymous(None, AREA, access, MapFlags::MAP_PRIVATE | flags) }?);
        // SAFETY: They fit into the area and are aligned, which was looked at above.
        unsafe { area.0.byte_add(at).cast::<T>().copy_from(NonNull::from(values).cast(), values.len()) };
        Ok(area)
    }

    pub(crate) fn address(&self) -> u64 {
        self.0.as_ptr().expose_provenance().try_into().unwrap_or(0)
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: The mapping is ours, and nobody refers to it any more; unmapping what is gone does nothing.
        let _only_fails_for_other_ranges = unsafe { munmap(self.0, AREA.get()) };
    }
}

/// One ioctl of a userfaultfd.
fn watching(watch: &OwnedFd, number: libc::c_ulong, mut argument: [u64; 4]) -> Result<(), Errno> {
    // SAFETY: No structure of these ioctls is longer than four words.
    let done = unsafe { libc::ioctl(watch.as_raw_fd(), number, argument.as_mut_ptr()) };
    Errno::result(done).map(|_| ())
}
