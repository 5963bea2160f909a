//! Keys that callers have made: P-256 and RSA-2048 to sign with, AES-128 to encrypt with in the chip.
//!
//! A key is kept by its caller as bytes that only this TPM, with this key folder, can use.

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::blob::{BLOB_MAX, Blob};
use crate::chip::{Base, Chip};
use crate::codec::{Reader, Writer};
use crate::counters::Kind;
use crate::fault::{COMMAND_CODE, Fault};
use crate::handle::check_len;
use crate::key::{self, AuthValue};
use crate::link::Entity;
use crate::operations::{ecdsa, sign_parameters};
use crate::public::{self, ALG_NULL, ALG_RSASSA, ALG_SHA256, Public};
use crate::{Error, Handle, PublicKey, code, verify};

/// The most bytes that are encrypted at once: what every chip takes.
pub const CIPHER_MAX: usize = 1024;

/// The length of an initialisation vector, bytes.
pub const VECTOR: usize = 16;

/// The DER RSAPublicKey (RFC 8017, appendix A.1.1) of a modulus with exactly 2048 bits, up to it: SEQUENCE of 266 bytes,
/// INTEGER of 257, the first one zero since the modulus' highest bit is set.
const RSA_PREFIX: [u8; 9] = [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00];
/// And behind it: INTEGER 65537.
const RSA_SUFFIX: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// Which kind of key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// ECDSA over P-256 with SHA-256.
    P256,
    /// RSA-2048, PKCS #1 v1.5 signatures with SHA-256. Making one takes a chip seconds, up to a minute.
    Rsa2048,
    /// AES-128 in CFB mode, for [`Handle::encrypt`]; not every chip offers it.
    Aes128,
}

impl KeyKind {
    fn template(self) -> Public {
        match self {
            Self::P256 => public::signing_key(),
            Self::Rsa2048 => public::rsa_signing_key(),
            Self::Aes128 => public::cipher_key(),
        }
    }
}

/// The public half of a made key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MadePublic {
    /// A P-256 key.
    P256(PublicKey),
    /// The modulus of an RSA-2048 key with the exponent 65537, big-endian.
    Rsa2048(Vec<u8>),
    /// A symmetric key has none.
    None,
}

impl MadePublic {
    /// Whether this signature of this digest was made with this key. Anything malformed was not. Needs no chip.
    ///
    /// The signature is DER for P-256, 256 bytes for RSA.
    pub fn verify(&self, digest: Hash, signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => verify(key, digest, signature),
            Self::Rsa2048(n) => {
                let sha256 = &aws_lc_rs::digest::SHA256;
                let Ok(digest) = aws_lc_rs::digest::Digest::import_less_safe(&digest.0, sha256) else {
                    return false;
                };
                let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, rsa_public_key(n));
                key.verify_digest(&digest, signature).is_ok()
            }
            Self::None => false,
        }
    }
}

/// The DER RSAPublicKey of a modulus; of another length it is malformed, and verifies nothing.
fn rsa_public_key(modulus: &[u8]) -> Vec<u8> {
    [RSA_PREFIX.as_slice(), modulus, &RSA_SUFFIX].concat()
}

/// A key as its caller keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MadeKey {
    /// What the TPM needs to use it; no secret.
    pub blob: Vec<u8>,
    /// Its public half.
    pub public: MadePublic,
}

/// Encrypts or decrypts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Encrypt,
    Decrypt,
}

impl Chip {
    fn make_key(&mut self, kind: KeyKind) -> Result<MadeKey, Error> {
        let made = key::make(&mut self.base, &self.made_auth, &[], &kind.template())?;
        let public = match kind {
            KeyKind::P256 => made.public.point().map(MadePublic::P256),
            KeyKind::Rsa2048 => made.public.modulus().map(|n| MadePublic::Rsa2048(n.to_vec())),
            KeyKind::Aes128 => Some(MadePublic::None),
        };
        let public = public.ok_or_else(|| Error::malformed("Create", "another kind of key"))?;
        let name = self.base.root.entity.name.clone();
        let blob = Blob::new(name, made.public.to_bytes(), made.private).to_bytes()?;
        Ok(MadeKey { blob, public })
    }

