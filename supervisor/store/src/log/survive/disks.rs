//! Disks that are full, fail, lie, or break what disks promise.

use super::super::meter::Meter;
use super::super::salvage::salvage_on;
use super::super::tests::Choices;
use super::crashes::{Story, fault, run};
use super::*;
use crate::disk::sim::Fate;

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
                disk.fail_flush_after(random.next() % 24);
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

/// A disk that breaks what disks promise: a sector that was being written when the power went holds the beginning of the new bytes or
/// their end beside the old ones, or neither. The log must not lose an acknowledged fact unseen. Half a sector loses none: it holds
/// the acknowledged bytes, old or new, so whoever is refused salvages them. Of a sector that is gone the facts in it are gone too.
#[test]
fn a_sector_that_is_torn_inside_loses_nothing_unseen() {
    let (wanted, first) = (times(1_500) / 5, seed() << 32);
    let mut random = Choices(first ^ 0x33);
    let (mut tried, mut opened, mut refused, mut gone, mut wrong) = (0, 0, 0, 0, Vec::new());
    for seed in first.. {
        let whole = Sim::default();
        run(&whole, seed);
        let disk = Sim::default();
        disk.cut_power_after(random.next() % (whole.operations() + 1));
        let story = run(&disk, seed);
        let has_garbage = random.next().is_multiple_of(3);
        let crashed = disk.crash_within(&mut || fate(&mut random, has_garbage));
        tried += 1;
        let found = fault(&crashed, &story, &mut random);
        let refusal = found.as_ref().is_some_and(|why| why.starts_with("not opened"));
        match found {
            None => opened += 1,
            Some(_) if refusal && has_garbage && !is_salvaged(&crashed, &story) => gone += 1,
            Some(_) if refusal && is_salvaged(&crashed, &story) => refused += 1,
            Some(why) => wrong.push(format!("seed {seed}: {why}")),
        }
        if tried >= wanted || wrong.len() > 10 {
            break;
        }
    }
    let more = format!(
        ",\"opened\":{opened},\"refused_and_salvaged_whole\":{refused},\"refused_and_lost_with_the_sector\":{gone}"
    );
    tell("sectors torn inside that lost an acknowledged fact unseen", wrong.len(), tried, &more);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn fate(random: &mut Choices, has_garbage: bool) -> Fate {
    let place = usize::try_from(random.next() % 512).unwrap();
    match random.next() % 8 {
        0..3 => Fate::Lost,
        3..6 => Fate::Written,
        6 if has_garbage => Fate::Garbage(random.next()),
        6 => Fate::Begun(place),
        _ => Fate::Ended(place),
    }
}

/// Whether salvage brings back every acknowledged fact.
fn is_salvaged(crashed: &Sim, story: &Story) -> bool {
    let (disk, out) = (Arc::new(crashed.copy()) as Arc<dyn Disk>, Path::new("/out"));
    let (wanted, mut seen) = (story.entries(story.acknowledged), Vec::new());
    // Nothing of it was acknowledged.
    if wanted.is_empty() && story.head.is_none() {
        return true;
    }
    let salvaged = salvage_on(&disk, (dir(), None), out, &SMALL, &mut Meter::new(&mut |_| ()));
    let opened =
        salvaged.and_then(|_| Log::open_on(disk, out, &SMALL, &mut |_, bytes| seen.push(bytes.to_vec())));
    opened.is_ok() && seen.starts_with(&wanted)
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
