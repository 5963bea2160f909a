//! A restore that is killed before each of its operations in turn, in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use store::chunk::Chunks;

use super::tree::*;
use crate::manifest::Manifest;
use crate::restore::{Outcome, abandon, resume};
use crate::worker::Worker;
use crate::worker::ops::fault;

const DIR: &str = "RECOVERY_CRASH_DIR";
const AT: &str = "RECOVERY_CRASH_AT";
const WHAT: &str = "RECOVERY_CRASH_WHAT";

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
fn child(dir: &Path, what: &str, at: u64) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::crash::child_process", "--ignored", "--quiet"])
        .env(DIR, dir)
        .env(WHAT, what)
        .env(AT, at.to_string())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
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
fn at_every_operation(after: impl Fn(&Path, &Scene, u64)) -> u64 {
    for at in 1.. {
        let dir = tempfile::tempdir().unwrap();
        let scene = scene(dir.path());
        if child(dir.path(), "restore", at) {
            scene.check(&scene.want, "finished");
            return at - 1;
        }
        after(dir.path(), &scene, at);
    }
    unreachable!()
}

#[test]
fn resuming_after_a_kill_anywhere_gives_the_checkpoint_as_root() {
    if !is_root() {
        return;
    }
    let operations = at_every_operation(|_, scene, at| {
        let mut worker = Worker::new(&scene.roots).unwrap();
        resume(&mut worker, 2).unwrap();
        restore(&scene.roots, &scene.manifest, &scene.chunks, &mut worker).unwrap();
        scene.check(&scene.want, &format!("killed before operation {at}"));
    });
    assert!(operations > 100, "only {operations} operations");
    println!("{operations} operations, killed before each, resumed");
}

#[test]
fn abandoning_after_a_kill_anywhere_gives_the_old_state_as_root() {
    if !is_root() {
        return;
    }
    let seen_finished = std::cell::Cell::new(false);
    let operations = at_every_operation(|_, scene, at| {
        let mut worker = Worker::new(&scene.roots).unwrap();
        let outcome = abandon(&mut worker, 2).unwrap();
        let now = scene.roots.each_ref().map(|root| picture(root));
        // Once it is being cleaned up, the restore is finished: only the rest of the clean-up is left.
        let finished = outcome == Outcome::Finished || now == scene.want;
        seen_finished.set(seen_finished.get() || finished);
        assert!(!seen_finished.get() || finished, "it went back at {at} after it had been finished before");
        let want = if finished { &scene.want } else { &scene.spoiled };
        scene.check(want, &format!("killed before operation {at}"));
    });
    assert!(seen_finished.get());
    println!("{operations} operations, killed before each, abandoned");
}

#[test]
fn killed_again_while_resuming_or_abandoning_as_root() {
    if !is_root() {
        return;
    }
    for (what, first) in [("abandon", 40), ("abandon", 90), ("resume", 60), ("resume", 120)] {
        for second in (1..400).step_by(3) {
            let dir = tempfile::tempdir().unwrap();
            let scene = scene(dir.path());
            assert!(!child(dir.path(), "restore", first));
            let finished = child(dir.path(), what, second);
            let mut worker = Worker::new(&scene.roots).unwrap();
            if what == "abandon" {
                assert_ne!(abandon(&mut worker, 2).unwrap(), Outcome::Finished);
                scene.check(&scene.spoiled, &format!("{what} {first} {second}"));
            } else {
                resume(&mut worker, 2).unwrap();
                restore(&scene.roots, &scene.manifest, &scene.chunks, &mut worker).unwrap();
                scene.check(&scene.want, &format!("{what} {first} {second}"));
            }
            if finished {
                break;
            }
        }
    }
}
