//! A structure of the interface in memory that can be read but not written.

use std::num::NonZeroUsize;

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

const SIZE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

pub(crate) struct Page(std::ptr::NonNull<std::ffi::c_void>);

impl Page {
    /// Holds a copy of `value`.
    pub(crate) fn new<T: Copy>(value: T) -> Result<Self, nix::Error> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: A mapping of its own, at an address that the kernel chooses.
        let page = Self(unsafe { mmap_anonymous(None, SIZE, access, MapFlags::MAP_PRIVATE) }?);
        // SAFETY: The page is ours, writable, aligned, and larger than any structure of the interface.
        unsafe {
            page.0.cast::<T>().write(value);
            mprotect(page.0, SIZE.get(), ProtFlags::PROT_READ)?;
        }
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
