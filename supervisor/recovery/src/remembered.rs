//! How files looked after a restore, so that the next capture need not read them.
//!
//! A restore gives what it touches new ctimes, and an exchanged root is another folder, so nothing would be recognised by the marks in
//! checkpoints. What was compared with a checkpoint and found equal is remembered in a small file beside them. It begins with the
//! repository's keyed name for the rest, so that nobody without the key can make one. An old one put back does no harm: an inode with
//! a ctime that it names is still as it was then.

use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};
use store::chunk::Chunks;
use types::time::Time;

use crate::Error;
use crate::files::known::Marks;
use crate::manifest::{Manifest, Moment};

/// The version that is written.
const VERSION: u32 = 1;
/// Its name, in the folder of checkpoints.
const FILE: &str = "remembered";
/// The largest that is read, bytes: twenty for each entry.
const BYTES_MAX: u64 = 512 << 20;
/// What is named begins with this, so that it is no file's content by chance.
const PREFIX: &[u8] = b"dsmil remembered 1\n";
/// Bytes of the keyed name.
const NAME_BYTES: usize = 32;

/// What was found after a restore.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Remembered {
    #[n(0)]
    version: u32,
    /// Which checkpoint was restored.
    #[n(1)]
    number: u64,
    /// When that was taken.
    #[n(2)]
    of: Moment,
    /// When this was found.
    #[n(3)]
    found: Moment,
    #[n(4)]
    trees: Vec<Marked>,
}

/// The marks of one root's entries, in the order of the checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Marked {
    /// The root's absolute path.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub(crate) path: Vec<u8>,
    #[n(1)]
    pub(crate) marks: Marks,
}

impl Remembered {
    /// Of a checkpoint that was just restored.
    #[must_use]
    pub fn new(manifest: &Manifest, found: Time, trees: Vec<Marked>) -> Self {
        let Manifest { number, created, .. } = manifest;
        Self { version: VERSION, number: *number, of: *created, found: found.into(), trees }
    }

    /// The number of the checkpoint that it is of.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn is_of(&self, manifest: &Manifest) -> bool {
        (self.number, self.of) == (manifest.number, manifest.created)
    }

    pub(crate) fn created(&self) -> Time {
        self.found.into()
    }

    pub(crate) fn marks(&self, path: &[u8]) -> Option<&Marks> {
        self.trees.iter().find(|tree| tree.path == path).map(|tree| &tree.marks)
    }

    /// Keeps it in the folder of checkpoints, instead of what was kept there before.
    ///
    /// # Errors
    ///
    /// - [`Error::Store`]: it cannot be written
    pub fn keep(&self, dir: &Path, chunks: &Chunks) -> Result<(), Error> {
        let mut named = PREFIX.to_vec();
        minicbor::encode(self, &mut named).map_err(|e| Error::Invalid(e.to_string()))?;
        let name = chunks.id(&named);
        let bytes = [name.0.as_slice(), named.get(PREFIX.len()..).unwrap_or_default()].concat();
        Ok(store::blob::replace(&path(dir), &bytes)?)
    }

    /// What is kept there; nothing where it was not made with this repository's key. It only saves work, so nobody needs to know
    /// why there is none.
    #[must_use]
    pub fn kept(dir: &Path, chunks: &Chunks) -> Option<Self> {
        let bytes = store::blob::read(&path(dir), BYTES_MAX).ok()?;
        let (name, encoded) = bytes.split_first_chunk::<NAME_BYTES>()?;
        if chunks.id(&[PREFIX, encoded].concat()).0 != *name {
            return None;
        }
        let remembered: Self = minicbor::decode(encoded).ok()?;
        (remembered.version == VERSION).then_some(remembered)
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}
