//! What a restore of one root would change, and in which steps.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::entry::{Entry, Kind, Meta, split};
use super::scan::{Note, Scan};
use super::selection::Selection;
use crate::worker::effect::Way;

/// One entry that is not as in the checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Relative to the root.
    pub path: Vec<u8>,
    /// What the restore does about it.
    pub change: Change,
}

/// What a restore does to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is missing and comes back.
    Create,
    /// It is extra and goes.
    Remove,
    /// It is changed back.
    Alter(Aspects),
}

/// In what an entry differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Aspects {
    /// It is another kind of entry, or linked to another file.
    pub kind: bool,
    /// Its contents, or a symbolic link's target.
    pub content: bool,
    /// Permission bits.
    pub mode: bool,
    /// Owner or group.
    pub owner: bool,
    /// Time of the last change.
    pub mtime: bool,
    /// Time of the last access.
    pub atime: bool,
    /// Extended attributes, among them access control lists and capabilities.
    pub xattrs: bool,
}

impl Aspects {
    fn of(want: &Meta, have: &Meta) -> Self {
        Self {
            kind: false,
            content: false,
            mode: want.mode != have.mode,
            owner: (want.uid, want.gid) != (have.uid, have.gid),
            mtime: want.mtime != have.mtime,
            atime: want.atime != have.atime,
            xattrs: want.xattrs != have.xattrs,
        }
    }

    /// Whether nothing but the access time differs: somebody has only read it.
    #[must_use]
    pub fn is_access_only(&self) -> bool {
        *self == Self { atime: true, ..Self::default() }
    }

    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }
}

impl Aspects {
    /// In what, in words.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        let words = [
            (self.kind, "kind"),
            (self.content, "content"),
            (self.mode, "mode"),
            (self.owner, "owner"),
            (self.mtime, "mtime"),
            (self.atime, "atime"),
            (self.xattrs, "attributes"),
        ];
        words.iter().filter(|(differs, _)| *differs).map(|(_, word)| *word).collect()
    }
}

impl fmt::Display for Aspects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(", "))
    }
}

/// What restoring one root takes.
#[derive(Debug, Default)]
pub(crate) struct RootPlan {
    pub(crate) differences: Vec<Difference>,
    /// Paths that go, the topmost only.
    pub(crate) removes: Vec<Vec<u8>>,
    /// Places in the checkpoint's list that are put anew, folders before what they hold.
    pub(crate) places: Vec<usize>,
    /// Places in the checkpoint's list whose metadata is set where they are, after all else, what a folder holds before
    /// the folder.
    pub(crate) metas: Vec<usize>,
}

impl RootPlan {
    /// Whether the root is as in the checkpoint.
    pub(crate) fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares what is selected of a root with a checkpoint's list of it; `left_out` is what the checkpoint does not cover.
pub(crate) fn plan(
    (want, left_out): (&[Entry], &[Note]),
    have: &Scan,
    selection: &Selection<'_>,
    way: Way,
) -> RootPlan {
    let mut plan = RootPlan::default();
    let present: HashMap<&[u8], (&Entry, u32)> =
        have.entries.iter().map(|found| (found.entry.path.as_slice(), (&found.entry, found.nlink))).collect();
    let link_targets: HashSet<&[u8]> = want
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::HardLink { to } => Some(to.as_slice()),
            _ => None,
        })
        .collect();
    let mut replaced: HashSet<&[u8]> = HashSet::new();
    let mut metas: HashSet<usize> = HashSet::new();
    for (place, entry) in want.iter().enumerate() {
        let path = entry.path.as_slice();
        let now = present.get(path);
        if !selection.covers(path) {
            let is_there = now.is_some_and(|(now, _)| now.kind == Kind::Directory);
            if is_there || !selection.passes(path) {
                continue;
            }
        }
        let Some((now, nlink)) = now else {
            plan.differences.push(Difference { path: path.to_vec(), change: Change::Create });
            replaced.insert(path);
            plan.places.push(place);
            continue;
        };
        let aspects = compare(entry, now);
        if aspects.any() {
            plan.differences.push(Difference { path: path.to_vec(), change: Change::Alter(aspects) });
        }
        let follows = matches!(&entry.kind, Kind::HardLink { to } if replaced.contains(to.as_slice()));
        if aspects.kind || aspects.content || follows {
            replaced.insert(path);
            plan.places.push(place);
        } else if aspects.any() {
            // Metadata of a file with several names would change for all of them, wherever they are.
            let alone =
                matches!(entry.kind, Kind::Regular { .. }) && *nlink == 1 && !link_targets.contains(path);
            // Where the root is exchanged, both roots hold the file until then: it is changed in nothing that matters.
            let alone = alone && (way == Way::InPlace || aspects.is_access_only());
            if alone || entry.kind == Kind::Directory {
                metas.insert(place);
            } else {
                replaced.insert(path);
                plan.places.push(place);
            }
        }
    }
    removes(&mut plan, (want, left_out), have, &replaced, selection);
    let settled = |path: &[u8]| selection.covers(path) || replaced.contains(path);
    folders(&plan, want, &mut metas, settled);
    plan.metas = metas.into_iter().collect();
    plan.metas.sort_unstable_by(|a, b| b.cmp(a));
    plan
}

