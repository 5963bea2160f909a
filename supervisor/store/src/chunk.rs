//! The chunk store: encrypted, compressed, deduplicated chunks in pack files, addressed by their content.
//!
//! # Layout
//!
//! - `config`: the text file `config`: what the store was created with, sealed by the key
//! - `keys`: what is derived from the key
//! - `split`: a stream into chunks
//! - `ahead`: chunks opened by several threads before they are taken
//! - `codec`: a chunk compressed, and back
//! - `pipeline`: the threads that compress and write while the caller reads on
//! - `packs`: all pack files, and the one that is being written
//! - `pack`: one pack file: records, index, trailer
//! - [`prune`]: removing what nobody refers to
//!
//! ```text
//! DIR/config           version, identity, algorithms, MAC
//! DIR/lock             locked while a process writes
//! DIR/packs/ID.pack    sealed, never changed again
//! DIR/packs/ID.tmp     being written; whatever a crash left of it was never acknowledged, and is removed
//! ```
//!
//! # Invariants
//!
//! - A pack gets its final name only when it is complete and flushed.
//! - No (key, nonce) pair seals twice: each pack has a random identity and so a key of its own, and counts its nonces.
//! - `get` returns what was put, or an error.

mod ahead;
mod codec;
mod config;
mod keys;
mod pack;
mod packs;
mod pipeline;
pub mod prune;
mod split;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::hash::{Hash, NotAHash};

use crate::bytes::length;
use crate::disk::real::Real;
use crate::disk::{Disk, Lock};
use crate::error::{Damage, Error};
use config::Config;
use keys::Keys;
use pack::Location;
use packs::{Packs, Source};
use pipeline::Pipeline;
use split::Cutter;

pub use ahead::{AHEAD_BYTES_MAX, Ahead};
pub use split::Splitter;

/// The largest chunk before compression, in bytes.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A pack that reaches this size, in bytes, is sealed and the next one begun.
pub const PACK_BYTES_MAX: u64 = 64 << 20;

/// The most packs in one store: a bound for what `open` reads.
pub const PACKS_MAX: usize = 1 << 20;

/// The address of a chunk: keyed BLAKE3 of its content, so that it tells nothing to who lacks the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub [u8; 32]);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(f)
    }
}

impl FromStr for ChunkId {
    type Err = NotAHash;

    fn from_str(text: &str) -> Result<Self, NotAHash> {
        text.parse().map(|Hash(bytes)| Self(bytes))
    }
}

/// What a store holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Distinct chunks.
    pub chunks: u64,
    /// Their sizes before compression, in bytes.
    pub plain_bytes: u64,
    /// What they take on the disk with their headers, in bytes.
    pub stored_bytes: u64,
    /// Pack files.
    pub packs: u64,
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Stored(Location),
    /// The pipeline has it.
    UnderWay {
        ticket: u64,
        plain_bytes: u32,
    },
}

/// An open chunk store.
pub struct Chunks {
    dir: PathBuf,
    keys: Arc<Keys>,
    config: Config,
    cutter: Arc<Cutter>,
    index: HashMap<ChunkId, Place>,
    /// Its threads start with the first chunk that is put.
    pipeline: Option<Pipeline>,
    packs: Arc<Mutex<Packs>>,
    damage: Vec<Damage>,
    /// Set by a flush that failed while it was pruned; nothing is acknowledged after it.
    failed: bool,
    /// `None` where the store is open for reading alone. Given up last, when no thread of ours can write any more.
    lock: Option<Lock>,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks").field("dir", &self.dir).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Chunks {
    /// Opens the store in the folder `dir` for reading and writing, and creates it where there is none (the parent of
    /// `dir` must exist). What a crash left unfinished is removed.
    ///
    /// # Errors
    ///
    /// - [`Error::Locked`]: another process writes to it
    /// - [`Error::Key`]: it was created with another key, or its `config` was changed
    /// - [`Error::Version`]: a newer release created it
    /// - [`Error::Damaged`]: `config` is not readable (a damaged pack does not fail `open`: see [`Chunks::damage`])
    /// - [`Error::Full`], [`Error::Io`]
    pub fn open(dir: &Path, key: &[u8; 32]) -> Result<Self, Error> {
        Self::open_on(Arc::new(Real), dir, key)
    }

