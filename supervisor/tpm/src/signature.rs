//! Public key, signature, and verification in software; needs no chip.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use types::hash::Hash;

use crate::codec::Writer;
use crate::public::{ALG_ECDSA, ALG_SHA256};

/// What precedes the point in the SubjectPublicKeyInfo of every P-256 key (RFC 5480, section 2): id-ecPublicKey,
/// secp256r1, BIT STRING of 66 bytes without unused bits.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// SEC 1, section 2.3.3: an uncompressed point follows.
const UNCOMPRESSED: u8 = 4;

/// A P-256 public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey {
    sec1: [u8; 65],
}

impl PublicKey {
    /// From coordinates, big-endian; the TPM may leave leading zeros away. None if one is longer than 32 bytes.
    pub(crate) fn from_coordinates(x: &[u8], y: &[u8]) -> Option<Self> {
        let bytes = [UNCOMPRESSED].into_iter().chain(pad(x)?).chain(pad(y)?).collect::<Vec<u8>>();
        Some(Self { sec1: bytes.try_into().ok()? })
    }

    /// From its DER SubjectPublicKeyInfo; None if it is not one of an uncompressed P-256 key.
    ///
    /// Whether the point is on the curve shows at [`verify`], which then says no.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        Self::from_sec1(der.strip_prefix(&SPKI_PREFIX)?)
    }

    /// From the uncompressed point of SEC 1.
    pub(crate) fn from_sec1(sec1: &[u8]) -> Option<Self> {
        let sec1: [u8; 65] = sec1.try_into().ok()?;
        (sec1.first() == Some(&UNCOMPRESSED)).then_some(Self { sec1 })
    }

    /// x and y, big-endian, 32 bytes each.
    pub(crate) fn coordinates(&self) -> (&[u8], &[u8]) {
        let [_, point @ ..] = &self.sec1;
        point.split_at(32)
    }

    /// The uncompressed point of SEC 1: 0x04, x, y.
    pub fn sec1(&self) -> &[u8; 65] {
        &self.sec1
    }

    /// The DER SubjectPublicKeyInfo, 91 bytes: what PEM files and other tools hold.
    pub fn spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), self.sec1.as_slice()].concat()
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Hash {
        let mut hash = Hash::default();
        for (to, from) in hash.0.iter_mut().zip(digest::digest(&digest::SHA256, &self.spki()).as_ref()) {
            *to = *from;
        }
        hash
    }

    /// The key id in C2SP signed notes, type 0x02 (ECDSA): the first four bytes of the fingerprint.
    pub fn key_id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.fingerprint().0;
        [a, b, c, d]
    }
}

/// An ECDSA signature over P-256 and SHA-256.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    der: Vec<u8>,
}

impl Signature {
    /// From r and s, big-endian; the TPM may leave leading zeros away. None if one is longer than 32 bytes.
    pub(crate) fn from_parts(r: &[u8], s: &[u8]) -> Option<Self> {
        let content = [integer(pad(r)?)?, integer(pad(s)?)?].concat();
        // At most 2 * (2 + 33) bytes, so one byte of length does.
        let mut der = vec![0x30, u8::try_from(content.len()).ok()?];
        der.extend(content);
        Some(Self { der })
    }

    /// TPMT_SIGNATURE; None if the DER is none.
    pub(crate) fn to_chip(&self) -> Option<Vec<u8>> {
        let (r, s) = self.parts()?;
        let writer = Writer::new().u16(ALG_ECDSA).u16(ALG_SHA256);
        Some(writer.sized(&pad(r)?).sized(&pad(s)?).to_vec())
    }

    /// r and s without leading zeros.
    fn parts(&self) -> Option<(&[u8], &[u8])> {
        let [0x30, len, content @ ..] = self.der.as_slice() else { return None };
        if usize::from(*len) != content.len() {
            return None;
        }
        let (r, rest) = read_integer(content)?;
        let (s, rest) = read_integer(rest)?;
        rest.is_empty().then_some((r, s))
    }

    /// From the DER of another implementation.
    pub(crate) fn from_der(der: &[u8]) -> Self {
        Self { der: der.to_vec() }
    }

    /// The ASN.1 DER `ECDSA-Sig-Value` (RFC 3279, section 2.2.3), as signed notes and X.509 have it.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// Whether the DER signature of this digest was made with this key. Anything malformed is not.
pub fn verify(key: &PublicKey, digest: Hash, signature_der: &[u8]) -> bool {
    let Ok(digest) = digest::Digest::import_less_safe(&digest.0, &digest::SHA256) else { return false };
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.sec1).verify_digest(&digest, signature_der).is_ok()
}

/// Big-endian, filled up with zeros on the left.
fn pad(bytes: &[u8]) -> Option<[u8; 32]> {
    let mut padded = [0; 32];
    let start = padded.len().checked_sub(bytes.len())?;
    padded.get_mut(start..)?.copy_from_slice(bytes);
    Some(padded)
}

