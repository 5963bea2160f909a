//! Variant `start`: a log of ten million facts opens from a snapshot as the daemon opens it, is proven from, and read in its middle.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use engine::fact::Level;
use engine::{Fact, Record, State, evolve};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use policy::Rules;
use recovery::replay;
use serde_json::{Map, json};
use store::head::{PublicKey, SignedHead};
use store::log::{Config, Log};
use store::snapshot;
use store::tiles::prover::Prover;
use tests::bench::{Arm, Better, Figure, ROUNDS, Scratch, alternate};
use types::hash::Hash;
use types::time::{BootId, Time};

/// Facts of the log.
const ENTRIES: u64 = 10_000_000;
/// Facts in one batch, and under each further head: a busy daemon signs one each second.
const BATCH: u64 = 1_000;
/// The daemon writes a snapshot each 100,000 facts: this is the longest way from one to the end, and to a fact of the past.
const REPLAYED: u64 = 100_000;
/// The snapshot from which the past is read.
const MIDDLE: u64 = 5_000_000;
/// Zones whose heat the facts are about: what there is to remember of them is what the snapshots hold.
const ZONES: u64 = 5_000;
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
    let bytes = record(0)?.len();
    let opening = format!(
        "10,000,000 facts of {bytes} B and a head for each 1,000, from a snapshot 100,000 before the end with {ZONES} zones; those behind it are \
         read, hashed, decoded and folded; reading and hashing the whole without a snapshot took {whole_s:.1} s, once"
    );
    let past = "the snapshot in the middle and the 99,999 facts behind it, decoded and folded";
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

/// The fact at a place, as the daemon records it.
fn record(index: u64) -> anyhow::Result<Vec<u8>> {
    let time = Time {
        boot: BootId([5; 16]),
        boottime_ns: index * 1_000_000,
        wall_ns: i64::try_from(index)? * 1_000_000,
    };
    let level = if index.is_multiple_of(2) { Level::Warning } else { Level::Normal };
    let zone = format!("zone-{}", index % ZONES);
    Ok(Record::new(time, Fact::Heat { zone, level, millicelsius: Some(61_000) }).encode()?)
}

fn empty() -> State {
    State::new(Rules::default())
}

fn fold(state: &mut State, bytes: &[u8]) -> anyhow::Result<()> {
    evolve(state, &Record::decode(bytes)?);
    Ok(())
}

/// Writes the log and its snapshots; its root. Where a snapshot is named, that is the fact.
fn fill(dir: &Path) -> anyhow::Result<Hash> {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).ok().context("making a key")?;
    let mut log = Log::create(dir, [3; 16], &Config::default())?;
    let (mut state, mut named) = (empty(), None);
    while log.size() < ENTRIES {
        let first = log.size();
        let mut batch = (first..first + BATCH).map(record).collect::<Result<Vec<_>, _>>()?;
        if let (Some((facts, hash)), Some(fact)) = (named.take(), batch.first_mut()) {
            let time = Time { boot: BootId([5; 16]), boottime_ns: 0, wall_ns: 0 };
            *fact = Record::new(time, Fact::Snapshotted { facts, hash }).encode()?;
        }
        batch.iter().try_for_each(|bytes| fold(&mut state, bytes))?;
        log.append(&batch)?;
        log.prepare()?;
        if log.size() == ENTRIES - REPLAYED || log.size() == MIDDLE {
            let hash = snapshot::write(dir, &log.start()?, &engine::snapshot::encode(&state)?)?;
            named = Some((log.size(), hash.0));
        }
        let head = log.head("dsmil.bench/log", vec![]);
        let signature = key.sign(&SystemRandom::new(), head.text()?.as_bytes());
        let signature = signature.ok().context("signing a head")?;
        log.store_head(&SignedHead::assemble(head, &public(&key)?, signature.as_ref())?)?;
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
    let replay::Replayed { log, state, from, passed_over } =
        replay::replay(dir, &Config::default(), &empty())?;
    let open = began.elapsed().as_secs_f64();
    ensure!(passed_over.is_empty(), "the newest snapshot is not used: {passed_over:?}");
    ensure!(
        (log.root(), state.facts, from) == (root, ENTRIES, ENTRIES - REPLAYED),
        "it was opened from {from}, or is another"
    );
    drop((log, state));
    let began = Instant::now();
    let mut prover = Prover::open(dir)?;
    prover.inclusion(MIDDLE - 4_711, ENTRIES)?;
    let proof = began.elapsed().as_secs_f64();
    ensure!(prover.mended() == 0, "the proof came from entries, not from tiles");
    let began = Instant::now();
    let mut past = engine::snapshot::decode(&snapshot::read(dir, MIDDLE)?.state, Rules::default())?;
    for found in store::log::read(dir, MIDDLE)? {
        let (index, bytes) = found?;
        if index >= MIDDLE + REPLAYED - 1 {
            break;
        }
        if index >= MIDDLE {
            fold(&mut past, &bytes)?;
        }
    }
    ensure!(past.facts == MIDDLE + REPLAYED - 1, "the past ends at {}", past.facts);
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
