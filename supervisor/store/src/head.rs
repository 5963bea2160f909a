//! Tree heads: C2SP checkpoints (c2sp.org/tlog-checkpoint) as signed notes (c2sp.org/signed-note) under ECDSA P-256.
//!
//! ```text
//! ORIGIN
//! SIZE
//! BASE64 OF THE ROOT
//! (lines of extension, if any)
//!
//! — ORIGIN BASE64 OF KEY ID AND SIGNATURE
//! ```
//!
//! The signature has type 0x02 of that specification: ASN.1 DER over the SHA-256 of the text up to the empty line; the
//! key id is the first four bytes of the SHA-256 of the public key as DER SubjectPublicKeyInfo. Signing itself is the
//! caller's: the key lives in the TPM.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use types::hash::Hash;

use crate::error::Error;

/// The longest signed head, in bytes: what one record of the file of heads holds.
pub const NOTE_BYTES_MAX: usize = u16::MAX as usize;

/// The most signatures that are read: a signer, its successors, and witnesses.
pub const SIGNATURES_MAX: usize = 64;

/// The line of extension of a head that was signed without a TPM: who can read that machine's disk has the key, too.
pub const SOFTWARE_KEY: &str = "dsmil-key/1 software";

/// What a log claims: this many entries, with this root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The name of the log: a URL without scheme, as `dsmil.example/machine`; not empty, no spaces, no plus sign.
    pub origin: String,
    /// How many entries it covers.
    pub size: u64,
    /// The root of the Merkle tree over them.
    pub root: Hash,
    /// Further lines that are signed with it; none of them empty.
    pub extensions: Vec<String>,
}

impl Head {
    /// Whether it says that no TPM has signed it; see [`SOFTWARE_KEY`].
    #[must_use]
    pub fn is_by_software_key(&self) -> bool {
        self.extensions.iter().any(|line| line == SOFTWARE_KEY)
    }

    /// The text that is signed: three lines or more, each ended by a newline.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the origin or an extension cannot stand in such a text
    pub fn text(&self) -> Result<String, Error> {
        if !is_key_name(&self.origin) {
            return Err(Error::Invalid("an origin is not empty and has no spaces or plus signs".into()));
        }
        if self.extensions.iter().any(|line| line.is_empty() || line.contains(|c: char| c < ' ')) {
            return Err(Error::Invalid(
                "a line of extension is not empty and has no control characters".into(),
            ));
        }
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0));
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        Ok(text)
    }

    /// The SHA-256 of [`Head::text`]: what the TPM signs.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: as for [`Head::text`]
    pub fn digest(&self) -> Result<Hash, Error> {
        Ok(Hash(Sha256::digest(self.text()?).into()))
    }

    /// Reads a text as [`Head::text`] writes it, byte for byte.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is no such text
    pub fn parse(text: &str) -> Result<Self, Error> {
        let head =
            Self::parse_lines(text).ok_or_else(|| Error::Invalid("this is no checkpoint of a log".into()))?;
        // Two texts for one head would be two signatures for one claim.
        if head.text()? != text {
            return Err(Error::Invalid("this checkpoint is not in its canonical form".into()));
        }
        Ok(head)
    }

    fn parse_lines(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let origin = lines.next()?.to_owned();
        let size = lines.next()?.parse().ok()?;
        let root = Hash(STANDARD.decode(lines.next()?).ok()?.try_into().ok()?);
        Some(Self { origin, size, root, extensions: lines.map(str::to_owned).collect() })
    }
}

/// A public key on P-256.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    der: [u8; 91],
}

/// What stands before the point in a SubjectPublicKeyInfo on P-256 (RFC 5480): the two algorithm identifiers and the
/// byte 4 for an uncompressed point.
const SPKI_PREFIX: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

