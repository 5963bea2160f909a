//! What needs no more than the chip's keys: sign, seal, unseal, random bytes, what it holds.

use std::path::Path;

use types::hash::Hash;
use zeroize::Zeroizing;

use crate::blob::Blob;
use crate::chip::{Base, Chip, NULL, Resources};
use crate::codec::{Reader, Writer};
use crate::key::Resident;
use crate::key_dir::Role;
use crate::public::{self, ALG_ECDSA, ALG_NULL, Public};
use crate::{Error, Signature, capability, code, key};

/// The longest data that can be sealed, bytes: what every TPM 2.0 takes (MAX_SYM_DATA).
pub const SEAL_MAX: usize = 128;

/// The most random bytes that one request can get: some thirty commands.
pub const RANDOM_MAX: usize = 1024;

/// What one command gives on every chip: the length of a SHA-256 digest.
const RANDOM_CHUNK: usize = 32;

/// TPM_ST_HASHCHECK: the ticket of a digest that was made outside the TPM.
const HASHCHECK: u16 = 0x8024;

impl Chip {
    /// Signs a SHA-256 digest: one command with the head key, which is resident, three with another.
    pub(crate) fn sign(&mut self, role: Role, digest: Hash) -> Result<Signature, Error> {
        let signed = match role {
            Role::Head => sign(&mut self.base, &self.head, digest),
            _ => {
                return self.with_key(role, |base, key| {
                    sign(base, key, digest).map_err(|refusal| refusal.into_error(&key.file))
                });
            }
        };
        signed.map_err(|refusal| {
            // Or the chip was reset, and somebody else's key is where ours was.
            self.base.link.forgotten |= matches!(refusal, Refusal::Authorization);
            refusal.into_error(&self.head.file)
        })
    }

    /// Seals 1 to [`SEAL_MAX`] bytes.
    pub(crate) fn seal(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let made = key::make(&mut self.base, &self.seal_auth, data, &public::sealed())?;
        Blob::new(self.base.root.entity.name.clone(), made.public.to_bytes(), made.private).to_bytes()
    }

    /// Unseals what [`seal`](Self::seal) made.
    pub(crate) fn unseal(&mut self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let blob = Blob::from_bytes(bytes)?;
        if blob.parent_name != self.base.root.entity.name {
            return Err(Error::ForeignBlob);
        }
        let damaged = |reason: &str| Error::DamagedBlob { reason: reason.to_owned() };
        let public = Public::from_bytes(&blob.public).ok_or_else(|| damaged("its areas are malformed"))?;
        let loaded = key::load(&mut self.base, &blob.private, &public).map_err(|fault| {
            if fault.is_parameter() { damaged("the TPM does not know it") } else { fault.into() }
        })?;
        let unsealed = self.base.secured(code::UNSEAL, &[&loaded], &Writer::new(), &self.seal_auth);
        let unsealed = unsealed.map_err(|fault| match fault.is_authorization() {
            true => damaged("its authorisation is another"),
            false => fault.into(),
        });
        // Whatever came of it: the slot must be free again.
        let flushed = self.base.link.flush(loaded.handle);
        let data = unsealed?;
        flushed?;
        let data = Reader::new(&data.parameters).sized().map(<[u8]>::to_vec);
        data.map(Zeroizing::new).ok_or_else(|| Error::malformed("Unseal", "no data"))
    }

    /// Random bytes of the chip's generator, 1 to [`RANDOM_MAX`].
    pub(crate) fn random(&mut self, len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut random = Zeroizing::new(Vec::with_capacity(len));
        while random.len() < len {
            let wanted = RANDOM_CHUNK.min(len - random.len());
            let parameters = Writer::new().u16(u16::try_from(wanted).unwrap_or_default());
            let response = self.base.secured(code::GET_RANDOM, &[], &parameters, &[])?;
            match Reader::new(&response.parameters).sized() {
                Some(bytes) if (1..=wanted).contains(&bytes.len()) => random.extend_from_slice(bytes),
                _ => return Err(Error::malformed("GetRandom", "a wrong number of bytes")),
            }
        }
        Ok(random)
    }

    /// Counts what the chip holds.
    pub(crate) fn resources(&mut self) -> Result<Resources, Error> {
        let mut count = |first| Ok::<_, Error>(capability::handles(&mut self.base.link, first)?.len());
        Ok(Resources {
            transient: count(capability::FIRST_TRANSIENT)?,
            sessions: count(capability::FIRST_LOADED_SESSION)?,
            persistent: count(capability::FIRST_PERSISTENT)?,
        })
    }
}

/// The parameters of TPM2_Sign for a digest made outside, with the key's own scheme.
pub(crate) fn sign_parameters(digest: &[u8]) -> Writer {
    Writer::new().sized(digest).u16(ALG_NULL).u16(HASHCHECK).u32(NULL).sized(&[])
}

/// Signs with a loaded P-256 key.
pub(crate) fn sign(base: &mut Base, key: &Resident, digest: Hash) -> Result<Signature, Refusal> {
    let malformed = || Refusal::Other(Error::malformed("Sign", "not an ECDSA signature over P-256"));
    let signature = sign_raw(base, key, digest)?;
    ecdsa(&mut Reader::new(&signature)).ok_or_else(malformed)
}

/// The same as the chip gives it: TPMT_SIGNATURE.
pub(crate) fn sign_raw(base: &mut Base, key: &Resident, digest: Hash) -> Result<Vec<u8>, Refusal> {
    let signed = base.secured(code::SIGN, &[&key.entity], &sign_parameters(&digest.0), &key.auth);
    let signed = signed.map_err(|fault| match fault.is_authorization() {
        true => Refusal::Authorization,
        false => Refusal::Other(fault.into()),
    })?;
    Ok(signed.parameters.to_vec())
}

/// Why a key does not sign.
pub(crate) enum Refusal {
    /// Its authorisation value is another.
    Authorization,
    Other(Error),
}

impl Refusal {
    pub(crate) fn into_error(self, file: &Path) -> Error {
        match self {
            Self::Authorization => Error::damaged_key(file, "its secret is another"),
            Self::Other(error) => error,
        }
    }
}

/// A TPMT_SIGNATURE of ECDSA with SHA-256.
pub(crate) fn ecdsa(reader: &mut Reader<'_>) -> Option<Signature> {
    if (reader.u16()?, reader.u16()?) != (ALG_ECDSA, public::ALG_SHA256) {
        return None;
    }
    Signature::from_parts(reader.sized()?, reader.sized()?)
}
