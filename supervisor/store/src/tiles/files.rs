//! Tiles as they lie in a log's folder.
//!
//! The writer keeps no promise about them: they are written after the flush that makes their entries durable, some at a
//! time, without a flush of their own, and failing to write one is no error of the log. Who opens the log wholly, or scrubs
//! it, compares each with the entries and makes it again where it is not right.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::hash::Hash;

use super::{Edge, LEVELS, WIDTH, last_at, path, width_at};
use crate::bytes::size;
use crate::disk::{Disk, Mode};

/// How many whole tiles wait in memory at most, 8 KiB each.
const PENDING_MAX: usize = 16;
/// What a hash takes, in bytes.
const HASH_BYTES: usize = 32;

/// Reads a tile of exactly `width` hashes; `None` where no such file is there, or one of another length.
pub(crate) fn read(
    disk: &dyn Disk,
    dir: &Path,
    (level, index): (u32, u64),
    width: usize,
) -> Option<Vec<Hash>> {
    // What cannot be read is as good as missing: it follows from the entries.
    let file = disk.open(&dir.join(path(level, index, width)), Mode::Read).ok()?;
    let mut bytes = vec![0; width * HASH_BYTES + 1];
    let count = file.read_at(0, &mut bytes).ok()?;
    let (hashes, rest) = bytes.get(..count)?.as_chunks::<HASH_BYTES>();
    (rest.is_empty() && hashes.len() == width).then(|| hashes.iter().copied().map(Hash).collect())
}

/// Reads at least the first `width` hashes of a tile: the whole one, else one of its beginnings.
pub(crate) fn read_from(
    disk: &dyn Disk,
    dir: &Path,
    (level, index): (u32, u64),
    width: usize,
) -> Option<Vec<Hash>> {
    if let Some(whole) = read(disk, dir, (level, index), WIDTH) {
        return Some(whole);
    }
    let enough = partials(disk, dir, level, index).into_iter().filter(|found| *found >= width).min()?;
    read(disk, dir, (level, index), enough)
}

/// Which beginnings of a tile there are.
fn partials(disk: &dyn Disk, dir: &Path, level: u32, index: u64) -> Vec<usize> {
    let names = disk.list(&partials_dir(dir, level, index)).unwrap_or_default();
    let width = |name: String| name.parse().ok().filter(|width| (1..WIDTH).contains(width));
    names.into_iter().filter_map(width).collect()
}

fn partials_dir(dir: &Path, level: u32, index: u64) -> PathBuf {
    dir.join(format!("{}.p", path(level, index, WIDTH)))
}

/// Writes a tile in place, not durably: whoever reads it meanwhile finds a length that is not right.
pub(crate) fn write(
    disk: &dyn Disk,
    dir: &Path,
    (level, index): (u32, u64),
    hashes: &[Hash],
) -> io::Result<PathBuf> {
    let path = dir.join(path(level, index, hashes.len()));
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
    write_file(disk, &path, &bytes)?;
    Ok(path)
}

/// Writes a file whose folder may be missing, not durably.
pub(crate) fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = match disk.open(path, Mode::Create) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.make_dirs(path.parent().unwrap_or(Path::new(".")))?;
            disk.open(path, Mode::Create)?
        }
        file => file?,
    };
    file.write_at(0, bytes)
}

/// Writes tiles beside a log that grows.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pending: Vec<(u32, u64, Vec<Hash>)>,
    /// Of each level the beginning that was written last: number and width.
    last: [(u64, usize); LEVELS as usize],
    /// Whether the last tile of a level may have beginnings in the folder.
    is_begun: [bool; LEVELS as usize],
}

impl Writer {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let (last, is_begun) = ([(0, 0); LEVELS as usize], [true; LEVELS as usize]);
        Self { disk, dir: dir.into(), pending: Vec::new(), last, is_begun }
    }

    /// Takes a whole tile, to be written with the next ones.
    pub(crate) fn take(&mut self, level: u32, index: u64, hashes: &[Hash]) {
        self.pending.push((level, index, hashes.to_vec()));
    }

    /// Writes what waits, if it is much.
    pub(crate) fn relieve(&mut self) {
        if self.pending.len() >= PENDING_MAX {
            self.flush();
        }
    }

    /// Writes what waits to the files.
    pub(crate) fn flush(&mut self) {
        for (level, index, hashes) in std::mem::take(&mut self.pending) {
            let is_written = write(&*self.disk, &self.dir, (level, index), &hashes).is_ok();
            let is_begun = self.is_begun.get_mut(size(level.into()));
            if is_written && is_begun.is_some_and(std::mem::take) {
                self.remove_partials(level, index);
            }
        }
    }

    /// Writes the beginnings of the tiles that are not whole in the tree of this size, which has a head.
    pub(crate) fn write_last(&mut self, edge: &Edge, size_of_head: u64) {
        self.flush();
        for level in 0..LEVELS {
            let (index, width) = (last_at(size_of_head, level), width_at(size_of_head, level));
            let place = size(level.into());
            let (Some(last), Some(is_begun)) = (self.last.get_mut(place), self.is_begun.get_mut(place))
            else {
                continue;
            };
            // A tile that has become whole since is there as such.
            let is_last = last_at(edge.size(), level) == index;
            let Some(hashes) = edge.hashes(level).get(..width).filter(|hashes| !hashes.is_empty() && is_last)
            else {
                continue;
            };
            if *last != (index, width) && write(&*self.disk, &self.dir, (level, index), hashes).is_ok() {
                (*last, *is_begun) = ((index, width), true);
            }
        }
    }

    /// Makes the beginnings that are in the folder right: the log was opened, and they may be older than a crash.
    pub(crate) fn mend_last(&mut self, edge: &Edge) {
        for level in 0..LEVELS {
            let index = last_at(edge.size(), level);
            for width in partials(&*self.disk, &self.dir, level, index) {
                let is_right = |right: &&[Hash]| {
                    read(&*self.disk, &self.dir, (level, index), width).as_deref() == Some(*right)
                };
                match edge.hashes(level).get(..width) {
                    Some(right) if is_right(&right) => {}
                    Some(right) => drop(write(&*self.disk, &self.dir, (level, index), right)),
                    // Of entries that a crash took away.
                    None => drop(self.disk.remove(&self.dir.join(path(level, index, width)))),
                }
            }
        }
    }

    /// A whole tile holds what its beginnings held.
    fn remove_partials(&self, level: u32, index: u64) {
        let folder = partials_dir(&self.dir, level, index);
        for width in partials(&*self.disk, &self.dir, level, index) {
            // One that stays is no harm.
            let _ = self.disk.remove(&folder.join(width.to_string()));
        }
        let _ = self.disk.remove_dir(&folder);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}
