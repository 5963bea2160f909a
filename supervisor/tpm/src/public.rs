//! Public areas (TPM 2.0 Library Part 2, section 12.2.4): the templates of what we make, and whether one that is found is
//! as if we had made it.

use crate::PublicKey;
use crate::codec::{Reader, Writer};
use crate::session::sha256;

// TPM_ALG, Part 2, section 6.3.
pub(crate) const ALG_RSA: u16 = 0x0001;
pub(crate) const ALG_AES: u16 = 0x0006;
const ALG_KEYED_HASH: u16 = 0x0008;
pub(crate) const ALG_SHA256: u16 = 0x000b;
pub(crate) const ALG_NULL: u16 = 0x0010;
pub(crate) const ALG_RSASSA: u16 = 0x0014;
pub(crate) const ALG_ECDSA: u16 = 0x0018;
pub(crate) const ALG_ECC: u16 = 0x0023;
pub(crate) const ALG_SYM_CIPHER: u16 = 0x0025;
pub(crate) const ALG_CFB: u16 = 0x0043;
/// TPM_ECC_NIST_P256.
const P256: u16 = 3;
const RSA_BITS: u16 = 2048;

// TPMA_OBJECT, Part 2, section 8.3.
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const DECRYPT: u32 = 1 << 17;
const SIGN: u32 = 1 << 18;

/// What every object of ours is: it cannot leave this TPM, and wrong authorisation values do not count against the
/// lockout: ours are 256 bits, so guessing is hopeless and a lockout would stop only the owner.
const OURS: u32 = FIXED_TPM | FIXED_PARENT | NO_DA;

/// A TPMT_PUBLIC: what it may do, and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Public {
    kind: u16,
    attributes: u32,
    policy: Vec<u8>,
    /// Everything between policy and key.
    parameters: Vec<u8>,
    /// The key, or what identifies the object.
    unique: Vec<u8>,
}

impl Public {
    /// Reads one whole area whose name is made with SHA-256; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u16()?;
        if reader.u16()? != ALG_SHA256 {
            return None;
        }
        let attributes = reader.u32()?;
        let policy = reader.sized()?.to_vec();
        let rest = reader.rest();
        skip_parameters(&mut reader, kind)?;
        let parameters = rest.get(..rest.len() - reader.rest().len())?.to_vec();
        let unique = reader.rest().to_vec();
        Some(Self { kind, attributes, policy, parameters, unique })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let writer = Writer::new().u16(self.kind).u16(ALG_SHA256).u32(self.attributes).sized(&self.policy);
        writer.bytes(&self.parameters).bytes(&self.unique).to_vec()
    }

    /// The name: what a TPM calls the object, and what nobody else can be called.
    pub(crate) fn name(&self) -> Vec<u8> {
        Writer::new().u16(ALG_SHA256).bytes(&sha256(&[&self.to_bytes()])).to_vec()
    }

    /// Whether it was made from `template`: all is equal but the key itself.
    ///
    /// The attribute noDA may differ: the templates of storage keys disagree on it.
    pub(crate) fn matches(&self, template: &Self) -> bool {
        let parts = |public: &Self| {
            (public.kind, public.attributes | NO_DA, public.policy.clone(), public.parameters.clone())
        };
        parts(self) == parts(template)
    }

    /// The same object under a policy.
    pub(crate) fn with_policy(mut self, policy: &[u8]) -> Self {
        self.policy = policy.to_vec();
        self.attributes &= !USER_WITH_AUTH;
        self
    }

    pub(crate) fn policy(&self) -> &[u8] {
        &self.policy
    }

    /// The point of a P-256 key.
    pub(crate) fn point(&self) -> Option<PublicKey> {
        if self.kind != ALG_ECC {
            return None;
        }
        let mut unique = Reader::new(&self.unique);
        let (x, y) = (unique.sized()?, unique.sized()?);
        unique.is_empty().then(|| PublicKey::from_coordinates(x, y))?
    }

    /// The modulus of an RSA key whose exponent is 65537.
    pub(crate) fn modulus(&self) -> Option<&[u8]> {
        if self.kind != ALG_RSA {
            return None;
        }
        Reader::new(&self.unique).sized()
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> String {
        let kind = match self.kind {
            ALG_RSA => "an RSA",
            ALG_KEYED_HASH => "a keyed-hash",
            ALG_ECC => "an ECC",
            _ => "a symmetric",
        };
        let has = |attribute| self.attributes & attribute != 0;
        let usage = match (has(RESTRICTED), has(DECRYPT), has(SIGN)) {
            (true, true, _) => "storage key",
            (true, false, true) => "attestation key",
            (false, _, true) => "signing key",
            _ => "object",
        };
        format!("{kind} {usage}")
    }
}

