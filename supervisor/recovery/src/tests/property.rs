//! Any tree, after any changes, comes back.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::tree::*;
use crate::worker::effect::Way;

#[derive(Clone, Debug)]
pub(super) enum Act {
    Folder(usize),
    File(usize, usize, u64),
    Link(usize, usize),
    Symlink(usize, usize),
    Fifo(usize),
    Remove(usize),
    Move(usize, usize),
    Mode(usize, u32),
    Owner(usize, u32),
    Time(usize, i64),
    Attribute(usize, u8),
}

/// Few paths, so that changes meet.
pub(super) const PATHS: [&str; 12] =
    ["a", "b", "c", "a/a", "a/b", "b/a", "b/c", "a/a/a", "a/a/b", "a/b/\u{fc}\n", "c/c", "c/c/c"];

fn path() -> impl Strategy<Value = usize> {
    0..PATHS.len()
}

pub(super) fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => path().prop_map(Act::Folder),
        4 => (path(), prop_oneof![0..50usize, 100_000..400_000usize], 0..4u64).prop_map(|(p, n, s)| Act::File(p, n, s)),
        2 => (path(), path()).prop_map(|(a, b)| Act::Link(a, b)),
        1 => (path(), path()).prop_map(|(a, b)| Act::Symlink(a, b)),
        1 => path().prop_map(Act::Fifo),
        2 => path().prop_map(Act::Remove),
        2 => (path(), path()).prop_map(|(a, b)| Act::Move(a, b)),
        1 => (path(), prop_oneof![Just(0o600), Just(0o4755), Just(0o2750), Just(0o1777), Just(0)]).prop_map(|(p, m)| Act::Mode(p, m)),
        1 => (path(), 0..3u32).prop_map(|(p, o)| Act::Owner(p, o)),
        1 => (path(), -5..5i64).prop_map(|(p, t)| Act::Time(p, t)),
        1 => (path(), 0..3u8).prop_map(|(p, v)| Act::Attribute(p, v)),
    ]
}

/// Does what is possible; the rest is no change.
pub(super) fn perform(root: &Path, act: &Act) {
    let at = |index: &usize| root.join(PATHS[*index]);
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    match act {
        Act::Folder(p) => drop(fs::create_dir(at(p))),
        Act::File(p, bytes, seed) => drop(fs::write(at(p), noise(*bytes, *seed))),
        Act::Link(a, b) => drop(fs::hard_link(at(a), at(b))),
        Act::Symlink(a, b) => drop(std::os::unix::fs::symlink(PATHS[*a], at(b))),
        Act::Fifo(p) if !there(&at(p)) && at(p).parent().is_some_and(Path::is_dir) => fifo(&at(p)),
        Act::Remove(p) if at(p).is_dir() && !at(p).is_symlink() => drop(fs::remove_dir_all(at(p))),
        Act::Remove(p) => drop(fs::remove_file(at(p))),
        Act::Move(a, b) => drop(fs::rename(at(a), at(b))),
        Act::Mode(p, mode) if there(&at(p)) && !at(p).is_symlink() => set_mode(&at(p), *mode),
        Act::Owner(p, owner) => drop(std::os::unix::fs::lchown(at(p), Some(*owner), Some(*owner + 1))),
        Act::Time(p, time) if there(&at(p)) => {
            set_times(&at(p), (*time, 999_999_999), (time * 1_000_000_000, 1))
        }
        Act::Attribute(p, value) if at(p).is_file() || at(p).is_dir() => {
            set_xattr(&at(p), "user.property", &[*value]);
        }
        _ => {}
    }
}

/// A write to a pipe would wait for a reader.
pub(super) fn without_pipes(acts: &[Act]) -> Vec<Act> {
    let mut pipes = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for act in acts {
        match act {
            Act::Fifo(p) => drop(pipes.insert(*p)),
            Act::File(..) | Act::Move(..) | Act::Link(..) | Act::Symlink(..) if !pipes.is_empty() => continue,
            _ => {}
        }
        kept.push(act.clone());
    }
    kept
}

/// Makes changes that wait for no pipe.
pub(super) fn change_tree(root: &Path, before: &Picture, change: &[Act]) {
    let no_pipes = change.iter().filter(|act| {
        !matches!(act, Act::File(p, ..) if PATHS.get(*p).is_some_and(|p| {
            use std::os::unix::fs::FileTypeExt;
            root.join(p).metadata().is_ok_and(|m| m.file_type().is_fifo())
        }))
    });
    let has_pipe = before.values().any(|seen| seen.is_fifo());
    let moves = |act: &Act| matches!(act, Act::Move(..) | Act::Link(..) | Act::Symlink(..));
    let changes: Vec<_> = no_pipes.filter(|act| !has_pipe || !moves(act)).cloned().collect();
    for act in without_pipes(&changes) {
        perform(root, &act);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_after_any_changes_comes_back_as_root(
        build in prop::collection::vec(act(), 1..40),
        change in prop::collection::vec(act(), 0..25),
        way in prop_oneof![Just(Way::InPlace), Just(Way::Exchange)],
    ) {
        if !is_root() {
            return Ok(());
        }
        let bench = Bench::new();
        for act in without_pipes(&build) {
            perform(&bench.root, &act);
        }
        let before = picture(&bench.root);
        let mut chunks = bench.chunks();
        let manifest = bench.capture(&mut chunks);
        change_tree(&bench.root, &before, &change);
        set_way(way);
        bench.restore(&manifest, &chunks).unwrap();
        let unlike = unlike(&picture(&bench.root), &before);
        prop_assert!(unlike.is_empty(), "{unlike:#?}");
        prop_assert!(!bench.root.join(".dsmil-restore").exists());
        prop_assert!(!bench.root.with_file_name(".dsmil-restore.root").exists());
        let root = bench.root.clone();
        prop_assert!(differences(&[root], &manifest, &chunks).is_empty());
    }
}
