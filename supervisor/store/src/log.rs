//! The append-only log: batches of entries, one flush each, with a Merkle tree over the entries and signed heads.
//!
//! # Layout
//!
//! - `frame`: one batch
//! - `segment`: the files
//! - `cursor`: reading them; a torn tail is told from damage here
//! - `appender`: writing them; `spare`: the next one, made ready beside it
//! - `audit`: entries against heads
//! - `open`: from files to an open log: wholly, or quickly from a `start`
//! - `reader`: the entries for others
//! - `meter`: how far a long work has come
//! - `scrub`: reads the rest after a quick start
//! - `archive`: old files go elsewhere, their hashes stay
//! - `salvage`: what can be proven of a damaged log
//! - `export`: a static tree of tiles and entries for tools of others
//!
//! ```text
//! DIR/lock        locked by the process that writes
//! DIR/*.log       the entries
//! DIR/*.heads     every head that was stored
//! DIR/checkpoint  the newest of them, as C2SP tools read it
//! DIR/tile/       the tree's hashes, which follow from the entries
//! DIR/archived    how many entries were archived, and their tree
//! ```
//!
//! # Invariants
//!
//! - Files grow by zeros that are flushed before a batch goes there. So a full disk is found before anything of a batch
//!   is written, and a flush moves no metadata.
//! - A batch is flushed before the next is written. So after a crash at most the last one is incomplete.
//! - A head is stored after the entries that it covers are durable.

mod appender;
mod archive;
pub(crate) mod archived;
pub(crate) mod audit;
mod cursor;
mod export;
mod frame;
pub(crate) mod leaves;
pub(crate) mod meter;
mod open;
mod reader;
mod salvage;
mod scrub;
mod segment;
mod spare;
pub(crate) mod start;

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::hash::Hash;

use crate::blob;
use crate::bytes::length;
use crate::disk::real::Real;
use crate::disk::{Disk, Lock};
use crate::error::Error;
use crate::head::{Head, NOTE_BYTES_MAX, SignedHead};
use crate::tiles::Edge;
use crate::tiles::files::Writer;
use appender::{Appender, Growth};
use open::lock;
use segment::Kind;

pub use archive::{Archive, archivable, archive, archived};
pub use export::{Exported, export};
pub use meter::Position;
pub use open::{Held, hold};
pub(crate) use open::{Unlocked, audit_unlocked, read_newest, require};
pub use reader::{Reader, covering, read};
pub use salvage::{Salvaged, salvage};
pub use scrub::{Scrubbed, scrub};
pub use spare::Chore;
pub use start::Start;

/// The largest entry, in bytes: what a C2SP tile can hold.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// The largest batch as it lies on the disk, in bytes.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// How many heads may be asked for before one of them must be stored: signatures take a while, and overtake each other.
pub const HEADS_PENDING_MAX: usize = 64;

/// How much is prepared at once for heads, in bytes: some three hundred of them.
const HEADS_STEP_BYTES: u64 = 64 << 10;

/// How the files of a log grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The size at which the next file is begun, in bytes; only a single batch that is larger makes a file larger.
    pub segment_bytes: u64,
    /// How much a file grows at once, in bytes of zeros written ahead.
    pub step_bytes: u64,
    /// What ordinary batches leave free, in bytes, so that stopping and undoing can be recorded on a full disk.
    pub reserve_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        // 64 MiB are read in a moment and pruned in useful pieces; 4 MiB of zeros are written in some milliseconds.
        Self { segment_bytes: 64 << 20, step_bytes: 4 << 20, reserve_bytes: 256 << 10 }
    }
}

impl Config {
    fn growth(&self) -> Growth {
        let Self { segment_bytes, step_bytes, reserve_bytes } = *self;
        Growth { segment_bytes, step_bytes, reserve_bytes }
    }

    fn growth_of_heads(&self) -> Growth {
        let step_bytes = self.step_bytes.min(HEADS_STEP_BYTES);
        Growth { segment_bytes: self.segment_bytes, step_bytes, reserve_bytes: 0 }
    }
}

/// A log that is open for appending.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    config: Config,
    id: [u8; 16],
    entries: Appender,
    /// Made with the first head.
    heads: Option<Appender>,
    tree: Edge,
    tiles: Writer,
    /// The newest stored head.
    head: Option<SignedHead>,
    /// Heads that were given out for signing.
    pending: VecDeque<Head>,
    _lock: Lock,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).field("size", &self.size()).finish_non_exhaustive()
    }
}

