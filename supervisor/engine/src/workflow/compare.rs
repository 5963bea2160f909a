//! Which values are alike, and what enough copies of a task say.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde_json::{Number, Value};
use types::workflow::Compare;

/// Whether two values are equal: numbers by their size, lists entry by entry, maps whatever the order of their keys.
#[must_use]
pub fn are_equal(left: &Value, right: &Value) -> bool {
    are_alike(left, right, &|left, right| order(left, right).is_eq())
}

/// Whether two outputs count as the same. A judge is not asked here: for one they are alike where they are equal.
#[must_use]
pub fn alike(compare: &Compare, left: &Value, right: &Value) -> bool {
    match compare {
        Compare::Equal | Compare::Judge { .. } => are_equal(left, right),
        Compare::Tolerance { millionths } => {
            are_alike(left, right, &|left, right| is_within(*millionths, left, right))
        }
    }
}

/// The depth is bounded by whoever read the values.
fn are_alike(left: &Value, right: &Value, numbers: &dyn Fn(&Number, &Number) -> bool) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => numbers(left, right),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| are_alike(left, right, numbers))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, left)| right.get(key).is_some_and(|right| are_alike(left, right, numbers)))
        }
        _ => left == right,
    }
}

/// Whether two numbers differ by at most so many millionths of the larger one.
fn is_within(millionths: u32, left: &Number, right: &Number) -> bool {
    let is_same = order(left, right).is_eq();
    if is_same || millionths == 0 {
        return is_same;
    }
    if let (Some(left), Some(right)) = (left.as_i128(), right.as_i128()) {
        // 64 bits of a number and 32 of a share stay within 128.
        let larger = left.unsigned_abs().max(right.unsigned_abs());
        return left.abs_diff(right) * 1_000_000 <= larger * u128::from(millionths);
    }
    let (Some(left), Some(right)) = (left.as_f64(), right.as_f64()) else { return false };
    let larger = left.abs().max(right.abs());
    // Halves, because the whole difference may be more than a double holds.
    (left / 2.0 - right / 2.0).abs() <= larger / 2.0 * (f64::from(millionths) / 1e6)
}

/// The order of two numbers by their exact values.
#[must_use]
pub fn order(left: &Number, right: &Number) -> Ordering {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left.cmp(&right),
        (Some(whole), None) => mixed(whole, right),
        (None, Some(whole)) => mixed(whole, left).reverse(),
        // No JSON number is NaN.
        (None, None) => left.as_f64().partial_cmp(&right.as_f64()).unwrap_or(Ordering::Equal),
    }
}

/// The order of a whole number and a double, without rounding the first.
fn mixed(whole: i128, number: &Number) -> Ordering {
    let double = number.as_f64().unwrap_or_default();
    let floor = double.floor();
    // A double is written exactly. What passes 128 bits passes every whole number that JSON is read into.
    match format!("{floor:.0}").parse::<i128>() {
        Ok(floor_whole) => {
            whole.cmp(&floor_whole).then(if double > floor { Ordering::Less } else { Ordering::Equal })
        }
        Err(_) if double > 0.0 => Ordering::Less,
        Err(_) => Ordering::Greater,
    }
}

/// What copies of a task say together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Quorum {
    /// Enough of them say the same.
    Agreed {
        /// The copy whose output counts.
        winner: u32,
        /// Those that said the same, and it; ascending.
        agree: Vec<u32>,
        /// Those that said otherwise; ascending.
        dissent: Vec<u32>,
    },
    /// Those that are not done can still bring it about.
    Open,
    /// Not even they can.
    Impossible {
        /// How many said the same at most.
        most: usize,
    },
}

/// Whether at least `needed` copies say the same, which is more than half of all, given the outputs (JSON) of those that are
/// done, by ascending place, while `open` are not.
///
/// The group of a copy is it and all that are alike to it. The largest counts; of several, that of the lowest place. An
/// output that is no JSON is alike to its equal alone.
#[must_use]
pub fn quorum(compare: &Compare, outputs: &[(u32, &str)], open: usize, needed: usize) -> Quorum {
    let best = largest(compare, outputs);
    let most = best.len();
    if most >= needed
        && let Some((winner, agree)) = best.winner(outputs)
    {
        let said: BTreeSet<u32> = agree.iter().copied().collect();
        let dissent = outputs.iter().map(|(place, _)| *place).filter(|place| !said.contains(place)).collect();
        return Quorum::Agreed { winner, agree, dissent };
    }
    let reachable = match compare {
        Compare::Equal | Compare::Judge { .. } => most + open,
        // One in the middle can be alike to two that are not alike to each other.
        Compare::Tolerance { .. } if open > 0 => outputs.len() + open,
        Compare::Tolerance { .. } => most,
    };
    if reachable >= needed { Quorum::Open } else { Quorum::Impossible { most } }
}

/// A group by indexes into the outputs; the first is the one that all others are alike to.
struct Group(Vec<usize>);

impl Group {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn winner(self, outputs: &[(u32, &str)]) -> Option<(u32, Vec<u32>)> {
        let place = |index: usize| outputs.get(index).map(|(place, _)| *place);
        let winner = place(*self.0.first()?)?;
        let mut agree: Vec<u32> = self.0.into_iter().filter_map(place).collect();
        agree.sort_unstable();
        Some((winner, agree))
    }
}

fn largest(compare: &Compare, outputs: &[(u32, &str)]) -> Group {
    let values: Vec<Option<Value>> =
        outputs.iter().map(|(_, json)| serde_json::from_str(json).ok()).collect();
    let is_alike = |left: usize, right: usize| match (values.get(left), values.get(right)) {
        (Some(Some(left)), Some(Some(right))) => alike(compare, left, right),
        _ => outputs.get(left).map(|(_, json)| json) == outputs.get(right).map(|(_, json)| json),
    };
    let groups: Vec<Vec<usize>> = match compare {
        // Equal is equal among all of a group, so each is compared with one of every group.
        Compare::Equal | Compare::Judge { .. } => {
            let mut groups: Vec<Vec<usize>> = Vec::new();
            for index in 0..outputs.len() {
                let own = groups
                    .iter_mut()
                    .find(|group| group.first().is_some_and(|first| is_alike(*first, index)));
                match own {
                    Some(group) => group.push(index),
                    None => groups.push(vec![index]),
                }
            }
            groups
        }
        Compare::Tolerance { .. } => (0..outputs.len())
            .map(|centre| {
                let others = (0..outputs.len()).filter(|other| *other != centre && is_alike(centre, *other));
                std::iter::once(centre).chain(others).collect()
            })
            .collect(),
    };
    // The first of the largest: its centre has the lowest place.
    let best = groups.into_iter().rev().max_by_key(Vec::len);
    Group(best.unwrap_or_default())
}

#[cfg(test)]
mod tests;
