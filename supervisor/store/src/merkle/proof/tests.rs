use proptest::prelude::*;

use super::*;
use crate::bytes::size as usize_of;
use crate::merkle::leaf_hash;
use crate::merkle::tests::defined;

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_le_bytes())).collect()
}

/// PATH(m, D[n]) as RFC 6962 writes it.
fn path_defined(m: usize, d: &[Hash]) -> Vec<Hash> {
    if d.len() <= 1 {
        return Vec::new();
    }
    let k = d.len().next_power_of_two() / 2;
    let (left, right) = d.split_at(k);
    let (mut path, other) =
        if m < k { (path_defined(m, left), right) } else { (path_defined(m - k, right), left) };
    path.push(defined(other));
    path
}

/// SUBPROOF(m, D[n], b) as RFC 6962 writes it.
fn subproof_defined(m: usize, d: &[Hash], whole: bool) -> Vec<Hash> {
    if m == d.len() {
        return if whole { Vec::new() } else { vec![defined(d)] };
    }
    let k = d.len().next_power_of_two() / 2;
    let (left, right) = d.split_at(k);
    let (mut path, other) = if m <= k {
        (subproof_defined(m, left, whole), right)
    } else {
        (subproof_defined(m - k, right, false), left)
    };
    path.push(defined(other));
    path
}

fn hashes(ranges: &[Range<u64>], leaves: &[Hash]) -> Vec<Hash> {
    ranges.iter().map(|range| defined(&leaves[usize_of(range.start)..usize_of(range.end)])).collect()
}

/// Each change of one node, a node more, a node less, in all places.
fn changed(path: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for place in 0..=path.len() {
        let mut more = path.to_vec();
        more.insert(place, Hash([7; 32]));
        all.push(more);
        if place < path.len() {
            let (mut bad, mut less) = (path.to_vec(), path.to_vec());
            bad[place].0[place % 32] ^= 1 << (place % 8);
            less.remove(place);
            all.extend([bad, less]);
        }
    }
    all
}

#[test]
fn every_proof_of_small_trees_is_the_defined_one_and_no_other_is_accepted() {
    let all = leaves(40);
    for size in 0..=all.len() {
        let (tree, to) = (&all[..size], size as u64);
        let root = defined(tree);
        for index in 0..to {
            let path = hashes(&inclusion_path(index, to), tree);
            assert_eq!(path, path_defined(usize_of(index), tree), "{index} of {size}");
            let leaf = &tree[usize_of(index)];
            assert!(verify_inclusion(leaf, index, to, &path, &root), "{index} of {size}");
            assert!(!verify_inclusion(&Hash([1; 32]), index, to, &path, &root));
            assert!(!verify_inclusion(leaf, index, to, &path, &Hash([1; 32])));
            assert!(changed(&path).iter().all(|bad| !verify_inclusion(leaf, index, to, bad, &root)));
            assert!((0..=to).all(|other| other == index || !verify_inclusion(leaf, other, to, &path, &root)));
        }
        for from in 0..=to {
            let from_root = defined(&tree[..usize_of(from)]);
            let path = hashes(&consistency_path(from, to), tree);
            if from > 0 {
                assert_eq!(path, subproof_defined(usize_of(from), tree, true), "{from} to {size}");
            }
            assert!(verify_consistency(from, &from_root, to, &root, &path), "{from} to {size}");
            assert!(!verify_consistency(from, &Hash([1; 32]), to, &root, &path));
            assert!(changed(&path).iter().all(|bad| !verify_consistency(from, &from_root, to, &root, bad)));
            // From nothing, nothing is proven, so any root is right.
            assert!(from == 0 || !verify_consistency(from, &from_root, to, &Hash([1; 32]), &path));
        }
        assert!(!verify_consistency(to + 1, &root, to, &root, &[]));
    }
}

proptest! {
    #[test]
    fn proofs_of_larger_trees(size in 1_u64..1500, a: prop::sample::Index, b: prop::sample::Index) {
        let all = leaves(size);
        let (index, root) = (a.index(all.len()) as u64, defined(&all));
        let path = hashes(&inclusion_path(index, size), &all);
        prop_assert!(verify_inclusion(&all[usize_of(index)], index, size, &path, &root));
        let from = b.index(all.len()) as u64 + 1;
        let path = hashes(&consistency_path(from, size), &all);
        prop_assert!(verify_consistency(from, &defined(&all[..usize_of(from)]), size, &root, &path));
    }

    /// Also at the ends of the range of numbers nothing panics, and a proof has no more nodes than a tree has levels.
    #[test]
    fn any_input_is_refused_without_panic(
        sizes in prop::array::uniform2(prop_oneof![any::<u64>(), 0_u64..9, u64::MAX - 9..=u64::MAX]),
        path in prop::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..70), leaf: [u8; 32],
    ) {
        let ([a, b], leaf) = (sizes, Hash(leaf));
        prop_assert!(!verify_inclusion(&leaf, a, b, &path, &Hash([9; 32])));
        prop_assert!(!verify_consistency(a, &leaf, b, &Hash([9; 32]), &path) || (a == 0 && path.is_empty()));
        prop_assert!(inclusion_path(a, b).len() <= 64 && consistency_path(a, b).len() <= 65);
    }
}
