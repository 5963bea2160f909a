//! A pack that is being written.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::LessSafeKey;

use super::{
    ENTRY_BYTES, HEADER_BYTES, KIND_INDEX, KIND_RECORD, Location, MAGIC, MAGIC_END, Pack, RECORD_BYTES,
    Record, Records, TAG_BYTES, TRAILER_BYTES, VERSION, check, nonce, open_record, seal,
};
use crate::bytes::{length, size};
use crate::chunk::codec::Body;
use crate::chunk::keys::Keys;
use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::disk::blocks::BLOCK;
use crate::disk::gathered::Gathered;
use crate::disk::{Disk, File, Mode};
use crate::error::Error;

/// How much is gathered before it is written, in bytes: enough for a device to be fast at it.
const WRITE_BYTES: usize = 4 << 20;

/// A pack that is being written. What does not fit on the disk stays in memory and can be written later.
pub(in crate::chunk) struct Writer {
    file: Box<dyn File>,
    path: PathBuf,
    id: [u8; 16],
    cipher: LessSafeKey,
    /// What is not written yet; it begins at `written` in the file, always a block's beginning.
    buffer: Gathered,
    written: u64,
    records: Records,
    /// Whether index and trailer were added.
    complete: bool,
}

impl Writer {
    /// Begins a pack; `id` must be new, for it decides the key that nonces are counted under.
    pub(in crate::chunk) fn create(
        disk: &dyn Disk,
        folder: &Path,
        keys: &Keys,
        id: [u8; 16],
    ) -> Result<Self, Error> {
        let path = folder.join(format!("{:032x}.tmp", u128::from_be_bytes(id)));
        // A pack is written once and flushed soon: the page cache would only cost time.
        let file = disk.open(&path, Mode::CreateAppend).map_err(|e| Error::io("create", &path, e))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend([0; 4]);
        header.extend(id);
        header.extend([0; 28]);
        header.extend(crc32c::crc32c(&header).to_le_bytes());
        let mut buffer = Gathered::with_capacity(WRITE_BYTES + 2 * CHUNK_BYTES_MAX);
        buffer.extend(&header);
        let (cipher, records) = (keys.cipher(&id)?, Vec::new());
        Ok(Self { file, path, id, cipher, buffer, written: 0, records, complete: false })
    }

    /// How large the pack is by now, in bytes.
    pub(in crate::chunk) fn bytes(&self) -> u64 {
        self.written + length(self.buffer.len())
    }

    /// Whether an earlier try to seal it failed, so that nothing more may be put.
    pub(in crate::chunk) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Encrypts a chunk behind the others. Nobody else makes nonces: a pack has one writer, and counts.
    pub(in crate::chunk) fn append(&mut self, id: ChunkId, body: &Body) -> Result<Location, Error> {
        if self.buffer.len() >= WRITE_BYTES {
            self.write(false)?;
        }
        let (offset, start) = (self.bytes(), self.buffer.len());
        let number = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        let sealed_bytes = u32::try_from(body.bytes.len()).unwrap_or(u32::MAX);
        let record = Record { id, plain_bytes: body.plain_bytes, sealed_bytes, number, method: body.method };
        let header = record.encode();
        let room = self.buffer.room(RECORD_BYTES + body.bytes.len() + TAG_BYTES);
        let sealed = put(room, &header, &body.bytes, |content| {
            seal(&self.cipher, nonce(KIND_RECORD, number.into()), &header, content, &self.path)
        });
        if let Err(error) = sealed {
            self.buffer.truncate(start);
            return Err(error);
        }
        self.records.push((offset, record));
        Ok(Location { pack: 0, offset, record })
    }

    pub(in crate::chunk) fn get(&self, location: &Location, keys: &Keys) -> Result<Vec<u8>, Error> {
        let Some(start) = location.offset.checked_sub(self.written) else {
            // Its end may not be written yet.
            return self.get_across(location, keys);
        };
        let start = size(start);
        let bytes = self.buffer.get();
        let sealed = bytes.get(start..start + size(location.record.disk_bytes())).unwrap_or_default();
        check(&mut sealed.to_vec(), &self.path, &self.cipher, location, keys)
    }

