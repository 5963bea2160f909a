//! The mark that the first entries of a log were archived: up to where, and the tree there.

use std::path::Path;

use crate::blob;
use crate::bytes::Fields;
use crate::disk::Disk;
use crate::error::{Error, Place};
use crate::tiles::Edge;

const MAGIC: [u8; 8] = *b"DSMILARC";
const VERSION: u32 = 1;
/// Over the largest edge: 8 levels of 255 hashes.
const BYTES_MAX: u64 = 128 << 10;
/// Its name in the log's folder.
pub(crate) const NAME: &str = "archived";

/// That the first entries of a log were archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archived {
    id: [u8; 16],
    edge: Edge,
}

impl Archived {
    pub(super) fn new(id: [u8; 16], edge: Edge) -> Self {
        Self { id, edge }
    }

    /// The first entry that is still there.
    pub(crate) fn until(&self) -> u64 {
        self.edge.size()
    }

    /// The tree of the archived entries. That it is right is for a head to say.
    pub(crate) fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.id);
        bytes.extend(self.edge.encode());
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }
}

/// Reads the mark of a log; `None` where nothing was archived.
pub(crate) fn read_on(disk: &dyn Disk, dir: &Path) -> Result<Option<Archived>, Error> {
    let path = dir.join(NAME);
    let bytes = match blob::read_on(disk, &path, BYTES_MAX) {
        Err(Error::Absent { .. }) => return Ok(None),
        bytes => bytes?,
    };
    let damaged = |why| Error::damaged(&path, 0, Place::File, why);
    let no_mark = || damaged("it is no mark of an archive");
    let (covered, crc) = bytes.split_last_chunk::<4>().ok_or_else(no_mark)?;
    let mut fields = Fields(covered);
    if fields.take() != Some(MAGIC) {
        return Err(no_mark());
    }
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(damaged("its checksum does not match"));
    }
    let found = fields.u32().ok_or_else(no_mark)?;
    if found != VERSION {
        return Err(Error::Version { path, found, known: VERSION });
    }
    fields.u32().ok_or_else(no_mark)?;
    let id = fields.take().ok_or_else(no_mark)?;
    let edge = Edge::decode(&mut fields).filter(|_| fields.0.is_empty()).ok_or_else(no_mark)?;
    Ok(Some(Archived { id, edge }))
}

/// How often work is begun anew because files went to the archive meanwhile.
const RETRIES: u32 = 3;

/// Does work that reads a log, once more if it failed while files went to the archive.
pub(crate) fn steadily<T>(
    disk: &dyn Disk,
    dir: &Path,
    work: &mut dyn FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let until = || read_on(disk, dir).ok().flatten().map(|mark| mark.until());
    let mut before = until();
    for _ in 0..RETRIES {
        let done = work();
        let after = until();
        if done.is_ok() || after == before {
            return done;
        }
        before = after;
    }
    work()
}
