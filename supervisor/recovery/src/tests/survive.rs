//! Runs of survival: a restore that a power cut stops at any operation, on a file system that loses what was not flushed.
//!
//! The model is that of `docs/checkpoints.md`: operations on metadata are kept in their order, so a cut leaves those up to one of them; bytes that
//! were written and not flushed are there, or zeros, or nothing. `cargo test` runs a sample, `make survive WHAT=rollback` the whole.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use store::chunk::Chunks;

use super::property::{Act, act, change_tree, perform, without_pipes};
use super::random::{Random, seed};
use super::tree::*;
use crate::manifest::Manifest;
use crate::restore::{Outcome, abandon, resume};
use crate::worker::Worker;
use crate::worker::effect::Way;
use crate::worker::ops::fault::{self, Loss};

/// States in a sample.
const SAMPLE: usize = 1_000;
/// Of so many states one is cut again while it is put right.
const AGAIN: u64 = 4;

/// How much is done: `SURVIVE_ROLLBACK` is the number of states.
fn times() -> usize {
    std::env::var("SURVIVE_ROLLBACK").ok().and_then(|text| text.parse().ok()).unwrap_or(SAMPLE)
}

/// Two states of two roots, each with its checkpoint.
struct Scene {
    dir: tempfile::TempDir,
    roots: [PathBuf; 2],
    chunks: Chunks,
    states: [(Manifest, [Picture; 2]); 2],
    now: usize,
}

fn acts(seed: u64, count: std::ops::Range<usize>) -> Vec<Act> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    prop::collection::vec(act(), count).new_tree(&mut runner).unwrap().current()
}

fn pictures(roots: &[PathBuf; 2]) -> [Picture; 2] {
    roots.each_ref().map(|root| picture(root))
}

