//! The tree's hashes as C2SP tiles (c2sp.org/tlog-tiles), so that a proof costs a few small reads.
//!
//! # Layout
//!
//! - `files`: tiles as they lie in a log's folder
//! - [`prover`]: proofs out of them
//!
//! ```text
//! tile/L/N        256 hashes of level L, from number 256 N on: of entries at level 0, else of whole tiles of the level below
//! tile/L/N.p/W    the first W of them, while there are no more
//! ```
//!
//! N is written in groups of three digits, `x001/x234/067`.
//!
//! # Invariants
//!
//! - Everything in a tile follows from the entries, so tiles are written without a flush and never trusted: what is read
//!   from them counts once it leads to the root of a head. One that is missing, torn or wrong is made again.
//! - Tiles of entries that were archived are flushed before the entries go.

pub(crate) mod files;
pub mod prover;

use types::hash::Hash;

use crate::bytes::{Fields, length, size};
use crate::merkle::{Tree, root_of};

/// How many hashes a whole tile has.
pub const WIDTH: usize = 256;

/// The same as a power of two: each level of tiles covers this many levels of the tree.
const HEIGHT: u32 = 8;

/// The levels of tiles that a tree of 2⁶⁴ leaves has.
pub(crate) const LEVELS: u32 = 8;

/// The path of a tile below the log's folder; `width` is how many hashes it has.
pub fn path(level: u32, index: u64, width: usize) -> String {
    format!("tile/{level}/{}", number(index, width))
}

/// The path of a bundle of entries; they are exported alone.
pub fn entries_path(index: u64, width: usize) -> String {
    format!("tile/entries/{}", number(index, width))
}

fn number(index: u64, width: usize) -> String {
    let mut groups = vec![format!("{:03}", index % 1000)];
    let mut rest = index / 1000;
    while rest > 0 {
        groups.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    groups.reverse();
    let whole = groups.join("/");
    if width < WIDTH { format!("{whole}.p/{width}") } else { whole }
}

/// How many hashes the last tile of this level has in a tree of this size; 0 where all tiles are whole.
fn width_at(size_of_tree: u64, level: u32) -> usize {
    size((size_of_tree >> (HEIGHT * level)) % length(WIDTH))
}

/// The number of the last tile of this level in a tree of this size: the one that is not whole.
pub(crate) fn last_at(size_of_tree: u64, level: u32) -> u64 {
    size_of_tree.checked_shr(HEIGHT * (level + 1)).unwrap_or(0)
}

/// How many leaves a tree has at least in which this tile is whole.
pub(crate) fn end(level: u32, index: u64) -> u64 {
    index.saturating_add(1).saturating_mul(1_u64.checked_shl(HEIGHT * (level + 1)).unwrap_or(u64::MAX))
}

/// The right edge of a tree: of each level the tile that is not whole yet. It is what the tree grows from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Edge {
    size: u64,
    /// From the leaves up; each with fewer than [`WIDTH`] hashes.
    levels: Vec<Level>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Level {
    hashes: Vec<Hash>,
    /// Over these hashes.
    tree: Tree,
}

/// What is told of a tile that became whole: level, number, and its [`WIDTH`] hashes.
pub(crate) type Made<'a> = dyn FnMut(u32, u64, &[Hash]) + 'a;

impl Edge {
    /// Adds leaves, and tells of each tile that becomes whole.
    pub(crate) fn extend(&mut self, leaves: &[Hash], made: &mut Made<'_>) {
        let mut rest = leaves;
        while !rest.is_empty() {
            let room = WIDTH - self.hashes(0).len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.size += length(now.len());
            self.grow(now, made);
            rest = later;
        }
    }

    /// Adds a leaf, and tells of each tile that becomes whole.
    pub(crate) fn append(&mut self, leaf: Hash, made: &mut Made<'_>) {
        self.extend(&[leaf], made);
    }

    /// Adds leaves that have room in the last tile, and what follows from it above.
    fn grow(&mut self, leaves: &[Hash], made: &mut Made<'_>) {
        let (mut nodes, mut node);
        nodes = leaves;
        for number in 0..LEVELS {
            let place = size(number.into());
            if self.levels.len() <= place {
                self.levels.push(Level::default());
            }
            let Some(level) = self.levels.get_mut(place) else { return };
            level.hashes.extend(nodes);
            level.tree.extend(nodes);
            if level.hashes.len() < WIDTH {
                return;
            }
            made(number, last_at(self.size, number).saturating_sub(1), &level.hashes);
            node = [level.tree.root()];
            nodes = &node;
            *level = Level::default();
        }
    }

    /// How many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        root_of(self.levels.iter().rev().flat_map(|level| level.tree.peaks()))
    }

    /// The hashes of the last tile of this level; none where all tiles are whole.
    pub(crate) fn hashes(&self, level: u32) -> &[Hash] {
        self.levels.get(size(level.into())).map_or(&[], |level| &level.hashes)
    }

    /// The size (u64), then of each level, from the leaves up, the hashes of the tile that is not whole.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = self.size.to_le_bytes().to_vec();
        let hashes = self.levels.iter().flat_map(|level| &level.hashes);
        hashes.for_each(|hash| bytes.extend(hash.0));
        bytes
    }

    /// Reads what [`Edge::encode`] wrote. That it is the edge of the log is for a head to say.
    pub(crate) fn decode(fields: &mut Fields<'_>) -> Option<Self> {
        let mut edge = Self { size: fields.u64()?, levels: Vec::new() };
        for number in 0..LEVELS {
            let width = width_at(edge.size, number);
            let mut level = Level::default();
            for _ in 0..width {
                let hash = Hash(fields.take()?);
                level.hashes.push(hash);
                level.tree.append(hash);
            }
            if edge.size >> (HEIGHT * number) > 0 {
                edge.levels.push(level);
            }
        }
        Some(edge)
    }
}

#[cfg(test)]
mod tests;
