//! `dsmil log archive`, and what the others say of a log whose first entries are elsewhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use store::log::{Config, Log};

use crate::daemon::{Output, command};
use crate::folder::{Folder, files, record_at};
use crate::progress::on_terminal;

/// 1203 entries, snapshots at 100, 501 and 1002, each named by the entry that follows; a head over all.
fn sample() -> Folder {
    let mut folder = Folder::small();
    let oldest = folder.path().join(format!("{:020}.snap", 100));
    let mut kept = Vec::new();
    for second in (0..1200).step_by(10) {
        if [100, 500, 1000].contains(&second) {
            let (size, hash) = (folder.log().size(), snapshot(&mut folder));
            kept = if second == 100 { fs::read(&oldest).unwrap() } else { kept };
            folder.log().append(&[snapshotted(size.try_into().unwrap(), &hash)]).unwrap();
        }
        folder.log().append(&(second..second + 10).map(record_at).collect::<Vec<_>>()).unwrap();
    }
    // However many are kept.
    fs::write(oldest, kept).unwrap();
    folder.sign();
    folder.close();
    folder
}

/// Writes a snapshot of the log as it is.
fn snapshot(folder: &mut Folder) -> [u8; 32] {
    let dir = folder.path();
    store::snapshot::write(&dir, &folder.log().start().unwrap(), b"state").unwrap().0
}

/// The fact by hand that names it: version 2, “snapshot” (variant 8).
fn snapshotted(facts: u16, hash: &[u8; 32]) -> Vec<u8> {
    let mut bytes = record_at(facts);
    bytes.truncate(bytes.len() - 3);
    bytes[2] = 2;
    bytes.extend([0x82, 0x08, 0xA2, 0x00, 0x19]);
    bytes.extend(facts.to_be_bytes());
    bytes.extend([0x01, 0x58, 0x20]);
    bytes.extend(hash);
    bytes
}

fn archive(folder: &Folder, before: &str, more: &[&str]) -> Output {
    let to = folder.beside("archive");
    folder.dsmil(&[&["log", "archive", to.to_str().unwrap(), "--before", before], more].concat())
}

