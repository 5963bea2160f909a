//! One pack file: a header, sealed records, and at the end a sealed index with a trailer that finds it.
//!
//! ```text
//! header   64  magic "DSMILPCK", version u32, reserved u32, identity [16], reserved [28], CRC32C u32
//! record   48  id [32], plain bytes u32, sealed bytes u32, number u32, method u8, reserved [3]
//!          …   the chunk, compressed and encrypted; a tag [16]
//! index    …   per record: offset u64 and its 48 bytes; encrypted; a tag [16]
//! trailer  40  index offset u64, index bytes u64 without tag, records u32, reserved u32, magic "DSMILEND",
//!              reserved u32, CRC32C u32
//! ```
//!
//! The key is the pack's own. Nonces: 0, 0, 0, kind u8 (0 record, 1 index), number u64. Associated data: the 48 bytes of a
//! record, or the trailer up to its CRC.

mod writer;

use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::codec::{self, Body, METHOD_ZSTD};
use super::keys::Keys;
use super::{CHUNK_BYTES_MAX, ChunkId, PACK_BYTES_MAX};
use crate::bytes::{Fields, length, size};
use crate::disk::{Disk, File, Mode};
use crate::error::{Damage, Error, Place};
pub(super) use writer::Writer;

const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"DSMILPCK";
const MAGIC_END: [u8; 8] = *b"DSMILEND";
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 48;
const ENTRY_BYTES: usize = 8 + RECORD_BYTES;
const TRAILER_BYTES: usize = 40;
const TAG_BYTES: usize = 16;

/// The most records in a pack: what the smallest records need, and a bound for the index that `open` reads.
const RECORDS_MAX: u64 = 2 * PACK_BYTES_MAX / (RECORD_BYTES + TAG_BYTES) as u64;

const KIND_RECORD: u8 = 0;
const KIND_INDEX: u8 = 1;

/// What stands before a chunk; it is authenticated with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: ChunkId,
    pub(super) plain_bytes: u32,
    sealed_bytes: u32,
    number: u32,
    method: u8,
}

impl Record {
    /// What it takes on the disk, in bytes.
    pub(super) fn disk_bytes(&self) -> u64 {
        length(RECORD_BYTES + TAG_BYTES) + u64::from(self.sealed_bytes)
    }

    /// The same with its entry in the index.
    pub(super) fn whole_bytes(&self) -> u64 {
        self.disk_bytes() + length(ENTRY_BYTES)
    }

    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let fields = self.id.0.into_iter().chain(self.plain_bytes.to_le_bytes());
        let fields = fields.chain(self.sealed_bytes.to_le_bytes()).chain(self.number.to_le_bytes());
        bytes.iter_mut().zip(fields.chain([self.method])).for_each(|(to, from)| *to = from);
        bytes
    }

    /// `None` for sizes and methods that are never written.
    fn decode(bytes: &[u8; RECORD_BYTES]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let id = ChunkId(fields.take()?);
        let (plain_bytes, sealed_bytes, number) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (method, reserved) = (fields.u8()?, fields.take::<3>()?);
        let sane = sealed_bytes <= plain_bytes && size(plain_bytes.into()) <= CHUNK_BYTES_MAX;
        let record = Self { id, plain_bytes, sealed_bytes, number, method };
        (sane && method <= METHOD_ZSTD && reserved == [0; 3]).then_some(record)
    }
}

/// Where a chunk lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    /// The pack, by its number in this run.
    pub(super) pack: usize,
    /// Where its record begins, in bytes.
    pub(super) offset: u64,
    pub(super) record: Record,
}

/// A sealed pack.
#[derive(Debug, Clone)]
pub(super) struct Pack {
    pub(super) path: PathBuf,
    id: [u8; 16],
    /// How large the file is.
    pub(super) bytes: u64,
    /// Whether its index was read: otherwise more may be in it than its records say.
    pub(super) is_whole: bool,
}

/// The records of a pack with their offsets.
pub(super) type Records = Vec<(u64, Record)>;

impl Pack {
    /// What of the file is not header and trailer, in bytes.
    pub(super) fn content_bytes(&self) -> u64 {
        self.bytes.saturating_sub(length(HEADER_BYTES + TAG_BYTES + TRAILER_BYTES))
    }
}

