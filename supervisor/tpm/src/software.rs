//! A key without a TPM: only where the configuration says so, and named as software wherever it shows.
//!
//! It has the interface of the TPM so that the rest of the daemon runs unchanged, and none of its guarantees: who reads
//! the key folder has the keys. What cannot be done without a chip (PCRs, anchors, quotes) is refused.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use aws_lc_rs::{digest, hkdf, rand};
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::key_dir::{KeyDir, KeyFile, Role, SECRET_LEN};
use crate::recovery::in_place;
use crate::{Error, Identity, KeyOrigin, PublicKey, Signature};

/// Where a TPM's key file has the storage root key's name: no name is like it.
const PARENT: &[u8] = b"software";
/// What begins sealed data, so that a TPM's is not mistaken for it.
const MAGIC: &[u8; 8] = b"DSMILSW1";
/// Nonce and tag.
const NONCE: usize = 12;

/// The software key and what it seals with.
pub(crate) struct Software {
    head: EcdsaKeyPair,
    general: EcdsaKeyPair,
    sealing: RandomizedNonceKey,
    pub(crate) origin: KeyOrigin,
}

impl Software {
    /// Opens the key folder, and makes what is missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let dir = KeyDir::open(dir)?;
        let (head, secret, origin) = provide(&dir, Role::Head)?;
        let (general, ..) = provide(&dir, Role::General)?;
        let mut key = Zeroizing::new([0; 32]);
        let none = |_| Error::malformed("HKDF", "no key could be derived");
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]);
        let expanded = salt.extract(&secret);
        let expanded = expanded.expand(&[b"dsmil software 1: sealing"], hkdf::HKDF_SHA256).map_err(none)?;
        expanded.fill(key.as_mut()).map_err(none)?;
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).map_err(none)?;
        Ok(Self { head, general, sealing, origin })
    }

    pub(crate) fn identity() -> Identity {
        Identity {
            manufacturer: "none".to_owned(),
            vendor: "SW key without a TPM".to_owned(),
            ..Identity::default()
        }
    }

    pub(crate) fn public(&self, role: Role) -> Result<PublicKey, Error> {
        let pair = if role == Role::Head { &self.head } else { &self.general };
        let point = PublicKey::from_sec1(pair.public_key().as_ref());
        point.ok_or_else(|| Error::malformed("the software key", "not a P-256 key"))
    }

    pub(crate) fn sign(&self, role: Role, digest: Hash) -> Result<Signature, Error> {
        let failed = || Error::malformed("the software key", "it did not sign");
        let pair = if role == Role::Head { &self.head } else { &self.general };
        let digest = digest::Digest::import_less_safe(&digest.0, &digest::SHA256).map_err(|_| failed())?;
        let signature = pair.sign_digest(&digest).map_err(|_| failed())?;
        Ok(Signature::from_der(signature.as_ref()))
    }

    pub(crate) fn seal(&self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let mut sealed = in_place(data);
        let nonce = self.sealing.seal_in_place_append_tag(Aad::from(MAGIC), &mut *sealed);
        let nonce = nonce.map_err(|_| Error::malformed("the software key", "it did not seal"))?;
        Ok([MAGIC.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    pub(crate) fn unseal(&self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let sealed = blob.strip_prefix(MAGIC).ok_or(Error::ForeignBlob)?;
        let damaged = || Error::DamagedBlob { reason: "it does not open".to_owned() };
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        let mut data = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.sealing.open_in_place(nonce, Aad::from(MAGIC), &mut data);
        let len = opened.map_err(|_| damaged())?.len();
        data.truncate(len);
        Ok(data)
    }

    pub(crate) fn random(len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut random = Zeroizing::new(vec![0; len]);
        rand::fill(&mut random)
            .map_err(|_| Error::malformed("getrandom", "no random bytes from the system"))?;
        Ok(random)
    }
}

/// The key pair of this role: read, or made and written.
fn provide(dir: &KeyDir, role: Role) -> Result<(EcdsaKeyPair, Zeroizing<Vec<u8>>, KeyOrigin), Error> {
    let failed = |text: &str| Error::malformed("the software key", text);
    let (file, origin) = match dir.read(role)? {
        Some(file) if file.parent_name != PARENT => {
            return Err(Error::ForeignKeyDir { path: dir.file(role) });
        }
        Some(file) => (file, KeyOrigin::Loaded),
        None => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
                .map_err(|_| failed("it cannot be made"))?;
            let pkcs8 = pair.to_pkcs8v1().map_err(|_| failed("it cannot be written"))?;
            let secret = Software::random(SECRET_LEN)?;
            let public = pair.public_key().as_ref().to_vec();
            let file = KeyFile::new(PARENT.to_vec(), public, pkcs8.as_ref().to_vec(), secret.to_vec());
            dir.write(role, &file)?;
            (file, KeyOrigin::Created)
        }
    };
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &file.private)
        .map_err(|_| Error::damaged_key(&dir.file(role), "it is no P-256 key"))?;
    Ok((pair, Zeroizing::new(file.secret.clone()), origin))
}