impl PublicKey {
    /// A key from its DER SubjectPublicKeyInfo with an uncompressed point, the form that every tool writes.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is another kind of key, or no point of the curve
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let known: Option<[u8; 91]> = der.try_into().ok().filter(|_| der.starts_with(&SPKI_PREFIX));
        let der = known.ok_or_else(|| Error::Invalid("this is no public key on P-256 as DER SPKI".into()))?;
        aws_lc_rs::signature::ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, der)
            .map_err(|_| Error::Invalid("the public key is no point of P-256".into()))?;
        Ok(Self { der })
    }

    /// A key from its point, both coordinates big-endian and padded, as a TPM gives them.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is no point of the curve
    pub fn from_point(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, Error> {
        let der: Vec<u8> = SPKI_PREFIX.iter().chain(x).chain(y).copied().collect();
        Self::from_der(&der)
    }

    /// A key from a PEM file (`-----BEGIN PUBLIC KEY-----`).
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: there is no such block, or it holds another kind of key
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let block = text.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END));
        let (body, _) = block.ok_or_else(|| Error::Invalid(format!("there is no {PEM_BEGIN}")))?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| Error::Invalid("the PEM block is not base64".into()))?;
        Self::from_der(&der)
    }

    /// The key as DER SubjectPublicKeyInfo.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key as a PEM file.
    pub fn to_pem(&self) -> String {
        let body = STANDARD.encode(self.der);
        let (first, second) = body.split_at_checked(64).unwrap_or((&body, ""));
        format!("{PEM_BEGIN}\n{first}\n{second}\n{PEM_END}\n")
    }

    /// The first four bytes of the SHA-256 of the DER form: what a signature names its key by.
    pub fn id(&self) -> [u8; 4] {
        let digest: [u8; 32] = Sha256::digest(self.der).into();
        digest.first_chunk().copied().unwrap_or_default()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:08x})", u32::from_be_bytes(self.id()))
    }
}

/// One signature under a head.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A head with at least one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    signatures: Vec<Signature>,
}

impl SignedHead {
    /// Puts a head and the signature that the key made over its digest together, and checks it.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the signature (ASN.1 DER) is not the key's over this head
    pub fn assemble(head: Head, key: &PublicKey, der: &[u8]) -> Result<Self, Error> {
        let signature = Signature { name: head.origin.clone(), id: key.id(), bytes: der.to_vec() };
        let signed = Self { head, signatures: vec![signature] };
        signed.verify(key)?;
        Ok(signed)
    }

    /// What is signed.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Checks that `key` signed this head under the name of its origin.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it carries no signature of this key, or one that does not verify
    pub fn verify(&self, key: &PublicKey) -> Result<(), Error> {
        let text = self.head.text()?;
        let id = key.id();
        let mut ours = self.signatures.iter().filter(|s| s.id == id && s.name == self.head.origin).peekable();
        if ours.peek().is_none() {
            return Err(Error::Invalid(format!(
                "the head of size {} is not signed by this key",
                self.head.size
            )));
        }
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.der());
        if ours.all(|signature| verifier.verify(text.as_bytes(), &signature.bytes).is_ok()) {
            Ok(())
        } else {
            Err(Error::Invalid(format!("the signature of the head of size {} is wrong", self.head.size)))
        }
    }

    /// The signed note.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: as for [`Head::text`]
    pub fn text(&self) -> Result<String, Error> {
        let mut text = self.head.text()?;
        text.push('\n');
        for Signature { name, id, bytes } in &self.signatures {
            let encoded = STANDARD.encode([id, bytes.as_slice()].concat());
            text.push_str(&format!("— {name} {encoded}\n"));
        }
        Ok(text)
    }

    /// Reads a signed note. That its signatures are right is for [`SignedHead::verify`].
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is no signed checkpoint, or is over the limits of this module
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Invalid("this is no signed checkpoint of a log".into());
        if text.len() > NOTE_BYTES_MAX {
            return Err(bad());
        }
        // The last empty line separates; the text keeps its final newline.
        let split = text.rfind("\n\n").ok_or_else(bad)?;
        let (body, lines) = text.split_at_checked(split + 1).ok_or_else(bad)?;
        let lines = lines.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n')).ok_or_else(bad)?;
        let signatures: Option<Vec<_>> = lines.split('\n').map(parse_signature).collect();
        let signatures = signatures.filter(|found| found.len() <= SIGNATURES_MAX).ok_or_else(bad)?;
        Ok(Self { head: Head::parse(body)?, signatures })
    }
}

fn parse_signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (id, bytes) = bytes.split_first_chunk()?;
    is_key_name(name).then(|| Signature { name: name.into(), id: *id, bytes: bytes.into() })
}

fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

#[cfg(test)]
mod tests;
