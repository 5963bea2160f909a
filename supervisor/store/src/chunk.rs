//! The chunk store: encrypted, compressed, deduplicated chunks in pack files, addressed by their content.
//!
//! # Layout
//!
//! - `config`: the text file `config`: what the store was created with, sealed by the key
//! - `keys`: what is derived from the key
//! - `pack`: one pack file: records, index, trailer
//! - `split`: a stream into chunks
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

mod config;
mod keys;
mod pack;
mod split;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use types::hash::{Hash, NotAHash};

use crate::bytes::length;
use crate::disk::real::Real;
use crate::disk::{Disk, Lock};
use crate::error::{Damage, Error};
use config::Config;
use keys::Keys;
use pack::{Location, Pack, Reader, Writer};

pub use split::Splitter;

/// The largest chunk before compression, in bytes.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;

/// A pack that reaches this size, in bytes, is sealed and the next one begun.
pub const PACK_BYTES_MAX: u64 = 64 << 20;

/// The most packs in one store: a bound for what `open` reads.
pub const PACKS_MAX: usize = 1 << 20;

/// How many sealed packs are kept open for reading; a restore reads mostly in the order of writing.
const READERS_MAX: usize = 16;

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

/// An open chunk store.
pub struct Chunks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    keys: Keys,
    config: Config,
    packs: Vec<Pack>,
    index: HashMap<ChunkId, Location>,
    /// The pack that is being written, which has the number `packs.len()`.
    writer: Option<Writer>,
    /// Whether packs were sealed since the folder was last flushed.
    unsynced: bool,
    /// Set by a failed flush; nothing is acknowledged after it.
    failed: bool,
    /// The most recently used packs, newest last.
    readers: Mutex<Vec<(usize, Arc<Reader>)>>,
    damage: Vec<Damage>,
    /// `None` where the store is open for reading alone.
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
        let mut chunks = Self {
            disk,
            dir: dir.into(),
            keys,
            config,
            packs: Vec::new(),
            index: HashMap::new(),
            writer: None,
            unsynced: false,
            failed: false,
            readers: Mutex::new(Vec::new()),
            damage: Vec::new(),
            lock,
        };
        chunks.load_packs()?;
        Ok(chunks)
    }

    fn load_packs(&mut self) -> Result<(), Error> {
        let folder = self.dir.join("packs");
        let mut names = self.disk.list(&folder).map_err(|e| Error::io("list", &folder, e))?;
        names.retain(|name| name.ends_with(".pack"));
        if names.len() > PACKS_MAX {
            let found = length(names.len());
            return Err(Error::Limit { what: "a store with more packs", found, limit: length(PACKS_MAX) });
        }
        names.sort_unstable();
        for name in names {
            let path = folder.join(name);
            let (pack, records, damage) = pack::load(&*self.disk, &path, &self.keys)?;
            self.damage.extend(damage);
            let Some(pack) = pack else { continue };
            let number = self.packs.len();
            self.packs.push(pack);
            for (offset, record) in records {
                // Of two copies the first stays: both were complete when they were sealed.
                self.index.entry(record.id).or_insert(Location { pack: number, offset, record });
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
    /// # Errors
    ///
    /// - [`Error::Limit`]: it is larger than a chunk may be
    /// - [`Error::Full`]: no space; the chunk was not taken
    /// - [`Error::Flush`]: a flush failed, now or before: open the store anew
    /// - [`Error::Invalid`]: the store is open for reading alone
    /// - [`Error::Io`]
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
        if self.writer.as_ref().is_some_and(Writer::is_finished) {
            self.seal()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => empty.insert(Writer::create(
                &*self.disk,
                &self.dir.join("packs"),
                &self.keys,
                self.config.level,
            )?),
        };
        let (offset, record) = writer.put(id, plain)?;
        self.index.insert(id, Location { pack: self.packs.len(), offset, record });
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
        Splitter::new(source, self.keys.gear(), &self.config.cut)
    }

    /// Gets a chunk and checks that it is what was put under this address.
    ///
    /// # Errors
    ///
    /// - [`Error::Absent`]: there is no such chunk
    /// - [`Error::Damaged`]: what lies there is not what was put
    /// - [`Error::Io`]: it cannot be read
    pub fn get(&self, id: &ChunkId) -> Result<Vec<u8>, Error> {
        let absent = || Error::Absent { what: "chunk", path: self.dir.join("packs").join(id.to_string()) };
        let location = self.index.get(id).ok_or_else(absent)?;
        match self.packs.get(location.pack) {
            Some(pack) => self.reader(location.pack, pack)?.get(location, &self.keys),
            None => self.writer.as_ref().ok_or_else(absent)?.get(location, &self.keys),
        }
    }

    /// Whether a chunk is there. That it is whole is known after [`Chunks::get`].
    pub fn contains(&self, id: &ChunkId) -> bool {
        self.index.contains_key(id)
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
        if self.writer.is_some() {
            self.seal()?;
        }
        if self.unsynced {
            let folder = self.dir.join("packs");
            self.disk.sync_dir(&folder).map_err(|e| {
                self.failed = true;
                Error::flush(&folder, e)
            })?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// What was found damaged when the store was opened: packs that could not be read whole. Chunks in them that are
    /// still readable are served.
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }

    /// What the store holds.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { packs: length(self.packs.len()), ..Stats::default() };
        for location in self.index.values() {
            stats.chunks += 1;
            stats.plain_bytes += u64::from(location.record.plain_bytes);
            stats.stored_bytes += location.record.disk_bytes();
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

    fn seal(&mut self) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let pack = writer.seal(&*self.disk).inspect_err(|error| {
            self.failed = matches!(error, Error::Flush { .. });
        })?;
        self.packs.push(pack);
        self.writer = None;
        self.unsynced = true;
        Ok(())
    }

    fn reader(&self, number: usize, pack: &Pack) -> Result<Arc<Reader>, Error> {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = readers.iter().position(|(found, _)| *found == number) {
            let hit = readers.remove(place);
            let reader = Arc::clone(&hit.1);
            readers.push(hit);
            return Ok(reader);
        }
        let reader = Arc::new(Reader::open(&*self.disk, pack, &self.keys)?);
        if readers.len() >= READERS_MAX {
            readers.remove(0);
        }
        readers.push((number, Arc::clone(&reader)));
        Ok(reader)
    }
}

#[cfg(test)]
mod tests;
