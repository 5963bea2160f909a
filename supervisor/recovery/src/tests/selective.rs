//! A restore of some paths brings these back, and nothing else changes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use proptest::prelude::*;

use super::property::{Act, PATHS, act, change_tree, perform, without_pipes};
use super::tree::*;
use crate::Error;
use crate::manifest::Manifest;
use crate::restore::Scope;
use crate::tokens::tests::Bank;
use crate::worker::Worker;

fn restore(bench: &Bench, manifest: &Manifest, paths: &[&str]) -> Result<(), Error> {
    let roots = std::slice::from_ref(&bench.root);
    let mut worker = Worker::new(roots).unwrap();
    let paths = paths.iter().map(|path| bench.root.join(path).as_os_str().as_bytes().to_vec()).collect();
    let scope =
        Scope { files: true, tokens: false, paths, settings: false, databases: false, services: false };
    restore_scope(roots, manifest, &bench.chunks(), (&mut worker, scope))
}

fn is_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// What should be as in the checkpoint: the paths, what is below, and the other names of files among them.
fn covered(before: &Picture, paths: &[&str], path: &[u8]) -> bool {
    let selected = |path: &[u8]| paths.iter().any(|top| is_below(path, top.as_bytes()));
    let first = before.get(path).map(|seen| &seen.first);
    selected(path) || before.iter().any(|(name, seen)| Some(&seen.first) == first && selected(name))
}

/// What is not as a restore of these paths should leave it.
fn wrong(before: &Picture, changed: &Picture, now: &Picture, paths: &[&str]) -> Vec<String> {
    let all: BTreeSet<&Vec<u8>> = before.keys().chain(changed.keys()).chain(now.keys()).collect();
    let covers = |path: &[u8]| covered(before, paths, path);
    let touched: Vec<&Vec<u8>> = all.iter().copied().filter(|path| covers(path)).collect();
    let mut wrong = Vec::new();
    for path in all {
        let is_above = touched
            .iter()
            .any(|below| below.len() > path.len() && (path.is_empty() || is_below(below, path)));
        let (then, kept, is) = (before.get(path), changed.get(path), now.get(path));
        let right = if covers(path) {
            is == then
        } else {
            // It went with a file that stood where a folder does now, or the other way round.
            let replaced = touched.iter().any(|top| path != *top && is_below(path, top));
            // Its times follow what was done in it; that it shares a file with what came back is over.
            let like = |a: &Seen, b: &Seen| {
                (&a.what, &a.content, a.mode, a.owner, &a.xattrs)
                    == (&b.what, &b.content, b.mode, b.owner, &b.xattrs)
                    && (is_above || (a.mtime, a.atime) == (b.mtime, b.atime))
            };
            match (is, kept) {
                (Some(is), Some(kept)) if like(is, kept) => true,
                (None, None) => true,
                (None, Some(_)) => replaced,
                // A folder on the way to what came back.
                (Some(is), _) => is_above && is.what == "folder" && then.is_some_and(|then| like(is, then)),
            }
        };
        if !right {
            wrong.push(format!(
                "{}: is {is:?}, was {kept:?}, at the checkpoint {then:?}",
                path.escape_ascii()
            ));
        }
    }
    wrong
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn some_paths_come_back_and_nothing_else_changes_as_root(
        build in prop::collection::vec(act(), 1..40),
        change in prop::collection::vec(act(), 0..25),
        linked in (0..PATHS.len(), 0..PATHS.len()),
        select in prop::collection::vec(0..PATHS.len(), 1..3),
    ) {
        if !is_root() {
            return Ok(());
        }
        let bench = Bench::new();
        for act in without_pipes(&build) {
            perform(&bench.root, &act);
        }
        // Chance alone seldom makes a file of two names.
        for act in [Act::Link(linked.0, linked.1), Act::Link(0, linked.0), Act::Link(0, linked.1)] {
            perform(&bench.root, &act);
        }
        let before = picture(&bench.root);
        let manifest = bench.capture(&mut bench.chunks());
        change_tree(&bench.root, &before, &change);
        let changed = picture(&bench.root);
        let paths: Vec<_> = select.iter().map(|path| PATHS[*path]).collect();
        restore(&bench, &manifest, &paths).unwrap();
        let wrong = wrong(&before, &changed, &picture(&bench.root), &paths);
        prop_assert!(wrong.is_empty(), "{paths:?}: {wrong:#?}");
        prop_assert!(!bench.root.join(".dsmil-restore").exists());
    }
}

#[test]
fn a_path_brings_its_parents_and_its_other_names_and_leaves_the_rest() {
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let manifest = bench.capture(&mut bench.chunks());
    fs::remove_dir_all(bench.root.join("sub")).unwrap();
    fs::write(bench.root.join("another"), "another file").unwrap();
    fs::write(bench.root.join("empty"), "no longer").unwrap();
    fs::write(bench.root.join("extra"), "extra").unwrap();
    restore(&bench, &manifest, &["sub/deep/linked"]).unwrap();
    for name in ["another", "sub/deep/linked", "sub/zlast"] {
        assert_eq!(fs::read_to_string(bench.root.join(name)).unwrap(), "three names", "{name}");
    }
    let mut there: Vec<_> =
        fs::read_dir(bench.root.join("sub")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["deep", "zlast"]);
    assert_eq!(fs::read_to_string(bench.root.join("empty")).unwrap(), "no longer");
    assert!(bench.root.join("extra").exists());
    // What was not there then goes, if it is asked for.
    restore(&bench, &manifest, &["extra", "empty"]).unwrap();
    assert!(!bench.root.join("extra").exists());
    assert_eq!(fs::read_to_string(bench.root.join("empty")).unwrap(), "");
}

#[test]
fn a_path_outside_of_all_folders_is_refused() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let manifest = bench.capture(&mut bench.chunks());
    let longer = format!("{}-and-more", bench.root.display());
    for path in ["/", "/etc/passwd", &longer, "a/../a", "a/", "./a", ".."] {
        let refused = restore(&bench, &manifest, &["a", path]).unwrap_err();
        let says = refused.to_string();
        assert!(says.contains("is in none of the checkpoint's folders"), "{path}: {says}");
    }
}

#[test]
fn components_come_back_alone() {
    use crate::restore::{Machine, Restore, capture};
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let (mut chunks, mut bank) = (bench.chunks(), Bank::new(3));
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, tokens: Some(&mut bank), ..Machine::default() };
    let manifest = capture(machine, &mut chunks, 1, "x", Default::default()).unwrap().manifest;
    let before = bank.held.clone();
    let back = |files, tokens, bank: &mut Bank| {
        fs::write(bench.root.join("a"), "two").unwrap();
        bank.held.insert(2, 1000);
        let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
        let scope = Scope { files, tokens, ..Scope::default() };
        let machine = Machine {
            roots: &roots,
            tokens: Some(bank),
            executor: Some(&mut worker),
            scope,
            ..Machine::default()
        };
        let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
        restore.prepare().unwrap();
        restore.execute().unwrap();
        restore.verify().unwrap();
        restore.clean_up().unwrap();
        drop(restore);
        fs::read_to_string(bench.root.join("a")).unwrap()
    };
    assert_eq!(back(true, false, &mut bank), "one");
    assert_eq!(bank.held[&2], 1000);
    assert_eq!(back(false, true, &mut bank), "two");
    assert_eq!(bank.held, before);
}
