//! A disk for tests: what is written but not flushed may be lost at a crash, sector by sector and in any order.
//!
//! Each file has a *live* image, which the running process sees, a *durable* one, and the sectors written since the last
//! flush. A sector that is written with what it holds already changes nothing, whatever becomes of the writing. Names are
//! journalled: of the changes since the last flush of a folder any prefix survives a crash.
//!
//! Files that are appended to are written block by block, by the code that does it on the disk of the machine.

mod fate;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::blocks::{BLOCK, BlockFile, Direct};
use super::{Disk, File, Lock, Mode};
pub(crate) use fate::Fate;

const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sector writes that are not flushed: offset and what the whole sector held then.
    pending: Vec<(usize, Vec<u8>)>,
    /// Whether the length changed since the last flush.
    resized: bool,
}

impl Inode {
    /// Notes the sectors from `start` to `end` as written and not flushed.
    fn touch(&mut self, start: usize, end: usize) {
        let mut sector = start - start % SECTOR;
        while sector < end {
            let until = (sector + SECTOR).min(self.live.len());
            let written = &self.live[sector..until];
            let before = self.pending.iter().rev().find(|(offset, _)| *offset == sector);
            let before =
                before.map(|(_, bytes)| bytes.as_slice()).or_else(|| self.durable.get(sector..until));
            if before != Some(written) {
                self.pending.push((sector, written.to_vec()));
            }
            sector += SECTOR;
        }
    }
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    changes: Vec<NameChange>,
    locks: HashSet<PathBuf>,
    /// How many more changing operations are done before the power is cut; the last one may be done in part.
    fuse: Option<u64>,
    /// How many more flushes succeed before one fails.
    good_flushes: Option<u64>,
    /// How many more flushes are made before later ones are acknowledged and not made.
    honest_flushes: Option<u64>,
    /// Of these, how many: all, where it is not said.
    lies: Option<u64>,
    /// How many bytes all files together may have.
    capacity: Option<usize>,
    operations: u64,
}

/// A simulated disk; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<State>>);

impl Sim {
    /// Cuts the power after this many more changing operations: all later ones fail.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.0.lock().unwrap().fuse = Some(operations);
    }

    /// Lets the flush of a file or a folder after this many good ones fail, and lose what it should have flushed of a file.
    pub(crate) fn fail_flush_after(&self, flushes: u64) {
        self.0.lock().unwrap().good_flushes = Some(flushes);
    }

    /// Acknowledges every flush after this many without making it.
    pub(crate) fn lie_after(&self, flushes: u64) {
        self.0.lock().unwrap().honest_flushes = Some(flushes);
    }

    /// Acknowledges the one flush after this many without making it.
    pub(crate) fn lie_once_after(&self, flushes: u64) {
        let mut state = self.0.lock().unwrap();
        (state.honest_flushes, state.lies) = (Some(flushes), Some(1));
    }

    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.0.lock().unwrap().capacity = bytes;
    }

    /// How many bytes all files have.
    pub(crate) fn used(&self) -> usize {
        self.0.lock().unwrap().used()
    }

    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().operations
    }

    /// How many independent choices a crash now makes.
    pub(crate) fn choices(&self) -> usize {
        let state = self.0.lock().unwrap();
        let of = |inode: &Inode| inode.pending.len() + usize::from(inode.resized);
        state.inodes.iter().map(of).sum::<usize>() + state.changes.len()
    }

    /// The disk after a crash now: `choose` says of each unflushed thing whether it survived.
    pub(crate) fn crash(&self, choose: &mut dyn FnMut() -> bool) -> Self {
        self.crash_within(&mut || if choose() { Fate::Written } else { Fate::Lost })
    }

    /// The same of a disk that does not write a sector as a whole or not at all.
    pub(crate) fn crash_within(&self, choose: &mut dyn FnMut() -> Fate) -> Self {
        let state = self.0.lock().unwrap();
        let mut after = State::default();
        for inode in &state.inodes {
            let mut image = inode.durable.clone();
            let length =
                if inode.resized && choose() != Fate::Lost { inode.live.len() } else { inode.durable.len() };
            for (offset, sector) in &inode.pending {
                let (fate, end) = (choose(), offset + sector.len());
                if fate != Fate::Lost {
                    image.resize(image.len().max(end), 0);
                    fate.apply(&mut image[*offset..end], sector);
                }
            }
            let length = if inode.resized { length } else { image.len() };
            image.resize(length, 0);
            after.inodes.push(Inode { live: image.clone(), durable: image, ..Inode::default() });
        }
        after.durable = state.durable.clone();
        for change in &state.changes {
            if choose() == Fate::Lost {
                break;
            }
            change.apply(&mut after.durable);
        }
        after.live = after.durable.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    /// Changes a file behind everybody's back.
    pub(crate) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock().unwrap();
        let inode = state.live[path];
        let inode = &mut state.inodes[inode];
        change(&mut inode.live);
        inode.durable = inode.live.clone();
    }

    /// The files that have this ending, in order.
    pub(crate) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let state = self.0.lock().unwrap();
        state.live.keys().filter(|path| path.to_string_lossy().ends_with(ending)).cloned().collect()
    }

    /// A disk with the same live content, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        self.crash(&mut || true)
    }

    /// Tells disks apart by what they hold.
    pub(crate) fn fingerprint(&self) -> u64 {
        let state = self.0.lock().unwrap();
        let mut hasher = DefaultHasher::new();
        state.live.iter().for_each(|(path, inode)| (path, &state.inodes[*inode].live).hash(&mut hasher));
        hasher.finish()
    }

    fn change(&self) -> io::Result<(std::sync::MutexGuard<'_, State>, bool)> {
        let mut state = self.0.lock().unwrap();
        state.operations += 1;
        match &mut state.fuse {
            Some(0) => Err(io::Error::other("the power is cut")),
            Some(left) => {
                *left -= 1;
                let last = *left == 0;
                Ok((state, last))
            }
            None => Ok((state, false)),
        }
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let (mut state, _) = self.change()?;
        if !replace && state.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.live.insert(to.into(), inode);
        // One journalled change: link and unlink survive together, which Link expresses by moving.
        state.changes.push(NameChange::Link(to.into(), inode));
        Ok(())
    }
}

