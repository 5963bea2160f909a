//! Earlier points of a boot, which are looked at without booting.

use super::facts::{Acknowledged, Folder};
use super::writes::Entry;
use crate::fuzz::dice::Dice;

/// A place among the writes; where the laptop restores, most often in the middle of a restore that is done at once.
pub(super) fn place(entries: &[Entry<'_>], facts: &[(Acknowledged, u64)], dice: &mut Dice) -> usize {
    let place =
        |end: u64| entries.partition_point(|entry| u64::try_from(entry.end).is_ok_and(|entry| entry < end));
    let folders: Vec<(&Folder, usize)> = facts
        .iter()
        .filter_map(|(fact, end)| match fact {
            Acknowledged::Folder(folder) => Some((folder, place(*end))),
            _ => None,
        })
        .collect();
    let ends = folders.iter().map(|(_, end)| *end).skip(1).chain([entries.len()]);
    let is_at_once = |folder: &Folder| matches!(folder, Folder::Restoring { at_once: true, .. });
    let spans = folders.iter().zip(ends).filter(|((folder, _), _)| is_at_once(folder));
    let spans: Vec<_> = spans.map(|((_, begin), end)| Some((*begin, end))).collect();
    match dice.pick(&spans) {
        Some((begin, end)) if begin < end && !dice.one_in(4) => begin + 1 + dice.below(end - begin),
        _ => dice.below(entries.len() + 1),
    }
}

/// What was acknowledged at a place of the writes; and of the folder also what was told before this boot.
pub(super) fn known<'f>(
    before: &'f [Acknowledged],
    facts: &'f [(Acknowledged, u64)],
    end: u64,
) -> Vec<&'f Acknowledged> {
    let is_folder = |fact: &&Acknowledged| matches!(fact, Acknowledged::Folder(_));
    let earlier = before.iter().rev().find(is_folder);
    let heard = facts.iter().filter(|(_, place)| *place <= end).map(|(fact, _)| fact);
    earlier.into_iter().chain(heard).chain(begun(facts, end)).collect()
}

/// A change of the folder that may have begun before a place of the writes behind which it was heard of.
pub(super) fn begun(facts: &[(Acknowledged, u64)], end: u64) -> Option<&Acknowledged> {
    let is_folder = |fact: &&Acknowledged| matches!(fact, Acknowledged::Folder(_));
    let next = facts.iter().filter(|(_, place)| *place > end).map(|(fact, _)| fact).find(is_folder);
    next.filter(|fact| **fact == Acknowledged::Folder(Folder::Changing))
}
