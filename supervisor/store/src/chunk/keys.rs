//! What is derived from the key of a store; the key itself is not kept.

use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use zeroize::Zeroizing;

use super::ChunkId;
use super::split::Gear;
use crate::error::Error;

/// One subkey per use, so that no use can tell about another. Each is wiped from memory when the store is closed.
pub(super) struct Keys {
    id: Zeroizing<[u8; 32]>,
    pack: Zeroizing<[u8; 32]>,
    config: Zeroizing<[u8; 32]>,
    gear: Zeroizing<[u8; 32]>,
}

impl Keys {
    pub(super) fn derive(key: &[u8; 32]) -> Self {
        // The contexts are part of the format: they must never change within version 1.
        Self {
            id: Zeroizing::new(blake3::derive_key("dsmil 2026 store v1 chunk id", key)),
            pack: Zeroizing::new(blake3::derive_key("dsmil 2026 store v1 pack key", key)),
            config: Zeroizing::new(blake3::derive_key("dsmil 2026 store v1 config mac", key)),
            gear: Zeroizing::new(blake3::derive_key("dsmil 2026 store v1 chunker gear", key)),
        }
    }

    pub(super) fn id(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.id, plain).as_bytes())
    }

    /// The MAC over the text of `config`; comparing two of these takes the same time whatever they are.
    pub(super) fn mac(&self, text: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.config, text)
    }

    /// The cipher of the pack with this identity.
    pub(super) fn cipher(&self, pack: &[u8; 16]) -> Result<LessSafeKey, Error> {
        let key = Zeroizing::new(*blake3::keyed_hash(&self.pack, pack).as_bytes());
        UnboundKey::new(&AES_256_GCM, &*key)
            .map(LessSafeKey::new)
            .map_err(|_| Error::Invalid("AES-256-GCM is not available on this machine".into()))
    }

    /// The rolling hash that decides where a stream is cut.
    pub(super) fn gear(&self) -> Gear {
        let mut stream = blake3::Hasher::new_keyed(&self.gear).finalize_xof();
        Gear::new(std::array::from_fn(|_| {
            let mut word = [0; 8];
            stream.fill(&mut word);
            u64::from_le_bytes(word)
        }))
    }
}
