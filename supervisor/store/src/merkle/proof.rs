//! Proofs over the tree: which subtrees make one (RFC 6962, section 2.1), and how it is checked (RFC 9162, section 2.1).
//!
//! Checking needs nothing of a log: a verifier has the proof and the roots. It is total: any input is accepted or refused.

use std::ops::Range;

use types::hash::Hash;

use super::{empty_root, node_hash};

/// Whether `path` proves that the leaf of this hash is at `index` of the tree with `size` leaves and this root
/// (RFC 9162, section 2.1.3.2).
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    let Some(last) = size.checked_sub(1).filter(|last| index <= *last) else { return false };
    let mut climb = Climb { place: index, last };
    let mut node = *leaf;
    for sibling in path {
        if climb.last == 0 {
            return false;
        }
        node = match climb.comes_from_the_left() {
            true => node_hash(sibling, &node),
            false => node_hash(&node, sibling),
        };
        climb.up();
    }
    climb.last == 0 && node == *root
}

/// Whether `path` proves that the tree with `to` leaves begins with the tree with `from` leaves (RFC 9162, section
/// 2.1.4.2). Every tree begins with the empty one, for which, as for equal trees, the path is empty.
#[must_use]
pub fn verify_consistency(from: u64, from_root: &Hash, to: u64, to_root: &Hash, path: &[Hash]) -> bool {
    if from > to {
        return false;
    }
    if from == to {
        return path.is_empty() && from_root == to_root && (from > 0 || *from_root == empty_root());
    }
    if from == 0 {
        return path.is_empty() && *from_root == empty_root();
    }
    // A perfect tree is a subtree of the larger one, and the path leaves it out.
    let (first, rest) = match (from.is_power_of_two(), path) {
        (true, path) => (from_root, path),
        (false, [first, rest @ ..]) => (first, rest),
        (false, []) => return false,
    };
    let mut climb = Climb { place: from - 1, last: to - 1 };
    climb.skip(climb.place.trailing_ones());
    let (mut small, mut large) = (*first, *first);
    for sibling in rest {
        if climb.last == 0 {
            return false;
        }
        if climb.comes_from_the_left() {
            small = node_hash(sibling, &small);
            large = node_hash(sibling, &large);
        } else {
            large = node_hash(&large, sibling);
        }
        climb.up();
    }
    climb.last == 0 && small == *from_root && large == *to_root
}

/// A walk from a leaf to the root: where the node is in its level, and where the last one is.
#[derive(Clone, Copy)]
struct Climb {
    place: u64,
    last: u64,
}

impl Climb {
    /// Whether the sibling is on the left: of a right child, and of the last node, which has none on the right.
    fn comes_from_the_left(self) -> bool {
        self.place & 1 == 1 || self.place == self.last
    }

    /// Goes on from a node with its sibling to their parent. The last node of a level may be a left child, whose sibling
    /// on the left is of a level farther up.
    fn up(&mut self) {
        if self.place == self.last {
            self.skip(self.place.trailing_zeros());
        }
        self.skip(1);
    }

    fn skip(&mut self, levels: u32) {
        self.place = self.place.checked_shr(levels).unwrap_or(0);
        self.last = self.last.checked_shr(levels).unwrap_or(0);
    }
}

/// The subtrees, as ranges of leaves, whose hashes are the inclusion proof of the leaf `index` in a tree of `size` leaves,
/// in its order. Empty where there is no such leaf.
pub fn inclusion_path(index: u64, size: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    let (mut start, mut end) = (0, if index < size { size } else { 0 });
    while end - start > 1 {
        let middle = split(start, end);
        if index < middle {
            path.push(middle..end);
            end = middle;
        } else {
            path.push(start..middle);
            start = middle;
        }
    }
    path.reverse();
    path
}

/// The subtrees, as ranges of leaves, whose hashes are the consistency proof between trees of `from` and `to` leaves, in
/// its order. Empty unless 0 < `from` < `to`.
pub fn consistency_path(from: u64, to: u64) -> Vec<Range<u64>> {
    let mut path = Vec::new();
    if from == 0 || from >= to {
        return path;
    }
    let (mut start, mut end) = (0, to);
    while from != end {
        let middle = split(start, end);
        if from <= middle {
            path.push(middle..end);
            end = middle;
        } else {
            path.push(start..middle);
            start = middle;
        }
    }
    // Where the smaller tree is a subtree of the larger one the verifier has its hash.
    if start > 0 {
        path.push(start..end);
    }
    path.reverse();
    path
}

/// Where the tree over these leaves, two at least, is split: the left part is the largest perfect one that leaves a right.
fn split(start: u64, end: u64) -> u64 {
    let last = end.saturating_sub(start).saturating_sub(1);
    start + last.checked_ilog2().map_or(0, |height| 1 << height)
}

#[cfg(test)]
mod tests;