    /// Loads a made key, does something with it, and frees its slot whatever comes of it.
    fn with_made_key<T>(
        &mut self,
        bytes: &[u8],
        work: impl FnOnce(&mut Base, &Entity, &AuthValue) -> Result<T, Fault>,
    ) -> Result<T, Error> {
        let blob = Blob::from_bytes(bytes)?;
        if blob.parent_name != self.base.root.entity.name {
            return Err(Error::ForeignBlob);
        }
        let damaged = |reason: &str| Error::DamagedBlob { reason: reason.to_owned() };
        let public = Public::from_bytes(&blob.public).ok_or_else(|| damaged("its areas are malformed"))?;
        let loaded = key::load(&mut self.base, &blob.private, &public).map_err(|fault| {
            if fault.is_parameter() { damaged("the TPM does not know it") } else { fault.into() }
        })?;
        let done = work(&mut self.base, &loaded, &self.made_auth);
        let flushed = self.base.link.flush(loaded.handle);
        let done = done.map_err(|fault| match fault.kind() {
            _ if fault.is_authorization() => damaged("its authorisation is another"),
            Some(COMMAND_CODE) => Error::Unsupported { what: "encrypting in the chip", by: "this TPM" },
            _ => fault.into(),
        })?;
        flushed?;
        Ok(done)
    }

    fn sign_with(&mut self, blob: &[u8], digest: Hash) -> Result<Vec<u8>, Error> {
        let signed = self.with_made_key(blob, |base, key, auth| {
            base.secured(code::SIGN, &[key], &sign_parameters(&digest.0), auth)
        })?;
        let mut reader = Reader::new(&signed.parameters);
        if let Some(signature) = ecdsa(&mut reader.clone()) {
            return Ok(signature.der().to_vec());
        }
        let scheme = (reader.u16(), reader.u16());
        let signature = reader.sized().filter(|_| scheme == (Some(ALG_RSASSA), Some(ALG_SHA256)));
        signature.map(<[u8]>::to_vec).ok_or_else(|| Error::malformed("Sign", "another kind of signature"))
    }

    fn cipher(
        &mut self,
        blob: &[u8],
        direction: Direction,
        vector: &[u8],
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        // The key's own mode.
        let parameters = Writer::new().sized(data).u8((direction == Direction::Decrypt).into()).u16(ALG_NULL);
        let parameters = parameters.sized(vector);
        let done = self.with_made_key(blob, |base, key, auth| {
            base.secured(code::ENCRYPT_DECRYPT_2, &[key], &parameters, auth)
        })?;
        let done = Reader::new(&done.parameters).sized().filter(|done| done.len() == data.len());
        let done = done.ok_or_else(|| Error::malformed("EncryptDecrypt2", "another length"))?;
        Ok(Zeroizing::new(done.to_vec()))
    }
}

impl Handle {
    /// Makes a key that never leaves this TPM. One command.
    ///
    /// # Errors
    /// - `Chip`: the chip has no such algorithm
    pub async fn make_key(&self, kind: KeyKind) -> Result<MadeKey, Error> {
        self.ask_chip(Kind::Key, "making a key", move |chip| chip.make_key(kind)).await
    }

    /// Signs a SHA-256 digest with a made key: DER for P-256, 256 bytes for RSA. Three commands.
    ///
    /// # Errors
    /// - `ForeignBlob`, `DamagedBlob`: another TPM's key, or one that was changed or made under another key folder
    /// - `Chip`: the key is not one to sign with
    pub async fn sign_with(&self, key: &MadeKey, digest: Hash) -> Result<Vec<u8>, Error> {
        check_len("a key", key.blob.len(), BLOB_MAX)?;
        let blob = key.blob.clone();
        self.ask_chip(Kind::Key, "signing with a made key", move |chip| chip.sign_with(&blob, digest)).await
    }

    /// Encrypts 1 to [`CIPHER_MAX`] bytes in the chip, AES-128-CFB. A vector must not be used twice under one key; nothing
    /// authenticates the result. Three commands.
    ///
    /// # Errors
    /// - `Unsupported`: this chip does not offer it, as many do not
    /// - `Length`: none or too many bytes
    /// - `ForeignBlob`, `DamagedBlob`: as with [`sign_with`](Self::sign_with)
    pub async fn encrypt(&self, key: &MadeKey, vector: [u8; VECTOR], data: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.cipher(key, Direction::Encrypt, vector, data).await?.to_vec())
    }

    /// Decrypts what [`encrypt`](Self::encrypt) made. Three commands.
    ///
    /// # Errors
    /// As [`encrypt`](Self::encrypt).
    pub async fn decrypt(
        &self,
        key: &MadeKey,
        vector: [u8; VECTOR],
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.cipher(key, Direction::Decrypt, vector, data).await
    }

    async fn cipher(
        &self,
        key: &MadeKey,
        direction: Direction,
        vector: [u8; VECTOR],
        data: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        check_len("a key", key.blob.len(), BLOB_MAX)?;
        check_len("data to encrypt", data.len(), CIPHER_MAX)?;
        let (blob, data) = (key.blob.clone(), Zeroizing::new(data.to_vec()));
        let cipher = move |chip: &mut Chip| chip.cipher(&blob, direction, &vector, &data);
        self.ask_chip(Kind::Cipher, "encrypting in the chip", cipher).await
    }
}
