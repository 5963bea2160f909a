//! The vault: what holds the repository's key, and the ways to it.
//!
//! | way | needs |
//! |---|---|
//! | sealed | this TPM, in a state that the policy key signed, up to a revocation |
//! | wrapped | the recovery key, on paper |
//!
//! The vault's owner makes it, away from the daemon: the daemon never sees the recovery key nor the private half of the policy key. What
//! it gets says whose it is: the recovery key signs the machine's identity, the counter and the policy key, so that another
//! machine or counter is authorised by nobody else. Nothing in a vault is secret without the TPM or the recovery key.
//!
//! [`offline`]: what needs no daemon.

pub mod offline;

use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};
use tpm::recovery::{Key, is_authorized};
use tpm::{NvName, PcrSelection, PolicyKey, PublicKey, SignedPolicy, Terms};
use types::hash::Hash;
use zeroize::Zeroizing;

/// The name of the vault's file, below the daemon's state folder.
pub const FILE: &str = "vault";
/// The version of the encoding; refused when newer.
const VERSION: u32 = 1;
/// The longest vault, bytes: it has some 1,500.
pub const VAULT_MAX: usize = 8192;
/// The length of the repository's key, bytes.
pub const REPOSITORY_KEY: usize = 32;
/// What is wrapped as what, so that one cannot stand for the other.
const REPOSITORY: &[u8] = b"dsmil vault 1: repository key";
const POLICY: &[u8] = b"dsmil vault 1: policy key";
/// What the recovery key signs begins with this.
const STATEMENT: &[u8] = b"dsmil vault 1: statement\n";

/// Why a vault is none, or does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no vault, or a newer one.
    #[error("this is no vault: {0}")]
    Malformed(String),
    /// It was not made with the recovery key that it names, or was changed since.
    #[error("the vault is not authorised by its recovery key: it was changed; take another copy of it")]
    Unauthorized,
    /// The policy key is with its owner.
    #[error(
        "the policy key is not in the vault but with its owner: “dsmil tpm policy terms” writes what is to be signed there"
    )]
    Offline,
    /// The recovery key is not one, or another one.
    #[error(transparent)]
    Key(#[from] tpm::recovery::Error),
    /// The policy key does not sign.
    #[error(transparent)]
    Policy(#[from] tpm::Invalid),
}

/// Where the policy key's private half is.
pub enum Signer {
    /// In the vault, wrapped with the recovery key.
    Wrapped(PolicyKey),
    /// With the owner, who gave the public half.
    Offline(PublicKey),
}

impl Signer {
    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        match self {
            Self::Wrapped(key) => &key.public,
            Self::Offline(key) => key,
        }
    }
}

/// What the daemon gives to make a vault of.
pub struct Parts {
    /// The terms that hold now.
    pub terms: Terms,
    /// The machine: SHA-256 of the key that signs the log's heads.
    pub machine: Hash,
    /// The repository's key, sealed to the policy key.
    pub sealed: Vec<u8>,
    /// The repository's key.
    pub repository: Zeroizing<Vec<u8>>,
}

/// The vault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vault {
    /// Data is sealed to this key.
    pub policy_key: PublicKey,
    /// Who authorises machine and counter: the public half of what the recovery key signs with.
    pub authority: [u8; 32],
    /// Which PCRs the first terms named.
    pub registers: PcrSelection,
    /// The revocation counter's index.
    pub revocation: u32,
    /// Its name.
    pub revocation_name: NvName,
    /// The machine that it is for.
    pub machine: Hash,
    /// The repository's key, sealed to the policy key.
    pub sealed: Vec<u8>,
    wrapped_repository: Vec<u8>,
    wrapped_policy: Option<Vec<u8>>,
    /// Ed25519 over all of the above.
    authorization: Vec<u8>,
    /// The policy in force; none where it was not signed yet.
    pub policy: Option<SignedPolicy>,
}

/// The encoding: a CBOR map with integer keys, followed by its SHA-256.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(0)]
    version: u32,
    /// SubjectPublicKeyInfo.
    #[cbor(n(1), with = "minicbor::bytes")]
    policy_key: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    authority: [u8; 32],
    #[n(3)]
    registers: u32,
    #[n(4)]
    revocation: u32,
    #[cbor(n(5), with = "minicbor::bytes")]
    revocation_name: [u8; 34],
    #[cbor(n(6), with = "minicbor::bytes")]
    machine: [u8; 32],
    #[cbor(n(7), with = "minicbor::bytes")]
    sealed: Vec<u8>,
    #[cbor(n(8), with = "minicbor::bytes")]
    wrapped_repository: Vec<u8>,
    #[cbor(n(9), with = "minicbor::bytes")]
    wrapped_policy: Option<Vec<u8>>,
    #[cbor(n(10), with = "minicbor::bytes")]
    authorization: Option<Vec<u8>>,
    #[cbor(n(11), with = "minicbor::bytes")]
    policy: Option<Vec<u8>>,
}

