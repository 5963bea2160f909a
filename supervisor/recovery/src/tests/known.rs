//! What is not read, because a checkpoint knows it, and what is read all the same.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use types::time::{BootId, Time};

use super::tree::*;
use crate::Error;
use crate::files::entry::{Kind, Piece, Stamp};
use crate::files::known::Known;
use crate::files::read::Contents;
use crate::files::root::Root;
use crate::files::scan::scan;
use crate::manifest::Manifest;
use crate::restore::{self, Machine};

/// Counts what is read.
#[derive(Default)]
struct Count(Vec<String>, bool);

impl Contents for Count {
    fn take(&mut self, file: &File, path: &Path) -> Result<Vec<Piece>, Error> {
        self.0.push(path.display().to_string());
        let size = u32::try_from(file.metadata().unwrap().len()).unwrap();
        Ok(vec![Piece::new(store::chunk::ChunkId([1; 32]), size)])
    }

    fn has(&self, _: &[Piece]) -> bool {
        !self.1
    }
}

fn now() -> Time {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time { boot: BootId([1; 16]), boottime_ns: 1 << 40, wall_ns: wall.as_nanos().try_into().unwrap() }
}

pub(super) fn later(seconds: i64) -> Time {
    let now = now();
    let boottime_ns = now.boottime_ns.saturating_add_signed(seconds * 1_000_000_000);
    Time { boottime_ns, wall_ns: now.wall_ns + seconds * 1_000_000_000, ..now }
}

/// Three files, one with two names, a folder and a link; captured as if it was an hour after they were made.
fn captured(bench: &Bench) -> Manifest {
    for name in ["a", "b", "c"] {
        fs::write(bench.root.join(name), format!("the content of {name}")).unwrap();
    }
    fs::create_dir(bench.root.join("d")).unwrap();
    fs::write(bench.root.join("d/e"), "e").unwrap();
    fs::hard_link(bench.root.join("b"), bench.root.join("d/b")).unwrap();
    symlink("a", bench.root.join("l")).unwrap();
    capture(bench, Known::default(), later(3600))
}

fn capture(bench: &Bench, known: Known<'_>, time: Time) -> Manifest {
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, known, ..Machine::default() };
    restore::capture(machine, &mut bench.chunks(), 1, "x", time).unwrap().manifest
}

/// All but access times of symbolic links, which looking changes.
fn assert_same(now: &Manifest, then: &Manifest) {
    let entries = |manifest: &Manifest| {
        let mut entries = manifest.roots()[0].entries.clone();
        entries
            .iter_mut()
            .filter(|entry| matches!(entry.kind, Kind::Symlink { .. }))
            .for_each(|entry| entry.meta.atime = Stamp::default());
        entries
    };
    assert_eq!(entries(now), entries(then));
    assert_eq!(now.roots()[0].marks, then.roots()[0].marks);
}

/// Which files are read with this known, and what is found.
pub(super) fn read(bench: &Bench, known: &Known<'_>) -> Vec<String> {
    let root = Root::open(&bench.root).unwrap();
    let mut count = Count::default();
    scan(&root, &mut count, known).unwrap();
    count.0
}

#[test]
fn what_has_not_changed_is_not_read_and_found_the_same() {
    let _steady = without_children();
    let bench = Bench::new();
    let before = captured(&bench);
    let known = || Known::at(later(7200), [&before]);
    assert_eq!(read(&bench, &known()), [] as [&str; 0]);
    let again = capture(&bench, known(), later(7200));
    assert_same(&again, &before);
}

