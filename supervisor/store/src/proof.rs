//! The proof of one entry as a file that is checked without the log: C2SP tlog-proof (c2sp.org/tlog-proof).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra BASE64 OF THE ENTRY
//! index INDEX
//! BASE64 OF A HASH        (none or more, the proof of RFC 6962)
//!
//! (a signed head, see [`crate::head`])
//! ```
//!
//! The specification leaves to us what `extra` means: it is the entry, so that the file says what it proves.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use types::hash::Hash;

use crate::error::Error;
use crate::head::{NOTE_BYTES_MAX, PublicKey, SignedHead};
use crate::log::ENTRY_BYTES_MAX;
use crate::merkle::leaf_hash;
use crate::merkle::proof::verify_inclusion;
use crate::tiles::prover::Inclusion;

const FIRST: &str = "c2sp.org/tlog-proof@v1";
/// Hashes of the longest proof: one for each level of a tree of 2⁶⁴ entries.
const PATH_MAX: usize = 64;
/// The longest file, in bytes: the entry in base64, the hashes, the head.
pub const TEXT_BYTES_MAX: usize = ENTRY_BYTES_MAX.div_ceil(3) * 4 + PATH_MAX * 45 + NOTE_BYTES_MAX + 128;

/// That an entry is in the log of a signed head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    entry: Vec<u8>,
    index: u64,
    path: Vec<Hash>,
    head: SignedHead,
}

impl Proof {
    /// Puts together what belongs together.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it proves another entry, or something in another tree
    pub fn new(entry: Vec<u8>, inclusion: Inclusion, head: SignedHead) -> Result<Self, Error> {
        let Inclusion { index, leaf, size, root, path } = inclusion;
        if leaf != leaf_hash(&entry) || size != head.head().size || root != head.head().root {
            return Err(Error::Invalid("entry, proof and head do not belong together".into()));
        }
        Ok(Self { entry, index, path, head })
    }

    /// The entry.
    pub fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// Its index in the log.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The head that covers it.
    pub fn head(&self) -> &SignedHead {
        &self.head
    }

    /// Checks that `key` signed the head and that the entry is in its tree.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: which of the two is not so
    pub fn verify(&self, key: &PublicKey) -> Result<(), Error> {
        self.head.verify(key)?;
        let (leaf, head) = (leaf_hash(&self.entry), self.head.head());
        if !verify_inclusion(&leaf, self.index, head.size, &self.path, &head.root) {
            let why = format!("the entry is not number {} of the log of this head", self.index);
            return Err(Error::Invalid(why));
        }
        Ok(())
    }

    /// The file.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the head cannot stand in such a file
    pub fn text(&self) -> Result<String, Error> {
        let mut text = format!("{FIRST}\nextra {}\nindex {}\n", STANDARD.encode(&self.entry), self.index);
        for hash in &self.path {
            text.push_str(&STANDARD.encode(hash.0));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.head.text()?);
        Ok(text)
    }

    /// Reads a file. That it proves anything is for [`Proof::verify`].
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is no such proof, over the limits, or has no entry in it
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = || Error::Invalid("this is no proof of an entry (c2sp.org/tlog-proof)".into());
        if text.len() > TEXT_BYTES_MAX {
            return Err(bad());
        }
        let (body, head) = text.split_once("\n\n").ok_or_else(bad)?;
        let mut lines = body.split('\n');
        if lines.next() != Some(FIRST) {
            return Err(bad());
        }
        let entry = lines.next().and_then(|line| STANDARD.decode(line.strip_prefix("extra ")?).ok());
        let entry = entry.filter(|entry| entry.len() <= ENTRY_BYTES_MAX).ok_or_else(bad)?;
        let index =
            lines.next().and_then(|line| line.strip_prefix("index ")?.parse().ok()).ok_or_else(bad)?;
        let hash = |line: &str| Some(Hash(STANDARD.decode(line).ok()?.try_into().ok()?));
        let path: Vec<Hash> = lines.map(hash).collect::<Option<_>>().ok_or_else(bad)?;
        let proof = Self { entry, index, path, head: SignedHead::parse(head)? };
        // One proof has one text.
        if proof.path.len() > PATH_MAX || proof.text()? != text {
            return Err(bad());
        }
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::disk::sim::Sim;
    use crate::log::Config;
    use crate::log::tests::{Signer, create};
    use crate::tiles::prover::Prover;

    /// Proofs of all entries of a log of so many.
    fn proofs(entries: usize) -> (Signer, Vec<Proof>) {
        let (disk, signer) = (Sim::default(), Signer::new());
        let mut log = create(&disk, &Config::default()).unwrap();
        let bytes: Vec<_> = (0..entries).map(|entry| format!("entry {entry}").into_bytes()).collect();
        log.append(&bytes).unwrap();
        signer.store(&mut log).unwrap();
        drop(log);
        let mut prover = Prover::open_on(Arc::new(disk), std::path::Path::new("/log")).unwrap();
        let head = prover.newest().clone();
        let prove = |(index, entry): (u64, Vec<u8>)| {
            let inclusion = prover.inclusion(index, head.head().size).unwrap();
            Proof::new(entry, inclusion, head.clone()).unwrap()
        };
        (signer, (0..).zip(bytes).map(prove).collect())
    }

    #[test]
    fn a_proof_is_read_back_and_verified() {
        for entries in [1, 2, 3, 8, 300] {
            let (signer, proofs) = proofs(entries);
            for proof in proofs {
                let text = proof.text().unwrap();
                let read = Proof::parse(&text).unwrap();
                assert_eq!(read, proof);
                read.verify(&signer.public()).unwrap();
                assert!(read.verify(&Signer::new().public()).is_err());
            }
        }
    }

    #[test]
    fn a_proof_is_of_one_entry_at_one_place() {
        let (signer, proofs) = proofs(9);
        let key = signer.public();
        for (one, other) in proofs.iter().zip(proofs.iter().skip(1)) {
            assert!(Proof { entry: other.entry.clone(), ..one.clone() }.verify(&key).is_err());
            assert!(Proof { index: other.index, ..one.clone() }.verify(&key).is_err());
            assert!(Proof { path: Vec::new(), ..one.clone() }.verify(&key).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        /// A changed file is refused, or proves what it proved before.
        #[test]
        fn no_change_proves_something_else(at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
            let (signer, proofs) = proofs(5);
            let text = proofs[3].text().unwrap();
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let Ok(changed) = String::from_utf8(bytes) else { return Ok(()) };
            if let Ok(proof) = Proof::parse(&changed) && proof.verify(&signer.public()).is_ok() {
                prop_assert_eq!(proof, proofs[3].clone());
            }
        }

        #[test]
        fn any_text_is_refused(text in "(?s).{0,300}") {
            prop_assert!(Proof::parse(&text).is_err());
            let begun = format!("{FIRST}\n{text}");
            prop_assert!(Proof::parse(&begun).is_err());
        }
    }
}