impl Vault {
    /// Makes a vault, with the policy signed where its key is at hand.
    ///
    /// # Errors
    /// - `Key`: nothing can be wrapped
    /// - `Policy`: the policy key does not sign
    pub fn make(parts: Parts, recovery: &Key, signer: &Signer) -> Result<Self, Error> {
        let wrapped_policy = match signer {
            Signer::Wrapped(key) => Some(recovery.wrap(POLICY, &key.private)?),
            Signer::Offline(_) => None,
        };
        let mut vault = Self {
            policy_key: *signer.public(),
            authority: recovery.authority()?,
            registers: parts.terms.pcrs,
            revocation: parts.terms.revocation,
            revocation_name: parts.terms.revocation_name,
            machine: parts.machine,
            sealed: parts.sealed,
            wrapped_repository: recovery.wrap(REPOSITORY, &parts.repository)?,
            wrapped_policy,
            authorization: Vec::new(),
            policy: None,
        };
        vault.authorization = recovery.authorize(&vault.statement()?)?;
        if let Signer::Wrapped(key) = signer {
            vault.policy = Some(tpm::sign_policy(&key.private, parts.terms)?);
        }
        Ok(vault)
    }

    /// Whether the policy key lies in it.
    #[must_use]
    pub const fn has_policy_key(&self) -> bool {
        self.wrapped_policy.is_some()
    }

    /// Whether it is as the recovery key authorised it; the policy in force is the policy key's matter.
    ///
    /// # Errors
    /// - `Unauthorized`: it is not
    pub fn check(&self) -> Result<(), Error> {
        if is_authorized(&self.authority, &self.statement()?, &self.authorization) {
            Ok(())
        } else {
            Err(Error::Unauthorized)
        }
    }

    /// The repository's key, by the recovery key.
    ///
    /// # Errors
    /// - `Key`: it is another recovery key
    pub fn repository(&self, recovery: &Key) -> Result<Zeroizing<Vec<u8>>, Error> {
        let key = recovery.unwrap(REPOSITORY, &self.wrapped_repository)?;
        if key.len() == REPOSITORY_KEY {
            Ok(key)
        } else {
            Err(Error::Malformed("its repository key has a wrong length".to_owned()))
        }
    }

    /// The policy key's private half (PKCS #8), by the recovery key.
    ///
    /// # Errors
    /// - `Offline`: it is not in the vault
    /// - `Key`: it is another recovery key
    pub fn policy_key(&self, recovery: &Key) -> Result<Zeroizing<Vec<u8>>, Error> {
        let wrapped = self.wrapped_policy.as_ref().ok_or(Error::Offline)?;
        Ok(recovery.unwrap(POLICY, wrapped)?)
    }

    /// Who signs, by the recovery key: for a vault that takes the place of this one.
    ///
    /// # Errors
    /// - `Key`: it is another recovery key
    pub fn signer(&self, recovery: &Key) -> Result<Signer, Error> {
        if !self.has_policy_key() {
            return Ok(Signer::Offline(self.policy_key));
        }
        Ok(Signer::Wrapped(PolicyKey { private: self.policy_key(recovery)?, public: self.policy_key }))
    }