/// A DER INTEGER, which is signed and minimal: no leading zeros but the one that keeps it positive.
fn integer(value: [u8; 32]) -> Option<Vec<u8>> {
    let mut digits: Vec<u8> = value.into_iter().skip_while(|byte| *byte == 0).collect();
    if digits.first().is_none_or(|byte| byte & 0x80 != 0) {
        digits.insert(0, 0);
    }
    let mut der = vec![0x02, u8::try_from(digits.len()).ok()?];
    der.extend(digits);
    Some(der)
}

/// The digits of a short DER INTEGER without leading zeros, and what follows it.
fn read_integer(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [0x02, len, rest @ ..] = der else { return None };
    let (mut digits, rest) = rest.split_at_checked(usize::from(*len))?;
    while let [0, fewer @ ..] = digits {
        digits = fewer;
    }
    Some((digits, rest))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use proptest::prelude::*;

    use super::*;

    fn sha256(message: &[u8]) -> Hash {
        Hash(digest::digest(&digest::SHA256, message).as_ref().try_into().unwrap())
    }

    /// Another implementation signs; the fixed-length form gives r and s as a TPM would.
    fn sign(message: &[u8]) -> (PublicKey, [u8; 64]) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signature = pair.sign(&SystemRandom::new(), message).unwrap();
        let point = pair.public_key().as_ref();
        let key = PublicKey::from_coordinates(&point[1..33], &point[33..]).unwrap();
        (key, signature.as_ref().try_into().unwrap())
    }

    fn stripped(bytes: &[u8]) -> Vec<u8> {
        bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
    }

    #[test]
    fn leading_zeros_do_not_matter() {
        // 600 signatures: about five have a leading zero in r or s.
        for i in 0..600u32 {
            let message = i.to_le_bytes();
            let (key, parts) = sign(&message);
            let (r, s) = parts.split_at(32);
            let signature = Signature::from_parts(&stripped(r), &stripped(s)).unwrap();
            assert!(verify(&key, sha256(&message), signature.der()));
            assert!(!verify(&key, sha256(b"another"), signature.der()));
        }
    }

    #[test]
    fn known_encodings() {
        let der = |r: &[u8], s: &[u8]| Signature::from_parts(r, s).unwrap().der;
        assert_eq!(der(&[1], &[0x80]), [0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
        assert_eq!(der(&[], &[0, 0, 0x7f]), [0x30, 6, 2, 1, 0, 2, 1, 0x7f]);
        assert_eq!(der(&[0xff; 32], &[0xff; 32]).len(), 72);
        assert_eq!(Signature::from_parts(&[1; 33], &[1]), None);
        assert_eq!(PublicKey::from_coordinates(&[1], &[1; 33]), None);
    }

    #[test]
    fn spki_reads_back_and_names_the_key() {
        let (key, _) = sign(b"");
        assert_eq!(PublicKey::from_spki(&key.spki()), Some(key));
        assert_eq!(key.key_id(), sha256(&key.spki()).0[..4]);
        assert_eq!(PublicKey::from_spki(&key.spki()[..90]), None);
        assert_eq!(PublicKey::from_spki(&[]), None);
        let mut compressed = key.spki();
        compressed[26] = 2;
        assert_eq!(PublicKey::from_spki(&compressed), None);
    }

    proptest! {
        #[test]
        fn der_holds_r_and_s(r: [u8; 32], s: [u8; 32]) {
            // Read back with the plainest reader there is.
            let der = Signature::from_parts(&r, &s).unwrap().der;
            prop_assert_eq!(usize::from(der[1]), der.len() - 2);
            let r_len = usize::from(der[3]);
            let (r_der, rest) = der[4..].split_at(r_len);
            let signature = Signature::from_der(&der);
            let read = signature.parts().map(|(r, s)| (r.to_vec(), s.to_vec()));
            prop_assert_eq!(read, Some((stripped(&r), stripped(&s))));
            let s_der = &rest[2..];
            prop_assert_eq!(usize::from(rest[1]), s_der.len());
            for (part, read) in [(r, r_der), (s, s_der)] {
                prop_assert_eq!(stripped(read), stripped(&part));
                prop_assert!(read[0] & 0x80 == 0);
                prop_assert!(read.len() == 1 || read[0] != 0 || read[1] & 0x80 != 0);
            }
        }

        #[test]
        fn noise_is_no_signature(noise: Vec<u8>, point: Vec<u8>) {
            let (key, _) = sign(b"");
            prop_assert!(!verify(&key, sha256(b"x"), &noise));
            let mut spki = SPKI_PREFIX.to_vec();
            spki.extend(point);
            if let Some(key) = PublicKey::from_spki(&spki) {
                prop_assert!(!verify(&key, sha256(b"x"), &noise));
            }
        }
    }
}
