//! Removing what nobody refers to any more.
//!
//! A pack that holds nothing wanted is removed. One that holds much that is unwanted is rewritten: what is wanted is copied into new
//! packs, those are flushed, then their names, and only then the old pack is removed. So at each moment, also after a
//! crash, every wanted chunk lies in at least one complete pack; where it lies in two, either copy is right.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, MutexGuard};

use super::codec::Body;
use super::pack::{self, Location, Records, Writer};
use super::packs::Packs;
use super::{ChunkId, Chunks, Place, lock};
use crate::bytes::length;
use crate::error::{Damage, Error, Place as Where};

/// A pack is rewritten when at least this part of it is unwanted, in per cent. Rewriting reads and writes the rest: at a quarter, three
/// bytes for each one that it frees; what is left is at most a third of what is wanted.
pub const UNWANTED_PERCENT_MIN: u64 = 25;

/// More packs than this that are smaller than an eighth of a full one are put together: each costs a look when the store is opened.
pub const SMALL_PACKS_MAX: usize = 32;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Packs that need not be looked at again.
    pub packs_done: u64,
    /// All packs.
    pub packs: u64,
    /// The sizes of the packs that were removed, in bytes.
    pub bytes_removed: u64,
    /// The sizes of the packs that were written instead, in bytes.
    pub bytes_written: u64,
}

/// What was done.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Packs that are gone, those that were rewritten among them.
    pub packs_removed: u64,
    /// Packs that were rewritten.
    pub packs_rewritten: u64,
    /// Packs that they were written to.
    pub packs_written: u64,
    /// Chunks that are gone.
    pub chunks_removed: u64,
    /// How much less the store takes on the disk, in bytes.
    pub bytes_freed: u64,
    /// What unwanted chunks still take, in bytes, in packs where rewriting does not pay or that are damaged.
    pub bytes_unwanted: u64,
    /// Wanted chunks that the store does not have.
    pub chunks_missing: u64,
    /// Packs that are damaged and were left as they are: what was found when the store was opened, and since.
    pub damage: Vec<Damage>,
}

impl Chunks {
    /// Removes every chunk that is not in `keep`, as far as that pays: see [`UNWANTED_PERCENT_MIN`].
    ///
    /// What was put before is made durable first. A process that has the store open for reading may find that a pack is gone; it opens the
    /// store anew. After an error every wanted chunk is where it was or where it was copied to, and `prune` can be called again.
    ///
    /// # Errors
    ///
    /// - [`Error::Full`]: no space to copy what is wanted; packs without anything wanted are gone, so calling it again may do
    /// - [`Error::Flush`]: open the store anew
    /// - [`Error::Invalid`]: the store is open for reading alone
    /// - [`Error::Io`]
    pub fn prune(
        &mut self,
        keep: &HashSet<ChunkId>,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Pruned, Error> {
        self.writable()?;
        self.sync()?;
        let packs = Arc::clone(&self.packs);
        let mut run = Run {
            packs: lock(&packs),
            index: &mut self.index,
            keep,
            progress,
            now: Progress::default(),
            pruned: Pruned { damage: self.damage.clone(), ..Pruned::default() },
            writer: None,
            moved: Vec::new(),
            emptied: Vec::new(),
        };
        let done = run.all();
        if let Some(writer) = run.writer.take() {
            writer.abandon(&*run.packs.disk);
        }
        let (pruned, now) = (run.pruned, run.now);
        self.failed |= matches!(done, Err(Error::Flush { .. }));
        done.map(|()| Pruned { bytes_freed: now.bytes_removed.saturating_sub(now.bytes_written), ..pruned })
    }
}

/// A pack that may go.
struct Old {
    number: usize,
    bytes: u64,
    records: Records,
    /// What of it is wanted and lies nowhere else.
    wanted: Vec<Location>,
}

struct Run<'a> {
    packs: MutexGuard<'a, Packs>,
    index: &'a mut HashMap<ChunkId, Place>,
    keep: &'a HashSet<ChunkId>,
    progress: &'a mut dyn FnMut(&Progress),
    now: Progress,
    pruned: Pruned,
    /// The pack that wanted chunks are copied to.
    writer: Option<Writer>,
    /// What is in it, and where.
    moved: Vec<(ChunkId, Location)>,
    /// Packs that can go once it is sealed.
    emptied: Vec<Old>,
}