    /// As bytes.
    ///
    /// # Errors
    /// - `Malformed`: it cannot be encoded
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let policy = self.policy.as_ref().map(SignedPolicy::to_bytes).transpose()?;
        let mut bytes = self.encode(Some(self.authorization.clone()), policy)?;
        let sum = Sha256::digest(&bytes);
        bytes.extend_from_slice(&sum);
        Ok(bytes)
    }

    /// From bytes. Whether it is authorised is [`check`](Self::check)'s matter.
    ///
    /// # Errors
    /// - `Malformed`: they are something else, damaged, or newer
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let malformed = |reason: &str| Error::Malformed(reason.to_owned());
        if bytes.len() > VAULT_MAX {
            return Err(malformed("it is too long"));
        }
        let (bytes, sum) = bytes.split_last_chunk::<32>().ok_or_else(|| malformed("it is too short"))?;
        if Sha256::digest(bytes).as_slice() != sum {
            return Err(malformed("its sum is wrong: it was damaged"));
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let wire: Wire = decoder.decode().map_err(|error| malformed(&error.to_string()))?;
        if decoder.position() != bytes.len() {
            return Err(malformed("bytes after its end"));
        }
        if wire.version != VERSION {
            return Err(malformed(&format!("its version is {}, this program knows {VERSION}", wire.version)));
        }
        let policy = wire.policy.as_deref().map(SignedPolicy::from_bytes).transpose()?;
        Ok(Self {
            policy_key: PublicKey::from_spki(&wire.policy_key)
                .ok_or_else(|| malformed("its policy key is no P-256 key"))?,
            authority: wire.authority,
            registers: PcrSelection::from_mask(wire.registers)
                .ok_or_else(|| malformed("its PCRs are none"))?,
            revocation: wire.revocation,
            revocation_name: NvName(wire.revocation_name),
            machine: Hash(wire.machine),
            sealed: wire.sealed,
            wrapped_repository: wire.wrapped_repository,
            wrapped_policy: wire.wrapped_policy,
            authorization: wire.authorization.unwrap_or_default(),
            policy,
        })
    }

    /// What the recovery key signs: everything but its signature and the policy in force.
    fn statement(&self) -> Result<Vec<u8>, Error> {
        Ok([STATEMENT, &self.encode(None, None)?].concat())
    }

    fn encode(&self, authorization: Option<Vec<u8>>, policy: Option<Vec<u8>>) -> Result<Vec<u8>, Error> {
        let wire = Wire {
            version: VERSION,
            policy_key: self.policy_key.spki(),
            authority: self.authority,
            registers: self.registers.mask(),
            revocation: self.revocation,
            revocation_name: self.revocation_name.0,
            machine: self.machine.0,
            sealed: self.sealed.clone(),
            wrapped_repository: self.wrapped_repository.clone(),
            wrapped_policy: self.wrapped_policy.clone(),
            authorization,
            policy,
        };
        minicbor::to_vec(wire).map_err(|error| Error::Malformed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts() -> Parts {
        Parts {
            terms: Terms {
                pcrs: PcrSelection::new([0, 7]).unwrap(),
                pcr_digest: Hash([1; 32]),
                revocation: 0x0180_d513,
                revocation_name: NvName([2; 34]),
                counter_max: 5,
            },
            machine: Hash([3; 32]),
            sealed: vec![4; 300],
            repository: Zeroizing::new(vec![5; REPOSITORY_KEY]),
        }
    }

    #[test]
    fn the_recovery_key_opens_it_and_no_other() {
        let (recovery, other) = (Key::generate().unwrap(), Key::generate().unwrap());
        let signer = Signer::Wrapped(PolicyKey::generate().unwrap());
        let vault = Vault::make(parts(), &recovery, &signer).unwrap();
        let vault = Vault::from_bytes(&vault.to_bytes().unwrap()).unwrap();
        vault.check().unwrap();
        assert!(vault.policy.as_ref().unwrap().is_genuine());
        assert_eq!(*vault.repository(&recovery).unwrap(), vec![5; REPOSITORY_KEY]);
        let renewed = tpm::sign_policy(&vault.policy_key(&recovery).unwrap(), parts().terms).unwrap();
        assert_eq!(renewed.key, vault.policy_key);
        assert!(matches!(vault.repository(&other), Err(Error::Key(tpm::recovery::Error::Refused))));
        assert!(matches!(vault.policy_key(&other), Err(Error::Key(tpm::recovery::Error::Refused))));
    }

    #[test]
    fn a_policy_key_that_is_elsewhere_is_not_in_it() {
        let recovery = Key::generate().unwrap();
        let key = PolicyKey::generate().unwrap();
        let vault = Vault::make(parts(), &recovery, &Signer::Offline(key.public)).unwrap();
        assert!(!vault.has_policy_key() && vault.policy.is_none());
        assert!(matches!(vault.policy_key(&recovery), Err(Error::Offline)));
        let bytes = vault.to_bytes().unwrap();
        // RFC 5915: the scalar stands before the point, which is public.
        let scalar = &key.private[36..68];
        assert!(!bytes.windows(16).any(|part| scalar.windows(16).any(|secret| secret == part)));
        assert!(!bytes.windows(16).any(|part| part == [5; 16]));
    }

    #[test]
    fn what_the_recovery_key_did_not_say_is_not_believed() {
        let recovery = Key::generate().unwrap();
        let signer = Signer::Wrapped(PolicyKey::generate().unwrap());
        let vault = Vault::make(parts(), &recovery, &signer).unwrap();
        let changes: [fn(&mut Vault); 6] = [
            |vault| vault.machine = Hash([9; 32]),
            |vault| vault.revocation_name = NvName([9; 34]),
            |vault| vault.policy_key = PolicyKey::generate().unwrap().public,
            |vault| vault.sealed = vec![9; 300],
            |vault| vault.wrapped_policy = None,
            |vault| vault.authority = Key::generate().unwrap().authority().unwrap(),
        ];
        for change in changes {
            let mut changed = vault.clone();
            change(&mut changed);
            assert!(matches!(changed.check(), Err(Error::Unauthorized)));
        }
        // The policy in force changes with every update.
        let mut renewed = vault.clone();
        renewed.policy = None;
        renewed.check().unwrap();
    }

    proptest! {
        #[test]
        fn damage_and_noise_are_refused(noise: Vec<u8>, place: usize, bit in 0..8) {
            prop_assert!(Vault::from_bytes(&noise).is_err());
            let sum = Sha256::digest(&noise);
            prop_assert!(Vault::from_bytes(&[noise.as_slice(), sum.as_slice()].concat()).is_err());
            let recovery = Key::generate().unwrap();
            let key = PolicyKey::generate().unwrap().public;
            let mut bytes = Vault::make(parts(), &recovery, &Signer::Offline(key)).unwrap().to_bytes().unwrap();
            let place = place % bytes.len();
            bytes[place] ^= 1u8 << bit;
            prop_assert!(Vault::from_bytes(&bytes).is_err());
        }
    }
}