impl Log {
    /// Creates an empty log in the folder `dir`, which is made if it is not there (its parent must be). `id` is 16 random
    /// bytes: batches of another log are none of this one's.
    ///
    /// # Errors
    ///
    /// - [`Error::Exists`]: the folder holds a log, or what is left of one
    /// - [`Error::Locked`], [`Error::Full`], [`Error::Flush`], [`Error::Io`]
    pub fn create(dir: &Path, id: [u8; 16], config: &Config) -> Result<Self, Error> {
        Self::create_on(Arc::new(Real), dir, id, config)
    }

    /// Opens the log in the folder `dir`, gives each entry to `replay` in order, and cuts a batch that a crash left
    /// incomplete. What `replay` saw counts only if `open` succeeds.
    ///
    /// # Errors
    ///
    /// - [`Error::Absent`]: there is no log
    /// - [`Error::Locked`]: another process has it open
    /// - [`Error::Damaged`]: bytes that were acknowledged are missing or changed; nothing was written
    /// - [`Error::Version`]: a newer release wrote it
    /// - [`Error::Full`], [`Error::Flush`], [`Error::Io`]
    pub fn open(dir: &Path, config: &Config, replay: &mut dyn FnMut(u64, &[u8])) -> Result<Self, Error> {
        Self::open_on(Arc::new(Real), dir, config, replay)
    }