fn skip_parameters(reader: &mut Reader<'_>, kind: u16) -> Option<()> {
    // A scheme, or a symmetric definition, has more behind its algorithm unless that is null.
    let hash_scheme = |reader: &mut Reader<'_>| match reader.u16()? {
        ALG_NULL => Some(()),
        _ => reader.u16().map(drop),
    };
    let symmetric = |reader: &mut Reader<'_>| match reader.u16()? {
        ALG_NULL => Some(()),
        _ => reader.u32().map(drop),
    };
    match kind {
        ALG_ECC => {
            symmetric(reader)?;
            hash_scheme(reader)?;
            reader.u16()?;
            hash_scheme(reader)
        }
        ALG_RSA => {
            symmetric(reader)?;
            hash_scheme(reader)?;
            reader.take(6).map(drop)
        }
        ALG_KEYED_HASH => hash_scheme(reader),
        ALG_SYM_CIPHER => symmetric(reader),
        _ => None,
    }
}

fn ecc(attributes: u32, symmetric: Writer, scheme: Writer, unique: Writer) -> Public {
    // No key derivation.
    let parameters = symmetric.bytes(&scheme.done()).u16(P256).u16(ALG_NULL).to_vec();
    Public { kind: ALG_ECC, attributes, policy: Vec::new(), parameters, unique: unique.to_vec() }
}

fn none() -> Writer {
    Writer::new().u16(ALG_NULL)
}

fn aes_128_cfb() -> Writer {
    Writer::new().u16(ALG_AES).u16(128).u16(ALG_CFB)
}

fn ecdsa() -> Writer {
    Writer::new().u16(ALG_ECDSA).u16(ALG_SHA256)
}

/// The storage root key: ECC P-256 as in the TCG's TPM v2.0 Provisioning Guidance, so that the one which other
/// software makes from the owner's seed is the same key.
pub(crate) fn storage_root_key() -> Public {
    let attributes = OURS | USER_WITH_AUTH | SENSITIVE_DATA_ORIGIN | RESTRICTED | DECRYPT;
    // The guidance's `unique` is zeros of the coordinates' length, which gives another key than empty ones.
    let unique = Writer::new().sized(&[0; 32]).sized(&[0; 32]);
    ecc(attributes, aes_128_cfb(), none(), unique)
}

/// A signing key: ECDSA over P-256 with SHA-256, unrestricted, since it signs digests made outside the TPM.
pub(crate) fn signing_key() -> Public {
    let attributes = OURS | USER_WITH_AUTH | SENSITIVE_DATA_ORIGIN | SIGN;
    ecc(attributes, none(), ecdsa(), Writer::new().u16(0).u16(0))
}

/// The attestation key: restricted, so that it signs nothing but what the TPM itself states.
pub(crate) fn attestation_key() -> Public {
    let attributes = OURS | USER_WITH_AUTH | SENSITIVE_DATA_ORIGIN | SIGN | RESTRICTED;
    ecc(attributes, none(), ecdsa(), Writer::new().u16(0).u16(0))
}

/// An RSA-2048 signing key: RSASSA-PKCS1-v1_5 with SHA-256.
pub(crate) fn rsa_signing_key() -> Public {
    let attributes = OURS | USER_WITH_AUTH | SENSITIVE_DATA_ORIGIN | SIGN;
    let parameters = none().u16(ALG_RSASSA).u16(ALG_SHA256).u16(RSA_BITS).u32(0).to_vec();
    let unique = Writer::new().u16(0).to_vec();
    Public { kind: ALG_RSA, attributes, policy: Vec::new(), parameters, unique }
}

/// A key for TPM2_EncryptDecrypt2: AES-128-CFB.
pub(crate) fn cipher_key() -> Public {
    let attributes = OURS | USER_WITH_AUTH | SENSITIVE_DATA_ORIGIN | SIGN | DECRYPT;
    let unique = Writer::new().u16(0).to_vec();
    Public {
        kind: ALG_SYM_CIPHER,
        attributes,
        policy: Vec::new(),
        parameters: aes_128_cfb().to_vec(),
        unique,
    }
}

/// Sealed data: comes from outside, so without the attribute sensitiveDataOrigin.
pub(crate) fn sealed() -> Public {
    let unique = Writer::new().u16(0).to_vec();
    let parameters = none().to_vec();
    Public { kind: ALG_KEYED_HASH, attributes: OURS | USER_WITH_AUTH, policy: Vec::new(), parameters, unique }
}

/// A P-256 key outside the TPM that signs policies; its name is computed from this.
pub(crate) fn policy_key(key: &PublicKey) -> Public {
    let (x, y) = key.coordinates();
    ecc(USER_WITH_AUTH | SIGN, none(), ecdsa(), Writer::new().sized(x).sized(y))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn templates_read_back_and_differ() {
        let all = [
            storage_root_key(),
            signing_key(),
            attestation_key(),
            rsa_signing_key(),
            cipher_key(),
            sealed(),
            sealed().with_policy(&[1; 32]),
        ];
        for (i, template) in all.iter().enumerate() {
            assert_eq!(Public::from_bytes(&template.to_bytes()).as_ref(), Some(template));
            for (j, other) in all.iter().enumerate() {
                assert_eq!(template.matches(other), i == j);
            }
        }
        assert_eq!(storage_root_key().describe(), "an ECC storage key");
        assert_eq!(attestation_key().describe(), "an ECC attestation key");
    }

    proptest! {
        #[test]
        fn noise_is_read_or_refused(noise: Vec<u8>) {
            if let Some(public) = Public::from_bytes(&noise) {
                prop_assert_eq!(public.to_bytes(), noise);
            }
        }
    }
}
