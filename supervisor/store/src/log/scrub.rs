//! Reads what a quick start left out, slowly, beside the process that writes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use types::hash::Hash;

use super::archived::steadily;
use super::audit::{Begin, Watch, audit};
use super::cursor::Cursor;
use super::open::{require, same_log};
use super::segment::Kind;
use crate::bytes::length;
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};
use crate::head::Head;
use crate::tiles::{self, files};

/// After how many bytes it pauses, so that a disk is never busy with it for long.
const STEP_BYTES: u64 = 256 << 10;
/// How often a pause looks whether it shall stop.
const PAUSE: Duration = Duration::from_millis(50);
/// How many tiles to make again wait for the next head that proves them, 8 KiB each; more are left to the next scrub.
const REPAIRS_MAX: usize = 4096;

/// What a scrub found to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scrubbed {
    /// How many entries, from the first on, are those that the heads cover.
    pub entries: u64,
    /// How many of them were archived: of these the tiles were read.
    pub archived: u64,
    /// How many tiles were missing or wrong and were made again.
    pub mended: u64,
}

/// Reads the log in the folder `dir` from its beginning up to `head`, a stored one, at `bytes_per_second` (0: as fast as it
/// goes), compares entries, heads and tiles, and makes tiles that are not right again. For a thread of its own; `None`
/// where `stop` was set meanwhile.
///
/// # Errors
///
/// - [`Error::Damaged`]: it is not what was written: stop the daemon
/// - [`Error::Absent`], [`Error::Version`], [`Error::Io`]: it cannot be read, which says nothing about it
pub fn scrub(
    dir: &Path,
    head: &Head,
    bytes_per_second: u64,
    stop: &AtomicBool,
) -> Result<Option<Scrubbed>, Error> {
    let mut pace = Pace { bytes_per_second, began: Instant::now(), bytes: 0, paused: 0, stop };
    scrub_on(Arc::new(Real), dir, head, true, &mut |bytes| pace.goes_on(bytes))
}

/// A rate that is kept over all, by pauses.
struct Pace<'a> {
    bytes_per_second: u64,
    began: Instant,
    bytes: u64,
    paused: u64,
    stop: &'a AtomicBool,
}

impl Pace<'_> {
    /// Counts what was read and waits; false where it shall stop.
    fn goes_on(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        if self.bytes - self.paused < STEP_BYTES {
            return true;
        }
        self.paused = self.bytes;
        std::thread::yield_now();
        let micros = self.bytes.saturating_mul(1_000_000).checked_div(self.bytes_per_second);
        let due = Duration::from_micros(micros.unwrap_or(0));
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            match due.checked_sub(self.began.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(PAUSE)),
                _ => return true,
            }
        }
    }
}

pub(crate) fn scrub_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    head: &Head,
    live: bool,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Scrubbed>, Error> {
    steadily(&*disk, dir, &mut || scrub_once(Arc::clone(&disk), dir, head, live, goes_on))
}

fn scrub_once(
    disk: Arc<dyn Disk>,
    dir: &Path,
    head: &Head,
    live: bool,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Scrubbed>, Error> {
    require(&*disk, dir)?;
    let mut begin = Begin::of_log(&disk, dir)?;
    let archived = begin.first();
    let mut entries = Cursor::new(Arc::clone(&disk), dir, Kind::Entries, archived, live)?;
    let mut heads = Cursor::new(Arc::clone(&disk), dir, Kind::Heads, 0, live)?;
    same_log(&entries, &heads)?;
    let (mut root, mut wrong, mut is_stopped) = (None, Vec::new(), false);
    let mut made = |level, index, hashes: &[Hash]| {
        let is_right = || files::read(&*disk, dir, (level, index), hashes.len()).as_deref() == Some(hashes);
        let is_covered = tiles::end(level, index) <= head.size;
        if wrong.len() < REPAIRS_MAX && is_covered && !is_right() {
            wrong.push((level, index, hashes.to_vec()));
        }
    };
    let mut watch = Watch {
        each: &mut |_, _| (),
        check: &mut |_| Ok(()),
        stop: Some(head.size),
        tree: &mut |tree| {
            if tree.size() == head.size {
                root = Some(tree.root());
            }
        },
        made: &mut made,
    };
    let mut pause = |bytes: u64| {
        is_stopped = !goes_on(bytes);
        !is_stopped
    };
    begin.goal = Some(head.size);
    begin.goes_on = Some(&mut pause);
    audit(&mut entries, &mut heads, begin, &mut watch)?;
    if is_stopped {
        return Ok(None);
    }
    if root != Some(head.root) {
        let why = "the root of the entries is not the one of the head up to which they were read";
        return Err(Error::damaged(dir, 0, Place::Entries(0..head.size), why));
    }
    // Only now are they proven: hashes of changed entries must not take the place of the right ones.
    let write = |(level, index, hashes): &(u32, u64, Vec<Hash>)| {
        files::write(&*disk, dir, (*level, *index), hashes).is_ok()
    };
    let mended = length(wrong.iter().filter(|tile| write(tile)).count());
    Ok(Some(Scrubbed { entries: head.size, archived, mended }))
}

#[cfg(test)]
mod tests;
