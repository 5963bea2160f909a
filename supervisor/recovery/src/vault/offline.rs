//! What a vault's owner does without a daemon: keys, signatures, and what another machine checks.

use std::path::Path;

use types::hash::Hash;
use zeroize::Zeroizing;

pub use tpm::recovery::{Error as KeyError, Key};
pub use tpm::{AnchorClaim, Invalid, PcrSelection, PolicyKey, PublicKey, SignedPolicy, Terms, sign_policy};

use super::{Error, FILE, VAULT_MAX, Vault};

/// Reads a vault's file, or the one in a daemon's state folder or a copy of it, and checks who authorised it.
///
/// # Errors
/// - `Malformed`: there is none, or it is damaged
/// - `Unauthorized`: it was changed
pub fn read(path: &Path) -> Result<Vault, Error> {
    let path = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
    let limit = u64::try_from(VAULT_MAX).unwrap_or(u64::MAX);
    let bytes = store::blob::read(&path, limit).map_err(|error| Error::Malformed(error.to_string()))?;
    let vault = Vault::from_bytes(&bytes)?;
    vault.check()?;
    Ok(vault)
}

/// The public half of a policy key, from a PEM file's text.
///
/// # Errors
/// - `Malformed`: it is none
pub fn public_key(pem: &str) -> Result<PublicKey, Error> {
    let key = store::head::PublicKey::from_pem(pem).map_err(|error| Error::Malformed(error.to_string()))?;
    PublicKey::from_spki(key.der()).ok_or_else(|| Error::Malformed("it is no P-256 key".to_owned()))
}

/// Signs terms with a policy key (PKCS #8, DER or PEM); the signed policy's bytes.
///
/// # Errors
/// - `Policy`: the key is none
pub fn sign(key: &[u8], terms: &Terms) -> Result<Vec<u8>, Error> {
    Ok(sign_policy(key, *terms)?.to_bytes()?)
}

/// A recovery key that was typed or read; what was read is wiped.
///
/// # Errors
/// - `Key`: it is none, and which group is mistyped
pub fn recovery_key(text: Zeroizing<String>) -> Result<Key, Error> {
    Ok(Key::parse(&text)?)
}

/// The TPM's word on the log's anchor, as it came in a file.
pub struct Certification<'a> {
    /// On the counter: statement and signature.
    pub counter: (&'a [u8], &'a [u8]),
    /// On the record.
    pub record: (&'a [u8], &'a [u8]),
}

/// What a certification proves to who trusts the attestation key, and chose the nonce.
///
/// # Errors
/// - why it is not believed
pub fn verify_certification(
    key: &PublicKey,
    nonce: &[u8],
    certification: &Certification<'_>,
) -> Result<AnchorClaim, tpm::Disbelief> {
    let statement = |(bytes, signature): (&[u8], &[u8])| tpm::Statement {
        bytes: bytes.to_vec(),
        signature: signature.to_vec(),
    };
    let certification = tpm::Certification {
        counter: statement(certification.counter),
        record: statement(certification.record),
    };
    tpm::verify_certification(key, nonce, &certification)
}

/// One word for the anchor's two indices that a certification names: SHA-256 over both names.
#[must_use]
pub fn anchor_name(counter: &tpm::NvName, record: &tpm::NvName) -> Hash {
    use sha2::{Digest as _, Sha256};
    Hash(Sha256::new().chain_update(counter.0).chain_update(record.0).finalize().into())
}
