//! What is shown of a checkpoint is what was captured.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::property::{act, perform, without_pipes};
use super::tree::*;
use crate::browse::contents::Contents;
use crate::browse::{TOP, Table};
use crate::files::entry::Kind;
use crate::manifest::Manifest;

fn contents(bench: &Bench) -> Contents {
    Contents::open(bench.store.clone(), Zeroizing::new(KEY)).unwrap()
}

/// What a table shows of a bench's root, read in pieces of this size.
fn shown(table: &Table, bench: &Bench, contents: &Contents, step: usize) -> Picture {
    let mut root = TOP;
    for name in bench.root.strip_prefix("/").unwrap().iter() {
        assert_eq!(table.node(root).unwrap().meta.mode, 0o755, "a folder that only leads there");
        root = table.find(root, name.as_encoded_bytes()).unwrap();
    }
    assert_eq!(table.path(root), bench.root.as_os_str().as_encoded_bytes());
    let (mut picture, mut firsts, mut open) = (Picture::new(), BTreeMap::new(), vec![(Vec::new(), root)]);
    while let Some((path, number)) = open.pop() {
        let node = table.node(number).unwrap();
        let (what, kind, content) = match node.kind {
            Kind::Regular { .. } => ("file", 0o100_000, read(table, number, contents, step)),
            Kind::Directory => ("folder", 0o040_000, Vec::new()),
            Kind::Symlink { target } => ("symlink", 0o120_000, target.clone()),
            Kind::Fifo => ("fifo", 0o010_000, Vec::new()),
            Kind::HardLink { .. } => panic!("a hard link is no node"),
        };
        for (name, child) in table.children(number).iter().rev() {
            assert_eq!(table.find(number, name), Some(*child));
            let path = if path.is_empty() { name.to_vec() } else { [&path, &b"/"[..], name].concat() };
            open.push((path, *child));
        }
        let folders = table
            .children(number)
            .iter()
            .filter(|(_, child)| *table.node(*child).unwrap().kind == Kind::Directory);
        if *node.kind == Kind::Directory {
            assert_eq!(node.links as usize, 2 + folders.count());
        }
        let time = |stamp: crate::files::entry::Stamp| (stamp.secs, i64::from(stamp.nanos));
        let first: &mut Vec<u8> = firsts.entry(number).or_insert_with(|| path.clone());
        let seen = Seen {
            what: what.into(),
            content,
            mode: kind | node.meta.mode,
            owner: (node.meta.uid, node.meta.gid),
            mtime: time(node.meta.mtime),
            atime: if what == "symlink" { (0, 0) } else { time(node.meta.atime) },
            xattrs: node.meta.xattrs.iter().map(|x| (x.name.clone(), x.value.clone())).collect(),
            first: first.clone(),
        };
        picture.insert(path, seen);
    }
    for (number, first) in firsts {
        let names = picture.values().filter(|seen| seen.first == first).count();
        let node = table.node(number).unwrap();
        assert!(*node.kind == Kind::Directory || node.links as usize == names, "{first:?}");
    }
    picture
}

fn read(table: &Table, node: u32, contents: &Contents, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let part = table.read(node, bytes.len() as u64, step, contents).unwrap();
        if part.is_empty() {
            return bytes;
        }
        bytes.extend(part);
    }
}

fn captured(bench: &Bench) -> Manifest {
    let mut chunks = bench.chunks();
    bench.capture(&mut chunks)
}

#[test]
fn one_of_everything_is_shown_as_it_was_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let before = picture(&bench.root);
    let table = Table::new(captured(&bench)).unwrap();
    for step in [4097, 131_072, 10 << 20] {
        assert_same(&shown(&table, &bench, &contents(&bench), step), &before, "shown");
    }
}

