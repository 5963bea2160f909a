//! The recovery key: 256 random bits on paper, the second way to a secret when the chip is gone.
//!
//! It is printed as nine groups. Each of the first eight holds 32 bits and an 8-bit check that also covers the group's place,
//! so that a wrong group is named and swapped ones are found; the ninth holds a check over all. The alphabet is Crockford's
//! base 32: no I, L, O, U; when read, O is taken for 0, I and L for 1, and case, blanks and dashes do not matter.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use aws_lc_rs::{hkdf, rand};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::session::sha256;

/// The length of a key, bytes.
const KEY: usize = 32;
/// Key bytes in a group.
const PART: usize = 4;
/// Characters of a group: 40 bits.
const GROUP: usize = 8;
/// Groups with key bytes.
const GROUPS: usize = KEY / PART;
/// Characters of the last group: 20 bits.
const LAST: usize = 4;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// What begins a wrapped secret: name and version.
const MAGIC: &[u8; 8] = b"DSMILRK1";
const NONCE: usize = 12;
/// The longest secret that is wrapped, bytes.
pub const SECRET_MAX: usize = 4096;

/// A copy of a secret that is encrypted where it lies. It has room for the tag: a buffer that had to grow would leave the secret behind.
pub(crate) fn in_place(secret: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
    buffer.extend_from_slice(secret);
    buffer
}

/// A recovery key. Wiped when dropped; shows itself only through [`Key::to_text`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key([u8; KEY]);

/// Why something is no recovery key, or does not open.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// A character that no recovery key has.
    #[error("`{0}` is in no recovery key; it has digits and letters without I, L, O and U")]
    Character(char),
    /// Too many or too few characters.
    #[error("a recovery key has {expected} characters besides blanks and dashes, this has {found}")]
    Length {
        /// What was found.
        found: usize,
        /// What there must be.
        expected: usize,
    },
    /// A group does not fit its own check.
    #[error("group {0} of the recovery key is mistyped, or not in its place; compare it with the paper")]
    Group(usize),
    /// Every group is right by itself, but together they are not a key.
    #[error("the groups of the recovery key do not belong together; they are from different papers")]
    Whole,
    /// The wrapped secret was made with another recovery key, or was changed.
    #[error("this recovery key does not open it: it was wrapped with another one, or it was changed")]
    Refused,
    /// What should be a wrapped secret is none.
    #[error("this is no secret that was wrapped with a recovery key")]
    Malformed,
    /// The system gave no random bytes, or the secret is too long.
    #[error(
        "the secret cannot be wrapped: it is longer than {SECRET_MAX} bytes, or the system gives no random bytes"
    )]
    Wrap,
}

impl Key {
    /// A new one from the system's random bytes.
    ///
    /// # Errors
    /// - `Wrap`: the system gives none
    pub fn generate() -> Result<Self, Error> {
        let mut key = Self([0; KEY]);
        rand::fill(&mut key.0).map_err(|_| Error::Wrap)?;
        Ok(key)
    }