fn nonce(kind: u8, number: u64) -> Nonce {
    let mut bytes = [0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.iter_mut().skip(4).zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(bytes)
}

/// A sealed pack, open for reading.
pub(super) struct Reader {
    file: Box<dyn File>,
    path: PathBuf,
    cipher: LessSafeKey,
}

impl Reader {
    pub(super) fn open(disk: &dyn Disk, pack: &Pack, keys: &Keys) -> Result<Self, Error> {
        let file = disk.open(&pack.path, Mode::Read).map_err(|e| Error::io("open", &pack.path, e))?;
        Ok(Self { file, path: pack.path.clone(), cipher: keys.cipher(&pack.id)? })
    }

    /// It is read soon.
    pub(super) fn expect(&self, location: &Location) {
        self.file.expect(location.offset, location.record.disk_bytes());
    }

    pub(super) fn get(&self, location: &Location, keys: &Keys) -> Result<Vec<u8>, Error> {
        open_record(&*self.file, &self.path, &self.cipher, location, keys)
    }

    /// As [`Reader::get`], but still compressed, for another pack.
    pub(super) fn body(&self, location: &Location, keys: &Keys) -> Result<Body, Error> {
        let mut bytes = read_record(&*self.file, &self.path, location)?;
        check(&mut bytes, &self.path, &self.cipher, location, keys)?;
        bytes.drain(..RECORD_BYTES);
        bytes.truncate(bytes.len().saturating_sub(TAG_BYTES));
        let Record { plain_bytes, method, .. } = location.record;
        Ok(Body { plain_bytes, method, bytes })
    }
}

/// Reads what a pack holds. Without a readable index its records are walked; without a header it holds nothing.
pub(super) fn load(
    disk: &dyn Disk,
    path: &Path,
    keys: &Keys,
) -> Result<(Option<Pack>, Records, Option<Damage>), Error> {
    let fail = |e| Error::io("read", path, e);
    let damage = |offset, why| Some(Damage { file: path.into(), offset, place: Place::File, why });
    let file = disk.open(path, Mode::Read).map_err(fail)?;
    let bytes = file.len().map_err(fail)?;
    let mut header = [0; HEADER_BYTES];
    file.read_at(0, &mut header).map_err(fail)?;
    let Some((version, id)) = decode_header(&header) else {
        return Ok((None, Records::new(), damage(0, "the header of the pack is damaged")));
    };
    if version > VERSION {
        return Err(Error::Version { path: path.into(), found: version, known: VERSION });
    }
    let index = read_index(&*file, bytes, &keys.cipher(&id)?).map_err(fail)?;
    let is_whole = index.is_some();
    let (records, damage) = match index {
        Some(records) => (records, None),
        None => {
            let records = walk(&*file, bytes).map_err(fail)?;
            let end = records.last().map_or(length(HEADER_BYTES), |(at, record)| at + record.disk_bytes());
            (records, damage(end, "the index of the pack is damaged"))
        }
    };
    Ok((Some(Pack { path: path.into(), id, bytes, is_whole }), records, damage))
}

fn decode_header(header: &[u8; HEADER_BYTES]) -> Option<(u32, [u8; 16])> {
    let (fields, crc) = header.split_last_chunk::<4>()?;
    let sound = crc32c::crc32c(fields) == u32::from_le_bytes(*crc);
    let mut fields = Fields(fields);
    let (magic, version) = (fields.take()?, fields.u32()?);
    fields.u32()?;
    let id = fields.take()?;
    (magic == MAGIC && sound && version != 0).then_some((version, id))
}

/// `None` where trailer or index are not what was written.
fn read_index(file: &dyn File, bytes: u64, cipher: &LessSafeKey) -> io::Result<Option<Records>> {
    let Some(end) = bytes.checked_sub(length(TRAILER_BYTES)) else { return Ok(None) };
    let mut trailer = [0; TRAILER_BYTES];
    file.read_at(end, &mut trailer)?;
    let Some((offset, index_bytes)) = decode_trailer(&trailer, end) else { return Ok(None) };
    let mut index = vec![0; size(index_bytes) + TAG_BYTES];
    if file.read_at(offset, &mut index)? != index.len() {
        return Ok(None);
    }
    let aad = trailer.split_last_chunk::<4>().map_or(&[][..], |(fields, _)| fields);
    let Ok(index) = cipher.open_in_place(nonce(KIND_INDEX, 0), Aad::from(aad), &mut index) else {
        return Ok(None);
    };
    let (entries, _) = index.as_chunks::<ENTRY_BYTES>();
    let decode = |entry: &[u8; ENTRY_BYTES]| {
        let mut fields = Fields(entry);
        Some((fields.u64()?, Record::decode(&fields.take()?)?))
    };
    Ok(entries.iter().map(decode).collect())
}

/// Where the index lies and how long it is, without its tag.
fn decode_trailer(trailer: &[u8; TRAILER_BYTES], end: u64) -> Option<(u64, u64)> {
    let (fields, crc) = trailer.split_last_chunk::<4>()?;
    let sound = crc32c::crc32c(fields) == u32::from_le_bytes(*crc);
    let mut fields = Fields(fields);
    let (offset, bytes) = (fields.u64()?, fields.u64()?);
    let (records, _) = (u64::from(fields.u32()?), fields.u32()?);
    let magic = fields.take::<8>()?;
    let fits = records <= RECORDS_MAX
        && bytes == records * length(ENTRY_BYTES)
        && offset.checked_add(bytes)?.checked_add(length(TAG_BYTES))? == end;
    (sound && magic == MAGIC_END && fits).then_some((offset, bytes))
}

/// The records from the start on, up to the first that cannot be one. They are checked when they are read.
fn walk(file: &dyn File, bytes: u64) -> io::Result<Records> {
    let mut records = Records::new();
    let mut offset = length(HEADER_BYTES);
    let mut header = [0; RECORD_BYTES];
    while file.read_at(offset, &mut header)? == RECORD_BYTES {
        let number = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let Some(record) = Record::decode(&header).filter(|record| record.number == number) else { break };
        if offset + record.disk_bytes() > bytes {
            break;
        }
        records.push((offset, record));
        offset += record.disk_bytes();
    }
    Ok(records)
}

fn seal(
    key: &LessSafeKey,
    nonce: Nonce,
    aad: &[u8],
    body: &mut [u8],
    path: &Path,
) -> Result<[u8; 16], Error> {
    let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
    let tag = sealed.ok().and_then(|tag| tag.as_ref().try_into().ok());
    tag.ok_or_else(|| Error::Invalid(format!("{} cannot be encrypted", path.display())))
}

fn open_record(
    file: &dyn File,
    path: &Path,
    cipher: &LessSafeKey,
    location: &Location,
    keys: &Keys,
) -> Result<Vec<u8>, Error> {
    check(&mut read_record(file, path, location)?, path, cipher, location, keys)
}

/// A record as it lies on the disk.
fn read_record(file: &dyn File, path: &Path, location: &Location) -> Result<Vec<u8>, Error> {
    let mut sealed = vec![0; size(location.record.disk_bytes())];
    let count = file.read_at(location.offset, &mut sealed).map_err(|e| Error::io("read", path, e))?;
    sealed.truncate(count);
    Ok(sealed)
}

/// Decrypts, decompresses and checks a record as it lies on the disk; gives the chunk and leaves it decrypted.
fn check(
    sealed: &mut [u8],
    path: &Path,
    cipher: &LessSafeKey,
    location: &Location,
    keys: &Keys,
) -> Result<Vec<u8>, Error> {
    let record = &location.record;
    let damaged = |why| Error::damaged(path, location.offset, Place::File, why);
    let header = record.encode();
    let Some((found, body)) = sealed.split_first_chunk_mut::<RECORD_BYTES>() else {
        return Err(damaged("the pack ends before the chunk"));
    };
    if *found != header {
        return Err(damaged("the header of the chunk is not what the index says"));
    }
    let nonce = nonce(KIND_RECORD, record.number.into());
    let opened = cipher.open_in_place(nonce, Aad::from(&header), body);
    let body = opened.map_err(|_| damaged("the chunk does not decrypt"))?;
    let plain = codec::decode(record.method, body, size(record.plain_bytes.into()))
        .ok_or_else(|| damaged("the chunk does not decompress"))?;
    if keys.id(&plain) != record.id {
        return Err(damaged("the chunk is not the one of this address"));
    }
    Ok(plain)
}