#[test]
fn any_place_of_a_file_is_read() {
    let bench = Bench::new();
    let bytes = noise(5_000_000, 5);
    fs::write(bench.root.join("a"), &bytes).unwrap();
    let manifest = captured(&bench);
    let Kind::Regular { pieces, .. } = &manifest.roots()[0].entries[1].kind else { panic!() };
    let mut cuts = vec![0];
    pieces.iter().for_each(|piece| cuts.push(cuts.last().unwrap() + piece.bytes as usize));
    assert!(cuts.len() > 3, "{cuts:?}");
    let (table, contents) = (Table::new(manifest).unwrap(), contents(&bench));
    let node = {
        let names = bench.root.strip_prefix("/").unwrap().join("a");
        names.iter().fold(TOP, |node, name| table.find(node, name.as_encoded_bytes()).unwrap())
    };
    for cut in cuts {
        for from in cut.saturating_sub(2)..cut + 2 {
            for length in [0, 1, 2, 3, 70_000, 3_000_000] {
                let end = (from + length).min(bytes.len());
                let want = bytes.get(from..end).unwrap_or_default();
                let found = table.read(node, from as u64, length, &contents).unwrap();
                assert!(found == want, "{from} + {length}");
            }
        }
    }
    assert!(table.read(node, u64::MAX, usize::MAX, &contents).unwrap().is_empty());
}

/// A pack that is gone, because its chunks lie in another one by now, is no damage; and one that is damaged is.
#[test]
fn who_reads_beside_pruning_finds_chunks_in_their_new_place() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), noise(3_000_000, 3)).unwrap();
    let first = captured(&bench);
    fs::write(bench.root.join("b"), noise(300_000, 4)).unwrap();
    fs::remove_file(bench.root.join("a")).unwrap();
    let table = Table::new(captured(&bench)).unwrap();
    let contents = contents(&bench);
    let b = {
        let names = bench.root.strip_prefix("/").unwrap().join("b");
        names.iter().fold(TOP, |node, name| table.find(node, name.as_encoded_bytes()).unwrap())
    };
    // What the first checkpoint alone needs goes, and a new checkpoint brings packs that were not there.
    fs::write(bench.root.join("c"), noise(400_000, 5)).unwrap();
    let later = Table::new(captured(&bench)).unwrap();
    let packs: Vec<_> =
        fs::read_dir(bench.store.join("packs")).unwrap().map(|pack| pack.unwrap().path()).collect();
    assert!(packs.len() >= 3 && !first.roots().is_empty());
    let c = {
        let names = bench.root.strip_prefix("/").unwrap().join("c");
        names.iter().fold(TOP, |node, name| later.find(node, name.as_encoded_bytes()).unwrap())
    };
    let asked = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(later.read(c, 0, 400_000, &contents).unwrap(), noise(400_000, 5));
                assert_eq!(table.read(b, 0, 300_000, &contents).unwrap(), noise(300_000, 4));
                asked.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(asked.into_inner(), 8);

    let contents = self::contents(&bench);
    for pack in packs {
        let mut bytes = fs::read(&pack).unwrap();
        let end = bytes.len() - 2000;
        bytes.iter_mut().take(end).skip(60).step_by(50).for_each(|byte| *byte ^= 1);
        fs::write(&pack, bytes).unwrap();
    }
    let error = table.read(b, 0, 300_000, &contents).unwrap_err();
    let said = error.to_string();
    let path = bench.root.join("b").display().to_string();
    assert!(said.starts_with(&path) && said.contains(&format!("chunk {}", error.chunk)), "{said}");
}

#[test]
fn a_manifest_with_two_things_in_one_place_is_refused() {
    let bench = Bench::new();
    fs::create_dir_all(bench.root.join("a/b")).unwrap();
    let manifest = captured(&bench);
    for (path, says) in [("", "twice"), ("/a", "twice")] {
        let mut twice = manifest.clone();
        let crate::manifest::Part::Files { roots } = &mut twice.parts[0] else { panic!() };
        let mut other = roots[0].clone();
        other.path.extend(path.as_bytes());
        roots.push(other);
        let error = Table::new(twice).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_shown_as_it_was_as_root(build in prop::collection::vec(act(), 1..40), step in 1000..200_000usize) {
        if !is_root() {
            return Ok(());
        }
        let bench = Bench::new();
        for act in without_pipes(&build) {
            perform(&bench.root, &act);
        }
        let before = picture(&bench.root);
        let table = Table::new(captured(&bench)).unwrap();
        let unlike = unlike(&shown(&table, &bench, &contents(&bench), step), &before);
        prop_assert!(unlike.is_empty(), "{unlike:#?}");
    }
}
