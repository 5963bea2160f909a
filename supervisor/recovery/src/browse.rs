//! Looking into a checkpoint without restoring it: its files as a tree of numbered nodes, read at any place.
//!
//! # Layout
//!
//! - this file: the nodes of a manifest
//! - [`contents`]: chunks, with those that were read last
//! - [`kept`]: a few values that are made again when they are needed again

pub mod contents;
pub mod kept;

use std::collections::HashMap;

use store::chunk::ChunkId;

use crate::Error;
use crate::error::{length, shown};
use crate::files::entry::{Entry, Kind, Meta, Piece, Stamp, split};
use crate::manifest::{Manifest, Tree};
use contents::Contents;

/// The node of the folder that stands for `/`.
pub const TOP: u32 = 0;
/// The mode of folders that are not in the checkpoint but lead to one that is.
const MADE_MODE: u32 = 0o755;

/// A manifest as a tree: the captured folders below their absolute paths.
#[derive(Debug)]
pub struct Table {
    manifest: Manifest,
    nodes: Vec<Slot>,
    made: Meta,
}

/// A node in the table. All names of a file are one node.
#[derive(Debug)]
struct Slot {
    what: What,
    /// The folder that its first name is in.
    parent: u32,
    links: u32,
    /// Of a folder: names and nodes, ascending by bytes.
    children: Vec<(Box<[u8]>, u32)>,
    /// Of a file in several pieces: where each one ends.
    ends: Box<[u64]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// A folder above a captured one.
    Made,
    /// An entry of a tree of the manifest.
    Entry { tree: usize, entry: usize },
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node<'a> {
    /// Its kind and content; never a hard link.
    pub kind: &'a Kind,
    /// Owner, mode, times, attributes.
    pub meta: &'a Meta,
    /// How many names it has in the checkpoint; of a folder how many folders it holds, and two.
    pub links: u32,
    /// The node of the folder above.
    pub parent: u32,
}

/// A content that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: chunk {chunk}: {cause}", shown(path))]
pub struct Unreadable {
    /// The file's absolute path.
    pub path: Vec<u8>,
    /// The chunk.
    pub chunk: ChunkId,
    /// Why.
    pub cause: Box<Error>,
}

impl Table {
    /// Makes the nodes of a manifest.
    ///
    /// # Errors
    ///
    /// - [`Error::Damaged`]: two entries are at one place
    /// - [`Error::Limit`]: it has more entries than a node's number can say
    pub fn new(manifest: Manifest) -> Result<Self, Error> {
        let wall_ns = types::time::Time::from(manifest.created).wall_ns;
        let at = Stamp {
            secs: wall_ns.div_euclid(1_000_000_000),
            nanos: u32::try_from(wall_ns.rem_euclid(1_000_000_000)).unwrap_or_default(),
        };
        let made = Meta { mode: MADE_MODE, uid: 0, gid: 0, mtime: at, atime: at, xattrs: Vec::new() };
        let mut table = Self { nodes: Vec::new(), made, manifest };
        table.add(What::Made, TOP)?;
        for tree in 0..table.manifest.roots().len() {
            table.add_tree(tree)?;
        }
        for slot in &mut table.nodes {
            slot.children.sort_unstable();
            if slot.children.windows(2).any(|pair| matches!(pair, [(one, _), (two, _)] if one == two)) {
                return Err(Error::Damaged("a folder holds a name twice".into()));
            }
        }
        Ok(table)
    }

