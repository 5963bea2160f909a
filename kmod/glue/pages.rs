// SPDX-License-Identifier: GPL-2.0-only

//! Memory that user space may map, read-only.

use core::ptr::NonNull;
use kernel::{
    error::to_result,
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*,
    sync::atomic::{
        Atomic,
        AtomicType,
        Relaxed,
        Release, //
    },
};

extern "C" {
    fn vmalloc_user_noprof(size: c_ulong) -> *mut c_void;
    fn vfree(address: *const c_void);
    fn remap_vmalloc_range(vma: *mut c_void, address: *mut c_void, page_offset: c_ulong) -> c_int;
}

/// Zeroed, virtually contiguous pages; every access is atomic, since user space looks on.
///
/// # Invariants
///
/// `start` comes from `vmalloc_user`, is aligned to pages and has `bytes` bytes, a multiple of the page size.
pub(crate) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: The memory belongs to no thread.
unsafe impl Send for Pages {}
// SAFETY: All accesses are atomic.
unsafe impl Sync for Pages {}

impl Pages {
    /// At least `bytes` bytes, all zero.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(bytes: usize) -> Result<Self> {
        let bytes = bytes.next_multiple_of(PAGE_SIZE);
        // SAFETY: Takes any size.
        let start = unsafe { vmalloc_user_noprof(bytes as c_ulong) };
        let start = NonNull::new(start.cast()).ok_or(ENOMEM)?;
        // INVARIANT: Just allocated, with the size rounded up.
        Ok(Self { start, bytes })
    }

    /// Their size in bytes, a multiple of the page size.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Maps all of it into a new area of exactly that size.
    ///
    /// # Errors
    ///
    /// - `EACCES`: the area may be written or executed.
    /// - `EINVAL`: of another size, or not from the beginning.
    pub(crate) fn map(&self, vma: &VmaNew) -> Result {
        // A mapping that may be neither now may not become so by mprotect() either.
        vma.try_clear_maywrite().map_err(|_| EACCES)?;
        vma.try_clear_mayexec().map_err(|_| EACCES)?;
        // SAFETY: The area is being set up by this call alone.
        let offset = unsafe { (*vma.as_ptr()).vm_pgoff };
        if offset != 0 || vma.end() - vma.start() != self.bytes {
            return Err(EINVAL);
        }
        // SAFETY: The area is being set up; the memory comes from `vmalloc_user`. The mapping takes
        // references to its pages.
        to_result(unsafe {
            remap_vmalloc_range(vma.as_ptr().cast(), self.start.as_ptr().cast(), 0)
        })
    }

    /// The word at `offset`; zero beyond the end.
    pub(crate) fn get32(&self, offset: usize) -> u32 {
        self.at::<u32>(offset).map_or(0, |word| word.load(Relaxed))
    }

    /// The double word at `offset`; zero beyond the end.
    pub(crate) fn get64(&self, offset: usize) -> u64 {
        self.at::<u64>(offset).map_or(0, |word| word.load(Relaxed))
    }

    /// Sets the word at `offset`, after everything set before; nothing beyond the end.
    pub(crate) fn put32(&self, offset: usize, value: u32) {
        if let Some(word) = self.at::<u32>(offset) {
            word.store(value, Release);
        }
    }

    /// Sets the double word at `offset`, after everything set before; nothing beyond the end.
    pub(crate) fn put64(&self, offset: usize, value: u64) {
        if let Some(word) = self.at::<u64>(offset) {
            word.store(value, Release);
        }
    }

    fn at<T: AtomicType>(&self, offset: usize) -> Option<&Atomic<T>> {
        let is_aligned = offset % size_of::<T>() == 0;
        let is_inside = offset <= self.bytes - size_of::<T>();
        if !is_aligned || !is_inside {
            return None;
        }
        // SAFETY: Aligned, as the start is, and inside, by the check; the memory lives as long as `self`
        // and is never accessed but through atomics.
        Some(unsafe { Atomic::from_ptr(self.start.as_ptr().add(offset).cast::<T>()) })
    }
}

const _: () = assert!(PAGE_SIZE >= size_of::<u64>());

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants. What is still mapped keeps its pages by their references; the
        // module itself stays while there is a mapping, which holds a file of the node.
        unsafe { vfree(self.start.as_ptr().cast()) };
    }
}
