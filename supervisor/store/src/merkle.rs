//! The Merkle tree of RFC 6962, section 2.1, over SHA-256, kept as its right edge alone, and proofs over it.

pub mod proof;

use sha2::{Digest, Sha256};
use types::hash::Hash;

use crate::bytes::length;
use crate::sha256::{self, Engine};

/// What is hashed before an entry, and before two subtrees.
const LEAF: u8 = 0;
const NODE: u8 = 1;

/// The hash of an entry: SHA-256 over 0x00 and the entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256::plain(LEAF, entry)
}

/// Appends to `out` the [`leaf_hash`] of each entry; many at once, which is several times as fast.
pub fn leaf_hashes(entries: &[impl AsRef<[u8]>], out: &mut Vec<Hash>) {
    Engine::best().hash(LEAF, entries.iter().map(AsRef::as_ref), out);
}

/// The hash of two subtrees: SHA-256 over 0x01, the left and the right one.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256::plain(NODE, [left.0, right.0].as_flattened())
}

/// Appends to `out` the [`node_hash`] of each two neighbours, many at once; one that is left over does not count.
pub fn node_hashes(nodes: &[Hash], out: &mut Vec<Hash>) {
    let bytes: Vec<[u8; 32]> = nodes.iter().map(|node| node.0).collect();
    let (pairs, _) = bytes.as_chunks::<2>();
    Engine::best().hash(NODE, pairs.iter().map(|pair| pair.as_flattened()), out);
}

/// Fewer leaves have no two pairs to be hashed at once.
const LEVEL_LEAST: usize = 3;

/// A tree that grows to the right. It holds one hash for each perfect subtree, so at most 64.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    size: u64,
    /// The roots of the perfect subtrees, the largest first: one for each bit that is set in `size`.
    edge: Vec<Hash>,
}

impl Tree {
    /// Adds the next leaf, by its [`leaf_hash`].
    pub fn append(&mut self, leaf: Hash) {
        let mut node = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.edge.push(node);
        self.size += 1;
    }

    /// Adds leaves, by their [`leaf_hash`]es, a level of the tree at a time. The tree is the same as by [`Tree::append`].
    pub fn extend(&mut self, leaves: &[Hash]) {
        if leaves.len() < LEVEL_LEAST {
            return leaves.iter().for_each(|leaf| self.append(*leaf));
        }
        let (mut level, mut above) = (Vec::with_capacity(leaves.len() + 1), leaves.to_vec());
        // The new edge as far as it changes, from below.
        let mut changed = Vec::new();
        let mut rest = self.size;
        while !above.is_empty() {
            // A bit that is set stands for a subtree on the edge, the left neighbour of what comes.
            if rest & 1 == 1 {
                level.extend(self.edge.pop());
            }
            level.append(&mut above);
            node_hashes(&level, &mut above);
            changed.extend(level.as_chunks::<2>().1);
            level.clear();
            rest >>= 1;
        }
        self.edge.extend(changed.iter().rev());
        self.size += length(leaves.len());
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root; of the empty tree it is the hash of nothing.
    pub fn root(&self) -> Hash {
        root_of(self.edge.iter())
    }

    /// The roots of the perfect subtrees, the largest first: one for each bit that is set in the size.
    pub(crate) fn peaks(&self) -> &[Hash] {
        &self.edge
    }
}

/// The root over perfect subtrees, the largest first.
pub(crate) fn root_of<'a>(peaks: impl DoubleEndedIterator<Item = &'a Hash>) -> Hash {
    peaks.rev().copied().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
}

/// The root of the tree without leaves.
pub(crate) fn empty_root() -> Hash {
    Hash(Sha256::digest([]).into())
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The reference inputs and roots of the certificate-transparency project (`merkletree/merkle_tree_test`).
    #[test]
    fn reference_roots() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(tree.root().to_string(), empty);
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.append(leaf_hash(leaf));
            assert_eq!(tree.root().to_string(), root, "after {} leaves", tree.size());
        }
    }

    /// MTH as RFC 6962 writes it: split at the largest power of two below the number of leaves.
    pub(crate) fn defined(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Tree::default().root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(&defined(left), &defined(right))
            }
        }
    }

    proptest! {
        #[test]
        fn edge_agrees_with_the_definition(entries in prop::collection::vec(any::<[u8; 3]>(), 0..200)) {
            let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            let mut tree = Tree::default();
            leaves.iter().for_each(|leaf| tree.append(*leaf));
            prop_assert_eq!(tree.root(), defined(&leaves));
        }

        #[test]
        fn many_leaves_at_once_are_as_one_by_one(parts in prop::collection::vec(0..100_usize, 0..12)) {
            let (mut tree, mut slow) = (Tree::default(), Tree::default());
            for part in parts {
                let entries: Vec<_> = (0..part).map(|at| (slow.size(), at).0.to_le_bytes().repeat(at)).collect();
                let mut leaves = Vec::new();
                leaf_hashes(&entries, &mut leaves);
                tree.extend(&leaves);
                entries.iter().for_each(|entry| slow.append(leaf_hash(entry)));
                prop_assert_eq!(&tree, &slow);
            }
        }
    }
}
