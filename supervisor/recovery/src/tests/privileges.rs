//! A process without privileges restores through the helper, as the daemon does.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use nix::unistd::{Gid, Uid, setresgid, setresuid};
use store::chunk::Chunks;

use super::tree::*;
use crate::files::root::Root;
use crate::helper::{Client, serve};
use crate::manifest::Manifest;
use crate::restore::{self, Machine, Restore};

const DIR: &str = "RECOVERY_PRIVILEGES_DIR";
const NOBODY: u32 = 65534;

#[test]
#[ignore = "the unprivileged half of the test beside it"]
fn child_process() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    // What needs root is opened first.
    let roots = Root::open_quiet(&[dir.join("root")]).unwrap();
    let mut client = Client::new(UnixStream::connect(dir.join("socket")).unwrap());
    let chunks = Chunks::open(&dir.join("store"), &KEY).unwrap();
    let manifest = Manifest::decode(&fs::read(dir.join("manifest")).unwrap()).unwrap();
    setresgid(Gid::from_raw(NOBODY), Gid::from_raw(NOBODY), Gid::from_raw(NOBODY)).unwrap();
    setresuid(Uid::from_raw(NOBODY), Uid::from_raw(NOBODY), Uid::from_raw(NOBODY)).unwrap();

    let machine = || Machine { roots: &roots, ..Machine::default() };
    let plan = restore::plan(machine(), manifest.clone(), &chunks).unwrap();
    assert!(plan.summary().changed > 0);
    let machine = Machine { executor: Some(&mut client), ..machine() };
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
    drop(restore);
    // A capture by this process finds the same, and did not disturb it by looking.
    let machine = Machine { roots: &roots, ..Machine::default() };
    let again = restore::plan(machine, manifest, &chunks).unwrap();
    assert_eq!(again.differences, []);
}

#[test]
fn an_unprivileged_process_restores_through_the_helper_as_root() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("d")).unwrap();
    fs::write(root.join("d/file"), "one").unwrap();
    fs::write(root.join("same"), "same").unwrap();
    set_mode(&root.join("d"), 0o2755);
    set_old_times(&root);
    let before = picture(&root);
    let mut chunks = Chunks::open(&dir.path().join("store"), &KEY).unwrap();
    let manifest = capture(std::slice::from_ref(&root), &mut chunks);
    drop(chunks);
    fs::write(dir.path().join("manifest"), manifest.encode().unwrap()).unwrap();
    // The store is the daemon's own, the folder is not.
    let store = dir.path().join("store");
    set_mode(dir.path(), 0o755);
    for path in picture(&store).keys() {
        let path = store.join(std::str::from_utf8(path).unwrap());
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::write(root.join("d/file"), "two").unwrap();
    set_mode(&root.join("d"), 0o775);
    std::os::unix::fs::chown(root.join("same"), Some(1), Some(1)).unwrap();
    let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
    let roots = vec![root.clone()];
    let worker = crate::worker::Worker::new(&roots).unwrap();
    let helper = std::thread::spawn(move || serve(&listener.accept().unwrap().0, worker));
    let alone = children();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::privileges::child_process", "--ignored", "--quiet"])
        .env(DIR, dir.path())
        .spawn()
        .unwrap();
    drop(alone);
    assert!(child.wait().unwrap().success());
    helper.join().unwrap().unwrap();
    assert_same(&picture(&root), &before, "after the restore");
}