impl Run<'_> {
    fn all(&mut self) -> Result<(), Error> {
        let missing = self.keep.iter().filter(|id| !self.index.contains_key(id));
        self.pruned.chunks_missing = length(missing.count());
        self.now.packs = self.packs.count();
        let mut rest = Vec::new();
        // First what gives space and needs none.
        for old in self.candidates()? {
            if old.wanted.is_empty() {
                self.remove(&old)?;
                self.step(1);
            } else {
                rest.push(old);
            }
        }
        self.sync_folder()?;
        for old in rest {
            self.rewrite(old)?;
            self.step(1);
        }
        self.finish_pack()?;
        self.step(0);
        Ok(())
    }

    fn step(&mut self, packs: u64) {
        self.now.packs_done += packs;
        (self.progress)(&self.now);
    }

    /// The packs of which enough is unwanted.
    fn candidates(&mut self) -> Result<Vec<Old>, Error> {
        let mut wanted: HashMap<usize, Vec<Location>> = HashMap::new();
        for (id, place) in &*self.index {
            if let Place::Stored(location) = place
                && self.keep.contains(id)
            {
                wanted.entry(location.pack).or_default().push(*location);
            }
        }
        let small_bytes = self.packs.pack_bytes / 8;
        let is_small = |bytes: u64| bytes < small_bytes;
        let small = self.packs.sealed.iter().flatten().filter(|pack| is_small(pack.bytes)).count();
        let mut chosen = Vec::new();
        for number in 0..self.packs.sealed.len() {
            let Some(Some(pack)) = self.packs.sealed.get(number).cloned() else { continue };
            let mut wanted = wanted.remove(&number).unwrap_or_default();
            // In the order of the file, which is the order in which a restore reads.
            wanted.sort_unstable_by_key(|location| location.offset);
            let used: u64 = wanted.iter().map(|location| location.record.whole_bytes()).sum();
            let unwanted = pack.content_bytes().saturating_sub(used);
            let pays = wanted.is_empty()
                || unwanted * 100 >= pack.bytes * UNWANTED_PERCENT_MIN
                || (small > SMALL_PACKS_MAX && is_small(pack.bytes));
            let old = if pays && pack.is_whole { self.look(number, &pack, wanted)? } else { None };
            match old {
                Some(old) => chosen.push(old),
                None => {
                    self.pruned.bytes_unwanted += unwanted;
                    self.step(1);
                }
            }
        }
        Ok(chosen)
    }

    /// Reads what is in a pack. Of a chunk that lies elsewhere, too, this copy is given up only if the other one can be read.
    fn look(
        &mut self,
        number: usize,
        pack: &pack::Pack,
        mut wanted: Vec<Location>,
    ) -> Result<Option<Old>, Error> {
        let (_, records, damage) = pack::load(&*self.packs.disk, &pack.path, &self.packs.keys)?;
        if let Some(damage) = damage {
            self.pruned.damage.push(damage);
            return Ok(None);
        }
        for (offset, record) in &records {
            let Some(Place::Stored(other)) = self.index.get(&record.id).copied() else { continue };
            if other.pack == number || !self.keep.contains(&record.id) || self.body(&other).is_ok() {
                continue;
            }
            let copy = Location { pack: number, offset: *offset, record: *record };
            self.index.insert(record.id, Place::Stored(copy));
            wanted.push(copy);
        }
        Ok(Some(Old { number, bytes: pack.bytes, records, wanted }))
    }

    /// A chunk that was read and checked.
    fn body(&mut self, location: &Location) -> Result<Body, Error> {
        let Some(reader) = self.packs.reader(location.pack)? else {
            return Err(Error::Absent { what: "pack", path: self.packs.folder.clone() });
        };
        reader.body(location, &self.packs.keys)
    }

    /// Copies what is wanted of a pack. One that cannot be read whole stays, and is told.
    fn rewrite(&mut self, old: Old) -> Result<(), Error> {
        for location in &old.wanted {
            let body = match self.body(location) {
                Ok(body) => body,
                Err(error) => {
                    self.pruned.damage.push(told(error, &self.path(old.number), location));
                    return Ok(());
                }
            };
            if self.writer.as_ref().is_some_and(|writer| writer.bytes() >= self.packs.pack_bytes) {
                self.finish_pack()?;
            }
            let id = location.record.id;
            let writer = match &mut self.writer {
                Some(writer) => writer,
                empty => empty.insert(self.packs.begin()?),
            };
            self.moved.push((id, writer.append(id, &body)?));
        }
        self.pruned.packs_rewritten += 1;
        self.emptied.push(old);
        Ok(())
    }

    fn path(&self, number: usize) -> std::path::PathBuf {
        let pack = self.packs.sealed.get(number).and_then(Option::as_ref);
        pack.map_or_else(|| self.packs.folder.clone(), |pack| pack.path.clone())
    }

    /// Seals the pack that is being written; then the packs that it replaces can go.
    fn finish_pack(&mut self) -> Result<(), Error> {
        if let Some(writer) = &mut self.writer {
            let pack = writer.seal(&*self.packs.disk)?;
            self.writer = None;
            self.pruned.packs_written += 1;
            self.now.bytes_written += pack.bytes;
            let number = self.packs.sealed.len();
            self.packs.sealed.push(Some(pack));
            // Before anything refers to it, and long before the old ones go.
            self.packs.unsynced = true;
            self.sync_folder()?;
            for (id, location) in self.moved.drain(..) {
                self.index.insert(id, Place::Stored(Location { pack: number, ..location }));
            }
        }
        for old in std::mem::take(&mut self.emptied) {
            self.remove(&old)?;
        }
        self.sync_folder()
    }

    fn remove(&mut self, old: &Old) -> Result<(), Error> {
        let path = self.path(old.number);
        self.packs.disk.remove(&path).map_err(|e| Error::io("remove", &path, e))?;
        self.packs.forget(old.number);
        self.packs.unsynced = true;
        self.pruned.packs_removed += 1;
        self.now.bytes_removed += old.bytes;
        for (_, record) in &old.records {
            if matches!(self.index.get(&record.id), Some(Place::Stored(at)) if at.pack == old.number) {
                self.index.remove(&record.id);
                self.pruned.chunks_removed += 1;
            }
        }
        Ok(())
    }

    fn sync_folder(&mut self) -> Result<(), Error> {
        self.packs.sync()
    }
}

/// What is wrong with a pack, from the error that reading it gave.
fn told(error: Error, path: &std::path::Path, location: &Location) -> Damage {
    match error {
        Error::Damaged(damage) => *damage,
        _ => Damage {
            file: path.into(),
            offset: location.offset,
            place: Where::File,
            why: "a chunk cannot be read",
        },
    }
}

#[cfg(test)]
mod tests;
