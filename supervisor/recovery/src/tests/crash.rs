//! A restore that is killed before each of its operations in turn, in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use store::chunk::Chunks;

use super::tree::*;
use crate::manifest::Manifest;
use crate::restore::{Outcome, abandon, resume};
use crate::worker::Worker;
use crate::worker::effect::Way;
use crate::worker::ops::fault;

const DIR: &str = "RECOVERY_CRASH_DIR";
const AT: &str = "RECOVERY_CRASH_AT";
const WHAT: &str = "RECOVERY_CRASH_WHAT";
const WAY: &str = "RECOVERY_CRASH_WAY";

struct Scene {
    roots: [PathBuf; 2],
    manifest: Manifest,
    chunks: Chunks,
    /// The checkpoint's state and the one that it is restored over.
    want: [Picture; 2],
    spoiled: [Picture; 2],
}

impl Scene {
    #[track_caller]
    fn check(&self, want: &[Picture; 2], when: &str) {
        for (root, want) in self.roots.iter().zip(want) {
            assert_same(&picture(root), want, when);
        }
    }
}

fn roots(dir: &Path) -> [PathBuf; 2] {
    [dir.join("one"), dir.join("two")]
}

/// One run of the child: what it does, killed before one operation.
fn child(dir: &Path, (what, way): (&str, Way), at: u64) -> bool {
    let alone = children();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child_process", "--ignored", "--quiet"])
        .env(DIR, dir)
        .env(WHAT, what)
        .env(WAY, if way == Way::Exchange { "exchange" } else { "in place" })
        .env(AT, at.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    drop(alone);
    let status = child.wait().unwrap();
    // Anything else than success or the kill is a failure of the code under test.
    use std::os::unix::process::ExitStatusExt;
    assert!(status.success() || status.signal() == Some(9), "{what} killed at {at}: {status}");
    status.success()
}

#[test]
#[ignore = "the killed half of the tests beside it"]
fn child_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let roots = roots(dir);
    let mut worker = Worker::new(&roots).unwrap();
    let chunks = Chunks::open_read_only(&dir.join("store"), &KEY).unwrap();
    let manifest = Manifest::decode(&fs::read(dir.join("manifest")).unwrap()).unwrap();
    set_way(if std::env::var(WAY).unwrap() == "exchange" { Way::Exchange } else { Way::InPlace });
    fault::arm(std::env::var(AT).unwrap().parse().unwrap());
    match std::env::var(WHAT).unwrap().as_str() {
        "restore" => restore(&roots, &manifest, &chunks, &mut worker).unwrap(),
        "resume" => {
            resume(&mut worker, 2).unwrap();
            restore(&roots, &manifest, &chunks, &mut worker).unwrap();
        }
        "abandon" => drop(abandon(&mut worker, 2).unwrap()),
        other => panic!("{other}"),
    }
}

fn build(root: &Path) {
    fs::create_dir_all(root.join("kept/sub")).unwrap();
    fs::create_dir(root.join("becomes file")).unwrap();
    fs::write(root.join("becomes file/x"), "x").unwrap();
    fs::write(root.join("becomes folder"), "y").unwrap();
    fs::write(root.join("kept/changed"), "before").unwrap();
    fs::write(root.join("kept/mode"), "mode").unwrap();
    fs::write(root.join("kept/sub/gone"), "gone").unwrap();
    fs::hard_link(root.join("kept/sub/gone"), root.join("kept/twin")).unwrap();
    std::os::unix::fs::symlink("kept", root.join("link")).unwrap();
    set_old_times(root);
}

fn change(root: &Path) {
    fs::remove_dir_all(root.join("becomes file")).unwrap();
    fs::write(root.join("becomes file"), "file").unwrap();
    fs::remove_file(root.join("becomes folder")).unwrap();
    fs::create_dir(root.join("becomes folder")).unwrap();
    fs::write(root.join("becomes folder/z"), "z").unwrap();
    fs::write(root.join("kept/changed"), "after").unwrap();
    set_mode(&root.join("kept/mode"), 0o4711);
    fs::remove_file(root.join("kept/sub/gone")).unwrap();
    fs::create_dir(root.join("extra")).unwrap();
    fs::write(root.join("extra/e"), "e").unwrap();
    set_old_times(root);
    set_times(root, (1_500_000_000, 15), (1_500_000_001, 16));
}

fn scene(dir: &Path) -> Scene {
    let roots = roots(dir);
    for root in &roots {
        fs::create_dir(root).unwrap();
        build(root);
    }
    let mut chunks = Chunks::open(&dir.join("store"), &KEY).unwrap();
    let manifest = capture(&roots, &mut chunks);
    fs::write(dir.join("manifest"), manifest.encode().unwrap()).unwrap();
    let want = roots.each_ref().map(|root| picture(root));
    for root in &roots {
        change(root);
    }
    let spoiled = roots.each_ref().map(|root| picture(root));
    Scene { roots, manifest, chunks, want, spoiled }
}