    fn get_across(&self, location: &Location, keys: &Keys) -> Result<Vec<u8>, Error> {
        let end = location.offset + location.record.disk_bytes();
        let Some(rest) = end.checked_sub(self.written).filter(|rest| *rest > 0) else {
            return open_record(&*self.file, &self.path, &self.cipher, location, keys);
        };
        let mut sealed = vec![0; size(self.written - location.offset)];
        let count = self.file.read_at(location.offset, &mut sealed);
        sealed.truncate(count.map_err(|e| Error::io("read", &self.path, e))?);
        sealed.extend(self.buffer.get().get(..size(rest)).unwrap_or_default());
        check(&mut sealed, &self.path, &self.cipher, location, keys)
    }

    /// Writes whole blocks, and at the end the rest.
    fn write(&mut self, is_end: bool) -> Result<(), Error> {
        let fail = |e| Error::io("write", &self.path, e);
        let filled = self.buffer.len();
        let blocks = filled - filled % BLOCK;
        let bytes = if is_end { filled } else { blocks };
        // Reserving first keeps a full disk from being found half-way; either way the same bytes go to the same place
        // at the next try, so no nonce is used for two texts.
        self.file.allocate(self.written, length(bytes)).map_err(fail)?;
        let (whole, rest) = self.buffer.get().split_at(blocks);
        for (offset, part) in [(0, whole), (blocks, rest)] {
            if offset < bytes && !part.is_empty() {
                self.file.write_at(self.written + length(offset), part).map_err(fail)?;
            }
        }
        self.written += length(bytes);
        self.buffer.drop_front(bytes);
        Ok(())
    }

    /// Adds index and trailer, flushes, and gives the pack its final name. It can be called again after `Full`.
    pub(in crate::chunk) fn seal(&mut self, disk: &dyn Disk) -> Result<Pack, Error> {
        if !self.complete {
            self.append_index()?;
            self.complete = true;
        }
        if self.buffer.len() > 0 {
            self.write(true)?;
        }
        self.file.sync().map_err(|e| Error::flush(&self.path, e))?;
        let path = self.path.with_extension("pack");
        disk.rename(&self.path, &path).map_err(|e| Error::flush(&path, e))?;
        Ok(Pack { path, id: self.id, bytes: self.written, is_whole: true })
    }

    /// Removes what was written: nobody knows of it yet.
    pub(in crate::chunk) fn abandon(self, disk: &dyn Disk) {
        // If it cannot be removed now, the next start does it.
        let _ = disk.remove(&self.path);
    }

    fn append_index(&mut self) -> Result<(), Error> {
        let offset = self.bytes();
        let mut index = Vec::with_capacity(self.records.len() * ENTRY_BYTES);
        for (at, record) in &self.records {
            index.extend(at.to_le_bytes());
            index.extend(record.encode());
        }
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend(offset.to_le_bytes());
        trailer.extend(length(index.len()).to_le_bytes());
        trailer.extend(u32::try_from(self.records.len()).unwrap_or(u32::MAX).to_le_bytes());
        trailer.extend([0; 4]);
        trailer.extend(MAGIC_END);
        trailer.extend([0; 4]);
        let tag = seal(&self.cipher, nonce(KIND_INDEX, 0), &trailer, &mut index, &self.path)?;
        trailer.extend(crc32c::crc32c(&trailer).to_le_bytes());
        self.buffer.extend(&index);
        self.buffer.extend(&tag);
        self.buffer.extend(&trailer);
        Ok(())
    }
}

/// Lays a record into its room: header, content as `seal` changes it, and the tag that it gives.
fn put(
    room: &mut [u8],
    header: &[u8; RECORD_BYTES],
    body: &[u8],
    seal: impl FnOnce(&mut [u8]) -> Result<[u8; TAG_BYTES], Error>,
) -> Result<(), Error> {
    let no_room = || Error::Invalid("a record is longer than its room".into());
    let (head, rest) = room.split_first_chunk_mut::<RECORD_BYTES>().ok_or_else(no_room)?;
    let (content, end) = rest.split_last_chunk_mut::<TAG_BYTES>().ok_or_else(no_room)?;
    *head = *header;
    content.copy_from_slice(body);
    *end = seal(content)?;
    Ok(())
}