impl State {
    /// Whether the flush that is asked for is only acknowledged.
    fn lies(&mut self) -> bool {
        match &mut self.honest_flushes {
            Some(0) => match &mut self.lies {
                Some(0) => false,
                Some(left) => {
                    *left -= 1;
                    true
                }
                None => true,
            },
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// Whether the flush that is asked for fails; the next ones do not.
    fn fails(&mut self) -> bool {
        match &mut self.good_flushes {
            Some(0) => {
                self.good_flushes = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn used(&self) -> usize {
        self.live.values().map(|inode| self.inodes[*inode].live.len()).sum()
    }

    fn grow(&mut self, inode: usize, end: usize) -> io::Result<()> {
        let more = end.saturating_sub(self.inodes[inode].live.len());
        if more > 0 && self.capacity.is_some_and(|capacity| self.used() + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if more > 0 {
            self.inodes[inode].live.resize(end, 0);
            self.inodes[inode].resized = true;
        }
        Ok(())
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, inode) => {
                names.retain(|_, other| other != inode);
                names.insert(path.clone(), *inode);
            }
            Self::Unlink(path) => drop(names.remove(path)),
        }
    }
}

impl Disk for Sim {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>> {
        let inode = if matches!(mode, Mode::Create | Mode::CreateAppend) {
            let (mut state, _) = self.change()?;
            let inode = state.inodes.len();
            state.inodes.push(Inode::default());
            state.live.insert(path.into(), inode);
            state.changes.push(NameChange::Link(path.into(), inode));
            inode
        } else {
            *self.0.lock().unwrap().live.get(path).ok_or(io::ErrorKind::NotFound)?
        };
        let file = || Box::new(SimFile { disk: self.clone(), inode });
        Ok(match mode {
            Mode::Append | Mode::CreateAppend => Box::new(BlockFile::over(file(), file())),
            Mode::Read | Mode::Write | Mode::Create => file(),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock().unwrap();
        let here = state.live.keys().filter(|path| path.parent() == Some(dir));
        Ok(here.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn make_dirs(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to, true)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.rename(from, to, false)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, _) = self.change()?;
        state.live.remove(path).ok_or(io::ErrorKind::NotFound)?;
        state.changes.push(NameChange::Unlink(path.into()));
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let (mut state, last) = self.change()?;
        if last {
            return Err(io::Error::other("the power is cut"));
        }
        if state.lies() {
            return Ok(());
        }
        if state.fails() {
            // The names stay as they are seen, and durable or not.
            return Err(io::Error::other("the flush failed"));
        }
        state.durable = state.live.clone();
        state.changes.clear();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Lock>> {
        let mut state = self.0.lock().unwrap();
        let held = SimLock { disk: self.clone(), path: path.into() };
        Ok(if state.locks.insert(path.into()) {
            Some(Lock(Box::new(held)))
        } else {
            // Dropping it would give up the other's lock.
            std::mem::forget(held);
            None
        })
    }
}

struct SimLock {
    disk: Sim,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.0.lock().unwrap().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct SimFile {
    disk: Sim,
    inode: usize,
}

impl Direct for SimFile {
    fn write_blocks(&self, offset: u64, blocks: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(BLOCK as u64) && blocks.len().is_multiple_of(BLOCK));
        assert!(blocks.as_ptr().addr().is_multiple_of(BLOCK));
        self.write_at(offset, blocks)
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.lock().unwrap();
        let live = &state.inodes[self.inode].live;
        let start = live.len().min(usize::try_from(offset).unwrap());
        let count = buffer.len().min(live.len() - start);
        buffer[..count].copy_from_slice(&live[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut state, last) = self.disk.change()?;
        let offset = usize::try_from(offset).unwrap();
        let end = offset + bytes.len();
        state.grow(self.inode, end)?;
        let inode = &mut state.inodes[self.inode];
        inode.live[offset..end].copy_from_slice(bytes);
        inode.touch(offset, end);
        if last { Err(io::Error::other("the power is cut")) } else { Ok(()) }
    }

    fn allocate(&self, offset: u64, length: u64) -> io::Result<()> {
        let (mut state, _) = self.disk.change()?;
        state.grow(self.inode, usize::try_from(offset + length).unwrap())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut state, last) = self.disk.change()?;
        if last {
            return Err(io::Error::other("the power is cut"));
        }
        if state.lies() {
            return Ok(());
        }
        if state.fails() {
            // As Linux does: what could not be written counts as clean from now on, and stays readable.
            state.inodes[self.inode].pending.clear();
            return Err(io::Error::other("the flush failed"));
        }
        let inode = &mut state.inodes[self.inode];
        let written = std::mem::take(&mut inode.pending);
        inode.durable.resize(inode.live.len(), 0);
        for (offset, sector) in written {
            inode.durable[offset..offset + sector.len()].copy_from_slice(&sector);
        }
        inode.resized = false;
        Ok(())
    }
}
