//! Crashes: what is acknowledged stays, and the log stays provable.

use std::collections::HashSet;

use super::super::tests::Choices;
use super::*;
use crate::snapshot;
use crate::tiles::prover::Prover;

/// Up to so many unflushed writes, each subset of them is tried.
const EXHAUSTIVE_MAX: usize = 12;
/// Subsets that are tried of more.
const SAMPLES: u64 = 96;
/// Of so many states one is crashed again in the middle of its repair, and one is appended to.
const AGAIN: u64 = 8;
/// Steps of a run.
const STEPS: usize = 9;

/// What a run has written, and what of it was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Every batch that was tried, in order; only the last can have failed.
    batches: Vec<Vec<Vec<u8>>>,
    pub(super) acknowledged: usize,
    pub(super) head: Option<Head>,
    created: bool,
}

impl Story {
    pub(super) fn entries(&self, batches: usize) -> Vec<Vec<u8>> {
        self.batches[..batches].concat()
    }
}

/// Creates a log and works on it until something fails.
pub(super) fn run(disk: &Sim, seed: u64) -> Story {
    let mut story = Story::default();
    let mut random = Choices(seed);
    let Ok(mut log) = Log::create_on(Arc::new(disk.clone()), dir(), ID, &SMALL) else { return story };
    story.created = true;
    for _ in 0..STEPS {
        if step(disk, &mut log, &mut story, &mut random).is_err() {
            break;
        }
    }
    story
}

fn step(disk: &Sim, log: &mut Log, story: &mut Story, random: &mut Choices) -> Result<(), Error> {
    match random.next() % 8 {
        0..5 => {
            let batch = batch(random);
            story.batches.push(batch.clone());
            let done =
                if random.next().is_multiple_of(4) { log.append_urgent(&batch) } else { log.append(&batch) };
            done?;
            story.acknowledged = story.batches.len();
        }
        5 | 6 => story.head = Some(KEYS.store(log)?),
        _ => {
            log.prepare()?;
            if let Some(chore) = log.chore() {
                chore.run()?;
            }
            if story.head.is_some() {
                snapshot::write_on(disk, dir(), &log.start()?, b"state")?;
            }
        }
    }
    Ok(())
}

/// Sizes around sectors, blocks and what is prepared at once.
fn batch(random: &mut Choices) -> Vec<Vec<u8>> {
    let sizes = [0, 1, 40, 300, 470, 512, 700, 1500, 2048, 3000];
    let entries = 1 + random.next() % 3;
    let of = |random: &mut Choices| sizes[usize::try_from(random.next()).unwrap() % sizes.len()];
    (0..entries)
        .map(|_| {
            let (size, fill) = (of(random), random.next().to_le_bytes()[0]);
            (0..size).map(|at| fill.wrapping_add(u8::try_from(at % 251).unwrap())).collect()
        })
        .collect()
}

/// What is wrong with a disk after a crash, if anything.
pub(super) fn fault(crashed: &Sim, story: &Story, random: &mut Choices) -> Option<String> {
    let mut seen = Vec::new();
    let opened =
        Log::open_on(Arc::new(crashed.clone()), dir(), &SMALL, &mut |_, bytes| seen.push(bytes.to_vec()));
    let mut log = match opened {
        Ok(log) => log,
        Err(Error::Absent { .. }) if !story.created => return None,
        Err(error) => return Some(format!("not opened: {error}")),
    };
    let batches = (story.acknowledged..=story.batches.len()).find(|count| story.entries(*count) == seen);
    if batches.is_none() {
        return Some(format!("{} entries, {} batches acknowledged", seen.len(), story.acknowledged));
    }
    let newest = log.newest_head().map(|signed| signed.head().size);
    if story.head.as_ref().is_some_and(|head| newest.is_none_or(|size| size < head.size)) {
        return Some(format!("the newest head is {newest:?}"));
    }
    if random.next().is_multiple_of(AGAIN) {
        if let Err(error) = log.append(&["after the crash"]).and_then(|_| KEYS.store(&mut log)) {
            return Some(format!("not appended to: {error}"));
        }
        seen.push(b"after the crash".to_vec());
    }
    drop(log);
    if let Err(error) = check(crashed, story.head.as_ref()) {
        return Some(format!("not verified: {error}"));
    }
    proof_fault(crashed, &seen, random).or_else(|| start_fault(crashed, &seen))
}

/// Any entry under the newest head can be proven.
fn proof_fault(crashed: &Sim, seen: &[Vec<u8>], random: &mut Choices) -> Option<String> {
    let mut prover = match Prover::open_on(Arc::new(crashed.clone()), dir()) {
        Ok(prover) => prover,
        // No head is stored.
        Err(Error::Invalid(_)) => return None,
        Err(error) => return Some(format!("no prover: {error}")),
    };
    let size = prover.newest().head().size;
    if size == 0 {
        return None;
    }
    let index = random.next() % size;
    let proof = match prover.inclusion(index, size) {
        Ok(proof) => proof,
        Err(error) => return Some(format!("no proof of entry {index} of {size}: {error}")),
    };
    let leaf = crate::merkle::leaf_hash(&seen[usize::try_from(index).unwrap()]);
    let right = proof.verify() && proof.leaf == leaf && proof.root == prover.newest().head().root;
    (!right).then(|| format!("a wrong proof of entry {index} of {size}"))
}