impl Scene {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let roots = ["one", "two"].map(|name| dir.path().join("roots").join(name));
        for (root, place) in roots.iter().zip(0..) {
            std::fs::create_dir_all(root).unwrap();
            for act in without_pipes(&acts(4 * seed + place, 1..25)) {
                perform(root, &act);
            }
        }
        let mut chunks = Chunks::open(&dir.path().join("store"), &KEY).unwrap();
        let first = (capture(&roots, &mut chunks), pictures(&roots));
        for (root, place) in roots.iter().zip(0..) {
            change_tree(root, &picture(root), &acts(4 * seed + 2 + place, 1..15));
        }
        let second = (capture(&roots, &mut chunks), pictures(&roots));
        Self { dir, roots, chunks, states: [first, second], now: 1 }
    }

    fn other(&self) -> usize {
        1 - self.now
    }

    fn worker(&self) -> Worker {
        Worker::new(&self.roots).unwrap()
    }

    fn restore(&self, to: usize) {
        restore(&self.roots, &self.states[to].0, &self.chunks, &mut self.worker()).unwrap();
    }

    /// What is not as in a state.
    fn unlike(&self, state: usize, when: &str) -> Option<String> {
        let now = pictures(&self.roots);
        let differing = now.iter().zip(&self.states[state].1).flat_map(|(now, want)| unlike(now, want));
        let differing: Vec<_> = differing.collect();
        (!differing.is_empty()).then(|| format!("{when}: {differing:?}"))
    }

    /// A root that is neither old nor new, which only a restore in place may leave.
    fn mixed(&self, to: usize) -> Option<String> {
        let now = pictures(&self.roots);
        (0..2).find_map(|root| {
            let (old, new) = (&self.states[self.now].1[root], &self.states[to].1[root]);
            let neither = now[root] != *old && unlike_but_for_access(&now[root], new);
            neither.then(|| format!("root {root} is mixed: {:?}", unlike(&now[root], new)))
        })
    }

    /// Tells states apart by all that is there, but for times, and for the journal, which holds inode numbers.
    fn fingerprint(&self, seed: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        for (path, seen) in picture(&self.dir.path().join("roots")) {
            let content = if path.ends_with(b"/journal") { &[] } else { seen.content.as_slice() };
            (&path, &seen.what, content, seen.mode, seen.owner, &seen.xattrs, &seen.first).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Ends what the cut left, in one of two ways; gives what is wrong then.
    fn put_right(&mut self, to: usize, random: &mut Random) -> Option<String> {
        let back = random.one_in(2);
        if random.one_in(AGAIN) {
            let twice = cut(random.next() % 60, || {
                let mut worker = self.worker();
                if back { abandon(&mut worker, 2) } else { resume(&mut worker, 2) }.unwrap();
            });
            if let Some(mut loss) = twice {
                lose(&mut loss, random);
            }
        }
        let mut worker = self.worker();
        let ended = if back { abandon(&mut worker, 2) } else { resume(&mut worker, 2) };
        drop(worker);
        let outcome = match ended {
            Ok(outcome) => outcome,
            Err(error) => return Some(format!("it does not end: {error}")),
        };
        if back && outcome != Outcome::Finished {
            // A clean-up that was cut short had finished the restore.
            let finished = self.unlike(to, "").is_none();
            if finished {
                self.now = to;
            }
            return self.unlike(self.now, "after it was put back");
        }
        let restored = restore(&self.roots, &self.states[to].0, &self.chunks, &mut self.worker());
        self.now = to;
        match restored {
            Ok(()) => self.unlike(to, "after it was resumed"),
            Err(error) => Some(format!("it is not resumed: {error}")),
        }
    }
}

/// An exchanged root gets its access times last of all.
fn unlike_but_for_access(now: &Picture, want: &Picture) -> bool {
    let still = |picture: &Picture| -> Picture {
        picture.iter().map(|(path, seen)| (path.clone(), Seen { atime: (0, 0), ..seen.clone() })).collect()
    };
    still(now) != still(want)
}

/// Runs something until the power is cut before its operation of this number; nothing where it came to its end.
fn cut(operation: u64, run: impl FnOnce()) -> Option<Loss> {
    fault::cut_before(operation);
    let ended = catch_unwind(AssertUnwindSafe(run));
    let loss = fault::end();
    match ended {
        Ok(()) => None,
        Err(why) if why.is::<fault::PowerCut>() => Some(loss),
        Err(why) => std::panic::resume_unwind(why),
    }
}

fn lose(loss: &mut Loss, random: &mut Random) {
    loss.strike(|| match random.next() % 3 {
        0 => fault::Bytes::Kept,
        1 => fault::Bytes::Zeros,
        _ => fault::Bytes::Gone,
    });
}

#[test]
fn no_power_cut_in_a_restore_mixes_two_states_as_root() {
    if !is_root() {
        return;
    }
    let (wanted, first) = (times(), seed() << 32);
    let (mut states, mut wrong, mut cuts) = (HashSet::new(), Vec::new(), 0);
    let mut random = Random(first);
    for seed in first.. {
        let mut scene = Scene::new(seed);
        for way in [Way::InPlace, Way::Exchange, Way::Exchange, Way::InPlace] {
            set_way(way);
            for operation in 1.. {
                let to = scene.other();
                let Some(mut loss) = cut(operation, || scene.restore(to)) else {
                    scene.now = to;
                    break;
                };
                lose(&mut loss, &mut random);
                cuts += 1;
                states.insert(scene.fingerprint(seed));
                let mixed = scene.mixed(to).filter(|_| way == Way::Exchange);
                let why = mixed.or_else(|| scene.put_right(to, &mut random));
                wrong.extend(why.map(|why| format!("seed {seed}, {way:?}, operation {operation}: {why}")));
                if states.len() >= wanted || wrong.len() > 5 {
                    break;
                }
            }
        }
        if states.len() >= wanted || wrong.len() > 5 {
            break;
        }
    }
    tell(wrong.len(), states.len(), cuts);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// One line of a figure, which `scripts/survive.sh` reads.
fn tell(wrong: usize, states: usize, cuts: u64) {
    println!(
        "figure {{\"variant\":\"rollback\",\"metric\":\"crash states of a restore that were mixed, or did not come to one side\",\"samples\":[{wrong}],\"goal\":0,\"notes\":[],\"more\":{{\"tried\":{states},\"cuts\":{cuts},\"seed\":{}}}}}",
        seed()
    );
}

/// The model can fail: bytes that were not flushed do get lost.
#[test]
fn the_model_loses_what_was_not_flushed_as_root() {
    if !is_root() {
        return;
    }
    let mut scene = Scene::new(7);
    std::fs::write(scene.roots[0].join("large"), noise(50_000, 1)).unwrap();
    let manifest = capture(&scene.roots, &mut scene.chunks);
    std::fs::remove_file(scene.roots[0].join("large")).unwrap();
    let staged =
        |dir: &Path| picture(&dir.join("roots")).values().any(|seen| seen.content == noise(50_000, 1));
    set_way(Way::InPlace);
    let seen = (1..200).any(|operation| {
        let restored = || restore(&scene.roots, &manifest, &scene.chunks, &mut scene.worker()).unwrap();
        let Some(mut loss) = cut(operation, restored) else { return false };
        let was = staged(scene.dir.path());
        loss.strike(|| fault::Bytes::Gone);
        let is = staged(scene.dir.path());
        abandon(&mut scene.worker(), 2).unwrap();
        was && !is
    });
    assert!(seen, "nothing was ever lost");
}