    /// The manifest.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What a node is.
    #[must_use]
    pub fn node(&self, node: u32) -> Option<Node<'_>> {
        let slot = self.slot(node)?;
        let (kind, meta) = match slot.what {
            What::Made => (&Kind::Directory, &self.made),
            What::Entry { .. } => self.entry(slot.what).map(|(_, entry)| (&entry.kind, &entry.meta))?,
        };
        Some(Node { kind, meta, links: slot.links, parent: slot.parent })
    }

    /// What has a name in a folder.
    #[must_use]
    pub fn find(&self, folder: u32, name: &[u8]) -> Option<u32> {
        let children = self.children(folder);
        let place = children.binary_search_by(|(child, _)| child.as_ref().cmp(name)).ok()?;
        children.get(place).map(|(_, node)| *node)
    }

    /// What a folder holds, ascending by the names' bytes.
    #[must_use]
    pub fn children(&self, folder: u32) -> &[(Box<[u8]>, u32)] {
        self.slot(folder).map_or(&[], |slot| &slot.children)
    }

    /// The absolute path of a node, by its first name.
    #[must_use]
    pub fn path(&self, node: u32) -> Vec<u8> {
        let entry = self.slot(node).and_then(|slot| self.entry(slot.what));
        let Some((tree, entry)) = entry else { return b"/".to_vec() };
        match entry.path.as_slice() {
            [] => tree.path.clone(),
            path => [tree.path.strip_suffix(b"/").unwrap_or(&tree.path), b"/", path].concat(),
        }
    }

    /// Bytes of a file from a place on: as many as asked for, and fewer only at its end. Of what is no file none.
    ///
    /// # Errors
    ///
    /// A piece is missing or damaged.
    pub fn read(
        &self,
        node: u32,
        offset: u64,
        most: usize,
        contents: &Contents,
    ) -> Result<Vec<u8>, Unreadable> {
        let (Some(slot), Some(Node { kind: Kind::Regular { size, pieces }, .. })) =
            (self.slot(node), self.node(node))
        else {
            return Ok(Vec::new());
        };
        let end = offset.saturating_add(length(most)).min(*size);
        let mut bytes = Vec::with_capacity(usize::try_from(end.saturating_sub(offset)).unwrap_or_default());
        let first = slot.ends.partition_point(|piece_end| *piece_end <= offset);
        let mut begin = first.checked_sub(1).and_then(|before| slot.ends.get(before)).map_or(0, |end| *end);
        for piece in pieces.iter().skip(first) {
            if begin >= end {
                break;
            }
            let plain = contents.get(piece).map_err(|cause| Unreadable {
                path: self.path(node),
                chunk: piece.id(),
                cause: Box::new(cause),
            })?;
            let within = |place: u64| {
                usize::try_from(place.saturating_sub(begin)).unwrap_or(usize::MAX).min(plain.len())
            };
            bytes.extend_from_slice(plain.get(within(offset)..within(end)).unwrap_or_default());
            begin = begin.saturating_add(piece.bytes.into());
        }
        Ok(bytes)
    }

    fn slot(&self, node: u32) -> Option<&Slot> {
        self.nodes.get(usize::try_from(node).ok()?)
    }

    fn slot_mut(&mut self, node: u32) -> Option<&mut Slot> {
        self.nodes.get_mut(usize::try_from(node).ok()?)
    }

    fn entry(&self, what: What) -> Option<(&Tree, &Entry)> {
        let What::Entry { tree, entry } = what else { return None };
        let tree = self.manifest.roots().get(tree)?;
        Some((tree, tree.entries.get(entry)?))
    }

    /// A new node, which nothing leads to yet.
    fn add(&mut self, what: What, parent: u32) -> Result<u32, Error> {
        let limit = u64::from(u32::MAX);
        let node = u32::try_from(self.nodes.len());
        let node = node.map_err(|_| Error::Limit { what: "a tree", found: limit + 1, limit })?;
        let (links, ends) = match self.entry(what).map(|(_, entry)| &entry.kind) {
            None | Some(Kind::Directory) => (2, Box::default()),
            Some(Kind::Regular { pieces, .. }) if pieces.len() > 1 => (1, ends(pieces)),
            Some(_) => (1, Box::default()),
        };
        self.nodes.push(Slot { what, parent, links, children: Vec::new(), ends });
        Ok(node)
    }

    /// Gives a node a name in a folder.
    fn name(&mut self, folder: u32, name: &[u8], node: u32, is_folder: bool) {
        if let Some(slot) = self.slot_mut(folder) {
            slot.children.push((name.into(), node));
            slot.links += u32::from(is_folder);
        }
    }

    fn add_tree(&mut self, number: usize) -> Result<(), Error> {
        let Some(tree) = self.manifest.roots().get(number) else { return Ok(()) };
        let (path, count) = (tree.path.clone(), tree.entries.len());
        let root = self.lead(&path)?;
        let mut found: HashMap<Vec<u8>, u32> = HashMap::with_capacity(count);
        for entry in 0..count {
            let what = What::Entry { tree: number, entry };
            let Some((path, kind)) = self.entry(what).map(|(_, entry)| (&entry.path, &entry.kind)) else {
                continue;
            };
            let nowhere = || Error::Damaged(format!("{}: it is in no folder", shown(path)));
            let Some((folder, name)) = split(path) else {
                // The captured folder itself takes the place of what led there.
                let Some(slot) = self.slot_mut(root) else { continue };
                if slot.what != What::Made {
                    return Err(Error::Damaged(format!("{}: it is there twice", shown(&self.path(root)))));
                }
                slot.what = what;
                found.insert(Vec::new(), root);
                continue;
            };
            let folder = *found.get(folder).ok_or_else(nowhere)?;
            let (name, path, is_folder) = (name.to_vec(), path.clone(), *kind == Kind::Directory);
            let node = match kind {
                Kind::HardLink { to } => {
                    let node = *found.get(to).ok_or_else(nowhere)?;
                    if let Some(slot) = self.slot_mut(node) {
                        slot.links += 1;
                    }
                    node
                }
                _ => self.add(what, folder)?,
            };
            self.name(folder, &name, node, is_folder);
            found.insert(path, node);
        }
        Ok(())
    }

    /// The node at an absolute path, with the folders that lead there.
    fn lead(&mut self, path: &[u8]) -> Result<u32, Error> {
        let mut folder = TOP;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            // The children are not in order yet.
            let found = self.children(folder).iter().find(|(child, _)| child.as_ref() == name);
            folder = match found.map(|(_, node)| *node) {
                Some(node) if self.node(node).is_some_and(|node| *node.kind == Kind::Directory) => node,
                Some(_) => return Err(Error::Damaged(format!("{}: a file leads there", shown(path)))),
                None => {
                    let node = self.add(What::Made, folder)?;
                    self.name(folder, name, node, true);
                    node
                }
            };
        }
        Ok(folder)
    }
}

/// Where each piece ends.
fn ends(pieces: &[Piece]) -> Box<[u64]> {
    let add = |end: &mut u64, piece: &Piece| {
        *end = end.saturating_add(piece.bytes.into());
        Some(*end)
    };
    pieces.iter().scan(0, add).collect()
}
