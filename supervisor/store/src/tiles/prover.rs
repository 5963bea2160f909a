//! Proofs out of tiles: a few small reads each, beside a running writer or on a copy.
//!
//! Whatever is read from tiles is believed only if it leads to the root of the newest stored head. Where it does not, the
//! proof is made anew from the entries themselves, which reads them all; whoever opens or scrubs the log mends the tiles.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::hash::Hash;

use super::{HEIGHT, WIDTH, files};
use crate::bytes::{length, size};
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};
use crate::head::SignedHead;
use crate::log::archived::steadily;
use crate::log::leaves::{ArchivedLeaves, Leaves};
use crate::log::{read_newest, require};
use crate::merkle::proof::{consistency_path, inclusion_path, verify_consistency, verify_inclusion};
use crate::merkle::{Tree, root_of};

/// How many tiles are kept in memory, 8 KiB each.
const CACHE_MAX: usize = 1024;

/// That an entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The index of the entry.
    pub index: u64,
    /// Its [`crate::merkle::leaf_hash`].
    pub leaf: Hash,
    /// How many entries the tree has that it is proven to be in.
    pub size: u64,
    /// The root of that tree.
    pub root: Hash,
    /// The proof, as RFC 6962 has it.
    pub path: Vec<Hash>,
}

impl Inclusion {
    /// Whether it proves what it says. That the root is right is for a head to say.
    #[must_use]
    pub fn verify(&self) -> bool {
        verify_inclusion(&self.leaf, self.index, self.size, &self.path, &self.root)
    }
}

/// That a larger tree begins with a smaller one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// The size of the smaller tree.
    pub from: u64,
    /// The root of the smaller tree.
    pub from_root: Hash,
    /// The size of the larger tree.
    pub to: u64,
    /// The root of the larger tree.
    pub to_root: Hash,
    /// The proof, as RFC 6962 has it.
    pub path: Vec<Hash>,
}

impl Consistency {
    /// Whether it proves what it says. That a root is right is for a head to say.
    #[must_use]
    pub fn verify(&self) -> bool {
        verify_consistency(self.from, &self.from_root, self.to, &self.to_root, &self.path)
    }
}

/// Makes proofs of a log.
pub struct Prover {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    newest: SignedHead,
    cache: HashMap<(u32, u64), Vec<Hash>>,
    /// How many proofs the tiles were not good for.
    mended: u64,
}

impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prover").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Prover {
    /// A prover for the log in the folder `dir`.
    ///
    /// # Errors
    ///
    /// - [`Error::Absent`]: there is no log
    /// - [`Error::Invalid`]: no head is stored yet, so there is nothing to prove against
    /// - [`Error::Damaged`]: its `checkpoint` is none
    /// - [`Error::Io`]
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_on(Arc::new(Real), dir)
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        require(&*disk, dir)?;
        let newest = read_newest(&*disk, dir)?;
        let newest =
            newest.ok_or_else(|| Error::Invalid("no head is stored yet: nothing can be proven".into()))?;
        Ok(Self { disk, dir: dir.into(), newest, cache: HashMap::new(), mended: 0 })
    }

    /// The head against which everything is proven: the newest one when a proof last needed a newer.
    pub fn newest(&self) -> &SignedHead {
        &self.newest
    }

    /// How many proofs had to be made from the entries, because tiles were missing or wrong.
    pub fn mended(&self) -> u64 {
        self.mended
    }

    /// Looks whether a newer head is stored.
    ///
    /// # Errors
    ///
    /// - [`Error::Damaged`], [`Error::Io`]: `checkpoint` cannot be read
    pub fn refresh(&mut self) -> Result<(), Error> {
        if let Some(newest) = read_newest(&*self.disk, &self.dir)? {
            self.newest = newest;
        }
        Ok(())
    }

    /// Proves that the entry `index` is in the tree of the first `size` entries, and that this tree is the log's.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `index` is not below `size`, or no stored head covers `size` entries yet
    /// - [`Error::Damaged`]: entries are missing or changed, so that it cannot be proven
    /// - [`Error::Io`]
    pub fn inclusion(&mut self, index: u64, size: u64) -> Result<Inclusion, Error> {
        if index >= size {
            return Err(Error::Invalid(format!("entry {index} is not among the first {size}")));
        }
        let mut wanted = self.wanted(size)?;
        let path = wanted.len();
        wanted.push(index..index + 1);
        wanted.extend(inclusion_path(index, size));
        self.prove(&wanted, |log, hashes| {
            let (tree, own) = hashes.split_at_checked(path)?;
            let ([root, ..], [leaf, path @ ..]) = (tree, own) else { return None };
            let proof = Inclusion { index, leaf: *leaf, size, root: *root, path: path.to_vec() };
            (log.is_of_log(size, tree) && proof.verify()).then_some(proof)
        })
    }

    /// Proves that the tree of the first `to` entries begins with that of the first `from`, and that both are the log's.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `from` is over `to`, or no stored head covers `to` entries yet
    /// - [`Error::Damaged`]: entries are missing or changed, so that it cannot be proven
    /// - [`Error::Io`]
    pub fn consistency(&mut self, from: u64, to: u64) -> Result<Consistency, Error> {
        if from > to {
            return Err(Error::Invalid(format!("a tree of {to} entries does not begin with one of {from}")));
        }
        let mut wanted = self.wanted(to)?;
        let path = wanted.len();
        wanted.push(0..from);
        wanted.extend(consistency_path(from, to));
        self.prove(&wanted, |log, hashes| {
            let (tree, own) = hashes.split_at_checked(path)?;
            let ([to_root, ..], [from_root, path @ ..]) = (tree, own) else { return None };
            let path = path.to_vec();
            let proof = Consistency { from, from_root: *from_root, to, to_root: *to_root, path };
            (log.is_of_log(to, tree) && proof.verify()).then_some(proof)
        })
    }

    /// What proves that the tree of this size is the log's: its root, and how the newest head's goes on from it.
    fn wanted(&mut self, size: u64) -> Result<Vec<Range<u64>>, Error> {
        if size > self.newest.head().size {
            self.refresh()?;
        }
        let covered = self.newest.head().size;
        if size > covered {
            let why = format!("the newest stored head covers {covered} entries, not {size}: ask again later");
            return Err(Error::Invalid(why));
        }
        Ok(std::iter::once(0..size).chain(consistency_path(size, covered)).collect())
    }

    /// Whether these hashes, wanted by [`Prover::wanted`], lead from the tree of this size to the newest head.
    fn is_of_log(&self, size: u64, hashes: &[Hash]) -> bool {
        let (head, Some((root, path))) = (self.newest.head(), hashes.split_first()) else { return false };
        verify_consistency(size, root, head.size, &head.root, path)
    }

    /// Gets the hashes of these ranges of leaves from the tiles or, where `check` refuses those, from the entries.
    fn prove<T>(
        &mut self,
        wanted: &[Range<u64>],
        check: impl Fn(&Self, &[Hash]) -> Option<T>,
    ) -> Result<T, Error> {
        // What the tiles cannot give, or give wrongly, and be it for an error of reading, the entries decide.
        let found: Option<Vec<Hash>> = wanted.iter().map(|range| self.subtree(range)).collect();
        if let Some(proof) = found.and_then(|hashes| check(self, &hashes)) {
            return Ok(proof);
        }
        self.cache.clear();
        self.mended += 1;
        let hashes = steadily(&*self.disk, &self.dir, &mut || self.fold(wanted))?;
        check(self, &hashes).ok_or_else(|| {
            let covered = self.newest.head().size;
            let why = "the root of the entries is not the one of the newest stored head";
            Error::damaged(&self.dir, 0, Place::Entries(0..covered), why)
        })
    }

    /// The root of the tree over a range of leaves that begins where such a tree can begin.
    fn subtree(&mut self, range: &Range<u64>) -> Option<Hash> {
        let (mut start, mut peaks) = (range.start, Vec::new());
        while let Some(height) = range.end.checked_sub(start)?.checked_ilog2() {
            peaks.push(self.perfect(start, height)?);
            start += 1 << height;
        }
        Some(root_of(peaks.iter()))
    }

    /// The root of the perfect tree of this height that begins with the leaf `start`.
    fn perfect(&mut self, start: u64, height: u32) -> Option<Hash> {
        let (level, rest) = (height / HEIGHT, height % HEIGHT);
        let place = start >> (HEIGHT * level);
        let (first, count) = (size(place % length(WIDTH)), 1_usize << rest);
        let hashes = self.tile(level, place / length(WIDTH), first + count)?;
        let mut tree = Tree::default();
        hashes.get(first..first + count)?.iter().for_each(|hash| tree.append(*hash));
        Some(tree.root())
    }

    /// The first hashes of a tile, `width` of them at least.
    fn tile(&mut self, level: u32, index: u64, width: usize) -> Option<Vec<Hash>> {
        if let Some(hashes) = self.cache.get(&(level, index)).filter(|hashes| hashes.len() >= width) {
            return Some(hashes.clone());
        }
        let read = files::read_from(&*self.disk, &self.dir, (level, index), width);
        let hashes = match read {
            Some(hashes) => hashes,
            None => self.derive(level, index, width)?,
        };
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        self.cache.insert((level, index), hashes.clone());
        Some(hashes)
    }

    /// Makes the beginning of a tile from the tiles below, those of leaves from entries.
    fn derive(&mut self, level: u32, index: u64, width: usize) -> Option<Vec<Hash>> {
        let first = index.checked_mul(length(WIDTH))?;
        match level.checked_sub(1) {
            None => {
                let range = first..first + length(width);
                let leaves = Leaves::new(Arc::clone(&self.disk), &self.dir, range, true).ok()?;
                let leaves: Vec<Hash> = leaves.collect::<Result<_, _>>().ok()?;
                (leaves.len() == width).then_some(leaves)
            }
            Some(below) => (0..length(width)).map(|number| self.whole(below, first + number)).collect(),
        }
    }

    /// The root over a whole tile.
    fn whole(&mut self, level: u32, index: u64) -> Option<Hash> {
        let hashes = self.tile(level, index, WIDTH)?;
        let mut tree = Tree::default();
        hashes.iter().for_each(|hash| tree.append(*hash));
        (hashes.len() == WIDTH).then(|| tree.root())
    }

    /// The roots over these ranges, from the entries: one pass over all of them.
    fn fold(&self, wanted: &[Range<u64>]) -> Result<Vec<Hash>, Error> {
        let end = wanted.iter().map(|range| range.end).max().unwrap_or(0);
        let mut trees: Vec<(&Range<u64>, Tree)> =
            wanted.iter().map(|range| (range, Tree::default())).collect();
        let leaves = ArchivedLeaves::of_log(Arc::clone(&self.disk), &self.dir)?;
        let archived = leaves.until();
        let entries = Leaves::new(Arc::clone(&self.disk), &self.dir, archived..end.max(archived), true)?;
        let mut found = 0;
        for (index, leaf) in (0..end).zip(leaves.chain(entries)) {
            let leaf = leaf?;
            found = index + 1;
            trees
                .iter_mut()
                .filter(|(range, _)| range.contains(&index))
                .for_each(|(_, tree)| tree.append(leaf));
        }
        if found < end {
            let why = "a stored head covers them, but they are not there";
            return Err(Error::damaged(&self.dir, 0, Place::Entries(found..end), why));
        }
        Ok(trees.into_iter().map(|(_, tree)| tree.root()).collect())
    }
}

#[cfg(test)]
mod tests;