#[test]
fn each_change_is_seen_also_one_that_keeps_size_and_mtime() {
    let _steady = without_children();
    let bench = Bench::new();
    let before = captured(&bench);
    let known = || Known::at(later(7200), [&before]);
    let path = |name: &str| bench.root.join(name);

    let times = fs::metadata(path("a")).unwrap();
    fs::write(path("a"), "the content of A").unwrap();
    let keep =
        fs::FileTimes::new().set_modified(times.modified().unwrap()).set_accessed(times.accessed().unwrap());
    File::options().write(true).open(path("a")).unwrap().set_times(keep).unwrap();
    assert_eq!(
        (fs::metadata(path("a")).unwrap().len(), fs::metadata(path("a")).unwrap().mtime()),
        (times.len(), times.mtime())
    );
    assert_eq!(read(&bench, &known()), ["a"]);

    fs::set_permissions(path("c"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(read(&bench, &known()), ["a", "c"]);

    // The same content under another inode.
    fs::copy(path("d/e"), path("f")).unwrap();
    fs::rename(path("f"), path("d/e")).unwrap();
    assert_eq!(read(&bench, &known()), ["a", "c", "d/e"]);

    let again = capture(&bench, known(), later(7200));
    let whole = capture(&bench, Known::default(), later(7200));
    assert_same(&again, &whole);
}

#[test]
fn a_name_of_a_linked_file_that_goes_leaves_the_other() {
    let _steady = without_children();
    let bench = Bench::new();
    let before = captured(&bench);
    let known = || Known::at(later(7200), [&before]);
    // Its first name goes; the second was a link to it.
    fs::remove_file(bench.root.join("b")).unwrap();
    let again = capture(&bench, known(), later(7200));
    assert_same(&again, &capture(&bench, Known::default(), later(7200)));
    let kind = |path: &[u8]| {
        again.roots()[0].entries.iter().find(|entry| entry.path == path).map(|entry| &entry.kind)
    };
    assert!(matches!(kind(b"d/b"), Some(Kind::Regular { size: 16, .. })));
    assert_eq!(kind(b"b"), None);
}

#[test]
fn what_changed_just_before_a_capture_is_read_by_the_next() {
    let _steady = without_children();
    let bench = Bench::new();
    fs::write(bench.root.join("old"), "old").unwrap();
    std::thread::sleep(Duration::from_millis(3100));
    fs::write(bench.root.join("new"), "new").unwrap();
    let before = capture(&bench, Known::default(), now());
    assert_eq!(read(&bench, &Known::at(later(60), [&before])), ["new"]);
}

#[test]
fn a_clock_that_was_set_back_makes_everything_unknown() {
    let _steady = without_children();
    let bench = Bench::new();
    let before = captured(&bench);
    // Before the capture by the wall clock.
    assert_eq!(read(&bench, &Known::at(later(3599), [&before])).len(), 4);
    // Later by the wall clock, but it was set back by a minute in the same boot.
    let mut set_back = later(7200);
    set_back.boottime_ns += 60_000_000_000;
    assert_eq!(read(&bench, &Known::at(set_back, [&before])).len(), 4);
    // In another boot the two clocks have nothing to do with each other.
    set_back.boot = BootId([2; 16]);
    assert_eq!(read(&bench, &Known::at(set_back, [&before])), [] as [&str; 0]);
}

#[test]
fn another_folder_in_its_place_is_not_known() {
    let _steady = without_children();
    let bench = Bench::new();
    let before = captured(&bench);
    let aside = bench.root.with_extension("aside");
    fs::rename(&bench.root, &aside).unwrap();
    fs::create_dir(&bench.root).unwrap();
    for name in ["a", "b", "c", "d", "l"] {
        fs::rename(aside.join(name), bench.root.join(name)).unwrap();
    }
    assert_eq!(read(&bench, &Known::at(later(7200), [&before])).len(), 4);
}

#[test]
fn a_known_file_whose_chunks_are_gone_is_read() {
    let _steady = without_children();
    let bench = Bench::new();
    let before = captured(&bench);
    let root = Root::open(&bench.root).unwrap();
    let mut count = Count(Vec::new(), true);
    scan(&root, &mut count, &Known::at(later(7200), [&before])).unwrap();
    assert_eq!(count.0.len(), 4);
}

#[test]
fn what_is_open_for_writing_is_read_until_it_was_closed() {
    let _steady = without_children();
    let bench = Bench::new();
    let first = captured(&bench);
    let known = |manifest| Known::at(later(7200), [manifest]);
    let writer = File::options().append(true).open(bench.root.join("a")).unwrap();
    assert_eq!(read(&bench, &known(&first)), [] as [&str; 0], "nothing was written yet");
    fs::set_permissions(bench.root.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    let second = capture(&bench, known(&first), later(7000));
    assert_eq!(read(&bench, &known(&second)), ["a"], "what a write that is under way brings would not show");
    drop(writer);
    let third = capture(&bench, known(&second), later(7000));
    assert_eq!(read(&bench, &known(&third)), [] as [&str; 0]);
}
