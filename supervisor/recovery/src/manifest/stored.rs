//! A checkpoint as it lies in the folder of checkpoints: the signed statement, and where its manifest is.

use std::path::Path;

use minicbor::{Decode, Encode};
use store::chunk::{ChunkId, Chunks};
use types::hash::Hash;

use super::statement::Statement;
use super::{BYTES_MAX, Manifest, Part};
use crate::Error;
use crate::files::entry::Piece;
use crate::files::read;

/// The version that is written.
pub const VERSION: u32 = 1;

/// A checkpoint whose statement is not signed yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unsigned {
    /// What is to be signed.
    pub statement: Statement,
    manifest: Vec<Piece>,
}

/// A signed checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// What is signed.
    pub statement: Statement,
    /// The signature over the statement's digest; empty where the machine has no key.
    pub signature: Vec<u8>,
    /// Which key signed it; empty where none did.
    pub key: Vec<u8>,
    manifest: Vec<Piece>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Envelope {
    #[n(0)]
    version: u32,
    #[n(1)]
    statement: String,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[n(4)]
    manifest: Vec<Piece>,
}

impl Manifest {
    /// Puts the manifest into the chunk store, so that it is encrypted, and makes it durable with all its chunks.
    ///
    /// # Errors
    ///
    /// - [`Error::Store`]
    /// - else as [`Manifest::encode`]
    pub fn store(&self, chunks: &mut Chunks) -> Result<Unsigned, Error> {
        let encoded = self.encode()?;
        let pieces = chunks.put_stream(encoded.as_slice(), Path::new("the manifest"))?;
        chunks.sync()?;
        let manifest = pieces.into_iter().map(|(id, bytes)| Piece::new(id, bytes)).collect();
        Ok(Unsigned { statement: self.statement_of(&encoded), manifest })
    }
}

impl Unsigned {
    /// Adds the signature over the statement's digest and the id of its key.
    #[must_use]
    pub fn sign(self, signature: Vec<u8>, key: Vec<u8>) -> Stored {
        Stored { statement: self.statement, signature, key, manifest: self.manifest }
    }
}

impl Stored {
    /// Encodes it for [`store::manifest::put`].
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it cannot be encoded
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let envelope = Envelope {
            version: VERSION,
            statement: self.statement.to_string(),
            signature: self.signature.clone(),
            key: self.key.clone(),
            manifest: self.manifest.clone(),
        };
        minicbor::to_vec(envelope).map_err(|e| Error::Invalid(e.to_string()))
    }

    /// Decodes what [`store::manifest::get`] gives for `number`. The signature is the caller's to verify.
    ///
    /// # Errors
    ///
    /// - [`Error::Version`]: a newer release wrote it
    /// - [`Error::Damaged`]: it is not a checkpoint, or one of another number
    pub fn decode(number: u64, bytes: &[u8]) -> Result<Self, Error> {
        let mut decoder = minicbor::Decoder::new(bytes);
        let envelope: Envelope = decoder.decode().map_err(|e| Error::Damaged(e.to_string()))?;
        if envelope.version != VERSION {
            return Err(Error::Version { found: envelope.version, known: VERSION });
        }
        let statement: Statement = envelope.statement.parse()?;
        if statement.number != number || decoder.position() != bytes.len() {
            return Err(Error::Damaged(format!("it is not checkpoint {number}")));
        }
        let Envelope { signature, key, manifest, .. } = envelope;
        Ok(Self { statement, signature, key, manifest })
    }

    /// Every chunk that this checkpoint needs, which has this manifest; one as often as it is referred to.
    pub fn chunks<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = ChunkId> + 'a {
        self.manifest.iter().map(Piece::id).chain(manifest.parts.iter().flat_map(Part::chunks))
    }

    /// Whether this key signed the statement.
    #[must_use]
    pub fn is_signed_by(&self, key: &tpm::PublicKey) -> bool {
        tpm::verify(key, Hash(self.statement.digest()), &self.signature)
    }

    /// Gets the manifest and checks that it is the one that the statement is about.
    ///
    /// # Errors
    ///
    /// - [`Error::Damaged`]: it is another one
    /// - [`Error::Store`]: its chunks are missing or damaged
    /// - else as [`Manifest::decode`]
    pub fn manifest(&self, chunks: &Chunks) -> Result<Manifest, Error> {
        let found = read::size(&self.manifest);
        let limit = crate::error::length(BYTES_MAX);
        if found > limit {
            return Err(Error::Limit { what: "a manifest", found, limit });
        }
        let mut encoded = Vec::new();
        for piece in &self.manifest {
            encoded.extend(chunks.get(&piece.id())?);
        }
        let hash = Hash(<sha2::Sha256 as sha2::Digest>::digest(&encoded).into());
        if hash != self.statement.manifest {
            return Err(Error::Damaged("the manifest is not the one that was signed".into()));
        }
        let manifest = Manifest::decode(&encoded)?;
        if manifest.statement_of(&encoded) != self.statement {
            return Err(Error::Damaged("the statement says something else than the manifest".into()));
        }
        Ok(manifest)
    }
}
