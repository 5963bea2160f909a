//! Pages in ordinary memory, written as the module writes its own.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

use super::*;

const BYTES: usize = 4096;

/// What the head says of the cells.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) abi: u32,
    pub(super) offset: u32,
    pub(super) step: u32,
    /// Said to be there; as many as names if none is given.
    pub(super) cells: Option<u32>,
    pub(super) names: Vec<(u16, u8)>,
}

impl Layout {
    pub(super) fn of(ids: &[u16]) -> Self {
        let names = ids.iter().flat_map(|id| [(*id, 0), (*id, 1), (*id, 2)]).collect();
        Self { abi: 1, offset: 128, step: 16, cells: None, names }
    }

    pub(super) fn head(&self) -> dsmil_page {
        dsmil_page {
            abi: self.abi,
            cells_offset: self.offset,
            cell_bytes: self.step,
            cells: self.cells.unwrap_or_else(|| u32::try_from(self.names.len()).unwrap()),
            ..Default::default()
        }
    }
}

/// A file in memory, and the writer's mapping of it.
pub(super) struct Written {
    file: OwnedFd,
    start: *mut u8,
    bytes: usize,
    pub(super) layout: Layout,
}

// SAFETY: It is written by atomic stores alone, once it is made.
unsafe impl Sync for Written {}

impl Written {
    pub(super) fn new(layout: &Layout) -> Self {
        let cells = usize::try_from(layout.step).unwrap() * layout.names.len();
        let needed = usize::try_from(layout.offset).unwrap().min(BYTES) + cells;
        let bytes = needed.next_multiple_of(BYTES).max(BYTES);
        let file = memfd_create("pages", MFdFlags::MFD_CLOEXEC).unwrap();
        ftruncate(&file, i64::try_from(bytes).unwrap()).unwrap();
        let access = nix::sys::mman::ProtFlags::PROT_READ | nix::sys::mman::ProtFlags::PROT_WRITE;
        let flags = nix::sys::mman::MapFlags::MAP_SHARED;
        // SAFETY: The kernel chooses an address that nothing else has.
        let start = unsafe { nix::sys::mman::mmap(None, bytes.try_into().unwrap(), access, flags, &file, 0) };
        let written = Self { file, start: start.unwrap().as_ptr().cast(), bytes, layout: layout.clone() };
        written.head(&layout.head());
        for (index, (id, select)) in layout.names.iter().enumerate() {
            let [low, high] = id.to_ne_bytes();
            let label = u32::from_ne_bytes([low, high, *select, 0]);
            if written.at(index) + 16 <= bytes {
                written.word(written.at(index) + 12).store(label, Ordering::Relaxed);
            }
        }
        written
    }

    pub(super) fn map(&self) -> Result<Pages, Error> {
        self.map_bytes(self.bytes)
    }

    pub(super) fn map_bytes(&self, bytes: usize) -> Result<Pages, Error> {
        Pages::map(self.file.as_fd(), bytes)
    }

    fn at(&self, index: usize) -> usize {
        let [offset, step] = [self.layout.offset, self.layout.step].map(|n| usize::try_from(n).unwrap());
        offset + index * step
    }

    fn word(&self, at: usize) -> &AtomicU32 {
        assert!(at + 4 <= self.bytes && at.is_multiple_of(4));
        // SAFETY: It lies in the mapping, and is written by atomic stores alone.
        unsafe { AtomicU32::from_ptr(self.start.add(at).cast()) }
    }

    fn long(&self, at: usize) -> &AtomicU64 {
        assert!(at + 8 <= self.bytes && at.is_multiple_of(8));
        // SAFETY: It lies in the mapping, and is written by atomic stores alone.
        unsafe { AtomicU64::from_ptr(self.start.add(at).cast()) }
    }

    /// Writes the whole head, but for the sequence.
    pub(super) fn head(&self, head: &dsmil_page) {
        // SAFETY: It is integers alone, without gaps.
        let words: [u32; size_of::<dsmil_page>() / 4] = unsafe { std::mem::transmute(*head) };
        for (index, word) in words.into_iter().enumerate().filter(|(index, _)| *index != 1) {
            self.word(index * 4).store(word, Ordering::Relaxed);
        }
    }

    pub(super) fn sequence(&self, sequence: u32) {
        self.word(4).store(sequence, Ordering::Relaxed);
    }

    pub(super) fn generation(&self, generation: u64) {
        self.long(32).store(generation, Ordering::Relaxed);
    }

    pub(super) fn cell(&self, index: usize, time_ns: u64, value: u32) {
        self.long(self.at(index)).store(time_ns, Ordering::Relaxed);
        self.word(self.at(index) + 8).store(value, Ordering::Relaxed);
    }

    /// The module's order: the sequence becomes odd, the change, the sequence becomes even, each before the next.
    pub(super) fn change(&self, change: impl FnOnce()) {
        let before = self.word(4).load(Ordering::Relaxed);
        self.sequence(before.wrapping_add(1));
        fence(Ordering::Release);
        change();
        fence(Ordering::Release);
        self.sequence(before.wrapping_add(2));
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let start = std::ptr::NonNull::new(self.start.cast()).unwrap();
        // SAFETY: It is this mapping, and nothing refers to it any more.
        unsafe { nix::sys::mman::munmap(start, self.bytes) }.unwrap();
    }
}
