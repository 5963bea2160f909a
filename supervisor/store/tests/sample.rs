//! A log of each format version opens for ever, as what was written with it does: `tests/data/log-v1` and what is beside it.
//!
//! ```text
//! log/                what a run left: files of entries and heads, checkpoint, tiles, snapshots, the mark `archived`
//! archive/            the files of its first entries
//! key.pem             the key that signed the heads; its private half was thrown away
//! kept                an older head, as a verifier keeps it
//! entry.tlog-proof    the proof of an entry
//! ```
//!
//! A sample is never written again. `cargo test -p store --test sample -- --ignored` makes one that is not there: of a version that is
//! not released yet.

#![expect(clippy::unwrap_used, reason = "helpers of tests, where a failure is a finding")]

use std::fs;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use store::head::{Head, PublicKey, SignedHead};
use store::log::{Config, Log};
use store::proof::Proof;
use store::snapshot;
use store::tiles::prover::Prover;
use store::verify::{verify, verify_by};

/// Small files: the sample is kept in the repository.
const SMALL: Config = Config { segment_bytes: 12 << 10, step_bytes: 4 << 10, reserve_bytes: 256 };
const ENTRIES: u64 = 700;
const KEPT: u64 = 310;
const ARCHIVED_BEFORE: u64 = 400;
const SNAPSHOTS: [u64; 2] = [500, 640];
const PROVEN: u64 = 123;
const ORIGIN: &str = "dsmil.sample/log-v1";
const ID: [u8; 16] = *b"sample of log v1";

fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/log-v1").join(name)
}

/// A record of version 1 as CBOR: a boot, two times, and “stopped”, a second after the one before.
fn entry(index: u64) -> Vec<u8> {
    let wall = 1_795_248_000_000_000_000_u64 + index * 1_000_000_000;
    let mut bytes = vec![0xA5, 0x00, 0x01, 0x01, 0x50];
    bytes.extend([0x51; 16]);
    bytes.extend([0x02, 0x1B]);
    bytes.extend((index * 1_000_000_000).to_be_bytes());
    bytes.extend([0x03, 0x1B]);
    bytes.extend(wall.to_be_bytes());
    bytes.extend([0x04, 0x82, 0x01, 0xA0]);
    bytes
}

fn state(entries: u64) -> Vec<u8> {
    format!("the state after {entries} entries").into_bytes()
}

/// A copy that may be opened for writing.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

fn key() -> PublicKey {
    PublicKey::from_pem(&fs::read_to_string(data("key.pem")).unwrap()).unwrap()
}

fn kept() -> SignedHead {
    SignedHead::parse(&fs::read_to_string(data("kept")).unwrap()).unwrap()
}

#[test]
fn a_log_of_version_1_verifies_under_its_key_and_a_kept_head() {
    let (key, kept) = (key(), kept());
    kept.verify(&key).unwrap();
    assert_eq!(kept.head().size, KEPT);
    let report = verify(&data("log"), Some(&key), Some(kept.head())).unwrap();
    assert_eq!((report.id, report.entries, report.covered), (ID, ENTRIES, ENTRIES));
    assert!(report.signed && report.trusted && report.torn_bytes == 0);
    assert!(report.archived > 256 && report.archived <= ARCHIVED_BEFORE, "{}", report.archived);
    assert_eq!(report.head.unwrap().origin, ORIGIN);
    // Another head is none of this log's.
    let other = Head { root: types::hash::Hash([1; 32]), ..kept.head().clone() };
    assert!(verify(&data("log"), Some(&key), Some(&other)).is_err());
}

#[test]
fn its_entries_are_read_from_the_log_and_its_archive() {
    let archived = store::log::archived(&data("log")).unwrap();
    let from = |dir: &str, from: u64| store::log::read(&data(dir), from).unwrap().map(Result::unwrap);
    let old = from("archive", 0).take_while(|(index, _)| *index < archived);
    let all: Vec<_> = old.chain(from("log", archived)).collect();
    assert_eq!(all.len() as u64, ENTRIES);
    for (index, bytes) in all {
        assert_eq!(bytes, entry(index), "entry {index}");
    }
}

#[test]
fn its_entries_are_proven_and_its_heads_consistent() {
    let mut prover = Prover::open(&data("log")).unwrap();
    let head = prover.newest().clone();
    head.verify(&key()).unwrap();
    for index in [0, PROVEN, 255, 256, 511, 512, ENTRIES - 1] {
        let proof = prover.inclusion(index, ENTRIES).unwrap();
        assert!(proof.verify() && proof.root == head.head().root, "entry {index}");
        Proof::new(entry(index), proof, head.clone()).unwrap().verify(&key()).unwrap();
    }
    let consistent = prover.consistency(KEPT, ENTRIES).unwrap();
    assert!(consistent.verify());
    assert_eq!((consistent.from_root, consistent.to_root), (kept().head().root, head.head().root));
}

