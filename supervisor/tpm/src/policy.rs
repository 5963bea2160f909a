//! Signed policies: in which state of the machine, and until which revocation, sealed data may be opened.
//!
//! Data is sealed to a *policy key*, P-256, whose private half is with the owner and never on the machine. The key's owner signs
//! terms: PCR values, and the highest value of a revocation counter in the chip's NV memory. A BIOS update needs new
//! terms and no new sealing. Who increments the counter makes all terms void that name a lower value, also copies of them.
//!
//! | the chip checks | command |
//! |---|---|
//! | the PCRs have these values | TPM2_PolicyPCR |
//! | this very counter is at most at this value | TPM2_PolicyNV |
//! | both together were signed by the key that the data is sealed to | TPM2_PolicyAuthorize |
//!
//! The counter's name is part of the terms. One that is defined anew in its place begins above every value the chip ever had,
//! so nothing can be opened any more until new terms are signed: it fails closed.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minicbor::{Decode, Encode};
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::codec::Writer;
use crate::nv::NvName;
use crate::pcr::PcrSelection;
use crate::public::policy_key;
use crate::session::{DIGEST, sha256};
use crate::{PublicKey, code, verify};

/// The version of the encoding; refused when newer.
const VERSION: u32 = 1;
/// The longest signed policy that is looked at, bytes: it has some 300.
pub(crate) const SIGNED_MAX: usize = 1024;
/// What distinguishes our terms from others that the same key signs.
pub(crate) const POLICY_REF: &[u8] = b"dsmil policy 1";
/// TPM_EO_UNSIGNED_LE.
pub(crate) const UNSIGNED_LE: u16 = 9;

/// When sealed data may be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// Which registers are looked at.
    pub pcrs: PcrSelection,
    /// The digest over their values: [`Pcrs::digest`](crate::Pcrs::digest).
    pub pcr_digest: Hash,
    /// The NV index of the revocation counter.
    pub revocation: u32,
    /// Its name, once it was incremented.
    pub revocation_name: NvName,
    /// The highest value of the revocation counter at which these terms still hold.
    pub counter_max: u64,
}

impl Terms {
    /// The policy digest that the chip has computed once all terms are found to hold.
    pub(crate) fn digest(&self) -> [u8; DIGEST] {
        let start = [0; DIGEST];
        let pcr = code::POLICY_PCR.number.to_be_bytes();
        let digest = sha256(&[&start, &pcr, &self.pcrs.to_bytes(), &self.pcr_digest.0]);
        let arguments = Writer::new().u64(self.counter_max).u16(0).u16(UNSIGNED_LE).done();
        let nv = code::POLICY_NV.number.to_be_bytes();
        sha256(&[&digest, &nv, &sha256(&[&arguments]), &self.revocation_name.0])
    }

    /// As bytes, to be taken to where the policy key is. Nothing in them is secret.
    ///
    /// # Errors
    /// - `Malformed`: they cannot be encoded
    pub fn to_bytes(&self) -> Result<Vec<u8>, Invalid> {
        minicbor::to_vec(WireTerms::from(self)).map_err(|error| Invalid::Malformed(error.to_string()))
    }

    /// From bytes.
    ///
    /// # Errors
    /// - `Malformed`: they are something else, or a newer version
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        decode::<WireTerms>(bytes)?.terms()
    }

    /// What the policy key signs.
    fn message(&self) -> Vec<u8> {
        [self.digest().as_slice(), POLICY_REF].concat()
    }
}

/// The policy of an object that is sealed to this key: TPM2_PolicyAuthorize.
pub(crate) fn authorized_by(key: &PublicKey) -> [u8; DIGEST] {
    let command = code::POLICY_AUTHORIZE.number.to_be_bytes();
    let first = sha256(&[&[0; DIGEST], &command, &policy_key(key).name()]);
    sha256(&[&first, POLICY_REF])
}

/// Terms with the signature of a policy key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedPolicy {
    /// What was signed.
    pub terms: Terms,
    /// By whom.
    pub key: PublicKey,
    /// DER.
    pub(crate) signature: Vec<u8>,
}