/// A start from a snapshot sees what a start from the beginning sees, or says that it cannot.
fn start_fault(crashed: &Sim, seen: &[Vec<u8>]) -> Option<String> {
    let newest = snapshot::list_on(crashed, dir()).ok()?.into_iter().max()?;
    let snapshot = snapshot::read_on(crashed, dir(), newest).ok()?;
    let mut rest = Vec::new();
    let disk = Arc::new(crashed.clone());
    let opened =
        Log::open_at_on(disk, dir(), &SMALL, &snapshot.start, &mut |_, bytes| rest.push(bytes.to_vec()));
    match opened {
        Ok(_) => (rest != seen[usize::try_from(newest).unwrap()..])
            .then(|| format!("another log from the snapshot at {newest}")),
        Err(Error::Unproven { .. }) => None,
        Err(error) => Some(format!("from the snapshot at {newest}: {error}")),
    }
}

/// The disks that a crash after `cut` operations of some work may leave.
fn crashes(
    work: &dyn Fn(&Sim) -> Story,
    cut: u64,
    random: &mut Choices,
    each: &mut dyn FnMut(&Sim, &Story, &mut Choices),
) {
    let disk = Sim::default();
    disk.cut_power_after(cut);
    let story = work(&disk);
    let choices = disk.choices();
    let is_exhaustive = choices <= EXHAUSTIVE_MAX;
    for mask in 0..if is_exhaustive { 1 << choices } else { SAMPLES } {
        let mut bits = mask;
        let crashed = disk.crash(&mut || {
            let choice = if is_exhaustive { bits } else { random.next() };
            bits >>= 1;
            choice & 1 == 1
        });
        each(&crashed, &story, random);
    }
}

/// What a crash left, and what it is held against: the same bytes may be right before an acknowledgement and wrong after it, which
/// is what a flush that is missing makes of them.
#[derive(Debug)]
struct Search {
    /// More is no help to anybody.
    wrong_max: usize,
    images: HashSet<u64>,
    visited: HashSet<(u64, bool, usize, u64)>,
    twice: u64,
    wrong: Vec<String>,
}

impl Default for Search {
    fn default() -> Self {
        Self { wrong_max: 10, images: HashSet::new(), visited: HashSet::new(), twice: 0, wrong: Vec::new() }
    }
}

impl Search {
    fn is_over(&self, wanted: usize) -> bool {
        self.images.len() >= wanted || self.wrong.len() > self.wrong_max
    }

    fn is_new(&mut self, crashed: &Sim, story: &Story) -> bool {
        let image = crashed.fingerprint();
        let head = story.head.as_ref().map_or(0, |head| 1 + head.size);
        self.images.insert(image);
        self.visited.insert((image, story.created, story.acknowledged, head))
    }

    /// Looks at one disk, once.
    fn look(&mut self, at: &str, crashed: &Sim, story: &Story, random: &mut Choices) {
        if !self.is_new(crashed, story) {
            return;
        }
        // A second crash, in the middle of the repair of the first.
        if random.next().is_multiple_of(AGAIN) {
            let again = crashed.copy();
            again.cut_power_after(random.next() % 6);
            drop(Log::open_on(Arc::new(again.clone()), dir(), &SMALL, &mut |_, _| ()));
            let again = again.crash(&mut || random.next() & 1 == 1);
            self.twice += 1;
            self.wrong.extend(fault(&again, story, random).map(|why| format!("{at}, twice: {why}")));
        }
        self.wrong.extend(fault(crashed, story, random).map(|why| format!("{at}: {why}")));
    }

    /// All crashes of some work.
    fn run(&mut self, name: &str, wanted: usize, random: &mut Choices, work: &dyn Fn(&Sim) -> Story) {
        let whole = Sim::default();
        work(&whole);
        // The last of them: after everything was acknowledged.
        for cut in 0..=whole.operations() + 1 {
            if self.is_over(wanted) {
                break;
            }
            crashes(work, cut, random, &mut |crashed, story, random| {
                if !self.is_over(wanted) {
                    self.look(&format!("{name}, cut {cut}"), crashed, story, random);
                }
            });
        }
    }
}

#[test]
fn no_crash_loses_an_acknowledged_fact_or_makes_the_log_unprovable() {
    let (wanted, first) = (times(1_500), seed() << 32);
    let (mut random, mut search) = (Choices(first), Search::default());
    for seed in first.. {
        search.run(&format!("seed {seed}"), wanted, &mut random, &|disk| run(disk, seed));
        if search.is_over(wanted) {
            break;
        }
    }
    let Search { images, visited, twice, wrong, .. } = search;
    let more = format!(",\"looks\":{},\"crashed_twice\":{twice},\"seed\":{}", visited.len(), seed());
    tell(
        "crash states with an acknowledged fact lost or a log that cannot be proven",
        wrong.len(),
        images.len(),
        &more,
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The search itself: where the one flush is not made on which an acknowledgement rests, what is lost was seen before already, and was
/// right then.
#[test]
fn a_flush_that_is_missing_is_found() {
    let work = |disk: &Sim, missing: Option<u64>| {
        let mut story = Story::default();
        let Ok(mut log) = Log::create_on(Arc::new(disk.clone()), dir(), ID, &SMALL) else { return story };
        story.created = true;
        if let Some(flush) = missing {
            disk.lie_once_after(flush);
        }
        for batch in [[vec![1; 100]], [vec![2; 600]]] {
            story.batches.push(batch.to_vec());
            if log.append(&batch).is_err() {
                break;
            }
            story.acknowledged = story.batches.len();
        }
        story
    };
    let wrong = |missing| {
        let mut search = Search { wrong_max: 0, ..Search::default() };
        search.run("two batches", usize::MAX, &mut Choices(1), &|disk| work(disk, missing));
        search.wrong
    };
    assert_eq!(wrong(None), [""; 0]);
    for flush in 0..2 {
        assert!(!wrong(Some(flush)).is_empty(), "the flush of batch {flush} is not missed");
    }
    // There is no other.
    assert_eq!(wrong(Some(2)), [""; 0]);
}
