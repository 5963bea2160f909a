//! Sessions (TPM 2.0 Library Part 1, sections 18, 19 and 21): what authorises a command, and encrypts its secrets.
//!
//! The mathematics of a session is here, apart from the commands: keys derived from the salt, the HMAC over each
//! command and response, AES-128-CFB over the first parameter.

use aws_lc_rs::agreement::{self, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{digest, hmac, rand};
use zeroize::Zeroizing;

use crate::PublicKey;

/// The length of a SHA-256 digest and so of nonces and keys, bytes.
pub(crate) const DIGEST: usize = 32;
/// The key and the initialisation vector of AES-128, bytes each.
const BLOCK: usize = 16;

// TPMA_SESSION, TPM 2.0 Library Part 2, section 8.4.
const CONTINUE: u8 = 1;
pub(crate) const DECRYPT: u8 = 1 << 5;
pub(crate) const ENCRYPT: u8 = 1 << 6;
pub(crate) const AUDIT: u8 = 1 << 7;

/// A session that the chip holds.
pub(crate) struct Session {
    pub(crate) handle: u32,
    /// Derived from the salt.
    key: Zeroizing<Vec<u8>>,
    /// The chip's newest nonce.
    pub(crate) nonce: Vec<u8>,
}

/// A random value that only the chip with the storage root key can learn.
pub(crate) struct Salt {
    value: Zeroizing<Vec<u8>>,
    /// TPMS_ECC_POINT of the ephemeral key.
    pub(crate) point: Vec<u8>,
}

impl Salt {
    /// A new one for a key of this point; `None` if it is not on the curve.
    pub(crate) fn new(root: &PublicKey) -> Option<Self> {
        let ephemeral = EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new()).ok()?;
        let own = PublicKey::from_sec1(ephemeral.compute_public_key().ok()?.as_ref())?;
        let (x, y) = own.coordinates();
        let peer = UnparsedPublicKey::new(&agreement::ECDH_P256, root.sec1());
        let value = agreement::agree_ephemeral(ephemeral, peer, (), |z| {
            // KDFe, Part 1, section 11.4.10.3: one round gives all the bits.
            let parts = [&1u32.to_be_bytes(), z, b"SECRET\0", x, root.coordinates().0];
            Ok(Zeroizing::new(sha256(&parts).to_vec()))
        });
        let point = crate::codec::Writer::new().sized(x).sized(y).to_vec();
        Some(Self { value: value.ok()?, point })
    }
}

impl Session {
    /// What the chip's answer to TPM2_StartAuthSession makes.
    pub(crate) fn new(handle: u32, nonce_caller: &[u8], nonce: &[u8], salt: &Salt) -> Self {
        Self { handle, key: derive(&salt.value, b"ATH", nonce, nonce_caller), nonce: nonce.to_vec() }
    }
}