/// The encoding of terms: a CBOR map with integer keys.
#[derive(Encode, Decode)]
#[cbor(map)]
struct WireTerms {
    #[n(0)]
    version: u32,
    #[n(1)]
    pcrs: u32,
    #[cbor(n(2), with = "minicbor::bytes")]
    pcr_digest: [u8; 32],
    #[n(3)]
    revocation: u32,
    #[cbor(n(4), with = "minicbor::bytes")]
    revocation_name: [u8; 34],
    #[n(5)]
    counter_max: u64,
}

impl From<&Terms> for WireTerms {
    fn from(terms: &Terms) -> Self {
        Self {
            version: VERSION,
            pcrs: terms.pcrs.mask(),
            pcr_digest: terms.pcr_digest.0,
            revocation: terms.revocation,
            revocation_name: terms.revocation_name.0,
            counter_max: terms.counter_max,
        }
    }
}

impl WireTerms {
    fn terms(&self) -> Result<Terms, Invalid> {
        let malformed = |reason: &str| Invalid::Malformed(reason.to_owned());
        if self.version != VERSION {
            return Err(malformed(&format!("its version is {}, this program knows {VERSION}", self.version)));
        }
        Ok(Terms {
            pcrs: PcrSelection::from_mask(self.pcrs).ok_or_else(|| malformed("its PCRs are none"))?,
            pcr_digest: Hash(self.pcr_digest),
            revocation: self.revocation,
            revocation_name: NvName(self.revocation_name),
            counter_max: self.counter_max,
        })
    }
}

fn decode<'a, T: Decode<'a, ()>>(bytes: &'a [u8]) -> Result<T, Invalid> {
    let malformed = |reason: &str| Invalid::Malformed(reason.to_owned());
    if bytes.len() > SIGNED_MAX {
        return Err(malformed("it is too long"));
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let decoded = decoder.decode().map_err(|error| malformed(&error.to_string()))?;
    if decoder.position() != bytes.len() {
        return Err(malformed("bytes after its end"));
    }
    Ok(decoded)
}

/// The encoding of signed terms: the terms' keys, and two more.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(0)]
    version: u32,
    #[n(1)]
    pcrs: u32,
    #[cbor(n(2), with = "minicbor::bytes")]
    pcr_digest: [u8; 32],
    #[n(3)]
    revocation: u32,
    #[cbor(n(4), with = "minicbor::bytes")]
    revocation_name: [u8; 34],
    #[n(5)]
    counter_max: u64,
    /// SubjectPublicKeyInfo.
    #[cbor(n(6), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[cbor(n(7), with = "minicbor::bytes")]
    signature: Vec<u8>,
}

/// Why a policy is not one, or was not signed.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// The bytes are no signed policy.
    #[error("this is no signed policy: {0}")]
    Malformed(String),
    /// The private key is not one.
    #[error(
        "this is no P-256 private key in PKCS #8 (`openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`)"
    )]
    PrivateKey,
}

impl SignedPolicy {
    /// Whether the key that it names signed it. Needs no chip.
    pub fn is_genuine(&self) -> bool {
        verify(&self.key, Hash(sha256(&[&self.terms.message()])), &self.signature)
    }

    /// As bytes, to be kept or sent. Nothing in it is secret.
    ///
    /// # Errors
    /// - `Malformed`: it cannot be encoded
    pub fn to_bytes(&self) -> Result<Vec<u8>, Invalid> {
        let Terms { pcrs, pcr_digest, revocation, revocation_name, counter_max } = self.terms;
        let wire = Wire {
            version: VERSION,
            pcrs: pcrs.mask(),
            pcr_digest: pcr_digest.0,
            revocation,
            revocation_name: revocation_name.0,
            counter_max,
            key: self.key.spki(),
            signature: self.signature.clone(),
        };
        minicbor::to_vec(wire).map_err(|error| Invalid::Malformed(error.to_string()))
    }

    /// From bytes; whether it is genuine is another question.
    ///
    /// # Errors
    /// - `Malformed`: they are something else, or a newer version
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
        let malformed = |reason: &str| Invalid::Malformed(reason.to_owned());
        let wire: Wire = decode(bytes)?;
        let terms = WireTerms {
            version: wire.version,
            pcrs: wire.pcrs,
            pcr_digest: wire.pcr_digest,
            revocation: wire.revocation,
            revocation_name: wire.revocation_name,
            counter_max: wire.counter_max,
        };
        let terms = terms.terms()?;
        let key = PublicKey::from_spki(&wire.key).ok_or_else(|| malformed("its key is no P-256 key"))?;
        Ok(Self { terms, key, signature: wire.signature })
    }
}

