//! An archive is read by GNU tar, and what that makes of it is what was captured.

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::property::{act, perform, without_pipes};
use super::tree::*;
use crate::Error;
use crate::export::tar;

fn is_there() -> bool {
    let _alone = children();
    let there = Command::new("tar")
        .arg("--version")
        .output()
        .is_ok_and(|said| said.stdout.starts_with(b"tar (GNU tar)"));
    if !there {
        eprintln!("skipped: needs GNU tar");
    }
    there
}

fn run(arguments: &[&str], archive: &Path) -> String {
    let _alone = children();
    let output = Command::new("tar").args(arguments).arg("-f").arg(archive).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What GNU tar makes of an archive of a bench's root.
fn extracted(bench: &Bench, archive: &Path) -> Picture {
    let to = bench.store.with_extension("extracted");
    fs::create_dir(&to).unwrap();
    let options = [
        "-xp",
        "--xattrs",
        "--xattrs-include=*",
        "--same-owner",
        "--delay-directory-restore",
        "--warning=no-timestamp",
    ];
    run(&[&options[..], &["-C", to.to_str().unwrap()]].concat(), archive);
    picture(&to.join(bench.root.strip_prefix("/").unwrap()))
}

/// Access times are in the archive, but GNU tar does not set them.
fn without_access(mut picture: Picture) -> Picture {
    picture.values_mut().for_each(|seen| seen.atime = (0, 0));
    picture
}

fn exported(bench: &Bench) -> std::path::PathBuf {
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    let archive = bench.store.with_extension("tar");
    let mut bytes = Vec::new();
    let done = tar(&manifest, None, &chunks, &mut bytes).unwrap();
    assert_eq!(done.entries, u64::try_from(manifest.roots()[0].entries.len()).unwrap());
    assert_eq!((done.bytes, done.bytes % 10240), (u64::try_from(bytes.len()).unwrap(), 0));
    fs::write(&archive, bytes).unwrap();
    archive
}

#[test]
fn one_of_everything_is_extracted_as_it_was_as_root() {
    if !is_root() || !is_there() {
        return;
    }
    let bench = Bench::new();
    one_of_everything(&bench.root);
    fs::create_dir_all(bench.root.join("long/".to_owned() + &"d".repeat(120))).unwrap();
    fs::write(bench.root.join("long/".to_owned() + &"d".repeat(120)).join("f".repeat(200)), "far").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), bench.root.join("far link")).unwrap();
    set_xattr(&bench.root.join("sub"), "user.a=b%c", b"1=2\n3");
    std::os::unix::fs::chown(bench.root.join("sub/large"), Some(3_000_000), Some(4_000_000_000)).unwrap();
    set_old_times(&bench.root);
    set_times(&bench.root.join("sub/large"), (-5, 250_000_000), (-1, 999_999_999));
    let before = without_access(picture(&bench.root));
    let archive = exported(&bench);
    assert_same(&without_access(extracted(&bench, &archive)), &before, "extracted");
    let list = run(&["-tv", "--xattrs"], &archive);
    assert_eq!(list.lines().count(), before.len(), "{list}");
    assert!(list.contains(" link to "), "{list}");
    let bytes = fs::read(&archive).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(has(b" atime=-0.000000001\n") && has(b" mtime=-4.750000000\n") && has(b".987654321\n"));
}

#[test]
fn an_archive_of_no_root_or_of_damaged_contents_is_refused() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), noise(100_000, 3)).unwrap();
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    let refused = tar(&manifest, Some(b"/other"), &chunks, &mut Vec::new()).unwrap_err();
    assert!(matches!(&refused, Error::Refused(why) if why.contains("/other")), "{refused}");
    drop(chunks);
    for pack in fs::read_dir(bench.store.join("packs")).unwrap() {
        let path = pack.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes[5000] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let refused = tar(&manifest, None, &bench.chunks(), &mut Vec::new()).unwrap_err();
    assert!(matches!(refused, Error::Store(_)), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_is_extracted_as_it_was_as_root(build in prop::collection::vec(act(), 1..40)) {
        if !is_root() || !is_there() {
            return Ok(());
        }
        let bench = Bench::new();
        for act in without_pipes(&build) {
            perform(&bench.root, &act);
        }
        let before = without_access(picture(&bench.root));
        let archive = exported(&bench);
        let unlike = unlike(&without_access(extracted(&bench, &archive)), &before);
        prop_assert!(unlike.is_empty(), "{unlike:#?}");
    }
}
