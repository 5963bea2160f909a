//! Folders come back exactly.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use super::tree::*;
use crate::Error;
use crate::files::entry::{Kind, Piece};
use crate::files::known::Known;
use crate::files::read::Contents;
use crate::files::root::Root;
use crate::files::scan::{Why, scan};
use crate::manifest::Manifest;
use crate::restore::{self, Machine, Restore};
use crate::worker::Worker;

#[test]
fn one_of_everything_comes_back_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let before = picture(&bench.root);
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    assert_same(&picture(&bench.root), &before, "a capture disturbs nothing");
    assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
    spoil(&bench.root);
    assert!(!unlike(&picture(&bench.root), &before).is_empty());
    bench.restore(&manifest, &chunks).unwrap();
    assert_same(&picture(&bench.root), &before, "now");
    let sparse = bench.root.join("sparse").metadata().unwrap();
    assert!(sparse.blocks() * 512 < sparse.len() / 2, "holes come back as holes");
    assert!(differences(std::slice::from_ref(&bench.root), &manifest, &chunks).is_empty());
}

#[test]
fn a_second_restore_changes_nothing() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::write(bench.root.join("a"), "two").unwrap();
    bench.restore(&manifest, &chunks).unwrap();
    let stat = |name: &str| {
        let stat = bench.root.join(name).metadata().unwrap();
        (stat.ino(), stat.ctime(), stat.ctime_nsec())
    };
    let before = (stat("a"), stat(""));
    bench.restore(&manifest, &chunks).unwrap();
    assert_eq!((stat("a"), stat("")), before);
}

#[test]
fn an_empty_folder_is_filled_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let before = picture(&bench.root);
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::remove_dir_all(&bench.root).unwrap();
    fs::create_dir(&bench.root).unwrap();
    bench.restore(&manifest, &chunks).unwrap();
    assert_same(&picture(&bench.root), &before, "now");
}

#[test]
fn a_plan_says_what_and_changes_nothing_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    for name in ["content", "mode", "gone", "same"] {
        fs::write(bench.root.join(name), name).unwrap();
    }
    set_old_times(&bench.root);
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::write(bench.root.join("content"), "CONTENT").unwrap();
    set_times(&bench.root.join("content"), (1_000_000_000, 0), (1_000_000_000, 0));
    set_mode(&bench.root.join("mode"), 0o600);
    fs::remove_file(bench.root.join("gone")).unwrap();
    fs::write(bench.root.join("extra"), "").unwrap();
    set_old_times(&bench.root);
    set_times(&bench.root, (5, 5), (5, 5));
    let spoiled = picture(&bench.root);
    let root = bench.root.display();
    let plan = differences(std::slice::from_ref(&bench.root), &manifest, &chunks);
    let said = |text: &str| assert!(plan.iter().any(|line| line.starts_with(text)), "{text} not in {plan:?}");
    said(&format!("change {root}/content: content"));
    said(&format!("change {root}/mode: mode"));
    said(&format!("create {root}/gone"));
    said(&format!("remove {root}/extra"));
    assert!(!plan.iter().any(|line| line.contains("/same") && line.contains("content")));
    assert_same(&picture(&bench.root), &spoiled, "now");
}

#[test]
fn several_roots_come_back_together() {
    let bench = Bench::new();
    let other = bench.root.with_file_name("other");
    fs::create_dir(&other).unwrap();
    let roots = [bench.root.clone(), other.clone()];
    for root in &roots {
        fs::write(root.join("a"), "one").unwrap();
    }
    let mut chunks = bench.chunks();
    let manifest = capture(&roots, &mut chunks);
    for root in &roots {
        fs::write(root.join("a"), "two").unwrap();
    }
    let mut worker = Worker::new(&roots).unwrap();
    restore(&roots, &manifest, &chunks, &mut worker).unwrap();
    for root in &roots {
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "one");
        assert!(!root.join(".dsmil-restore").exists());
    }
    // A folder that is no longer configured is not silently left out.
    let mut worker = Worker::new(&roots[..1]).unwrap();
    let error = restore(&roots[..1], &manifest, &chunks, &mut worker).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
}

#[test]
fn undo_after_execute_brings_the_changed_state_back_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    spoil(&bench.root);
    set_times(&bench.root, (1_200_000_000, 1), (1_300_000_000, 2));
    let spoiled = picture(&bench.root);
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    assert!(!unlike(&picture(&bench.root), &spoiled).is_empty());
    restore.undo().unwrap();
    restore.clean_up().unwrap();
    assert_same(&picture(&bench.root), &spoiled, "now");
}

#[test]
fn a_failure_in_execute_puts_everything_back_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    spoil(&bench.root);
    set_old_times(&bench.root);
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest, &chunks, false).unwrap();
    restore.prepare().unwrap();
    // Somebody takes the last path in the list while nobody looks: it was to be created.
    fs::write(bench.root.join("sub/deep"), "in the way").unwrap();
    let spoiled = picture(&bench.root);
    restore.execute().unwrap_err();
    restore.clean_up().unwrap();
    let after = picture(&bench.root);
    // Times of the two folders that were changed between are those of before the preparation.
    let differing = unlike(&after, &spoiled);
    let expected = [":", "sub:", ".dsmil-restore"];
    let odd = differing.iter().filter(|line| !expected.iter().any(|start| line.starts_with(start)));
    assert_eq!(odd.count(), 0, "{differing:#?}");
    assert_eq!(fs::read_to_string(bench.root.join("sub/deep")).unwrap(), "in the way");
    assert!(!bench.root.join(".dsmil-restore").exists());
}

