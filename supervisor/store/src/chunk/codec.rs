//! Compressing a chunk, and back.

use zstd::bulk::Compressor;

use super::CHUNK_BYTES_MAX;

pub(super) const METHOD_RAW: u8 = 0;
pub(super) const METHOD_ZSTD: u8 = 1;

/// A chunk as it is stored, but for the encryption.
#[derive(Debug)]
pub(super) struct Body {
    /// The size of the chunk itself, in bytes.
    pub(super) plain_bytes: u32,
    pub(super) method: u8,
    pub(super) bytes: Vec<u8>,
}

/// Compresses chunks, one after the other.
pub(super) struct Encoder {
    compressor: Compressor<'static>,
    room: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(level: i32) -> std::io::Result<Self> {
        let room = vec![0; zstd::zstd_safe::compress_bound(CHUNK_BYTES_MAX)];
        Ok(Self { compressor: Compressor::new(level)?, room })
    }

    /// What does not shrink is stored as it is.
    pub(super) fn encode(&mut self, plain: Vec<u8>) -> Body {
        let plain_bytes = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        match self.compressor.compress_to_buffer(&plain, self.room.as_mut_slice()) {
            Ok(count) if count < plain.len() => {
                let bytes = self.room.get(..count).unwrap_or_default().to_vec();
                Body { plain_bytes, method: METHOD_ZSTD, bytes }
            }
            _ => Body { plain_bytes, method: METHOD_RAW, bytes: plain },
        }
    }
}

/// The chunk itself; `None` where that is no chunk of this size.
pub(super) fn decode(method: u8, body: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    match method {
        METHOD_ZSTD => zstd::bulk::decompress(body, plain_bytes).ok(),
        _ => Some(body.to_vec()),
    }
}
