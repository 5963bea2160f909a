//! Variant `start`: a log of ten million entries opens from a snapshot, is proven from, and read in its middle.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde_json::{Map, json};
use store::head::{PublicKey, SignedHead};
use store::log::{Config, Log};
use store::snapshot;
use store::tiles::prover::Prover;
use tests::bench::{Arm, Better, Figure, ROUNDS, Scratch, alternate};
use types::hash::Hash;

/// Entries of the log.
const ENTRIES: u64 = 10_000_000;
/// The size of an entry, in bytes; a fact has some 100.
const ENTRY_BYTES: usize = 104;
/// Entries in one batch.
const BATCH: u64 = 5_000;
/// From one head to the next, in entries.
const HEADS_EVERY: u64 = 500_000;
/// The daemon writes a snapshot each 100,000 facts: this is the longest way from one to the end, and to a fact of the past.
const REPLAYED: u64 = 100_000;
/// The snapshot from which the past is read.
const MIDDLE: u64 = 5_000_000;
/// The size of the state in a snapshot, in bytes.
const STATE_BYTES: usize = 4 << 20;
/// What opening may take, in seconds.
const LIMIT_S: f64 = 2.0;

/// What a round gives, in seconds.
struct Round {
    open: f64,
    proof: f64,
    past: f64,
}

/// With nothing of it in memory, and with all of it.
///
/// # Errors
///
/// The log cannot be written, or is not what was written when it is opened.
pub fn figures(scratch: &Scratch) -> anyhow::Result<Vec<Figure>> {
    let dir = scratch.path().join("start");
    eprintln!("writing {ENTRIES} entries …");
    let root = fill(&dir)?;
    // What is not on the disk yet would stay in memory.
    nix::unistd::sync();
    let mut arms: Vec<Arm<'_, Round>> = vec![
        (
            "cold",
            Box::new(|| {
                forget(&dir)?;
                round(&dir, root)
            }),
        ),
        ("warm", Box::new(|| round(&dir, root))),
    ];
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let began = Instant::now();
    let whole = Log::open(&dir, &Config::default(), &mut |_, _| ())?;
    let whole_s = began.elapsed().as_secs_f64();
    ensure!(whole.root() == root, "the whole log has another root");
    let of = |arm, value: fn(&Round) -> f64| -> Vec<f64> {
        results.get(arm).map(|rounds| rounds.iter().map(value).collect()).unwrap_or_default()
    };
    let figure = |metric, ours: Vec<f64>, note: &str, more: Map<_, _>| Figure {
        variant: "start",
        metric,
        better: Better::Lower,
        ours,
        peers: vec![],
        notes: vec![note.into()],
        more,
    };
    let goal = Map::from_iter([
        ("goal_absolute".to_owned(), json!(LIMIT_S)),
        ("whole_s".to_owned(), json!((whole_s * 100.0).round() / 100.0)),
    ]);
    let what = "10,000,000 entries of 104 B, from a snapshot 100,000 before the end with a state of 4 MiB";
    let opening = format!(
        "{what}; the entries behind it are read and hashed, not folded; opening the whole without snapshot took {whole_s:.1} s, once"
    );
    let past = "the snapshot in the middle and the 99,999 entries behind it, read and not folded";
    Ok(vec![
        figure(
            "s to open the log, nothing of it in memory",
            of("cold", |round| round.open),
            &opening,
            goal.clone(),
        ),
        figure("s to open the log, all of it in memory", of("warm", |round| round.open), &opening, goal),
        figure(
            "ms to a first proof of an entry in the middle, nothing of it in memory",
            of("cold", |round| round.proof * 1e3),
            "the tiles of the tree are read, checked against the newest head",
            Map::new(),
        ),
        figure(
            "s to read the past, nothing of it in memory",
            of("cold", |round| round.past),
            past,
            Map::new(),
        ),
    ])
}

fn entry(index: u64) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let marks = index.to_le_bytes().into_iter().cycle();
    entry.iter_mut().zip(marks).for_each(|(byte, mark)| *byte = mark);
    entry
}

/// Writes the log and its snapshots; its root.
fn fill(dir: &Path) -> anyhow::Result<Hash> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok().context("making a key")?;
    let mut log = Log::create(dir, [3; 16], &Config::default())?;
    let state = vec![1; STATE_BYTES];
    while log.size() < ENTRIES {
        let first = log.size();
        log.append(&(first..first + BATCH).map(entry).collect::<Vec<_>>())?;
        log.prepare()?;
        if log.size() == ENTRIES - REPLAYED || log.size() == MIDDLE {
            snapshot::write(dir, &log.start()?, &state)?;
        }
        if log.size().is_multiple_of(HEADS_EVERY) {
            let head = log.head("dsmil.bench/log", vec![]);
            let signature = key.sign(&SystemRandom::new(), head.text()?.as_bytes());
            let signature = signature.ok().context("signing a head")?;
            log.store_head(&SignedHead::assemble(head, &public(&key)?, signature.as_ref())?)?;
        }
    }
    Ok(log.root())
}

fn public(key: &EcdsaKeyPair) -> anyhow::Result<PublicKey> {
    let point = key.public_key().as_ref();
    let part = |range| point.get(range).and_then(|part: &[u8]| part.try_into().ok()).context("a short key");
    Ok(PublicKey::from_point(part(1..33)?, part(33..65)?)?)
}

fn round(dir: &Path, root: Hash) -> anyhow::Result<Round> {
    let began = Instant::now();
    let newest = snapshot::list(dir)?.into_iter().max().context("there is no snapshot")?;
    let snapshot = snapshot::read(dir, newest)?;
    let mut replayed = 0;
    let log = Log::open_at(dir, &Config::default(), &snapshot.start, &mut |_, _| replayed += 1)?;
    let open = began.elapsed().as_secs_f64();
    ensure!((log.root(), replayed) == (root, REPLAYED), "{replayed} entries were read, or others");
    drop(log);
    let began = Instant::now();
    let mut prover = Prover::open(dir)?;
    prover.inclusion(MIDDLE - 4_711, ENTRIES)?;
    let proof = began.elapsed().as_secs_f64();
    ensure!(prover.mended() == 0, "the proof came from entries, not from tiles");
    let began = Instant::now();
    let middle = snapshot::read(dir, MIDDLE)?;
    ensure!(middle.state.len() == STATE_BYTES, "another state");
    let mut next = MIDDLE;
    for found in store::log::read(dir, MIDDLE)? {
        let (index, bytes) = found?;
        if index >= MIDDLE + REPLAYED - 1 {
            break;
        }
        if index >= MIDDLE {
            ensure!((index, bytes.as_slice()) == (next, entry(next).as_slice()), "entry {index} is another");
            next += 1;
        }
    }
    ensure!(next == MIDDLE + REPLAYED - 1, "the past ends at {next}");
    Ok(Round { open, proof, past: began.elapsed().as_secs_f64() })
}

/// Has the kernel forget what it holds of the files of a folder; all of it is on the disk.
fn forget(dir: &Path) -> anyhow::Result<()> {
    for file in files(dir)? {
        posix_fadvise(File::open(file)?, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { found.append(&mut files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}
