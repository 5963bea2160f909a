//! A repository as it was written, and what its checkpoints are of.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use engine::Told;
use store::chunk::Chunks;
use types::time::Time;

use super::super::tree::*;
use super::{Random, files};
use crate::manifest::Manifest;
use crate::restore::{self, Machine};
use crate::tokens::tests::Bank;

/// What stands before a point of P-256 in a SubjectPublicKeyInfo (RFC 5480).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86,
    0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const TOKENS: u16 = 5;

/// A key that signs checkpoints.
pub(super) struct Signer {
    pair: EcdsaKeyPair,
    pub(super) public: tpm::PublicKey,
}

impl Signer {
    pub(super) fn new() -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref()).unwrap();
        let spki = [&SPKI_PREFIX[..], pair.public_key().as_ref()].concat();
        Self { pair, public: tpm::PublicKey::from_spki(&spki).unwrap() }
    }

    pub(super) fn sign(&self, text: &str) -> Vec<u8> {
        self.pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref().to_vec()
    }
}

/// What a checkpoint is of.
pub(super) struct State {
    pub(super) manifest: Manifest,
    pub(super) pictures: [Picture; 2],
    pub(super) tokens: std::collections::HashMap<u16, u32>,
}

/// A repository, copies of it from before, and others that an attacker may have.
pub(super) struct Victim {
    dir: tempfile::TempDir,
    pub(super) roots: [PathBuf; 2],
    pub(super) bank: Bank,
    pub(super) signer: Signer,
    /// What the log tells.
    pub(super) told: Told,
    pub(super) states: BTreeMap<u64, State>,
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

impl Victim {
    /// Its life: two checkpoints, a copy, one more, one that goes with what it alone needs, and one more. Beside it another life under the same
    /// keys, and a repository under others.
    pub(super) fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let roots = ["one", "two"].map(|name| dir.path().join("roots").join(name));
        let (bank, signer) = (Bank::new(TOKENS), Signer::new());
        let mut victim = Self { dir, roots, bank, signer, told: Told::new(), states: BTreeMap::new() };
        let mut random = Random(seed);
        let [state, other, foreign] =
            ["state", "other life", "foreign"].map(|name| victim.dir.path().join(name));
        for number in 1..=5 {
            victim.change(&mut random);
            // Numbers and names are the same in all three; what they are of is not.
            victim.checkpoint(&state, number, &KEY);
            if number == 3 {
                copy(&state, &victim.older());
            }
            if number == 4 {
                store::manifest::remove(&state.join("checkpoints"), 2).unwrap();
                victim.told.remove(&2);
                victim.states.remove(&2);
                let wanted = victim.states.values().map(|state| &state.manifest);
                let stored = |number| store::manifest::get(&state.join("checkpoints"), number).unwrap();
                let mut wanted: std::collections::HashSet<_> = wanted
                    .flat_map(|manifest| manifest.parts.iter().flat_map(crate::manifest::Part::chunks))
                    .collect();
                for (number, state) in &victim.states {
                    let stored = crate::manifest::stored::Stored::decode(*number, &stored(*number)).unwrap();
                    wanted.extend(stored.chunks(&state.manifest));
                }
                Chunks::open(&state.join("chunks"), &KEY).unwrap().prune(&wanted, &mut |_| ()).unwrap();
            }
        }
        let (told, states) = (victim.told.clone(), std::mem::take(&mut victim.states));
        for number in 1..=5 {
            victim.change(&mut random);
            victim.checkpoint(&other, number, &KEY);
            victim.checkpoint(&foreign, number, &[8; 32]);
        }
        (victim.told, victim.states) = (told, states);
        victim
    }

    pub(super) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The repository as it was after its third checkpoint.
    pub(super) fn older(&self) -> PathBuf {
        self.dir.path().join("older")
    }

    /// A repository under the same keys, of which the log does not tell.
    pub(super) fn other_life(&self) -> PathBuf {
        self.dir.path().join("other life")
    }

    /// A repository under another key.
    pub(super) fn foreign(&self) -> PathBuf {
        self.dir.path().join("foreign")
    }

    /// A copy of the repository, to be attacked.
    pub(super) fn copy(&self) -> tempfile::TempDir {
        let to = tempfile::tempdir_in(self.dir.path()).unwrap();
        copy(&self.state(), to.path());
        to
    }

    /// Whether a copy holds anything else than the repository.
    pub(super) fn differs(&self, of: &Path) -> bool {
        ["checkpoints", "chunks", "chunks/packs"].iter().any(|folder| {
            let [mine, its] = [&self.state(), of].map(|dir| files(&dir.join(folder)));
            let name = |path: &PathBuf| path.file_name().map(std::ffi::OsStr::to_owned);
            mine.iter().map(name).ne(its.iter().map(name))
                || mine
                    .iter()
                    .zip(&its)
                    .any(|(one, other)| fs::read(one).unwrap() != fs::read(other).unwrap())
        })
    }

    pub(super) fn pictures(&self) -> [Picture; 2] {
        self.roots.each_ref().map(|root| picture(root))
    }

    /// Some files come, change and go; so do tokens.
    fn change(&mut self, random: &mut Random) {
        for root in &self.roots {
            fs::create_dir_all(root.join("sub/deep")).unwrap();
            for name in ["a", "b", "c", "sub/d", "sub/e", "sub/deep/f", "sub/deep/g"] {
                let path = root.join(name);
                match random.below(4) {
                    0 => {}
                    1 => drop(fs::remove_file(&path)),
                    _ => fs::write(&path, noise(random.below(30_000), random.next())).unwrap(),
                }
            }
            // One that is never empty and never the same, and one with two names.
            fs::write(root.join("always"), noise(2_000 + random.below(70_000), random.next())).unwrap();
            fs::write(root.join("sub/named"), noise(1 + random.below(9_000), random.next())).unwrap();
            if !root.join("twice").exists() {
                fs::hard_link(root.join("sub/named"), root.join("twice")).unwrap();
                symlink("sub/named", root.join("link")).unwrap();
            }
            set_mode(&root.join("always"), *random.pick(&[0o600, 0o640, 0o4755]));
        }
        let token = u16::try_from(random.below(usize::from(TOKENS))).unwrap();
        self.bank.held.insert(token, u32::try_from(random.below(1000)).unwrap());
    }

    fn checkpoint(&mut self, state: &Path, number: u64, key: &[u8; 32]) {
        fs::create_dir_all(state).unwrap();
        let mut chunks = Chunks::open(&state.join("chunks"), key).unwrap();
        let roots = super::super::tree::open(&self.roots);
        let machine = Machine { roots: &roots, tokens: Some(&mut self.bank), ..Machine::default() };
        let name = format!("checkpoint {number}");
        let manifest =
            restore::capture(machine, &mut chunks, number, &name, Time::default()).unwrap().manifest;
        let unsigned = manifest.store(&mut chunks).unwrap();
        let signature = self.signer.sign(&unsigned.statement.to_string());
        self.told.insert(number, unsigned.statement.manifest);
        let stored = unsigned.sign(signature, self.signer.public.key_id().to_vec());
        store::manifest::put(&state.join("checkpoints"), number, &stored.encode().unwrap()).unwrap();
        let (pictures, tokens) = (self.pictures(), self.bank.held.clone());
        self.states.insert(number, State { manifest, pictures, tokens });
    }
}