    /// The text for paper: groups with dashes between them.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP + 1) + LAST));
        for (place, part) in self.0.chunks(PART).enumerate() {
            let bits = part.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            push_digits(&mut text, bits << 8 | u64::from(group_check(place, part)), GROUP);
            text.push('-');
        }
        push_digits(&mut text, whole_check(&self.0), LAST);
        text
    }

    /// Reads what somebody typed.
    ///
    /// # Errors
    /// - `Character`, `Length`: it is no key at all
    /// - `Group`: this group, counted from 1, is wrong
    /// - `Whole`: groups of several keys
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
        for character in text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '_' | '–' | '.'))
        {
            digits.push(digit(character).ok_or(Error::Character(character))?);
        }
        let expected = GROUPS * GROUP + LAST;
        let (groups, last) = digits
            .split_at_checked(GROUPS * GROUP)
            .filter(|(_, last)| last.len() == LAST)
            .ok_or(Error::Length { found: digits.len(), expected })?;
        let number = |digits: &[u8]| digits.iter().fold(0u64, |bits, digit| bits << 5 | u64::from(*digit));
        let mut key = Self([0; KEY]);
        for (place, (group, part)) in groups.chunks(GROUP).zip(key.0.chunks_mut(PART)).enumerate() {
            let [_, _, _, a, b, c, d, check] = number(group).to_be_bytes();
            part.copy_from_slice(&[a, b, c, d]);
            if group_check(place, part) != check {
                return Err(Error::Group(place + 1));
            }
        }
        if number(last) != whole_check(&key.0) {
            return Err(Error::Whole);
        }
        Ok(key)
    }

    /// Whether both are the same; takes the same time wherever they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// Encrypts a secret of at most [`SECRET_MAX`] bytes for this key; `purpose` must be the same at [`unwrap`](Self::unwrap).
    ///
    /// # Errors
    /// - `Wrap`: it is longer, or the system gives no random bytes
    pub fn wrap(&self, purpose: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        if secret.len() > SECRET_MAX {
            return Err(Error::Wrap);
        }
        let mut sealed = in_place(secret);
        let nonce = self.cipher()?.seal_in_place_append_tag(aad(purpose), &mut *sealed);
        let nonce = nonce.map_err(|_| Error::Wrap)?;
        Ok([MAGIC.as_slice(), nonce.as_ref(), &sealed].concat())
    }

    /// Decrypts what [`wrap`](Self::wrap) made.
    ///
    /// # Errors
    /// - `Malformed`: it is something else
    /// - `Refused`: it was wrapped with another key or for another purpose, or was changed
    pub fn unwrap(&self, purpose: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let sealed = wrapped.strip_prefix(MAGIC).filter(|sealed| sealed.len() <= SECRET_MAX + 64);
        let (nonce, sealed) =
            sealed.and_then(|sealed| sealed.split_first_chunk::<NONCE>()).ok_or(Error::Malformed)?;
        let mut data = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len =
            self.cipher()?.open_in_place(nonce, aad(purpose), &mut data).map_err(|_| Error::Refused)?.len();
        data.truncate(len);
        Ok(data)
    }

    /// The public half of what the key signs with: who has it can tell later whether the recovery key authorised something.
    ///
    /// # Errors
    /// - `Wrap`: it cannot be derived
    pub fn authority(&self) -> Result<[u8; 32], Error> {
        let pair = self.signing()?;
        pair.public_key().as_ref().try_into().map_err(|_| Error::Wrap)
    }

    /// Authorises a statement: Ed25519, with a key that is derived from this one.
    ///
    /// # Errors
    /// - `Wrap`: the signing key cannot be derived
    pub fn authorize(&self, statement: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.signing()?.sign(statement).as_ref().to_vec())
    }

    fn signing(&self) -> Result<Ed25519KeyPair, Error> {
        let seed = self.derive(b"dsmil recovery 1: authorize")?;
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| Error::Wrap)
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, Error> {
        let key = self.derive(b"dsmil recovery 1: wrap")?;
        RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).map_err(|_| Error::Wrap)
    }

    fn derive(&self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let mut key = Zeroizing::new([0; 32]);
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.0);
        let info = [label];
        let expanded = extracted.expand(&info, hkdf::HKDF_SHA256);
        expanded.and_then(|expanded| expanded.fill(key.as_mut())).map_err(|_| Error::Wrap)?;
        Ok(key)
    }
}

/// Whether the recovery key with this [`authority`](Key::authority) authorised the statement.
pub fn is_authorized(authority: &[u8; 32], statement: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, authority).verify(statement, signature).is_ok()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn aad(purpose: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([MAGIC.as_slice(), purpose].concat())
}

/// CRC-8 (polynomial 0x07) over the group's place and bytes: finds every single mistyped character for certain, and
/// neighbours that were exchanged nearly always.
fn group_check(place: usize, part: &[u8]) -> u8 {
    let place = u8::try_from(place + 1).unwrap_or_default();
    [place].iter().chain(part).fold(0, |crc: u8, byte| {
        (0..8).fold(crc ^ byte, |crc, _| crc << 1 ^ if crc & 0x80 == 0 { 0 } else { 7 })
    })
}

/// 20 bits of SHA-256.
fn whole_check(key: &[u8; KEY]) -> u64 {
    let [a, b, c, ..] = sha256(&[b"dsmil recovery 1: check", key]);
    u64::from(u32::from_be_bytes([0, a, b, c]) >> 4)
}

