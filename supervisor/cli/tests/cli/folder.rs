//! A log in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use store::head::{PublicKey, SignedHead};
use store::log::{Config, Log};

use crate::daemon::{Output, command};

/// A record of the log as CBOR by hand, so that a change of the encoding shows here: version 1, a boot, two times, and
/// “stopped” (variant 1 without fields).
pub fn record(second: u8) -> Vec<u8> {
    record_at(second.into())
}

/// The same of a later second.
pub fn record_at(second: u16) -> Vec<u8> {
    let wall = 1_795_248_000_000_000_000i64 + i64::from(second) * 1_000_000_000;
    let mut bytes = vec![0xA5, 0x00, 0x01, 0x01, 0x50];
    bytes.extend([second.to_be_bytes()[1]; 16]);
    bytes.extend([0x02, 0x00, 0x03, 0x1B]);
    bytes.extend(wall.to_be_bytes());
    bytes.extend([0x04, 0x82, 0x01, 0xA0]);
    bytes
}

pub struct Folder {
    dir: tempfile::TempDir,
    log: Option<Log>,
    pair: EcdsaKeyPair,
}

impl Folder {
    /// With entries 0 to 4, each in a batch of its own.
    pub fn new() -> Self {
        Self::empty().with((0..5).map(|second| vec![record(second)]))
    }

    /// With entries 0 to 999 in many files, a second apart, ten in each batch.
    pub fn long() -> Self {
        Self::small().with((0..100).map(|batch| (batch * 10..batch * 10 + 10).map(record_at).collect()))
    }

    /// Without entries, in small files.
    pub fn small() -> Self {
        Self::of(&Config { segment_bytes: 8 << 10, step_bytes: 2 << 10, reserve_bytes: 0 })
    }

    /// As a new one before its first entry.
    pub fn empty() -> Self {
        Self::of(&Config { segment_bytes: 1 << 20, step_bytes: 64 << 10, reserve_bytes: 0 })
    }

    fn of(config: &Config) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("log"), [7; 16], config).unwrap();
        Self { dir, log: Some(log), pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap() }
    }

    fn with(mut self, batches: impl Iterator<Item = Vec<Vec<u8>>>) -> Self {
        for batch in batches {
            self.log().append(&batch).unwrap();
        }
        self
    }

    /// The log as its writer has it.
    pub fn log(&mut self) -> &mut Log {
        self.log.as_mut().unwrap()
    }

    /// The writer ends.
    pub fn close(&mut self) {
        self.log = None;
    }

    pub fn path(&self) -> PathBuf {
        self.beside("log")
    }

    /// Something beside the log.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Signs it as it is, and writes the public key beside it.
    pub fn sign(&mut self) -> PathBuf {
        let head = self.log().head("dsmil.test/log", vec![]);
        let signature = self.pair.sign(&SystemRandom::new(), head.text().unwrap().as_bytes()).unwrap();
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let key = PublicKey::from_point(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
        self.log().store_head(&SignedHead::assemble(head, &key, signature.as_ref()).unwrap()).unwrap();
        let path = self.beside("key.pem");
        fs::write(&path, key.to_pem()).unwrap();
        path
    }

    /// Runs the command on it, where no daemon is.
    pub fn dsmil(&self, arguments: &[&str]) -> Output {
        let mut command = command(Path::new("/nonexistent/socket"));
        Output::of(command.args(arguments).arg("--dir").arg(self.path()))
    }

    /// The answer to it as JSON.
    #[track_caller]
    pub fn answer(&self, arguments: &[&str]) -> serde_json::Value {
        let text = self.dsmil(&[arguments, &["--json"]].concat()).out;
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["answer"].take()
    }
}

/// Every file below a folder: its path there, and what it holds.
pub fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => found.push((path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap())),
            }
        }
    }
    found.sort();
    found
}

/// The hash of an entry as a leaf of the tree.
pub fn leaf(entry: &[u8]) -> Vec<u8> {
    let prefixed: Vec<u8> = [0].iter().chain(entry).copied().collect();
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &prefixed).as_ref().to_vec()
}

/// Flips a bit of the time in the record of an entry.
pub fn flip(dir: &Path, second: u8) {
    let wanted = record(second);
    for file in fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
        let mut bytes = fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            bytes[at + 30] ^= 1;
            return fs::write(file, bytes).unwrap();
        }
    }
    panic!("the entry is nowhere");
}
