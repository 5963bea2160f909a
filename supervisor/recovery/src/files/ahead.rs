//! Reading ahead: while one file is cut into chunks, the disk brings the next ones.

use std::ffi::CStr;
use std::num::NonZeroU64;
use std::os::fd::AsFd;

use rustix::fs::{Advice, FileType, OFlags, Statx, fadvise};

use super::read;

/// So many names ahead of the one that is read.
pub(super) const NAMES: usize = 16;
/// Of each file at most so much, in bytes, so at most 16 MiB in all; behind that the kernel reads ahead by itself.
const BYTES_MAX: u64 = 1 << 20;

/// Has the kernel bring the beginning of a file, without waiting for it. It is only a hint: what goes wrong here goes wrong again
/// when the file is read, and is told then.
pub(super) fn fetch(dir: impl AsFd, name: &CStr, is_wanted: impl FnOnce(&Statx) -> bool) {
    let Ok(stat) = read::stat(&dir, name) else { return };
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    let Some(bytes) = NonZeroU64::new(stat.stx_size.min(BYTES_MAX)).filter(|_| is_file) else { return };
    if !is_wanted(&stat) {
        return;
    }
    if let Ok(file) = read::open(dir, name, OFlags::empty()) {
        let _ = fadvise(file, 0, Some(bytes), Advice::WillNeed);
    }
}
