//! A checkpoint as a tree.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use recovery::browse::contents::Contents;
use recovery::browse::{TOP, Table, Unreadable};
use recovery::files::entry::{Kind, Stamp};
use recovery::manifest::Manifest;
use types::time::Time;
use view::tree::{self, Node, Refusal, Tree};

use crate::output;

/// What is in a checkpoint never changes: the kernel need not ask again.
pub const LASTING: Duration = Duration::from_secs(24 * 60 * 60);
/// The most troubles that are remembered, so that each is told once: the kernel asks again and again.
const TOLD_MAX: usize = 1024;

/// The tree of a checkpoint, whose numbers begin at some base.
pub struct Numbered<'a> {
    pub table: &'a Table,
    pub contents: &'a Contents,
    /// The number of the node 0.
    pub base: u64,
    pub told: &'a Told,
}

impl Numbered<'_> {
    pub fn find(&self, folder: u64, name: &[u8]) -> Result<Node, Refusal> {
        self.shown(self.table.find(self.place(folder)?, name).ok_or(Refusal::Absent)?)
    }

    pub fn node(&self, number: u64) -> Result<Node, Refusal> {
        self.shown(self.place(number)?)
    }

    pub fn parent(&self, folder: u64) -> u64 {
        let parent = self.place(folder).ok().and_then(|place| self.table.node(place)).map(|node| node.parent);
        self.base.saturating_add(parent.unwrap_or(TOP).into())
    }

    pub fn list(
        &self,
        folder: u64,
        from: u64,
        take: &mut dyn FnMut(u64, &[u8], &Node) -> bool,
    ) -> Result<(), Refusal> {
        let children = self.table.children(self.place(folder)?);
        let from_place = usize::try_from(from).unwrap_or(usize::MAX);
        for ((name, place), next) in children.iter().skip(from_place).zip(from.saturating_add(1)..) {
            if !take(next, name, &self.shown(*place)?) {
                break;
            }
        }
        Ok(())
    }

    pub fn target(&self, link: u64) -> Result<Vec<u8>, Refusal> {
        match self.table.node(self.place(link)?).ok_or(Refusal::Absent)?.kind {
            Kind::Symlink { target } => Ok(target.clone()),
            _ => Err(Refusal::Absent),
        }
    }

    pub fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, Refusal> {
        let read = self.table.read(self.place(file)?, offset, length, self.contents);
        read.map_err(|error: Unreadable| self.told.tell(&error.to_string()))
    }

    pub fn attributes(&self, number: u64) -> Result<Vec<Vec<u8>>, Refusal> {
        let node = self.table.node(self.place(number)?).ok_or(Refusal::Absent)?;
        Ok(node.meta.xattrs.iter().map(|xattr| xattr.name.clone()).collect())
    }

    pub fn attribute(&self, number: u64, name: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let node = self.table.node(self.place(number)?).ok_or(Refusal::Absent)?;
        Ok(node.meta.xattrs.iter().find(|xattr| xattr.name == name).map(|xattr| xattr.value.clone()))
    }

    fn place(&self, number: u64) -> Result<u32, Refusal> {
        let place = number.checked_sub(self.base).and_then(|place| u32::try_from(place).ok());
        place.ok_or(Refusal::Absent)
    }

    fn shown(&self, place: u32) -> Result<Node, Refusal> {
        let node = self.table.node(place).ok_or(Refusal::Absent)?;
        let (kind, size) = match node.kind {
            Kind::Regular { size, .. } => (tree::Kind::File, *size),
            Kind::Directory => (tree::Kind::Folder, 0),
            Kind::Symlink { target } => (tree::Kind::Link, u64::try_from(target.len()).unwrap_or(u64::MAX)),
            Kind::Fifo => (tree::Kind::Pipe, 0),
            // The table has resolved it.
            Kind::HardLink { .. } => return Err(Refusal::Failed),
        };
        Ok(Node {
            number: self.base.saturating_add(place.into()),
            kind,
            mode: u16::try_from(node.meta.mode).map_err(|_| Refusal::Failed)?,
            links: node.links,
            uid: node.meta.uid,
            gid: node.meta.gid,
            size,
            atime: stamp(node.meta.atime),
            mtime: stamp(node.meta.mtime),
            // Since it was captured nothing of it has changed.
            ctime: created(self.table.manifest()),
        })
    }
}

fn stamp(stamp: Stamp) -> tree::Stamp {
    tree::Stamp { seconds: stamp.secs, nanoseconds: stamp.nanos }
}

fn created(manifest: &Manifest) -> tree::Stamp {
    wall(Time::from(manifest.created).wall_ns)
}

/// A time by the wall clock.
pub fn wall(wall_ns: i64) -> tree::Stamp {
    let nanoseconds = u32::try_from(wall_ns.rem_euclid(1_000_000_000)).unwrap_or_default();
    tree::Stamp { seconds: wall_ns.div_euclid(1_000_000_000), nanoseconds }
}

/// What was told already.
#[derive(Default)]
pub struct Told(Mutex<HashSet<String>>);

impl Told {
    /// Tells it, once.
    pub fn tell(&self, trouble: &str) -> Refusal {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && told.insert(trouble.to_owned()) {
            output::error(trouble);
            if told.len() == TOLD_MAX {
                output::error("there is more damage, which is not told any more");
            }
        }
        Refusal::Failed
    }
}

/// One checkpoint.
pub struct One {
    table: Table,
    contents: Contents,
    told: Told,
}

impl One {
    pub fn new(manifest: Manifest, contents: Contents) -> Result<Self, recovery::Error> {
        Ok(Self { table: Table::new(manifest)?, contents, told: Told::default() })
    }

    const fn tree(&self) -> Numbered<'_> {
        Numbered { table: &self.table, contents: &self.contents, base: tree::ROOT, told: &self.told }
    }
}

impl Tree for One {
    fn find(&self, folder: u64, name: &[u8]) -> Result<Node, Refusal> {
        self.tree().find(folder, name)
    }

    fn node(&self, number: u64) -> Result<Node, Refusal> {
        self.tree().node(number)
    }

    fn parent(&self, folder: u64) -> u64 {
        self.tree().parent(folder)
    }

    fn list(
        &self,
        folder: u64,
        from: u64,
        take: &mut dyn FnMut(u64, &[u8], &Node) -> bool,
    ) -> Result<(), Refusal> {
        self.tree().list(folder, from, take)
    }

    fn target(&self, link: u64) -> Result<Vec<u8>, Refusal> {
        self.tree().target(link)
    }

    fn read(&self, file: u64, offset: u64, length: usize) -> Result<Vec<u8>, Refusal> {
        self.tree().read(file, offset, length)
    }

    fn attributes(&self, number: u64) -> Result<Vec<Vec<u8>>, Refusal> {
        self.tree().attributes(number)
    }

    fn attribute(&self, number: u64, name: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        self.tree().attribute(number, name)
    }

    fn lasting(&self, _: u64) -> Duration {
        LASTING
    }
}