/// In what two entries of one path differ.
pub(crate) fn compare(want: &Entry, have: &Entry) -> Aspects {
    let other_kind = Aspects { kind: true, ..Aspects::default() };
    let content = match (&want.kind, &have.kind) {
        (Kind::Regular { pieces: a, .. }, Kind::Regular { pieces: b, .. }) => a != b,
        (Kind::Symlink { target: a }, Kind::Symlink { target: b }) => a != b,
        (Kind::Directory, Kind::Directory) | (Kind::Fifo, Kind::Fifo) => false,
        // The rest of a linked file is compared where its first name is.
        (Kind::HardLink { to: a }, Kind::HardLink { to: b }) if a == b => return Aspects::default(),
        _ => return other_kind,
    };
    let mut aspects = Aspects { content, ..Aspects::of(&want.meta, &have.meta) };
    if matches!(want.kind, Kind::Symlink { .. }) {
        // Reading where a link points is an access: looking would make the difference.
        aspects.atime = false;
    }
    aspects
}

/// Finds what is there and should not be.
fn removes(
    plan: &mut RootPlan,
    (want, left_out): (&[Entry], &[Note]),
    have: &Scan,
    replaced: &HashSet<&[u8]>,
    selection: &Selection<'_>,
) {
    let wanted: HashSet<&[u8]> = want.iter().map(|entry| entry.path.as_slice()).collect();
    let mut alone: HashSet<&[u8]> = HashSet::new();
    for note in left_out.iter().filter(|note| note.why.leaves_out()) {
        alone.insert(&note.path);
    }
    let mut gone: HashSet<&[u8]> = HashSet::new();
    let mut kept: HashSet<&[u8]> = HashSet::new();
    for found in &have.entries {
        let path = found.entry.path.as_slice();
        let Some((parent, _)) = split(path) else { continue };
        if alone.contains(path) || kept.contains(parent) {
            kept.insert(path);
        } else if gone.contains(parent) {
            // It goes with its folder.
            gone.insert(path);
            if !wanted.contains(path) {
                plan.differences.push(Difference { path: path.to_vec(), change: Change::Remove });
            }
        } else if !wanted.contains(path) {
            if !selection.covers(path) {
                continue;
            }
            gone.insert(path);
            plan.differences.push(Difference { path: path.to_vec(), change: Change::Remove });
            plan.removes.push(path.to_vec());
        } else if replaced.contains(path) {
            gone.insert(path);
        }
    }
}

/// Adds the folders whose times the other steps disturb, of those that are to be as in the checkpoint.
fn folders(plan: &RootPlan, want: &[Entry], metas: &mut HashSet<usize>, settled: impl Fn(&[u8]) -> bool) {
    let places: HashMap<&[u8], usize> = want
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.kind == Kind::Directory && settled(&entry.path))
        .map(|(place, entry)| (entry.path.as_slice(), place))
        .collect();
    let placed = plan.places.iter().filter_map(|place| want.get(*place));
    for path in placed.map(|entry| &entry.path).chain(&plan.removes) {
        metas.extend(split(path).and_then(|(parent, _)| places.get(parent)));
        metas.extend(places.get(path.as_slice()));
    }
    if !plan.is_empty() {
        // The folder of the restore comes and goes in it.
        metas.extend(places.get(&b""[..]));
    }
}