#[test]
fn the_proof_of_an_entry_needs_the_key_alone() {
    let proof = Proof::parse(&fs::read_to_string(data("entry.tlog-proof")).unwrap()).unwrap();
    proof.verify(&key()).unwrap();
    assert_eq!((proof.index(), proof.entry()), (PROVEN, entry(PROVEN).as_slice()));
}

#[test]
fn it_is_exported_and_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let archive = data("archive");
    let exported = store::log::export(&data("log"), Some(&archive), &place("tree"), &mut |_| ()).unwrap();
    assert_eq!((exported.size, exported.first), (ENTRIES, 0));
    let bundle = fs::read(place("tree/tile/entries/000")).unwrap();
    assert!(bundle.windows(entry(PROVEN).len()).any(|part| part == entry(PROVEN)));
    let salvaged = store::log::salvage(&data("log"), &place("new"), Some(&archive), &mut |_| ()).unwrap();
    assert!(salvaged.is_whole && salvaged.copied == ENTRIES, "{salvaged:?}");
    let mut next = 0;
    let log = Log::open(&place("new"), &SMALL, &mut |index, bytes| {
        assert_eq!((index, bytes), (next, entry(next).as_slice()));
        next += 1;
    });
    assert_eq!(log.unwrap().size(), ENTRIES);
}

#[test]
fn it_starts_from_its_snapshots_and_goes_on() {
    for entries in SNAPSHOTS {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("log");
        copy(&data("log"), &dir);
        let found = snapshot::read(&dir, entries).unwrap();
        assert_eq!((found.start.entries(), &found.state), (entries, &state(entries)));
        let mut next = entries;
        let mut log = Log::open_at(&dir, &SMALL, &found.start, &mut |index, bytes| {
            assert_eq!((index, bytes), (next, entry(next).as_slice()));
            next += 1;
        })
        .unwrap();
        assert_eq!((next, log.size()), (ENTRIES, ENTRIES));
        let newest = log.newest_head().unwrap().head().clone();
        log.append(&[entry(ENTRIES)]).unwrap();
        drop(log);
        let report = verify_by(&dir, &[key()], Some(&newest), &mut |_| ()).unwrap();
        assert_eq!((report.entries, report.covered), (ENTRIES + 1, ENTRIES));
        assert_eq!(snapshot::list(&dir).unwrap(), SNAPSHOTS);
    }
}

/// Makes the sample, once: one that is there stays as it is.
#[test]
#[ignore = "makes a sample that is not there yet; those that are there are never written again"]
fn make_the_sample() {
    let (dir, place) = (data("log"), data(""));
    assert!(!place.exists(), "{} is there, and never written again", place.display());
    fs::create_dir_all(&place).unwrap();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let key = PublicKey::from_point(x.try_into().unwrap(), y.try_into().unwrap()).unwrap();
    fs::write(data("key.pem"), key.to_pem()).unwrap();
    let mut log = Log::create(&dir, ID, &SMALL).unwrap();
    let sign = |log: &mut Log| {
        let head = log.head(ORIGIN, vec!["counter 7".to_owned()]);
        let signature = pair.sign(&SystemRandom::new(), head.text().unwrap().as_bytes()).unwrap();
        log.store_head(&SignedHead::assemble(head, &key, signature.as_ref()).unwrap()).unwrap();
    };
    let mut next = 0;
    while next < ENTRIES {
        let end = [KEPT, SNAPSHOTS[0], SNAPSHOTS[1], ENTRIES].into_iter().find(|stop| *stop > next).unwrap();
        let end = end.min(next + 1 + next % 9);
        log.append(&(next..end).map(entry).collect::<Vec<_>>()).unwrap();
        next = end;
        if next % 4 == 0 || next == KEPT || next == ENTRIES {
            sign(&mut log);
        }
        if next == KEPT {
            fs::copy(dir.join("checkpoint"), data("kept")).unwrap();
        }
        if SNAPSHOTS.contains(&next) {
            snapshot::write(&dir, &log.start().unwrap(), &state(next)).unwrap();
        }
    }
    drop(log);
    let mut prover = Prover::open(&dir).unwrap();
    let (head, inclusion) = (prover.newest().clone(), prover.inclusion(PROVEN, ENTRIES).unwrap());
    let proof = Proof::new(entry(PROVEN), inclusion, head).unwrap();
    fs::write(data("entry.tlog-proof"), proof.text().unwrap()).unwrap();
    store::log::archive(&dir, &data("archive"), ARCHIVED_BEFORE, &mut |_| ()).unwrap();
    for lock in ["log/lock", "log/archive.lock"] {
        let _ = fs::remove_file(data(lock));
    }
}