/// The first entries of the files with entries.
fn firsts(dir: &Path) -> Vec<u64> {
    let names = files(dir).into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "log"));
    names.map(|(path, _)| path.file_stem().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn old_files_move_and_everything_is_still_proven() {
    let folder = sample();
    let before: Vec<_> = files(&folder.path());
    let output = archive(&folder, "500", &["--yes", "--json"]);
    assert_eq!((output.code, output.err.as_str()), (Some(0), ""));
    let answer = serde_json::from_str::<Value>(&output.out).unwrap()["answer"].take();
    assert_eq!((&answer["kind"], &answer["entries"]["start"]), (&json!("log_archived"), &json!(0)));
    let until = answer["entries"]["end"].as_u64().unwrap();
    assert!((300..=500).contains(&until), "{until}");
    let (here, there) = (firsts(&folder.path()), firsts(&folder.beside("archive")));
    assert_eq!((here[0], there[0], there.len()), (until, 0, answer["files"].as_array().unwrap().len()));
    for (path, bytes) in files(&folder.beside("archive")) {
        assert!(before.contains(&(path, bytes)), "the archive is not what was there");
    }

    let text = folder.dsmil(&["log", "verify"]).done();
    let last = until - 1;
    assert!(
        text.contains(&format!("entries 0 to {last} are archived: their hashes are those that")),
        "{text}"
    );
    let answer = folder.answer(&["log", "verify"]);
    assert_eq!((&answer["entries"], &answer["archived"]), (&json!(1203), &json!(until)));
    // The daemon goes on from its two newest snapshots.
    for snapshot in [501, 1002] {
        let start = store::snapshot::read(&folder.path(), snapshot).unwrap().start;
        let log = Log::open_at(&folder.path(), &Config::default(), &start, &mut |_, _| ()).unwrap();
        assert_eq!(log.size(), 1203);
    }
    // A change of what stayed is found, and so is one of what is left of the archived.
    let mark = folder.path().join("archived");
    let mut bytes = fs::read(&mark).unwrap();
    bytes[60] ^= 1;
    fs::write(&mark, bytes).unwrap();
    assert_eq!(folder.dsmil(&["log", "verify"]).code, Some(7));
}

#[test]
fn archived_entries_are_found_where_they_are() {
    let folder = sample();
    archive(&folder, "500", &["--yes"]).done();
    let there = folder.beside("archive");
    let there = there.to_str().unwrap();
    for what in ["show", "prove"] {
        let output = folder.dsmil(&["log", what, "3"]);
        assert_eq!((output.code, output.out.as_str()), (Some(6), ""));
        assert!(
            output.err.contains("entry 3 is archived") && output.err.contains("--archive"),
            "{}",
            output.err
        );
    }
    let text = folder.dsmil(&["log", "show", "3", "--archive", there]).done();
    assert!(text.contains("08:00:03") && text.contains("proven to be in it"), "{text}");
    let proof = folder.beside("proof");
    let proof = proof.to_str().unwrap();
    folder.dsmil(&["log", "prove", "3", "--archive", there, "--out", proof]).done();
    let key = folder.beside("key.pem");
    let mut check = command(Path::new("/nonexistent/socket"));
    let output = Output::of(check.args(["log", "verify-proof", proof, "--key"]).arg(key));
    assert!(output.done().contains("3 of 1203, proven"));
    // The archive alone is read as a log, without heads.
    let mut read = command(Path::new("/nonexistent/socket"));
    let text = Output::of(read.args(["log", "show", "3", "--dir", there])).done();
    assert!(text.contains("08:00:03") && text.contains("none covers it yet"), "{text}");

    let [whole, rest] = ["whole", "rest"].map(|name| folder.beside(name));
    let answer = folder.answer(&["log", "export", whole.to_str().unwrap(), "--archive", there]);
    assert_eq!((&answer["entries"], &answer["first"]), (&json!(1203), &json!(0)));
    assert!(whole.join("tile/entries/000").exists());
    let text = folder.dsmil(&["log", "export", rest.to_str().unwrap()]).done();
    assert!(text.contains("left out  the first ") && !rest.join("tile/entries/000").exists(), "{text}");

    let forged = fs::read(folder.path().join(format!("{:020}.log", firsts(&folder.path())[0]))).unwrap();
    fs::write(folder.beside("archive").join("00000000000000000000.log"), forged).unwrap();
    assert_eq!(folder.dsmil(&["log", "show", "3", "--archive", there]).code, Some(7));
}

/// Without its first entries a log opens from snapshots alone.
#[test]
fn the_daemon_can_start_afterwards() {
    let mut folder = Folder::long();
    folder.sign();
    folder.close();
    let before = files(&folder.path());
    let output = archive(&folder, "500", &["--yes"]);
    assert_eq!((output.code, output.out.as_str()), (Some(1), ""));
    assert!(output.err.contains("the log has no snapshot"), "{}", output.err);
    assert!(before == files(&folder.path()) && !folder.beside("archive").exists());

    // Nor is one that no fact names.
    let mut folder = Folder::long();
    snapshot(&mut folder);
    folder.log().append(&[snapshotted(1000, &[1; 32])]).unwrap();
    folder.sign();
    folder.close();
    let output = archive(&folder, "500", &["--yes"]);
    assert!(output.err.contains("the log has no snapshot"), "{}", output.err);

    let folder = sample();
    let output = archive(&folder, "1150", &["--yes"]);
    assert_eq!(output.code, Some(0));
    assert!(output.err.contains("dsmild starts from a snapshot before them"), "{}", output.err);
    let until = firsts(&folder.path())[0];
    assert!((400..=501).contains(&until), "{until}");
    assert!(output.out.starts_with(&format!("archived entries 0 to {} in ", until - 1)), "{}", output.out);
    // What is archived is archived; there is nothing more.
    assert!(archive(&folder, "300", &["--yes"]).done().starts_with("nothing to archive"));
}

#[test]
fn a_moment_is_the_first_entry_of_it() {
    let by_index = sample();
    archive(&by_index, "422", &["--yes"]).done();
    let by_moment = sample();
    archive(&by_moment, "2026-11-21T08:07:01Z", &["--yes"]).done();
    assert_eq!(firsts(&by_index.path()), firsts(&by_moment.path()));
    assert!(firsts(&by_moment.path())[0] > 300);
    for wrong in ["soon", "-1", ""] {
        let output = archive(&by_moment, wrong, &["--yes"]);
        assert_eq!(output.code, Some(2), "{}", output.err);
    }
}

#[test]
fn it_asks_and_waits_for_the_daemon_to_stop() {
    let folder = sample();
    let before = files(&folder.path());
    let unchanged = || before == files(&folder.path()) && !folder.beside("archive").exists();
    let output = archive(&folder, "500", &[]);
    assert_eq!(output.code, Some(2), "{}", output.err);
    assert!(output.err.contains("give --yes") && unchanged(), "{}", output.err);

    let (dir, to) = (folder.path(), folder.beside("archive"));
    let arguments =
        ["log", "archive", to.to_str().unwrap(), "--before", "500", "--dir", dir.to_str().unwrap()];
    let run = |typed| on_terminal(Path::new("/nonexistent/socket"), &arguments, typed);
    let (shown, out, code) = run("n\n");
    assert!(shown.contains("Move entries 0 to ") && shown.contains("nothing was changed"), "{shown}");
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(unchanged());

    let start = store::snapshot::read(&dir, 1002).unwrap().start;
    let log = Log::open_at(&dir, &Config::default(), &start, &mut |_, _| ()).unwrap();
    let output = archive(&folder, "500", &["--yes"]);
    assert_eq!(output.code, Some(5), "{}", output.err);
    assert!(!to.exists());
    drop(log);

    let (shown, out, code) = run("y\n");
    assert!(shown.contains("now? [y/N] ") && out.starts_with("archived entries 0 to "), "{shown}{out}");
    assert_eq!(code, Some(0));
    assert!(firsts(&dir)[0] > 300);
}

/// What root writes into another user's log that user could not read. Only root can give a folder away.
#[test]
fn root_does_not_write_into_the_log_of_another_user() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let folder = sample();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return;
    }
    chown(folder.path(), Some(4711), None).unwrap();
    let output = archive(&folder, "500", &["--yes"]);
    assert_eq!(output.code, Some(1), "{}", output.out);
    assert!(output.err.contains("sudo -u '#4711'") && !folder.beside("archive").exists(), "{}", output.err);
}
