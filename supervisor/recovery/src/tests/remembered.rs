//! What is known after a restore of ours, and what is seen all the same.

use std::fs::{self, File};
use std::time::Duration;

use store::chunk::Chunks;

use super::known::{later, read};
use super::tree::*;
use crate::files::known::Known;
use crate::manifest::Manifest;
use crate::remembered::Remembered;
use crate::restore::{Machine, Restore};
use crate::worker::Worker;
use crate::worker::effect::Way;

struct Scene {
    bench: Bench,
    chunks: Chunks,
    manifest: Manifest,
}

impl Scene {
    /// Files with old times, captured; then one of them changes.
    fn new() -> Self {
        let bench = Bench::new();
        for name in ["a", "b", "c"] {
            fs::write(bench.root.join(name), format!("the content of {name}")).unwrap();
        }
        fs::create_dir(bench.root.join("d")).unwrap();
        fs::write(bench.root.join("d/e"), "e").unwrap();
        fs::hard_link(bench.root.join("b"), bench.root.join("d/b")).unwrap();
        set_old_times(&bench.root);
        let mut chunks = bench.chunks();
        let manifest = bench.capture(&mut chunks);
        fs::write(bench.root.join("a"), "the content of A").unwrap();
        Self { bench, chunks, manifest }
    }

    fn restore(&self, way: Way, meanwhile: impl FnOnce()) -> Remembered {
        let roots = open(std::slice::from_ref(&self.bench.root));
        let mut worker = Worker::new(std::slice::from_ref(&self.bench.root)).unwrap();
        let machine = Machine {
            roots: &roots,
            executor: Some(&mut worker),
            known: Known::at(later(7200), [&self.manifest]),
            way,
            ..Machine::default()
        };
        let mut restore = Restore::begin(machine, self.manifest.clone(), &self.chunks, false).unwrap();
        restore.prepare().unwrap();
        restore.execute().unwrap();
        restore.verify().unwrap();
        meanwhile();
        restore.clean_up().unwrap();
        // More than the clock's grain; where there are many files looking at them takes longer.
        std::thread::sleep(Duration::from_millis(50));
        restore.remember(later(3600)).unwrap()
    }

    /// What is read but for the restored file, which may have come in place within the clock's grain of the last look.
    fn read(&self, remembered: &Remembered) -> Vec<String> {
        let known = Known::at(later(7200), [&self.manifest]);
        let mut names = read(&self.bench, &known.and(later(7200), Some((&self.manifest, remembered))));
        names.retain(|name| name != "a");
        names
    }

    /// Another content of the same size, with the times of before.
    fn change_in_secret(&self, name: &str) {
        let path = self.bench.root.join(name);
        let was = fs::metadata(&path).unwrap();
        let times =
            fs::FileTimes::new().set_modified(was.modified().unwrap()).set_accessed(was.accessed().unwrap());
        let content = "x".repeat(fs::read(&path).unwrap().len());
        fs::write(&path, content).unwrap();
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    }
}

#[test]
fn after_a_restore_nothing_is_read_that_did_not_change_since() {
    let _steady = without_children();
    for way in [Way::InPlace, Way::Exchange] {
        let scene = Scene::new();
        let remembered = scene.restore(way, || {});
        assert_eq!(scene.read(&remembered), [] as [&str; 0], "{way:?}");
        scene.change_in_secret("b");
        assert_eq!(scene.read(&remembered), ["b"], "{way:?}: the other name is the same file");
        fs::set_permissions(scene.bench.root.join("c"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        assert_eq!(scene.read(&remembered), ["b", "c"], "{way:?}");
        // Without what is remembered an exchanged root is another folder, of which nothing is known.
        let known = Known::at(later(7200), [&scene.manifest]);
        let unaided = read(&scene.bench, &known);
        assert_eq!(unaided.len(), if way == Way::Exchange { 4 } else { 3 }, "{way:?}: {unaided:?}");
    }
}

#[test]
fn what_changes_in_the_middle_of_a_restore_is_not_remembered() {
    let _steady = without_children();
    for way in [Way::InPlace, Way::Exchange] {
        let scene = Scene::new();
        let path = scene.bench.root.join("d/e");
        let remembered = scene.restore(way, || fs::write(path, "f").unwrap());
        assert_eq!(scene.read(&remembered), ["d/e"], "{way:?}");
    }
}

#[test]
fn what_is_kept_is_this_repositorys_and_of_that_checkpoint() {
    let _steady = without_children();
    let scene = Scene::new();
    let remembered = scene.restore(Way::Exchange, || {});
    let dir = scene.bench.root.with_file_name("checkpoints");
    fs::create_dir(&dir).unwrap();
    assert_eq!(Remembered::kept(&dir, &scene.chunks), None);
    remembered.keep(&dir, &scene.chunks).unwrap();
    assert_eq!(Remembered::kept(&dir, &scene.chunks).as_ref(), Some(&remembered));

    let other = Manifest { created: later(60).into(), ..scene.manifest.clone() };
    let known = Known::at(later(7200), [&other]).and(later(7200), Some((&other, &remembered)));
    assert_eq!(read(&scene.bench, &known).len(), 4, "of another checkpoint with that number");

    let path = dir.join("remembered");
    let bytes = fs::read(&path).unwrap();
    for place in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(Remembered::kept(&dir, &scene.chunks), None, "byte {place}");
    }
    fs::write(&path, &bytes[..20]).unwrap();
    assert_eq!(Remembered::kept(&dir, &scene.chunks), None);
    fs::write(&path, &bytes).unwrap();
    let stranger = Chunks::open(&scene.bench.root.with_file_name("stranger"), &[8; 32]).unwrap();
    assert_eq!(Remembered::kept(&dir, &stranger), None);
}
