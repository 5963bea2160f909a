//! Which entries of one root a restore is about.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::entry::{Entry, Kind, split};
use super::rules::Rules;

/// Everything, or what is at or below some paths. A file with several names comes back with all of them: one name alone would be
/// another file. Folders on the way that are missing come back too, and nothing else in them.
#[derive(Debug, Default)]
pub(crate) struct Selection<'a> {
    /// Relative to the root.
    tops: Vec<&'a [u8]>,
    /// Other names of what is selected.
    names: HashSet<&'a [u8]>,
    /// Folders above what is selected in the checkpoint.
    parents: HashSet<&'a [u8]>,
    /// What is left alone all the same.
    left: HashSet<&'a [u8]>,
}

impl<'a> Selection<'a> {
    /// All of the root.
    pub(crate) fn everything() -> Self {
        Self { tops: vec![b""], ..Self::default() }
    }

    /// What is at or below these paths, relative to the root.
    pub(crate) fn new(want: &'a [Entry], tops: &[&'a [u8]]) -> Self {
        let mut selection = Self { tops: tops.to_vec(), ..Self::default() };
        let mut files: HashMap<&[u8], Vec<&'a [u8]>> = HashMap::new();
        for entry in want {
            if let Kind::HardLink { to } = &entry.kind {
                files.entry(to).or_insert_with(|| vec![to]).push(&entry.path);
            }
        }
        let linked = files.into_values().filter(|names| names.iter().any(|name| selection.is_below(name)));
        selection.names = linked.flatten().collect();
        let covered = want.iter().filter(|entry| selection.covers(&entry.path));
        let parents =
            |path| std::iter::successors(split(path), |(parent, _)| split(parent)).map(|(parent, _)| parent);
        let parents = covered.flat_map(|entry| parents(entry.path.as_slice())).collect();
        Self { parents, ..selection }
    }

    /// But for what the rules leave out now.
    pub(crate) fn without(self, want: &'a [Entry], rules: &Rules) -> Self {
        let is_left = |entry: &&Entry| {
            let path = Path::new(OsStr::from_bytes(&entry.path));
            !entry.path.is_empty() && rules.leave_out_below(path, entry.kind == Kind::Directory)
        };
        let left = want.iter().filter(is_left).map(|entry| entry.path.as_slice()).collect();
        Self { left, ..self }
    }

    /// Whether a restore makes this entry as it was, or removes it if it was not.
    pub(crate) fn covers(&self, path: &[u8]) -> bool {
        (self.is_below(path) || self.names.contains(path)) && !self.left.contains(path)
    }

    /// Whether it must be a folder for that.
    pub(crate) fn passes(&self, path: &[u8]) -> bool {
        self.parents.contains(path)
    }

    fn is_below(&self, path: &[u8]) -> bool {
        self.tops.iter().any(|top| match path.strip_prefix(*top) {
            Some(rest) => top.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
            None => false,
        })
    }
}