/// Builds the scene anew for each operation, kills the first run there, and lets `after` go on.
fn at_every_operation(way: Way, after: impl Fn(&Path, &Scene, u64)) -> u64 {
    set_way(way);
    for at in 1.. {
        let dir = place();
        let scene = scene(dir.path());
        if child(dir.path(), ("restore", way), at) {
            scene.check(&scene.want, "finished");
            return at - 1;
        }
        after(dir.path(), &scene, at);
    }
    unreachable!()
}

/// A folder in memory, where there is one: a kill, unlike a power cut, loses nothing that a file system holds, and hundreds of flushes of a
/// disk take minutes.
fn place() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

const WAYS: [Way; 2] = [Way::InPlace, Way::Exchange];

#[test]
fn resuming_after_a_kill_anywhere_gives_the_checkpoint_as_root() {
    if !is_root() {
        return;
    }
    for way in WAYS {
        let operations = at_every_operation(way, |_, scene, at| {
            let mut worker = Worker::new(&scene.roots).unwrap();
            resume(&mut worker, 2).unwrap();
            restore(&scene.roots, &scene.manifest, &scene.chunks, &mut worker).unwrap();
            scene.check(&scene.want, &format!("{way:?}, killed before operation {at}"));
        });
        assert!(operations > 100, "only {operations} operations");
        println!("{way:?}: {operations} operations, killed before each, resumed");
    }
}

#[test]
fn abandoning_after_a_kill_anywhere_gives_the_old_state_as_root() {
    if !is_root() {
        return;
    }
    for way in WAYS {
        let seen_finished = std::cell::Cell::new(false);
        let operations = at_every_operation(way, |_, scene, at| {
            let mut worker = Worker::new(&scene.roots).unwrap();
            let outcome = abandon(&mut worker, 2).unwrap();
            let now = scene.roots.each_ref().map(|root| picture(root));
            // Once it is being cleaned up, the restore is finished: only the rest of the clean-up is left.
            let finished = outcome == Outcome::Finished || now == scene.want;
            seen_finished.set(seen_finished.get() || finished);
            assert!(
                !seen_finished.get() || finished,
                "it went back at {at} after it had been finished before"
            );
            let want = if finished { &scene.want } else { &scene.spoiled };
            scene.check(want, &format!("{way:?}, killed before operation {at}"));
        });
        assert!(seen_finished.get());
        println!("{way:?}: {operations} operations, killed before each, abandoned");
    }
}

/// Kills a restore, and then what follows it, every few operations.
fn killed_twice(way: Way, what: &str, first: u64) {
    set_way(way);
    for second in (1..400).step_by(3) {
        let dir = place();
        let scene = scene(dir.path());
        assert!(!child(dir.path(), ("restore", way), first));
        let finished = child(dir.path(), (what, way), second);
        let mut worker = Worker::new(&scene.roots).unwrap();
        let when = format!("{way:?} {what} {first} {second}");
        if what == "abandon" {
            assert_ne!(abandon(&mut worker, 2).unwrap(), Outcome::Finished);
            scene.check(&scene.spoiled, &when);
        } else {
            resume(&mut worker, 2).unwrap();
            restore(&scene.roots, &scene.manifest, &scene.chunks, &mut worker).unwrap();
            scene.check(&scene.want, &when);
        }
        if finished {
            break;
        }
    }
}

#[test]
fn killed_again_while_resuming_or_abandoning_as_root() {
    if !is_root() {
        return;
    }
    for way in WAYS {
        for (what, first) in [("abandon", 40), ("abandon", 90), ("resume", 60), ("resume", 120)] {
            killed_twice(way, what, first);
        }
    }
}

/// In an exchanged root a reader never sees anything but the old or the new state, at whatever point the restore stops.
#[test]
fn an_exchanged_root_is_old_or_new_at_every_operation_as_root() {
    if !is_root() {
        return;
    }
    let switched = std::cell::Cell::new([false; 2]);
    at_every_operation(Way::Exchange, |_, scene, at| {
        let mut now_switched = switched.get();
        for (place, root) in scene.roots.iter().enumerate() {
            let now = picture(root);
            if now_switched[place] || now != scene.spoiled[place] {
                assert_same(&now, &scene.want[place], &format!("root {place} before operation {at}"));
                now_switched[place] = true;
            }
        }
        switched.set(now_switched);
    });
    assert_eq!(switched.get(), [true; 2]);
}