#[test]
fn a_change_behind_the_plan_is_found_by_verify() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    fs::write(bench.root.join("b"), "one").unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    fs::write(bench.root.join("a"), "two").unwrap();
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    fs::write(bench.root.join("b"), "behind").unwrap();
    let error = restore.verify().unwrap_err();
    assert!(
        matches!(&error, Error::Differs(list) if list.len() == 1 && list[0].contains("/b: ")),
        "{error:?}"
    );
    restore.clean_up().unwrap();
    drop(restore);
    bench.restore(&manifest, &chunks).unwrap();
    assert_eq!(fs::read_to_string(bench.root.join("b")).unwrap(), "one");
}

#[test]
fn sockets_and_devices_are_reported_and_left_alone() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let _listener = UnixListener::bind(bench.root.join("socket")).unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    let notes = &manifest.roots()[0].notes;
    assert_eq!(notes.len(), 1);
    assert_eq!((notes[0].path.as_slice(), notes[0].why), (&b"socket"[..], Why::Socket));
    fs::write(bench.root.join("a"), "two").unwrap();
    bench.restore(&manifest, &chunks).unwrap();
    assert!(bench.root.join("socket").exists());
    assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "one");
}

#[test]
fn nothing_to_capture_is_an_error() {
    let bench = Bench::new();
    let error =
        restore::capture(Machine::default(), &mut bench.chunks(), 1, "x", Default::default()).unwrap_err();
    assert!(matches!(error, Error::Empty));
}

/// Names contents, and writes to a file each time before it reads it.
struct Meddler(std::path::PathBuf, usize);

impl Contents for Meddler {
    fn take(&mut self, mut file: &fs::File, _: &std::path::Path) -> Result<Vec<Piece>, Error> {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
        if self.1 > 0 {
            self.1 -= 1;
            let mut file = fs::OpenOptions::new().append(true).open(&self.0).unwrap();
            std::io::Write::write_all(&mut file, b"one more line").unwrap();
        }
        Ok(vec![Piece::new(store::chunk::ChunkId([0; 32]), u32::try_from(bytes.len()).unwrap())])
    }

    fn has(&self, _: &[Piece]) -> bool {
        true
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again_or_reported() {
    let bench = Bench::new();
    let path = bench.root.join("log");
    fs::write(&path, "a line").unwrap();
    let root = Root::open(&bench.root).unwrap();
    let found = scan(&root, &mut Meddler(path.clone(), 2), &Known::default()).unwrap();
    assert!(found.notes.is_empty());
    assert_eq!(
        found.entries[1].entry.kind,
        Kind::Regular {
            size: path.metadata().unwrap().len(),
            pieces: vec![Piece::new(store::chunk::ChunkId([0; 32]), 32)],
        }
    );
    let found = scan(&root, &mut Meddler(path, usize::MAX), &Known::default()).unwrap();
    assert_eq!(found.notes.iter().map(|note| note.why).collect::<Vec<_>>(), [Why::Changing]);
    assert_eq!(found.entries.len(), 2, "it is kept all the same");
}

#[test]
fn a_quiet_view_leaves_access_times_alone_as_root() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let view = match Root::open_quiet(std::slice::from_ref(&bench.root)) {
        Ok(mut roots) => roots.remove(0),
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let before = picture(&bench.root);
    let flags = rustix::fs::OFlags::RDONLY;
    let mode = rustix::fs::Mode::empty();
    let file = rustix::fs::openat(&view, text(b"a"), flags, mode).unwrap();
    let mut content = String::new();
    std::io::Read::read_to_string(&mut fs::File::from(file), &mut content).unwrap();
    assert_eq!(content, "one");
    assert_same(&picture(&bench.root), &before, "now");
    assert!(rustix::fs::openat(&view, text(b"a"), rustix::fs::OFlags::WRONLY, mode).is_err());
    // The same read without the view does change it, so the check above can fail.
    fs::read(bench.root.join("a")).unwrap();
    assert!(!unlike(&picture(&bench.root), &before).is_empty());
    // Names made later are seen: it is a view, not a copy.
    fs::write(bench.root.join("b"), "two").unwrap();
    assert!(rustix::fs::openat(&view, text(b"b"), flags, mode).is_ok());
}

#[test]
fn a_damaged_chunk_refuses_before_anything_changes() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), noise(100_000, 3)).unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    drop(chunks);
    let pack = fs::read_dir(bench.store.join("packs")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&pack).unwrap();
    bytes[50_000] ^= 1;
    fs::write(&pack, bytes).unwrap();
    fs::write(bench.root.join("a"), "two").unwrap();
    let error = bench.restore(&manifest, &bench.chunks()).unwrap_err();
    assert!(matches!(error, Error::Store(_)), "{error}");
    assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "two");
}