    /// Opens the store in the folder `dir` for reading alone, beside a process that writes: what is sealed by now is
    /// seen, what comes later is not.
    ///
    /// # Errors
    ///
    /// - [`Error::Absent`]: there is no store
    /// - else as [`Chunks::open`], without `Locked` and `Full`
    pub fn open_read_only(dir: &Path, key: &[u8; 32]) -> Result<Self, Error> {
        Self::load(Arc::new(Real), dir, Keys::derive(key), None)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, dir: &Path, key: &[u8; 32]) -> Result<Self, Error> {
        let packs = dir.join("packs");
        for folder in [dir, &packs] {
            disk.create_dir(folder).map_err(|e| Error::io("make", folder, e))?;
        }
        let lock = disk.lock(&dir.join("lock")).map_err(|e| Error::io("lock", dir, e))?;
        let lock = lock.ok_or_else(|| Error::Locked { path: dir.into() })?;
        let keys = Keys::derive(key);
        Config::create_if_absent(&*disk, dir, &keys)?;
        for name in disk.list(&packs).map_err(|e| Error::io("list", &packs, e))? {
            if name.ends_with(".tmp") {
                let path = packs.join(name);
                disk.remove(&path).map_err(|e| Error::io("remove the unfinished", &path, e))?;
            }
        }
        Self::load(disk, dir, keys, Some(lock))
    }

    fn load(disk: Arc<dyn Disk>, dir: &Path, keys: Keys, lock: Option<Lock>) -> Result<Self, Error> {
        let config = Config::load(&*disk, dir, &keys)?;
        let keys = Arc::new(keys);
        let packs = Packs::new(disk, dir.join("packs"), Arc::clone(&keys));
        let mut chunks = Self {
            dir: dir.into(),
            cutter: Cutter::new(&config.cut, keys.gear()),
            keys,
            config,
            index: HashMap::new(),
            pipeline: None,
            packs: Arc::new(Mutex::new(packs)),
            damage: Vec::new(),
            failed: false,
            lock,
        };
        chunks.load_packs()?;
        Ok(chunks)
    }

    fn load_packs(&mut self) -> Result<(), Error> {
        let mut packs = lock(&self.packs);
        let folder = packs.folder.clone();
        let mut names = packs.disk.list(&folder).map_err(|e| Error::io("list", &folder, e))?;
        names.retain(|name| name.ends_with(".pack"));
        if names.len() > PACKS_MAX {
            let found = length(names.len());
            return Err(Error::Limit { what: "a store with more packs", found, limit: length(PACKS_MAX) });
        }
        names.sort_unstable();
        for name in names {
            let (pack, records, damage) = pack::load(&*packs.disk, &folder.join(name), &self.keys)?;
            self.damage.extend(damage);
            let Some(pack) = pack else { continue };
            let number = packs.sealed.len();
            packs.sealed.push(Some(pack));
            for (offset, record) in records {
                // Of two copies the first stays: both were complete when they were sealed.
                let location = Location { pack: number, offset, record };
                self.index.entry(record.id).or_insert(Place::Stored(location));
            }
        }
        Ok(())
    }

    /// The address that `plain` has, or would have, in this store.
    pub fn id(&self, plain: &[u8]) -> ChunkId {
        self.keys.id(plain)
    }

    /// Puts a chunk of at most [`CHUNK_BYTES_MAX`] bytes and returns its address. It is durable after [`Chunks::sync`].
    /// A chunk that is there already is not stored again.
    ///
    /// It is compressed and written while the caller goes on, so what fails is told by a later call, at the latest by `sync`.
    ///
    /// # Errors
    ///
    /// - [`Error::Limit`]: it is larger than a chunk may be
    /// - [`Error::Full`]: no space for this chunk or one before it; it was not taken, those before it are tried again by the next call
    /// - [`Error::Flush`]: a flush failed, now or before: open the store anew
    /// - [`Error::Invalid`]: the store is open for reading alone
    /// - [`Error::Io`]: as for `Full`
    pub fn put(&mut self, plain: &[u8]) -> Result<ChunkId, Error> {
        self.writable()?;
        if plain.len() > CHUNK_BYTES_MAX {
            let limit = length(CHUNK_BYTES_MAX);
            return Err(Error::Limit { what: "a chunk", found: length(plain.len()), limit });
        }
        let id = self.keys.id(plain);
        if self.index.contains_key(&id) {
            return Ok(id);
        }
        let pipeline = match &self.pipeline {
            Some(pipeline) => pipeline,
            None => self.pipeline.insert(Pipeline::start(&self.packs, self.config.level, &self.dir)?),
        };
        let mut stored = Vec::new();
        let ticket = pipeline.put(id, plain, &mut stored)?;
        let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        self.index.insert(id, Place::UnderWay { ticket, plain_bytes });
        self.take_stored(stored);
        Ok(id)
    }

