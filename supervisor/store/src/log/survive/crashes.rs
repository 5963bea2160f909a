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
struct Story {
    /// Every batch that was tried, in order; only the last can have failed.
    batches: Vec<Vec<Vec<u8>>>,
    acknowledged: usize,
    head: Option<Head>,
    created: bool,
}

impl Story {
    fn entries(&self, batches: usize) -> Vec<Vec<u8>> {
        self.batches[..batches].concat()
    }
}

/// Creates a log and works on it until something fails.
fn run(disk: &Sim, seed: u64) -> Story {
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
fn fault(crashed: &Sim, story: &Story, random: &mut Choices) -> Option<String> {
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

/// The disks that a crash after `cut` operations of a run may leave.
fn crashes(seed: u64, cut: u64, random: &mut Choices, each: &mut dyn FnMut(&Sim, &Story, &mut Choices)) {
    let disk = Sim::default();
    disk.cut_power_after(cut);
    let story = run(&disk, seed);
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

#[test]
fn no_crash_loses_an_acknowledged_fact_or_makes_the_log_unprovable() {
    let (wanted, first) = (times(1_500), seed() << 32);
    let mut random = Choices(first);
    let (mut states, mut wrong, mut twice) = (HashSet::new(), Vec::new(), 0);
    for seed in first.. {
        let whole = Sim::default();
        run(&whole, seed);
        for cut in 0..=whole.operations() {
            crashes(seed, cut, &mut random, &mut |crashed, story, random| {
                if states.len() >= wanted || !states.insert(crashed.fingerprint()) {
                    return;
                }
                // A second crash, in the middle of the repair of the first.
                if random.next().is_multiple_of(AGAIN) {
                    let again = crashed.copy();
                    again.cut_power_after(random.next() % 6);
                    drop(Log::open_on(Arc::new(again.clone()), dir(), &SMALL, &mut |_, _| ()));
                    let again = again.crash(&mut || random.next() & 1 == 1);
                    twice += 1;
                    wrong.extend(
                        fault(&again, story, random)
                            .map(|why| format!("seed {seed}, cut {cut}, twice: {why}")),
                    );
                }
                wrong.extend(
                    fault(crashed, story, random).map(|why| format!("seed {seed}, cut {cut}: {why}")),
                );
            });
        }
        if states.len() >= wanted || wrong.len() > 10 {
            break;
        }
    }
    let more = format!(",\"crashed_twice\":{twice},\"seed\":{}", seed());
    tell(
        "crash states with an acknowledged fact lost or a log that cannot be proven",
        wrong.len(),
        states.len(),
        &more,
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A flush that fails is told, and what comes back is either durable or gone; a full disk takes nothing that was
/// acknowledged.
#[test]
fn no_failing_flush_and_no_full_disk_loses_an_acknowledged_fact() {
    let (wanted, first) = (times(1_500) / 10, seed() << 32);
    let mut random = Choices(first ^ 0x55);
    let (mut tried, mut wrong) = (0, Vec::new());
    for seed in first.. {
        let whole = Sim::default();
        run(&whole, seed);
        for _ in 0..8 {
            let disk = Sim::default();
            if random.next() & 1 == 0 {
                disk.fail_flush_after(random.next() % 12);
            } else {
                disk.set_capacity(Some(usize::try_from(random.next()).unwrap() % whole.used().max(1)));
            }
            let story = run(&disk, seed);
            disk.set_capacity(None);
            // A flush that has not failed by then does not fail the start that follows.
            disk.fail_flush_after(u64::MAX);
            // The process alone ends, or the machine does.
            let left = if random.next() & 1 == 0 {
                disk.clone()
            } else {
                disk.crash(&mut || random.next() & 1 == 1)
            };
            wrong.extend(fault(&left, &story, &mut random).map(|why| format!("seed {seed}: {why}")));
            tried += 1;
        }
        if tried >= wanted || wrong.len() > 10 {
            break;
        }
    }
    tell("failed flushes and full disks with an acknowledged fact lost", wrong.len(), tried, "");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A disk that lies: it acknowledges flushes that it does not make. Nothing can exclude a loss then; what the newest head that
/// the verifier kept detects is counted apart from what it does not.
#[test]
fn a_lying_flush_is_detected_where_a_kept_head_covers_what_is_lost() {
    let (wanted, first) = (times(1_500) / 10, seed() << 32);
    let mut random = Choices(first ^ 0xaa);
    let (mut tried, mut kept, mut refused, mut by_head, mut unseen, mut wrong) = (0, 0, 0, 0, 0, 0);
    for seed in first.. {
        let disk = Sim::default();
        disk.lie_after(random.next() % 20);
        let story = run(&disk, seed);
        let crashed = disk.crash(&mut || random.next() & 1 == 1);
        let mut seen = Vec::new();
        let disk = Arc::new(crashed.clone());
        let opened = Log::open_on(disk, dir(), &SMALL, &mut |_, bytes| seen.push(bytes.to_vec()));
        let is_open = opened.is_ok();
        drop(opened);
        let is_lost = !seen.starts_with(&story.entries(story.acknowledged));
        let covered = story.head.as_ref().map_or(0, |head| head.size);
        let is_covered = usize::try_from(covered).unwrap() > seen.len()
            || !seen.starts_with(&story.entries(story.acknowledged)[..usize::try_from(covered).unwrap()]);
        match (is_open, is_lost) {
            (false, _) => refused += 1,
            (true, false) => kept += 1,
            (true, true) if check(&crashed, story.head.as_ref()).is_err() => by_head += 1,
            // Acknowledged after the newest head: nothing names it.
            (true, true) if !is_covered => unseen += 1,
            (true, true) => wrong += 1,
        }
        tried += 1;
        if tried >= wanted {
            break;
        }
    }
    let more = format!(
        ",\"nothing_lost\":{kept},\"refused_to_open\":{refused},\"detected_by_the_kept_head\":{by_head},\"lost_after_the_newest_head_unseen\":{unseen}"
    );
    tell("lying flushes that lost covered facts unseen", wrong, tried, &more);
    assert_eq!(wrong, 0);
}
