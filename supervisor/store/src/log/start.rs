//! A place from which a log is opened without reading what is before.

use super::appender::Spot;
use crate::bytes::Fields;
use crate::tiles::Edge;

/// The version that is written.
const VERSION: u32 = 1;

/// A place from which a log is opened without reading what is before: the tree's edge there, which a later head proves,
/// and where entries and heads go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub(super) id: [u8; 16],
    pub(super) edge: Edge,
    /// Where the next entry goes.
    pub(super) entries: Spot,
    /// Where the newest head is; `None` where there was none.
    pub(super) heads: Option<Spot>,
}

impl Start {
    /// How many entries are before it.
    pub fn entries(&self) -> u64 {
        self.edge.size()
    }

    /// The log's random identity.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The encoding that `docs/formats.md` describes; its CRC makes it self-contained.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        bytes.extend(self.id);
        bytes.extend(self.edge.encode());
        bytes.extend(self.entries.segment.to_le_bytes());
        bytes.extend(self.entries.offset.to_le_bytes());
        bytes.extend(u32::from(self.heads.is_some()).to_le_bytes());
        let heads = self.heads.unwrap_or_default();
        for number in [heads.segment, heads.offset, heads.index] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Start::encode`] wrote; `None` where it is something else, also of another version: a start is always
    /// possible without it.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut fields = Fields(covered);
        if fields.u32()? != VERSION {
            return None;
        }
        let (id, edge) = (fields.take()?, Edge::decode(&mut fields)?);
        let entries = Spot { segment: fields.u64()?, offset: fields.u64()?, index: edge.size() };
        let has_heads = fields.u32()?;
        let heads = Spot { segment: fields.u64()?, offset: fields.u64()?, index: fields.u64()? };
        let is_sound = fields.0.is_empty() && has_heads <= 1 && entries.segment <= entries.index;
        is_sound.then(|| Self { id, edge, entries, heads: (has_heads == 1).then_some(heads) })
    }
}

#[cfg(test)]
mod tests;