fn push_digits(text: &mut String, bits: u64, count: usize) {
    for place in (0..count).rev() {
        let digit = usize::try_from(bits >> (5 * place) & 31).unwrap_or_default();
        text.extend(ALPHABET.get(digit).map(|digit| char::from(*digit)));
    }
}

fn digit(character: char) -> Option<u8> {
    let character = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let place = ALPHABET.iter().position(|digit| char::from(*digit) == character)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_reads_back_however_it_is_typed() {
        for _ in 0..200 {
            let key = Key::generate().unwrap();
            let text = key.to_text();
            assert_eq!(text.split('-').map(str::len).collect::<Vec<_>>(), [8, 8, 8, 8, 8, 8, 8, 8, 4]);
            let lower = text.to_lowercase().replace('-', "  ").replace('0', "o").replace('1', "l");
            for text in [text.as_str(), &text.replace('-', ""), &format!(" {lower}\n")] {
                assert!(Key::parse(text).unwrap().is_same(&key));
            }
        }
        assert!(!Key::generate().unwrap().is_same(&Key::generate().unwrap()));
        assert_eq!(format!("{:?}", Key::generate().unwrap()), "Key(…)");
    }

    #[test]
    fn what_it_authorises_is_believed_as_it_is() {
        let (key, other) = (Key::generate().unwrap(), Key::generate().unwrap());
        let (authority, signature) = (key.authority().unwrap(), key.authorize(b"this").unwrap());
        // However often it is asked, it is the same key.
        assert_eq!(Key::parse(&key.to_text()).unwrap().authority().unwrap(), authority);
        assert!(is_authorized(&authority, b"this", &signature));
        assert!(!is_authorized(&authority, b"that", &signature));
        assert!(!is_authorized(&other.authority().unwrap(), b"this", &signature));
        assert!(!is_authorized(&authority, b"this", &other.authorize(b"this").unwrap()));
    }

    #[test]
    fn each_mistyped_character_names_its_group() {
        let text = Key([0x5a; KEY]).to_text();
        for (place, right) in text.char_indices().filter(|(_, c)| *c != '-') {
            for wrong in ALPHABET.iter().map(|digit| char::from(*digit)).filter(|wrong| *wrong != right) {
                let mut typed = text.to_string();
                typed.replace_range(place..=place, &wrong.to_string());
                let expected = if place / 9 < GROUPS { Error::Group(place / 9 + 1) } else { Error::Whole };
                assert_eq!(Key::parse(&typed).err(), Some(expected), "{place} {wrong}");
            }
        }
        let groups: Vec<&str> = text.split('-').collect();
        let mut swapped = groups.clone();
        swapped.swap(2, 5);
        assert_eq!(Key::parse(&swapped.join("-")).err(), Some(Error::Group(3)));
        let other = Key([0xa5; KEY]).to_text();
        let mixed = [&other[..9], &text[9..]].concat();
        assert_eq!(Key::parse(&mixed).err(), Some(Error::Whole));
        assert_eq!(Key::parse("abc").err(), Some(Error::Length { found: 3, expected: 68 }));
        assert_eq!(Key::parse("U").err(), Some(Error::Character('U')));
    }

    proptest! {
        #[test]
        fn wrapped_secrets_open_with_the_key_alone(secret: Vec<u8>, place: usize, bit in 0..8) {
            let key = Key::generate().unwrap();
            let wrapped = key.wrap(b"repository", &secret).unwrap();
            prop_assert_eq!(&**key.unwrap(b"repository", &wrapped).unwrap(), &secret);
            prop_assert_eq!(key.unwrap(b"other", &wrapped).err(), Some(Error::Refused));
            let other = Key::generate().unwrap();
            prop_assert_eq!(other.unwrap(b"repository", &wrapped).err(), Some(Error::Refused));
            let mut spoiled = wrapped.clone();
            let place = place % spoiled.len();
            spoiled[place] ^= 1u8 << bit;
            prop_assert!(key.unwrap(b"repository", &spoiled).is_err());
        }

        #[test]
        fn noise_is_refused(noise: String, bytes: Vec<u8>) {
            prop_assert!(Key::parse(&noise).is_err());
            prop_assert!(Key([1; KEY]).unwrap(b"", &bytes).is_err());
        }
    }
}
