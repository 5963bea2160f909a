//! Someone in the root works against the restore.

use std::fs;
use std::os::unix::fs::symlink;

use super::tree::*;
use crate::Error;
use crate::restore::{Machine, Restore};
use crate::worker::Worker;

/// A folder outside, which must stay as it is.
fn outside(bench: &Bench) -> std::path::PathBuf {
    let outside = bench.root.with_file_name("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    set_old_times(&outside);
    outside
}

#[test]
fn a_link_swapped_in_for_a_folder_is_not_followed_by_a_capture() {
    let bench = Bench::new();
    let outside = outside(&bench);
    symlink(&outside, bench.root.join("d")).unwrap();
    let manifest = bench.capture(&mut bench.chunks());
    let paths: Vec<_> = manifest.roots()[0].entries.iter().map(|entry| entry.path.as_slice()).collect();
    assert_eq!(paths, [&b""[..], b"d"]);
}

#[test]
fn a_link_swapped_in_for_a_folder_is_not_followed_by_a_restore_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let outside = outside(&bench);
    fs::create_dir(bench.root.join("d")).unwrap();
    fs::write(bench.root.join("d/secret"), "public").unwrap();
    fs::write(bench.root.join("d/mode"), "x").unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::write(bench.root.join("d/secret"), "changed").unwrap();
    set_mode(&bench.root.join("d/mode"), 0o4777);
    set_mode(&bench.root.join("d"), 0o700);
    let before = picture(&outside);
    // Swapped after the plan, and after the preparation.
    for late in [false, true] {
        let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
        let roots = open(std::slice::from_ref(&bench.root));
        let machine = Machine { roots: &roots, executor: Some(&mut worker), ..Machine::default() };
        let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
        let swap = || {
            fs::rename(bench.root.join("d"), bench.root.join("real")).unwrap();
            symlink(&outside, bench.root.join("d")).unwrap();
        };
        if late {
            restore.prepare().unwrap();
            swap();
            restore.execute().unwrap_err();
        } else {
            swap();
            restore.prepare().unwrap_err();
        }
        assert_same(&picture(&outside), &before, "outside");
        fs::remove_file(bench.root.join("d")).unwrap();
        fs::rename(bench.root.join("real"), bench.root.join("d")).unwrap();
        if late {
            restore.undo().unwrap();
            restore.clean_up().unwrap();
        }
        assert!(!bench.root.join(".dsmil-restore").exists());
        assert_eq!(fs::read_to_string(bench.root.join("d/secret")).unwrap(), "changed");
    }
    bench.restore(&manifest, &chunks).unwrap();
    assert_eq!(fs::read_to_string(bench.root.join("d/secret")).unwrap(), "public");
}

#[test]
fn a_folder_of_restores_that_others_made_is_refused_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::write(bench.root.join("a"), "two").unwrap();
    let staging = bench.root.join(".dsmil-restore");
    let refused = |what: &str| {
        let error = bench.restore(&manifest, &chunks).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{what}: {error}");
        assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "two");
    };
    fs::create_dir(&staging).unwrap();
    fs::write(staging.join("journal"), "mine").unwrap();
    set_mode(&staging, 0o777);
    refused("open to all");
    set_mode(&staging, 0o700);
    std::os::unix::fs::chown(&staging, Some(1000), None).unwrap();
    refused("another's");
    fs::remove_dir_all(&staging).unwrap();
    symlink(&bench.store, &staging).unwrap();
    refused("a link");
}

#[test]
fn another_name_outside_keeps_its_metadata_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let outside = outside(&bench);
    fs::write(bench.root.join("a"), "secret").unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::remove_file(bench.root.join("a")).unwrap();
    fs::hard_link(outside.join("secret"), bench.root.join("a")).unwrap();
    set_mode(&outside.join("secret"), 0o4755);
    let before = picture(&outside);
    bench.restore(&manifest, &chunks).unwrap();
    assert_same(&picture(&outside), &before, "outside");
    assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "secret");
    assert_ne!(picture(&bench.root)[&b"a"[..]], before[&b"secret"[..]]);
}

#[test]
fn two_restores_at_once_are_refused() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::write(bench.root.join("a"), "two").unwrap();
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, executor: Some(&mut worker), ..Machine::default() };
    let mut first = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    first.prepare().unwrap();
    let error = bench.restore(&manifest, &chunks).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    // A crash of the first leaves its folder without its lock.
    drop(first);
    drop(worker);
    let error = bench.restore(&manifest, &chunks).unwrap_err();
    assert!(matches!(error, Error::Unfinished(_)), "{error}");
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    crate::restore::resume(&mut worker, 1).unwrap();
    drop(worker);
    bench.restore(&manifest, &chunks).unwrap();
    assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "one");
}

#[test]
fn undoing_twice_leaves_what_was_put_back() {
    let bench = Bench::new();
    for name in ["a", "b"] {
        fs::write(bench.root.join(name), "one").unwrap();
    }
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    for name in ["a", "b"] {
        fs::write(bench.root.join(name), "two").unwrap();
    }
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    // What was put in place is taken away, and something keeps the first undo from ending.
    fs::remove_file(bench.root.join("b")).unwrap();
    let old = bench.root.join(".dsmil-restore/old/0");
    let (aside, done) =
        (bench.root.join(".dsmil-restore/new/intruder0"), bench.root.join(".dsmil-restore/new/0"));
    fs::write(&aside, "in the way").unwrap();
    fs::rename(bench.root.join("a"), &done).unwrap();
    fs::write(bench.root.join("a"), "intruder").unwrap();
    restore.undo().unwrap_err();
    assert!(old.exists());
    fs::remove_file(&aside).unwrap();
    restore.undo().unwrap();
    restore.clean_up().unwrap();
    for name in ["a", "b"] {
        assert_eq!(fs::read_to_string(bench.root.join(name)).unwrap(), "two", "{name}");
    }
}