/// How one handle of a command is authorised, or how a command without such a handle is protected.
pub(crate) enum Auth<'a> {
    /// An authorisation value in the clear: only for values that are no secret, which are the empty ones.
    Password(&'a [u8]),
    /// The salted session, with the authorisation value of the object. It encrypts too.
    Hmac(&'a mut Session, &'a [u8]),
    /// A policy that needs no authorisation value. Its session is salted too: without that somebody on the wire could use it
    /// for commands of his own, once it is satisfied.
    Policy(&'a mut Session),
}

/// TPM_RS_PW.
const PASSWORD: u32 = 0x4000_0009;

/// What one authorisation is while its command is under way.
pub(crate) struct Ongoing {
    nonce_caller: [u8; DIGEST],
    attributes: u8,
}

impl Auth<'_> {
    pub(crate) const fn can_encrypt(&self) -> bool {
        matches!(self, Self::Hmac(..))
    }

    /// The chip's newest nonce.
    pub(crate) fn nonce(&self) -> &[u8] {
        match self {
            Self::Password(_) => &[],
            Self::Hmac(session, _) | Self::Policy(session) => &session.nonce,
        }
    }

    /// Begins a command with these attributes; `None` if the system gives no random bytes.
    pub(crate) fn begin(&self, attributes: u8) -> Option<Ongoing> {
        let mut nonce_caller = [0; DIGEST];
        rand::fill(&mut nonce_caller).ok()?;
        Some(Ongoing { nonce_caller, attributes: attributes | CONTINUE })
    }

    /// The key of the HMAC and of the encryption: the session's and the object's value.
    fn secret(&self) -> Zeroizing<Vec<u8>> {
        let (key, value): (&[u8], &[u8]) = match self {
            Self::Password(_) => return Zeroizing::default(),
            Self::Hmac(session, value) => (&session.key, value),
            Self::Policy(session) => (&session.key, &[]),
        };
        let mut secret = Zeroizing::new(Vec::with_capacity(2 * DIGEST + value.len()));
        secret.extend_from_slice(key);
        secret.extend_from_slice(value);
        secret
    }

    fn mac(&self, parts: &[&[u8]]) -> hmac::Tag {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.secret());
        let mut context = hmac::Context::with_key(&key);
        parts.iter().for_each(|part| context.update(part));
        context.sign()
    }

    /// TPMS_AUTH_COMMAND. `other` is the nonce of the session that encrypts, where that is another one.
    pub(crate) fn command(&self, ongoing: &Ongoing, cp_hash: &[u8], other: &[u8]) -> Vec<u8> {
        let area = crate::codec::Writer::new();
        let Ongoing { nonce_caller, attributes } = ongoing;
        match self {
            Self::Password(value) => area.u32(PASSWORD).sized(&[]).u8(CONTINUE).sized(value).to_vec(),
            Self::Hmac(session, _) | Self::Policy(session) => {
                let mac = self.mac(&[cp_hash, nonce_caller, &session.nonce, other, &[*attributes]]);
                area.u32(session.handle).sized(nonce_caller).u8(*attributes).sized(mac.as_ref()).to_vec()
            }
        }
    }

    /// Checks TPMS_AUTH_RESPONSE and takes over the chip's new nonce; false if it was not the chip that answered.
    pub(crate) fn accept(
        &mut self,
        ongoing: &Ongoing,
        rp_hash: &[u8],
        nonce: &[u8],
        attributes: u8,
        mac: &[u8],
    ) -> bool {
        let expected = self.mac(&[rp_hash, nonce, &ongoing.nonce_caller, &[attributes]]);
        match self {
            Self::Password(_) => true,
            Self::Hmac(session, _) | Self::Policy(session) => {
                session.nonce = nonce.to_vec();
                aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref(), mac).is_ok()
            }
        }
    }

    /// Encrypts the first parameter of a command.
    pub(crate) fn encrypt(&self, ongoing: &Ongoing, data: &mut [u8]) -> Option<()> {
        let (key, vector) = self.block_keys(&ongoing.nonce_caller, self.nonce())?;
        let key = EncryptingKey::cfb128(UnboundCipherKey::new(&AES_128, &key).ok()?).ok()?;
        key.less_safe_encrypt(data, EncryptionContext::Iv128(vector.into())).ok()?;
        Some(())
    }

    /// Decrypts the first parameter of a response, after [`accept`](Self::accept).
    pub(crate) fn decrypt(&self, ongoing: &Ongoing, data: &mut [u8]) -> Option<()> {
        let (key, vector) = self.block_keys(self.nonce(), &ongoing.nonce_caller)?;
        let key = DecryptingKey::cfb128(UnboundCipherKey::new(&AES_128, &key).ok()?).ok()?;
        key.decrypt(data, DecryptionContext::Iv128(vector.into())).ok()?;
        Some(())
    }

    fn block_keys(&self, newer: &[u8], older: &[u8]) -> Option<(Zeroizing<Vec<u8>>, [u8; BLOCK])> {
        let bits = derive(&self.secret(), b"CFB", newer, older);
        let (key, vector) = bits.split_at_checked(BLOCK)?;
        Some((Zeroizing::new(key.to_vec()), vector.try_into().ok()?))
    }
}

/// KDFa, Part 1, section 11.4.10.2, for 256 bits: one round.
fn derive(key: &[u8], label: &[u8], newer: &[u8], older: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in [&1u32.to_be_bytes(), label, &[0], newer, older, &256u32.to_be_bytes()] {
        context.update(part);
    }
    Zeroizing::new(context.sign().as_ref().to_vec())
}

/// SHA-256 over the parts.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; DIGEST] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; DIGEST];
    hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
