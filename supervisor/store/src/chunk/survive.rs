//! Runs of survival: the chunk store on a disk that crashes anywhere, and in the hands of somebody who can write the disk.
//!
//! `cargo test` runs a sample of each; `make survive WHAT=store` runs them whole. Each run ends with one line that
//! `scripts/survive.sh` reads.

mod crashes;
mod tampering;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;
use crate::disk::sim::Sim;
use crate::log::tests::Choices;

const KEY: [u8; 32] = [9; 32];
/// Small packs, so that a short run fills several.
const PACK_BYTES: u64 = 3000;
/// Steps of a run.
const STEPS: usize = 7;

/// Chunks by their addresses.
type Contents = BTreeMap<ChunkId, Vec<u8>>;

fn dir() -> &'static Path {
    Path::new("/store")
}

/// How much of a whole run is done: `SURVIVE_STORE` is the number of trials.
fn times(sample: usize) -> usize {
    std::env::var("SURVIVE_STORE").ok().and_then(|text| text.parse().ok()).unwrap_or(sample)
}

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// One line of a figure.
fn tell(metric: &str, violations: usize, tried: usize, more: &str) {
    println!(
        "figure {{\"variant\":\"store\",\"metric\":\"{metric}\",\"samples\":[{violations}],\"goal\":0,\"notes\":[],\"more\":{{\"tried\":{tried},\"seed\":{}{more}}}}}",
        seed()
    );
}

/// Opens the store with small packs whose names follow from `seed`: the same run leaves the same bytes, so that states can be
/// told apart by them.
fn open(disk: &Sim, seed: u64) -> Result<Chunks, Error> {
    let chunks = Chunks::open_on(Arc::new(disk.clone()), dir(), &KEY)?;
    let count = AtomicU64::new(0);
    let mut packs = lock(&chunks.packs);
    packs.pack_bytes = PACK_BYTES;
    packs.identity = Box::new(move || {
        let mut random = Choices(seed.wrapping_mul(1_000_003).wrapping_add(count.fetch_add(1, Relaxed)));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random.next().to_le_bytes());
        id[8..].copy_from_slice(&random.next().to_le_bytes());
        Ok(id)
    });
    drop(packs);
    Ok(chunks)
}

/// A store that is empty and durable.
fn empty() -> Sim {
    let disk = Sim::default();
    open(&disk, 0).unwrap();
    disk.copy()
}

/// A chunk: small or large, compressible or not, and sometimes one that was there before.
fn content(random: &mut Choices) -> Vec<u8> {
    let sizes = [0, 1, 100, 450, 512, 900, 1500, 2900];
    let size = sizes[usize::try_from(random.next()).unwrap() % sizes.len()];
    let (mut seed, is_text) = (Choices(random.next() % 64), random.next().is_multiple_of(3));
    (0..size).map(|at| if is_text { b"text of it "[at % 11] } else { seed.next().to_le_bytes()[0] }).collect()
}

/// What a run has done, and what of it must stay.
#[derive(Debug, Default)]
struct Story {
    /// The chunks of checkpoints that are durable and not given up.
    kept: Vec<Contents>,
    /// Everything that was ever put: what else may be found.
    ever: Contents,
}

impl Story {
    /// Tells stories apart by what they ask of a store.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.wanted().into_iter().collect::<BTreeSet<_>>().hash(&mut hasher);
        self.ever.len().hash(&mut hasher);
        hasher.finish()
    }

    fn wanted(&self) -> HashSet<ChunkId> {
        self.kept.iter().flat_map(|contents| contents.keys().copied()).collect()
    }
}

/// Works on a store until something fails.
fn run(disk: &Sim, seed: u64) -> Story {
    let mut story = Story::default();
    let mut random = Choices(seed);
    let Ok(mut chunks) = open(disk, seed) else { return story };
    for _ in 0..STEPS {
        if step(&mut chunks, &mut story, &mut random).is_err() {
            break;
        }
    }
    story
}

fn step(chunks: &mut Chunks, story: &mut Story, random: &mut Choices) -> Result<(), Error> {
    if random.next() % 5 < 3 {
        let mut checkpoint = Contents::new();
        for _ in 0..1 + random.next() % 5 {
            let plain = content(random);
            story.ever.insert(chunks.id(&plain), plain.clone());
            checkpoint.insert(chunks.put(&plain)?, plain);
        }
        chunks.sync()?;
        story.kept.push(checkpoint);
        return Ok(());
    }
    // From here on nobody counts on what is given up.
    if !story.kept.is_empty() {
        let given_up = usize::try_from(random.next()).unwrap() % story.kept.len();
        story.kept.remove(given_up);
    }
    chunks.prune(&story.wanted(), &mut |_| ()).map(drop)
}

/// What is wrong with a store, if anything: what must stay is not there, or something is there that nobody put.
fn fault_of(chunks: &Chunks, story: &Story) -> Option<String> {
    for (id, plain) in story.kept.iter().flatten() {
        match chunks.get(id) {
            Ok(found) if &found == plain => {}
            Ok(_) => return Some(format!("{id} is another")),
            Err(error) => return Some(format!("{id}: {error}")),
        }
    }
    chunks.ids().find_map(|id| match chunks.get(id) {
        Ok(found) if story.ever.get(id) == Some(&found) => None,
        Ok(_) => Some(format!("{id} was never put")),
        Err(error) => Some(format!("{id}, not wanted: {error}")),
    })
}
