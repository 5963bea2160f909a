//! What of a disk's writes a power cut leaves: all that was flushed, and of the rest whatever the disk had happened to write.
//!
//! A disk with a cache writes in any order, and a sector as a whole or not at all. So of what no flush follows each sector may be there or
//! not, and where several writes hit one sector, any of them may have been the last.

use super::writes::{Entry, SECTOR};

/// How the disk treats what was not flushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing of it is there.
    Lost,
    /// All of it is there.
    Kept,
    /// Each write is there or not.
    Writes,
    /// Each sector is there or not: writes are torn.
    Sectors,
    /// All before one of the writes, a part of that one, and nothing behind it.
    Prefix,
}

impl Fate {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Lost, Self::Kept, Self::Writes, Self::Sectors, Self::Prefix];
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Sectors that were flushed.
    pub durable: u64,
    /// Sectors that were not, and are there all the same.
    pub kept: u64,
    /// Sectors that are lost.
    pub lost: u64,
}

/// Writes to a disk what of these entries a power cut at their end leaves: `write` is given sectors and what they hold, in order.
/// `dice` gives a number below its argument.
///
/// # Errors
///
/// Those of `write`.
pub fn replay<E>(
    entries: &[Entry<'_>],
    fate: Fate,
    dice: &mut dyn FnMut(usize) -> usize,
    mut write: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<Tally, E> {
    // A flush speaks of what came before it.
    let flushed = entries.iter().rposition(|entry| entry.is_flush).unwrap_or(0);
    let volatile = entries.len() - flushed;
    // The write that a prefix ends in.
    let last = flushed + if fate == Fate::Prefix { dice(volatile.max(1)) } else { 0 };
    let mut tally = Tally::default();
    for (number, entry) in entries.iter().enumerate() {
        if number < flushed || entry.is_durable {
            write(entry.sector, entry.data)?;
            tally.durable += (entry.data.len() / SECTOR) as u64;
            continue;
        }
        let whole = fate == Fate::Kept || (fate == Fate::Writes && dice(2) == 0);
        for (sector, data) in (entry.sector..).zip(entry.data.chunks(SECTOR)) {
            let is_there = match fate {
                Fate::Lost => false,
                Fate::Kept | Fate::Writes => whole,
                Fate::Sectors => dice(2) == 0,
                Fate::Prefix => number < last || (number == last && dice(2) == 0),
            };
            if is_there {
                write(sector, data)?;
                tally.kept += 1;
            } else {
                tally.lost += 1;
            }
        }
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::super::writes::parse;
    use super::super::writes::tests::{DISK, Step, filled, log_of, steps};
    use super::*;

    type Disk = BTreeMap<u64, Vec<u8>>;

    /// The disk as everybody sees it who writes there, after some of the steps.
    fn seen(steps: &[Step]) -> Disk {
        let mut disk = Disk::new();
        for (sector, count, with) in steps.iter().flatten() {
            (*sector..sector + count).for_each(|sector| drop(disk.insert(sector, filled(sector, *with))));
        }
        disk
    }

    fn cut(steps: &[Step], fate: Fate, seed: u64) -> (Disk, Tally) {
        let log = log_of(steps);
        let entries = parse(&log, DISK * SECTOR as u64).unwrap();
        let (mut disk, mut state) = (Disk::new(), seed);
        let mut dice = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % bound
        };
        let write = |sector: u64, data: &[u8]| {
            let sectors = (sector..).zip(data.chunks(SECTOR));
            sectors.for_each(|(sector, data)| drop(disk.insert(sector, data.to_vec())));
            Ok::<(), Infallible>(())
        };
        let tally = replay(&entries, fate, &mut dice, write).unwrap();
        (disk, tally)
    }

    proptest! {
        #[test]
        fn what_was_flushed_is_there(steps in steps(), seed: u64) {
            let flushed = steps.iter().rposition(Option::is_none).unwrap_or(0);
            let (durable, later) = (seen(&steps[..flushed]), &steps[flushed..]);
            prop_assert_eq!(cut(&steps, Fate::Lost, seed).0, durable.clone());
            prop_assert_eq!(cut(&steps, Fate::Kept, seed).0, seen(&steps));
            let sectors: u64 = steps.iter().flatten().map(|(_, count, _)| count).sum();
            for fate in Fate::ALL {
                let (disk, tally) = cut(&steps, fate, seed);
                prop_assert_eq!(tally.durable + tally.kept + tally.lost, sectors);
                for sector in 0..DISK {
                    // As it was flushed, or as one of the later writes left it.
                    let later = later.iter().flatten();
                    let mut may_be: Vec<Option<Vec<u8>>> = later
                        .filter(|(first, count, _)| (*first..first + count).contains(&sector))
                        .map(|(_, _, with)| Some(filled(sector, *with)))
                        .collect();
                    may_be.push(durable.get(&sector).cloned());
                    prop_assert!(may_be.contains(&disk.get(&sector).cloned()), "{:?}, sector {}", fate, sector);
                }
            }
        }

        #[test]
        fn a_prefix_has_nothing_behind_its_end(steps in steps(), seed: u64) {
            let (disk, _) = cut(&steps, Fate::Prefix, seed);
            let flushed = steps.iter().rposition(Option::is_none).unwrap_or(0);
            let is_one = (flushed..=steps.len()).any(|end| {
                let (before, after) = (seen(&steps[..end]), seen(&steps[..steps.len().min(end + 1)]));
                (0..DISK).all(|sector| [before.get(&sector), after.get(&sector)].contains(&disk.get(&sector)))
            });
            prop_assert!(is_one);
        }
    }

    /// Over many cuts each fate shows: nothing is kept always, or lost always, by mistake.
    #[test]
    fn what_was_not_flushed_may_be_there_or_not() {
        let steps: Vec<Step> =
            [vec![Some((0, 4, 1)), None], (0..8).map(|at| Some((at * 2, 2, 9))).collect()].concat();
        for fate in [Fate::Writes, Fate::Sectors, Fate::Prefix] {
            let tallies: Vec<Tally> = (0..200).map(|seed| cut(&steps, fate, seed * 7919).1).collect();
            assert!(tallies.iter().all(|tally| tally.durable == 4));
            assert!(
                tallies.iter().any(|tally| tally.kept > 10) && tallies.iter().any(|tally| tally.lost > 10),
                "{fate:?}"
            );
            let torn = tallies.iter().any(|tally| tally.kept % 2 == 1);
            assert_eq!(torn, fate != Fate::Writes, "{fate:?}");
        }
    }
}
