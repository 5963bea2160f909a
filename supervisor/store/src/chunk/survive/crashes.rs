//! Crashes, full disks and failing flushes: what is durable and wanted stays.

use super::*;

/// Up to so many unflushed writes, each subset of them is tried.
const EXHAUSTIVE_MAX: usize = 12;
/// Subsets that are tried of more.
const SAMPLES: u64 = 96;
/// Of so many states one is crashed again in the middle of its repair, and one is worked on.
const AGAIN: u64 = 8;
/// States in a sample.
const SAMPLE: usize = 1_500;

/// What is wrong with a disk after a crash, if anything.
fn fault(crashed: &Sim, story: &Story, random: &mut Choices) -> Option<String> {
    let mut chunks = match open(crashed, random.next()) {
        Ok(chunks) => chunks,
        Err(error) => return Some(format!("not opened: {error}")),
    };
    if !chunks.damage().is_empty() {
        return Some(format!("{:?}", chunks.damage()));
    }
    if !crashed.files(".tmp").is_empty() {
        return Some("something unfinished is left".to_owned());
    }
    if let Some(why) = fault_of(&chunks, story) {
        return Some(why);
    }
    if !random.next().is_multiple_of(AGAIN) {
        return None;
    }
    let after = chunks.put(b"after the crash").and_then(|id| chunks.sync().map(|()| id));
    let pruned = after.and_then(|id| {
        let wanted = story.wanted().into_iter().chain([id]).collect();
        chunks.prune(&wanted, &mut |_| ())
    });
    match pruned {
        Ok(pruned) if pruned.damage.is_empty() && pruned.chunks_missing == 0 => {}
        other => return Some(format!("not pruned: {other:?}")),
    }
    drop(chunks);
    let chunks = open(&crashed.crash(&mut || random.next() & 1 == 1), 0).ok()?;
    if chunks.get(&chunks.id(b"after the crash")).is_err() {
        return Some("what was put after the crash is not there".to_owned());
    }
    let mut known = Story { kept: story.kept.clone(), ever: story.ever.clone() };
    known.ever.insert(chunks.id(b"after the crash"), b"after the crash".to_vec());
    fault_of(&chunks, &known).map(|why| format!("after it was pruned: {why}"))
}

/// The disks that a crash after `cut` operations of a run may leave.
fn crashes(
    base: &Sim,
    (seed, cut): (u64, u64),
    random: &mut Choices,
    each: &mut dyn FnMut(&Sim, &Story, &mut Choices),
) {
    let disk = base.copy();
    disk.cut_power_after(cut);
    let story = run(&disk, seed);
    let choices = disk.choices();
    // A short run would not come to the end of its first seed otherwise.
    let is_exhaustive = choices <= EXHAUSTIVE_MAX && 1 << choices <= times(SAMPLE) / 32;
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
fn no_crash_loses_a_wanted_chunk() {
    let (wanted, first) = (times(SAMPLE), seed() << 32);
    let (base, mut random) = (empty(), Choices(first));
    let (mut states, mut visited, mut wrong, mut twice) = (HashSet::new(), HashSet::new(), Vec::new(), 0);
    for seed in first.. {
        let whole = base.copy();
        run(&whole, seed);
        // The last of them: after everything was acknowledged.
        for cut in 0..=whole.operations() + 1 {
            crashes(&base, (seed, cut), &mut random, &mut |crashed, story, random| {
                if states.len() >= wanted {
                    return;
                }
                let image = crashed.fingerprint();
                states.insert(image);
                // The same bytes may be right before an acknowledgement and wrong after it.
                if !visited.insert((image, story.fingerprint())) {
                    return;
                }
                // A second crash, while it is repaired and pruned after the first.
                if random.next().is_multiple_of(AGAIN) {
                    let again = crashed.copy();
                    again.cut_power_after(random.next() % 12);
                    if let Ok(mut chunks) = open(&again, random.next()) {
                        let _ = chunks.prune(&story.wanted(), &mut |_| ());
                    }
                    let again = again.crash(&mut || random.next() & 1 == 1);
                    twice += 1;
                    let why = fault(&again, story, random);
                    wrong.extend(why.map(|why| format!("seed {seed}, cut {cut}, twice: {why}")));
                }
                let why = fault(crashed, story, random);
                wrong.extend(why.map(|why| format!("seed {seed}, cut {cut}: {why}")));
            });
            if states.len() >= wanted || wrong.len() > 10 {
                break;
            }
        }
        if states.len() >= wanted || wrong.len() > 10 {
            break;
        }
    }
    let more = format!(",\"looks\":{},\"crashed_twice\":{twice}", visited.len());
    tell("crash states with a wanted chunk lost or wrong", wrong.len(), states.len(), &more);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A flush that fails is told, and what comes back is either durable or gone; a full disk takes nothing that was durable, and
/// work goes on when there is space again.
#[test]
fn no_failing_flush_and_no_full_disk_loses_a_wanted_chunk() {
    let (trials, first) = (times(SAMPLE) / 10, seed() << 32);
    let (base, mut random) = (empty(), Choices(first ^ 0x55));
    let (mut tried, mut wrong) = (0, Vec::new());
    for seed in first.. {
        let whole = base.copy();
        run(&whole, seed);
        for _ in 0..8 {
            let disk = base.copy();
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
        if tried >= trials || wrong.len() > 10 {
            break;
        }
    }
    tell("failed flushes and full disks with a wanted chunk lost or wrong", wrong.len(), tried, "");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
