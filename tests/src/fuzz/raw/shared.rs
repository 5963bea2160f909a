//! What all processes of the fuzzer see, and coverage.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::libc;

use crate::fuzz::program::{ACTORS, OPS_MAX};

/// Bits of coverage: one for each byte of the module's text, up to 2 MiB.
const SEEN_WORDS: usize = (2 << 20) / 64;
/// Values that programs may expect: one for each location and select.
pub(crate) const CELLS: usize = 8192;

/// What all processes of the fuzzer see.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Shared {
    /// The number that the last BEGIN gave to anybody, and to each actor.
    pub(crate) latest: AtomicU64,
    pub(crate) own: [AtomicU64; ACTORS as usize],
    /// Of each operation: 0 not begun, 1 begun, 2 ended; and the transaction that it named.
    pub(crate) stage: [AtomicU32; OPS_MAX],
    pub(crate) transaction: [AtomicU64; OPS_MAX],
    /// Values before the sequence.
    pub(crate) before: [AtomicU32; CELLS],
    /// The module's text, and its bytes that were executed.
    pub(crate) text: AtomicU64,
    pub(crate) text_bytes: AtomicU64,
    pub(crate) seen: [AtomicU64; SEEN_WORDS],
    /// How many bits of `seen` are set.
    pub(crate) points: AtomicU64,
}

impl Shared {
    /// Memory that forked processes share, for as long as any of them lives.
    ///
    /// # Errors
    ///
    /// What the kernel said.
    pub(crate) fn new() -> io::Result<&'static Self> {
        // SAFETY: A new mapping, of zeros, which is a valid `Shared`; it is never unmapped.
        unsafe {
            let place = libc::mmap(
                ptr::null_mut(),
                size_of::<Self>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if place == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(&*place.cast::<Self>())
        }
    }

    /// Notes that an instruction of the kernel was executed.
    fn note(&self, place: u64) {
        let offset = place.wrapping_sub(self.text.load(Ordering::Relaxed));
        if offset >= self.text_bytes.load(Ordering::Relaxed) {
            return;
        }
        let (word, bit) = (usize::try_from(offset / 64).unwrap_or(usize::MAX), offset % 64);
        if let Some(word) = self.seen.get(word)
            && word.load(Ordering::Relaxed) & (1 << bit) == 0
            && word.fetch_or(1 << bit, Ordering::Relaxed) & (1 << bit) == 0
        {
            self.points.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Coverage of the kernel by one thread (KCOV).
#[derive(Debug)]
pub(crate) struct Coverage {
    file: File,
    area: &'static [AtomicU64],
}

/// Words of a thread's buffer; what does not fit is not seen.
const COVERAGE_WORDS: usize = 64 << 10;

impl Coverage {
    /// Begins to follow this thread; nothing where the kernel cannot.
    pub(crate) fn of_this_thread() -> Option<Self> {
        const INIT_TRACE: u64 = 0x8008_6301;
        const ENABLE: u64 = 0x6364;
        let file = File::options().read(true).write(true).open("/sys/kernel/debug/kcov").ok()?;
        // SAFETY: KCOV's own protocol: say the size in words, map it, enable for this thread. The mapping is removed
        // by `drop` alone, and KCOV writes to it as this thread runs in the kernel, hence atomics.
        unsafe {
            if libc::ioctl(file.as_raw_fd(), INIT_TRACE, COVERAGE_WORDS) != 0 {
                return None;
            }
            let place = libc::mmap(
                ptr::null_mut(),
                COVERAGE_WORDS * 8,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                0,
            );
            if place == libc::MAP_FAILED || libc::ioctl(file.as_raw_fd(), ENABLE, 0) != 0 {
                return None;
            }
            Some(Self { file, area: std::slice::from_raw_parts(place.cast::<AtomicU64>(), COVERAGE_WORDS) })
        }
    }

    /// Takes over what was executed since the last time.
    pub(crate) fn drain(&self, shared: &Shared) {
        let Some((count, places)) = self.area.split_first() else { return };
        let full = usize::try_from(count.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        for place in places.iter().take(full) {
            shared.note(place.load(Ordering::Relaxed));
        }
        count.store(0, Ordering::Relaxed);
    }
}

impl Drop for Coverage {
    fn drop(&mut self) {
        const DISABLE: u64 = 0x6365;
        // SAFETY: The mapping is this object's, and nobody has a reference into it any more.
        unsafe {
            libc::ioctl(self.file.as_raw_fd(), DISABLE, 0);
            libc::munmap(self.area.as_ptr().cast_mut().cast(), COVERAGE_WORDS * 8);
        }
    }
}
