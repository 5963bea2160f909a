//! Chunks for who looks into checkpoints, beside a process that writes or removes some.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use store::chunk::{ChunkId, Chunks};
use zeroize::Zeroizing;

use super::kept::Kept;
use crate::Error;
use crate::error::length;
use crate::files::entry::Piece;

/// The most chunks that are kept: a chunk has at most 1 MiB, and readers of files one after the other need one each.
const CHUNKS_MAX: usize = 48;

/// A chunk store that is read, with the chunks that were read last.
pub struct Contents {
    dir: PathBuf,
    key: Zeroizing<[u8; 32]>,
    seen: Mutex<Seen>,
    kept: Kept<ChunkId, Vec<u8>>,
}

/// The store as it was opened.
struct Seen {
    chunks: Arc<Chunks>,
    /// When its packs had changed last.
    changed: Option<SystemTime>,
}

impl Contents {
    /// Opens the store in this folder for reading alone.
    ///
    /// # Errors
    ///
    /// As [`Chunks::open_read_only`].
    pub fn open(dir: PathBuf, key: Zeroizing<[u8; 32]>) -> Result<Self, Error> {
        let changed = fs::metadata(dir.join("packs")).and_then(|meta| meta.modified()).ok();
        let chunks = Arc::new(Chunks::open_read_only(&dir, &key)?);
        Ok(Self { dir, key, seen: Mutex::new(Seen { chunks, changed }), kept: Kept::new(CHUNKS_MAX) })
    }

    /// Does something with the store. Where it fails and packs have come or gone since the store was opened, it is opened anew for a second try: what
    /// pruning moved lies elsewhere, and new checkpoints have new packs.
    ///
    /// # Errors
    ///
    /// What it gives.
    pub fn with<T>(&self, act: impl Fn(&Chunks) -> Result<T, Error>) -> Result<T, Error> {
        let chunks = Arc::clone(&self.seen.lock().unwrap_or_else(PoisonError::into_inner).chunks);
        act(&chunks).or_else(|error| match self.anew(&chunks)? {
            Some(chunks) => act(&chunks),
            None => Err(error),
        })
    }

    /// A chunk, authenticated.
    ///
    /// # Errors
    ///
    /// - [`Error::Store`]: it is missing or damaged
    /// - [`Error::Damaged`]: it is not as long as the manifest says
    pub fn get(&self, piece: &Piece) -> Result<Arc<Vec<u8>>, Error> {
        let plain = self.kept.get(&piece.id(), || self.with(|chunks| Ok(chunks.get(&piece.id())?)))?;
        if length(plain.len()) != u64::from(piece.bytes) {
            let (found, wanted) = (plain.len(), piece.bytes);
            return Err(Error::Damaged(format!("it has {found} bytes instead of {wanted}")));
        }
        Ok(plain)
    }

    /// The store, opened anew; none where nothing has changed since `old` was opened.
    fn anew(&self, old: &Arc<Chunks>) -> Result<Option<Arc<Chunks>>, Error> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&seen.chunks, old) {
            return Ok(Some(Arc::clone(&seen.chunks)));
        }
        let changed = fs::metadata(self.dir.join("packs")).and_then(|meta| meta.modified()).ok();
        if changed == seen.changed {
            return Ok(None);
        }
        let chunks = Arc::new(Chunks::open_read_only(&self.dir, &self.key)?);
        *seen = Seen { chunks: Arc::clone(&chunks), changed };
        Ok(Some(chunks))
    }
}
