//! One batch as it lies on the disk: a header, then its entries.
//!
//! ```text
//! header  32  magic "DSBT", payload bytes u32, entries u32, CRC32C of the payload u32, index of the first entry u64,
//!             reserved u32, CRC32C u32 over log id, kind, offset in the file u64 and these 28 bytes
//! payload     per entry: length u16, reserved u16, CRC32C u32 over index u64, these 4 bytes and the entry; the entry;
//!             at the end zeros up to a multiple of 8
//! ```
//!
//! Since the header's CRC covers log and place, a batch that was copied from elsewhere is none, and bytes inside of an
//! entry are not taken for one.

use types::hash::Hash;

use crate::bytes::{Fields, length, size};
use crate::error::Error;
use crate::merkle::leaf_hashes;

/// Batches begin at multiples of this, in bytes, so that looking for one is cheap.
pub(super) const ALIGN: usize = 8;
pub(super) const HEADER_BYTES: usize = 32;
pub(super) const RECORD_BYTES: usize = 8;
/// The magic number of a batch.
pub(super) const MAGIC: [u8; 4] = *b"DSBT";

/// A header whose CRC is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload_bytes: usize,
    pub(super) entries: u32,
    payload_crc: u32,
    pub(super) first: u64,
}

impl Header {
    /// `None` where this is no header of a batch at this place.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES], seed: u32, offset: u64) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        let mut fields = Fields(covered);
        if fields.take() != Some(MAGIC) || header_crc(seed, offset, covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (payload_bytes, entries) = (size(fields.u32()?.into()), fields.u32()?);
        let (payload_crc, first) = (fields.u32()?, fields.u64()?);
        let sane =
            payload_bytes <= super::BATCH_BYTES_MAX && payload_bytes.is_multiple_of(ALIGN) && entries > 0;
        (sane && fields.u32()? == 0).then_some(Self { payload_bytes, entries, payload_crc, first })
    }

    /// The whole batch, in bytes.
    pub(super) fn batch_bytes(&self) -> u64 {
        length(HEADER_BYTES + self.payload_bytes)
    }

    pub(super) fn fits(&self, payload: &[u8]) -> bool {
        crc32c::crc32c(payload) == self.payload_crc
    }
}

/// What the CRCs of a file's headers begin with.
pub(super) fn seed(id: &[u8; 16], kind: &[u8; 8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(id), kind)
}

fn header_crc(seed: u32, offset: u64, covered: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &offset.to_le_bytes()), covered)
}

fn entry_crc(index: u64, head: [u8; 4], entry: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&index.to_le_bytes()), &head);
    crc32c::crc32c_append(crc, entry)
}

/// How many bytes a batch of these entries takes.
///
/// # Errors
///
/// - [`Error::Limit`]: an entry or the batch is too large
/// - [`Error::Invalid`]: there is no entry
pub(super) fn measure(entries: &[impl AsRef<[u8]>]) -> Result<usize, Error> {
    let mut total = 0;
    for entry in entries {
        let bytes = entry.as_ref().len();
        if bytes > super::ENTRY_BYTES_MAX {
            let (found, limit) = (length(bytes), length(super::ENTRY_BYTES_MAX));
            return Err(Error::Limit { what: "an entry", found, limit });
        }
        total += RECORD_BYTES + bytes;
    }
    if entries.is_empty() {
        return Err(Error::Invalid("a batch has at least one entry".into()));
    }
    let total = HEADER_BYTES + total.next_multiple_of(ALIGN);
    if total > super::BATCH_BYTES_MAX {
        let (found, limit) = (length(total), length(super::BATCH_BYTES_MAX));
        return Err(Error::Limit { what: "a batch", found, limit });
    }
    Ok(total)
}

/// Writes a measured batch into `buffer`, whose old content goes, and the leaf hash of each entry into `leaves`.
pub(super) fn encode(
    buffer: &mut Vec<u8>,
    leaves: &mut Vec<Hash>,
    (seed, offset, first): (u32, u64, u64),
    entries: &[impl AsRef<[u8]>],
) {
    buffer.clear();
    buffer.extend([0; HEADER_BYTES]);
    leaves.clear();
    leaf_hashes(entries, leaves);
    for (index, entry) in (first..).zip(entries) {
        let entry = entry.as_ref();
        // Measured before: no entry is longer than a u16 says.
        let [low, high] = u16::try_from(entry.len()).unwrap_or(u16::MAX).to_le_bytes();
        let head = [low, high, 0, 0];
        buffer.extend(head);
        buffer.extend(entry_crc(index, head, entry).to_le_bytes());
        buffer.extend(entry);
    }
    buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
    let Some((header, payload)) = buffer.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes();
    let mut covered = [0; HEADER_BYTES - 4];
    let fields = MAGIC.into_iter().chain(number(payload.len())).chain(number(entries.len()));
    let fields = fields.chain(crc32c::crc32c(payload).to_le_bytes()).chain(first.to_le_bytes());
    covered.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
    let crc = header_crc(seed, offset, &covered).to_le_bytes();
    header.iter_mut().zip(covered.into_iter().chain(crc)).for_each(|(to, from)| *to = from);
}

/// The entries of a payload, one after another.
#[derive(Clone)]
pub(super) struct Entries<'a> {
    rest: Fields<'a>,
    index: u64,
    end: u64,
    /// Where the next entry's record begins, in bytes from the start of the payload.
    pub(super) offset: usize,
}

/// One entry of a payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) index: u64,
    pub(super) bytes: &'a [u8],
    /// Where its record begins, in bytes from the start of the payload.
    pub(super) offset: usize,
    head: [u8; 4],
    crc: u32,
}

impl Entry<'_> {
    /// Whether its own CRC is right.
    pub(super) fn is_sound(&self) -> bool {
        let [_, _, zeros @ ..] = self.head;
        entry_crc(self.index, self.head, self.bytes) == self.crc && zeros == [0, 0]
    }
}

impl<'a> Entries<'a> {
    pub(super) fn new(header: &Header, payload: &'a [u8]) -> Self {
        let end = header.first.saturating_add(header.entries.into());
        Self { rest: Fields(payload), index: header.first, end, offset: 0 }
    }

    /// Whether every entry that the header announces was there.
    pub(super) fn is_complete(&self) -> bool {
        self.index == self.end
    }

    /// The index that the next entry has.
    pub(super) fn next_index(&self) -> u64 {
        self.index
    }

    /// What follows the last entry: zeros in a sound batch.
    pub(super) fn padding(&self) -> &'a [u8] {
        self.rest.0
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    /// Ends early where a length leads out of the payload.
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.is_complete() {
            return None;
        }
        let mut rest = self.rest;
        let head: [u8; 4] = rest.take()?;
        let (crc, [low, high, ..]) = (rest.u32()?, head);
        let bytes = rest.slice(u16::from_le_bytes([low, high]).into())?;
        let entry = Entry { index: self.index, bytes, offset: self.offset, head, crc };
        self.rest = rest;
        self.index += 1;
        self.offset += RECORD_BYTES + bytes.len();
        Some(entry)
    }
}