    pub(crate) fn create_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        id: [u8; 16],
        config: &Config,
    ) -> Result<Self, Error> {
        Self::create_from(disk, dir, id, config, Edge::default())
    }

    /// Creates a log that goes on from a tree whose entries are elsewhere.
    pub(crate) fn create_from(
        disk: Arc<dyn Disk>,
        dir: &Path,
        id: [u8; 16],
        config: &Config,
        tree: Edge,
    ) -> Result<Self, Error> {
        disk.create_dir(dir).map_err(|e| Error::io("make", dir, e))?;
        let lock = lock(&*disk, dir)?;
        for kind in [Kind::Entries, Kind::Heads] {
            if let Some(first) = segment::list(&*disk, dir, kind)?.first() {
                return Err(Error::Exists { path: kind.path(dir, *first) });
            }
        }
        let entries = Appender::create(
            Arc::clone(&disk),
            dir.into(),
            (Kind::Entries, id),
            tree.size(),
            config.growth(),
        )?;
        Ok(Self {
            tiles: Writer::new(Arc::clone(&disk), dir),
            disk,
            dir: dir.into(),
            config: config.clone(),
            id,
            entries,
            heads: None,
            tree,
            head: None,
            pending: VecDeque::new(),
            _lock: lock,
        })
    }

    /// Opens the log in the folder `dir` from a place that [`Log::start`] gave: reads and replays only what follows, and
    /// proves the tree there by a stored head. What `replay` saw counts only if it succeeds. What is before is for
    /// [`scrub`] to read.
    ///
    /// # Errors
    ///
    /// - [`Error::Unproven`]: no head covers the place, or something disagrees: open the log with [`Log::open`]; nothing
    ///   was written
    /// - otherwise as [`Log::open`], but never [`Error::Damaged`]
    pub fn open_at(
        dir: &Path,
        config: &Config,
        start: &Start,
        replay: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Self, Error> {
        Self::open_at_on(Arc::new(Real), dir, config, start, replay)
    }

    /// The place where the log ends now, for [`Log::open_at`]. All before it is durable.
    ///
    /// # Errors
    ///
    /// - [`Error::Flush`]: the disk failed before, so nobody knows where it ends
    pub fn start(&self) -> Result<Start, Error> {
        let heads = self.heads.as_ref().map(Appender::last).transpose()?;
        Ok(Start { id: self.id, edge: self.tree.clone(), entries: self.entries.end()?, heads })
    }

    /// Appends a batch of entries with one write and one flush and returns their indices. After `Ok` they are durable.
    ///
    /// # Errors
    ///
    /// - [`Error::Full`]: no space; nothing was written: hold the entries back and try again
    /// - [`Error::Flush`]: the disk failed, now or before: the process must stop at once
    /// - [`Error::Limit`]: an entry is over [`ENTRY_BYTES_MAX`] or the batch over [`BATCH_BYTES_MAX`]
    /// - [`Error::Invalid`]: there is no entry
    /// - [`Error::Io`]: no new file could be made; nothing was written
    pub fn append(&mut self, entries: &[impl AsRef<[u8]>]) -> Result<Range<u64>, Error> {
        self.append_batch(entries, false)
    }

    /// Appends as [`Log::append`] does, but may use up the reserve: for stopping and undoing alone.
    ///
    /// # Errors
    ///
    /// As [`Log::append`].
    pub fn append_urgent(&mut self, entries: &[impl AsRef<[u8]>]) -> Result<Range<u64>, Error> {
        self.append_batch(entries, true)
    }

    fn append_batch(&mut self, entries: &[impl AsRef<[u8]>], urgent: bool) -> Result<Range<u64>, Error> {
        let first = self.entries.next();
        let tiles = &mut self.tiles;
        let leaves = self.entries.append(entries, urgent)?;
        self.tree.extend(leaves, &mut |level, index, hashes| tiles.take(level, index, hashes));
        self.tiles.relieve();
        Ok(first..self.entries.next())
    }

    /// Prepares space ahead of need: worth calling while no batch waits.
    ///
    /// # Errors
    ///
    /// - [`Error::Full`]: no space; nothing is lost by it yet
    /// - [`Error::Flush`]: as for [`Log::append`]
    /// - [`Error::Io`]
    pub fn prepare(&mut self) -> Result<(), Error> {
        self.tiles.flush();
        self.entries.prepare()
    }

    /// Work that makes the next file ready, once the present one is half full: for another thread, beside the appending. None
    /// while there is nothing to do.
    pub fn chore(&mut self) -> Option<Chore> {
        self.entries.chore()
    }

    /// Makes sure that ordinary batches of so many bytes in all, as they lie on the disk, find room beyond the reserve.
    ///
    /// # Errors
    ///
    /// As [`Log::prepare`].
    pub fn ensure(&mut self, bytes: u64) -> Result<(), Error> {
        self.entries.ensure(bytes)
    }

    /// How many entries it has.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root of the Merkle tree over its entries.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The random identity that it was created with.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The head of the log as it is now, to be signed and stored. Of heads that were not stored, the last
    /// [`HEADS_PENDING_MAX`] are remembered.
    pub fn head(&mut self, origin: &str, extensions: Vec<String>) -> Head {
        let head = Head { origin: origin.into(), size: self.size(), root: self.root(), extensions };
        if self.pending.len() >= HEADS_PENDING_MAX {
            self.pending.pop_front();
        }
        self.pending.push_back(head.clone());
        head
    }

    /// The newest stored head.
    pub fn newest_head(&self) -> Option<&SignedHead> {
        self.head.as_ref()
    }

    /// Stores a signed head durably, and as the file `checkpoint`.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it did not come from [`Log::head`], or a head of a larger log is stored already
    /// - [`Error::Full`]: no space; it is not stored; the log is as good as before
    /// - [`Error::Flush`]: the disk failed, now or before: the process must stop at once
    /// - [`Error::Io`]
    pub fn store_head(&mut self, signed: &SignedHead) -> Result<(), Error> {
        let place = self.pending.iter().position(|head| head == signed.head());
        let place = place.ok_or_else(|| Error::Invalid("this head was not asked of this log".into()))?;
        if self.head.as_ref().is_some_and(|newest| newest.head().size > signed.head().size) {
            return Err(Error::Invalid("a head of a larger log is stored already".into()));
        }
        self.keep_head(signed)?;
        self.pending.remove(place);
        Ok(())
    }

    /// Stores a head that is known to be one of this log.
    pub(crate) fn keep_head(&mut self, signed: &SignedHead) -> Result<(), Error> {
        let text = signed.text()?;
        let heads = match &mut self.heads {
            Some(heads) => heads,
            empty => {
                let (disk, what) = (Arc::clone(&self.disk), (Kind::Heads, self.id));
                empty.insert(Appender::create(
                    disk,
                    self.dir.clone(),
                    what,
                    0,
                    self.config.growth_of_heads(),
                )?)
            }
        };
        heads.append(&[text], false)?;
        self.head = Some(signed.clone());
        self.tiles.write_last(&self.tree, signed.head().size);
        self.copy_newest()
    }

    /// Writes the newest head to `checkpoint`, a copy for other tools: a disk too full for it takes nothing from the log,
    /// and the next head or the next start tries again.
    fn copy_newest(&self) -> Result<(), Error> {
        match self.write_newest() {
            Err(Error::Full { .. }) => Ok(()),
            done => done,
        }
    }

    fn write_newest(&self) -> Result<(), Error> {
        let Some(head) = &self.head else { return Ok(()) };
        let (path, text) = (self.dir.join("checkpoint"), head.text()?);
        match blob::read_on(&*self.disk, &path, length(NOTE_BYTES_MAX)) {
            Ok(old) if old == text.as_bytes() => Ok(()),
            _ => blob::replace_on(&*self.disk, &path, text.as_bytes()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;

#[cfg(test)]
mod survive;