/// A policy key, both halves. The private one is wiped when it is dropped.
pub struct PolicyKey {
    /// PKCS #8, DER.
    pub private: Zeroizing<Vec<u8>>,
    /// The public half.
    pub public: PublicKey,
}

impl PolicyKey {
    /// A new one from the system's random bytes.
    ///
    /// # Errors
    /// - `PrivateKey`: the system gives none
    pub fn generate() -> Result<Self, Invalid> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(|_| Invalid::PrivateKey)?;
        let private = pair.to_pkcs8v1().map_err(|_| Invalid::PrivateKey)?;
        let public = PublicKey::from_sec1(pair.public_key().as_ref()).ok_or(Invalid::PrivateKey)?;
        Ok(Self { private: Zeroizing::new(private.as_ref().to_vec()), public })
    }
}

/// Signs terms with a policy key: PKCS #8, as DER or PEM. This is done where the key is, which is not the machine.
///
/// # Errors
/// - `PrivateKey`: it is something else
pub fn sign_policy(private_key: &[u8], terms: Terms) -> Result<SignedPolicy, Invalid> {
    let der = der(private_key).ok_or(Invalid::PrivateKey)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der);
    let pair = pair.map_err(|_| Invalid::PrivateKey)?;
    let key = PublicKey::from_sec1(pair.public_key().as_ref()).ok_or(Invalid::PrivateKey)?;
    let signed = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), &terms.message());
    let signature = signed.map_err(|_| Invalid::PrivateKey)?.as_ref().to_vec();
    Ok(SignedPolicy { terms, key, signature })
}

/// The DER of a PEM file's first private key; what is no PEM file is taken for DER.
fn der(bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(bytes).ok();
    let Some((_, rest)) = text.and_then(|text| text.split_once("-----BEGIN PRIVATE KEY-----")) else {
        return Some(Zeroizing::new(bytes.to_vec()));
    };
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
    STANDARD.decode(body.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms() -> Terms {
        Terms {
            pcrs: PcrSelection::new([0, 7]).unwrap(),
            pcr_digest: Hash([1; 32]),
            revocation: 0x0180_0001,
            revocation_name: NvName([2; 34]),
            counter_max: 5,
        }
    }

    fn pair() -> Vec<u8> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .unwrap()
            .to_pkcs8v1()
            .unwrap()
            .as_ref()
            .to_vec()
    }

    #[test]
    fn der_and_pem_sign_and_every_term_counts() {
        let key = pair();
        let lines = STANDARD.encode(&key);
        let (a, b) = lines.split_at(64);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{a}\n{b}\n-----END PRIVATE KEY-----\n");
        for key in [key.as_slice(), pem.as_bytes()] {
            let signed = sign_policy(key, terms()).unwrap();
            assert!(signed.is_genuine());
            assert_eq!(Terms::from_bytes(&terms().to_bytes().unwrap()), Ok(terms()));
            assert_eq!(SignedPolicy::from_bytes(&signed.to_bytes().unwrap()).unwrap(), signed);
            let changed = [
                Terms { pcrs: PcrSelection::new([0]).unwrap(), ..terms() },
                Terms { pcr_digest: Hash([9; 32]), ..terms() },
                Terms { revocation_name: NvName([9; 34]), ..terms() },
                Terms { counter_max: 6, ..terms() },
            ];
            for terms in changed {
                assert!(!SignedPolicy { terms, ..signed.clone() }.is_genuine());
            }
        }
        assert_eq!(sign_policy(b"nonsense", terms()), Err(Invalid::PrivateKey));
    }

    proptest! {
        #[test]
        fn noise_is_refused(noise: Vec<u8>) {
            prop_assert!(SignedPolicy::from_bytes(&noise).is_err());
            prop_assert!(Terms::from_bytes(&noise).is_err());
        }
    }
}