    /// Puts all that `source` gives, cut into chunks; returns their addresses and sizes in bytes, in order.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`] also where `source` fails, named `name`
    /// - else as [`Chunks::put`]
    pub fn put_stream(&mut self, source: impl io::Read, name: &Path) -> Result<Vec<(ChunkId, u32)>, Error> {
        let mut parts = Vec::new();
        let mut splitter = self.split(source);
        while let Some(chunk) = splitter.next_chunk().map_err(|e| Error::io("read", name, e))? {
            parts.push((self.put(chunk)?, u32::try_from(chunk.len()).unwrap_or(u32::MAX)));
        }
        Ok(parts)
    }

    /// Cuts a stream into chunks at places that its content and the key decide, so that what is inserted moves no
    /// cut behind it and sizes tell nothing about known content to who lacks the key.
    pub fn split<R: io::Read>(&self, source: R) -> Splitter<R> {
        Splitter::new(source, &self.cutter)
    }

    /// Gets a chunk and checks that it is what was put under this address. One that is under way is waited for.
    ///
    /// # Errors
    ///
    /// - [`Error::Absent`]: there is no such chunk
    /// - [`Error::Damaged`]: what lies there is not what was put
    /// - [`Error::Full`], [`Error::Flush`]: it was put, but could not be written
    /// - [`Error::Io`]: it cannot be read
    pub fn get(&self, id: &ChunkId) -> Result<Vec<u8>, Error> {
        let absent = || Error::Absent { what: "chunk", path: self.dir.join("packs").join(id.to_string()) };
        let location = match (self.index.get(id), &self.pipeline) {
            (Some(Place::Stored(location)), _) => *location,
            (Some(Place::UnderWay { ticket, .. }), Some(pipeline)) => pipeline.wait(*ticket, id)?,
            _ => return Err(absent()),
        };
        let source = lock(&self.packs).source(&location)?;
        match source.ok_or_else(absent)? {
            Source::Sealed(reader) => reader.get(&location, &self.keys),
            Source::Read(plain) => Ok(plain),
        }
    }

    /// Says that a chunk is read soon: the disk brings it meanwhile. A hint; what is wrong shows when it is read.
    pub fn expect(&self, id: &ChunkId) {
        if let Some(Place::Stored(location)) = self.index.get(id)
            && let Ok(Some(Source::Sealed(reader))) = lock(&self.packs).source(location)
        {
            reader.expect(location);
        }
    }

    /// Whether a chunk is there. That it is whole is known after [`Chunks::get`].
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.index.contains_key(id)
    }

    /// What a chunk takes on the disk with its header, in bytes; none where it is not there or not written yet.
    pub fn disk_bytes(&self, id: &ChunkId) -> Option<u64> {
        match self.index.get(id) {
            Some(Place::Stored(location)) => Some(location.record.disk_bytes()),
            Some(Place::UnderWay { .. }) | None => None,
        }
    }

    /// Makes everything that was put durable: seals the pack that is being written and flushes.
    ///
    /// # Errors
    ///
    /// - [`Error::Full`]: no space; what was put since the last `sync` is not durable; free space and try again
    /// - [`Error::Flush`]: what was put since the last `sync` may be lost: open the store anew and put it again
    /// - [`Error::Io`]
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.lock.is_none() {
            return Ok(());
        }
        self.writable()?;
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        let mut stored = Vec::new();
        pipeline.sync(&mut stored)?;
        self.take_stored(stored);
        Ok(())
    }

    /// What was found damaged when the store was opened: packs that could not be read whole. Chunks in them that are
    /// still readable are served.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What the store holds. What chunks take on the disk that are under way is not known yet and not counted.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { packs: lock(&self.packs).count(), ..Stats::default() };
        for place in self.index.values() {
            stats.chunks += 1;
            match place {
                Place::Stored(location) => {
                    stats.plain_bytes += u64::from(location.record.plain_bytes);
                    stats.stored_bytes += location.record.disk_bytes();
                }
                Place::UnderWay { plain_bytes, .. } => stats.plain_bytes += u64::from(*plain_bytes),
            }
        }
        stats
    }

    /// Every chunk that the store holds, in no order: what a scrub walks through.
    pub fn ids(&self) -> impl Iterator<Item = &ChunkId> {
        self.index.keys()
    }

    fn writable(&self) -> Result<(), Error> {
        if self.lock.is_none() {
            return Err(Error::Invalid(format!("{} is open for reading alone", self.dir.display())));
        }
        if self.failed {
            return Err(Error::flush(&self.dir, io::Error::other("an earlier flush failed")));
        }
        Ok(())
    }

    fn take_stored(&mut self, stored: Vec<(ChunkId, Location)>) {
        self.index.extend(stored.into_iter().map(|(id, location)| (id, Place::Stored(location))));
    }
}

fn lock(packs: &Mutex<Packs>) -> MutexGuard<'_, Packs> {
    packs.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod survive;
#[cfg(test)]
mod tests;
