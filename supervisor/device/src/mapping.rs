//! The memory of the mapped pages, which the module writes while it is read here.

use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::pages::{Memory, Place};
use crate::uapi::dsmil_page;

/// Bytes of a [`Place`]'s unit, which is also the alignment of all that is loaded.
const WORD: usize = size_of::<u64>();
const _: () = assert!(size_of::<dsmil_page>().is_multiple_of(WORD) && size_of::<dsmil_page>() > WORD);

/// A read-only mapping of a file.
///
/// # Invariants
///
/// The words from `start` up to and with the one at `last` are mapped for reading until this is dropped, no fewer than
/// the head has. The mapping begins at a page.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u64>,
    last: usize,
}

// SAFETY: A mapping belongs to the process, not to a thread.
unsafe impl Send for Mapping {}
// SAFETY: It is only read, by atomic loads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of a file. It must stay that long: reading what has been cut off kills the process.
    pub(crate) fn new(fd: BorrowedFd<'_>, bytes: usize) -> Result<Self, Errno> {
        if bytes < size_of::<dsmil_page>() || !bytes.is_multiple_of(WORD) {
            return Err(Errno::EPROTO);
        }
        let length = NonZeroUsize::new(bytes).ok_or(Errno::EPROTO)?;
        // SAFETY: The kernel chooses an address that nothing else has.
        let start = unsafe { mmap(None, length, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, fd, 0) }?;
        // INVARIANT: The length was looked at above.
        Ok(Self { start: start.cast(), last: bytes / WORD - 1 })
    }

    /// # Safety
    ///
    /// The four bytes from `at`, a multiple of four, lie in the mapping.
    unsafe fn load32(&self, at: usize) -> u32 {
        // SAFETY: By the caller's word it is in the mapping and aligned. Others write it, so it is an atomic; the
        // memory is read-only, where the standard library allows relaxed loads of this size (std::sync::atomic,
        // "Atomic accesses to read-only memory").
        unsafe { (*self.start.as_ptr().byte_add(at).cast::<AtomicU32>()).load(Ordering::Relaxed) }
    }

    /// # Safety
    ///
    /// The eight bytes from `at`, a multiple of eight, lie in the mapping.
    unsafe fn load64(&self, at: usize) -> u64 {
        // SAFETY: As in `load32`.
        unsafe { (*self.start.as_ptr().byte_add(at).cast::<AtomicU64>()).load(Ordering::Relaxed) }
    }
}

impl Memory for Mapping {
    fn bytes(&self) -> usize {
        (self.last + 1) * WORD
    }

    #[inline]
    fn head32<const AT: usize>(&self) -> u32 {
        const { assert!(AT.is_multiple_of(4) && AT + 4 <= size_of::<dsmil_page>()) }
        // SAFETY: It lies in the head, which is in the mapping by the invariant.
        unsafe { self.load32(AT) }
    }

    #[inline]
    fn head64<const AT: usize>(&self) -> u64 {
        const { assert!(AT.is_multiple_of(8) && AT + 8 <= size_of::<dsmil_page>()) }
        // SAFETY: As in `head32`.
        unsafe { self.load64(AT) }
    }

    #[inline]
    fn cell(&self, place: Place) -> (u64, u32) {
        if place.0 >= self.last {
            return (0, 0);
        }
        // SAFETY: This word and the next are in the mapping.
        unsafe { (self.load64(place.0 * WORD), self.load32((place.0 + 1) * WORD)) }
    }

    fn label(&self, place: Place) -> Option<u32> {
        // SAFETY: This word and the next are in the mapping.
        (place.0 < self.last).then(|| unsafe { self.load32((place.0 + 1) * WORD + WORD / 2) })
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::Acquire);
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: It is this mapping, and nothing refers to it any more.
        let _only_fails_for_other_ranges = unsafe { munmap(self.start.cast(), self.bytes()) };
    }
}
