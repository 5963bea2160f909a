//! What rules leave out is neither stored nor touched.

use std::fs;
use std::sync::Arc;

use super::tree::*;
use crate::files::root::Root;
use crate::files::rules::Rules;
use crate::files::scan::Why;
use crate::manifest::Manifest;
use crate::restore::{self, Machine, Restore};
use crate::worker::Worker;
use crate::worker::effect::Way;

fn roots(bench: &Bench, patterns: &[&str]) -> Vec<Root> {
    let rules = Arc::new(Rules::new(patterns).unwrap());
    vec![Root::open(&bench.root).unwrap().without(&rules)]
}

fn capture(bench: &Bench, patterns: &[&str]) -> Manifest {
    let roots = roots(bench, patterns);
    let machine = Machine { roots: &roots, ..Machine::default() };
    let mut chunks = bench.chunks();
    let manifest = restore::capture(machine, &mut chunks, 1, "x", super::known::later(0)).unwrap().manifest;
    chunks.sync().unwrap();
    manifest
}

fn bring_back(bench: &Bench, manifest: &Manifest, patterns: &[&str], way: Way) {
    let roots = roots(bench, patterns);
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let machine = Machine { roots: &roots, executor: Some(&mut worker), way, ..Machine::default() };
    let chunks = bench.chunks();
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
}

fn build(bench: &Bench) {
    for name in ["a", "a.tmp"] {
        fs::write(bench.root.join(name), "before").unwrap();
    }
    fs::create_dir(bench.root.join("cache")).unwrap();
    fs::write(bench.root.join("cache/big"), "before").unwrap();
}

fn change(bench: &Bench) {
    for name in ["a", "a.tmp", "cache/big"] {
        fs::write(bench.root.join(name), "after").unwrap();
    }
    for name in ["b.tmp", "cache/new", "new"] {
        fs::write(bench.root.join(name), "new").unwrap();
    }
}

/// Contents by name; missing ones are empty.
fn contents<const N: usize>(bench: &Bench, names: [&str; N]) -> [String; N] {
    names.map(|name| fs::read_to_string(bench.root.join(name)).unwrap_or_default())
}

#[test]
fn what_is_left_out_is_not_stored_and_stays_as_it_is() {
    let rules = ["*.tmp", "/cache/"];
    for way in [Way::InPlace, Way::Exchange] {
        // The rules in force at the restore do not matter to what they were then.
        for now in [&rules[..], &[]] {
            let bench = Bench::new();
            build(&bench);
            let manifest = capture(&bench, &rules);
            let tree = &manifest.roots()[0];
            let paths: Vec<_> = tree.entries.iter().map(|entry| entry.path.as_slice()).collect();
            assert_eq!(paths, [&b""[..], b"a"]);
            let notes: Vec<_> = tree.notes.iter().map(|note| (note.path.as_slice(), note.why)).collect();
            assert_eq!(notes, [(&b"a.tmp"[..], Why::Rules), (b"cache", Why::Rules)]);
            change(&bench);
            bring_back(&bench, &manifest, now, way);
            let names = ["a", "new", "a.tmp", "b.tmp", "cache/big", "cache/new"];
            assert_eq!(
                contents(&bench, names),
                ["before", "", "after", "new", "after", "new"],
                "{way:?} {now:?}"
            );
        }
    }
}

#[test]
fn what_is_left_out_now_is_left_alone_though_a_checkpoint_has_it() {
    for way in [Way::InPlace, Way::Exchange] {
        let bench = Bench::new();
        build(&bench);
        let manifest = capture(&bench, &[]);
        change(&bench);
        bring_back(&bench, &manifest, &["*.tmp", "/cache/"], way);
        let names = ["a", "new", "a.tmp", "b.tmp", "cache/big", "cache/new"];
        assert_eq!(contents(&bench, names), ["before", "", "after", "new", "after", "new"], "{way:?}");
    }
}
