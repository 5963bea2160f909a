//! The packs of a store: those that are sealed, and the one that is being written.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::codec::Body;
use super::keys::Keys;
use super::pack::{Location, Pack, Reader, Writer};
use super::{ChunkId, PACK_BYTES_MAX};
use crate::bytes::length;
use crate::disk::Disk;
use crate::error::Error;

/// How many sealed packs are kept open for reading; a restore reads mostly in the order of writing.
const READERS_MAX: usize = 16;

/// The packs of a store.
pub(super) struct Packs {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    pub(super) keys: Arc<Keys>,
    /// By their numbers in this run; none where one was removed.
    pub(super) sealed: Vec<Option<Pack>>,
    /// The pack that is being written, whose number comes next.
    writer: Option<Writer>,
    /// Whether packs were sealed since the folder was last flushed.
    pub(super) unsynced: bool,
    /// The most recently used packs, newest last.
    readers: VecDeque<(usize, Arc<Reader>)>,
    /// A pack of this size is sealed, in bytes.
    pub(super) pack_bytes: u64,
    /// What a new pack is called, and its key made from: never the same twice.
    pub(super) identity: Box<dyn FnMut() -> Result<[u8; 16], Error> + Send>,
}

/// Where a chunk can be read.
pub(super) enum Source {
    Sealed(Arc<Reader>),
    /// In the pack that is being written; this is it.
    Read(Vec<u8>),
}

impl Packs {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf, keys: Arc<Keys>) -> Self {
        Self {
            disk,
            folder,
            keys,
            sealed: Vec::new(),
            writer: None,
            unsynced: false,
            readers: VecDeque::new(),
            pack_bytes: PACK_BYTES_MAX,
            identity: Box::new(random),
        }
    }

    /// A new pack, which has no number yet.
    pub(super) fn begin(&mut self) -> Result<Writer, Error> {
        let id = (self.identity)()?;
        Writer::create(&*self.disk, &self.folder, &self.keys, id)
    }

    /// Appends a chunk to the pack that is being written, or to a new one.
    pub(super) fn append(&mut self, id: ChunkId, body: &Body) -> Result<Location, Error> {
        let is_finished = |writer: &Writer| writer.is_complete() || writer.bytes() >= self.pack_bytes;
        if self.writer.as_ref().is_some_and(is_finished) {
            self.seal()?;
        }
        if self.writer.is_none() {
            self.writer = Some(self.begin()?);
        }
        let number = self.sealed.len();
        let Some(writer) = &mut self.writer else {
            return Err(Error::Absent { what: "pack", path: self.folder.clone() });
        };
        Ok(Location { pack: number, ..writer.append(id, body)? })
    }

    /// Seals what is being written, and flushes.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        self.seal()?;
        if self.unsynced {
            self.disk.sync_dir(&self.folder).map_err(|e| Error::flush(&self.folder, e))?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let pack = writer.seal(&*self.disk)?;
        self.sealed.push(Some(pack));
        self.writer = None;
        self.unsynced = true;
        Ok(())
    }

    /// Where a chunk can be read, or `None` where there is no such pack.
    pub(super) fn source(&mut self, location: &Location) -> Result<Option<Source>, Error> {
        if location.pack == self.sealed.len()
            && let Some(writer) = &self.writer
        {
            return Ok(Some(Source::Read(writer.get(location, &self.keys)?)));
        }
        Ok(self.reader(location.pack)?.map(Source::Sealed))
    }

    /// A sealed pack, open for reading, or `None` where there is none of this number.
    pub(super) fn reader(&mut self, number: usize) -> Result<Option<Arc<Reader>>, Error> {
        if let Some(place) = self.readers.iter().position(|(found, _)| *found == number)
            && let Some(hit) = self.readers.remove(place)
        {
            let reader = Arc::clone(&hit.1);
            self.readers.push_back(hit);
            return Ok(Some(reader));
        }
        let Some(Some(pack)) = self.sealed.get(number) else { return Ok(None) };
        let reader = Arc::new(Reader::open(&*self.disk, pack, &self.keys)?);
        if self.readers.len() >= READERS_MAX {
            self.readers.pop_front();
        }
        self.readers.push_back((number, Arc::clone(&reader)));
        Ok(Some(reader))
    }

    /// Forgets a pack that was removed.
    pub(super) fn forget(&mut self, number: usize) {
        self.readers.retain(|(found, _)| *found != number);
        if let Some(pack) = self.sealed.get_mut(number) {
            *pack = None;
        }
    }

    /// How many are sealed.
    pub(super) fn count(&self) -> u64 {
        length(self.sealed.iter().flatten().count())
    }
}

fn random() -> Result<[u8; 16], Error> {
    let mut id = [0; 16];
    aws_lc_rs::rand::fill(&mut id)
        .map_err(|_| Error::Invalid("the machine gives no random numbers".into()))?;
    Ok(id)
}
