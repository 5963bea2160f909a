//! `dsmil log archive`, and what the others say of a log whose first entries are elsewhere.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use store::log::{Config, Log};

use crate::daemon::{Output, command};
use crate::folder::{Folder, files};
use crate::progress::on_terminal;

/// 1201 entries, snapshots at 1000 and 1200, a head over all.
fn sample() -> Folder {
    let mut folder = Folder::long();
    let dir = folder.path();
    let at = |log: &mut Log| {
        store::snapshot::write(&dir, &log.start().unwrap(), b"state").unwrap();
    };
    at(folder.log());
    for second in 1000..1200 {
        folder.log().append(&[crate::folder::record_at(second)]).unwrap();
    }
    at(folder.log());
    folder.log().append(&[crate::folder::record_at(1200)]).unwrap();
    folder.sign();
    folder.close();
    folder
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
    assert_eq!((&answer["entries"], &answer["archived"]), (&json!(1201), &json!(until)));
    // The daemon goes on from both snapshots.
    for snapshot in store::snapshot::list(&folder.path()).unwrap() {
        let start = store::snapshot::read(&folder.path(), snapshot).unwrap().start;
        let log = Log::open_at(&folder.path(), &Config::default(), &start, &mut |_, _| ()).unwrap();
        assert_eq!(log.size(), 1201);
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
    assert!(output.done().contains("3 of 1201, proven"));
    // The archive alone is read as a log, without heads.
    let mut read = command(Path::new("/nonexistent/socket"));
    let text = Output::of(read.args(["log", "show", "3", "--dir", there])).done();
    assert!(text.contains("08:00:03") && text.contains("none covers it yet"), "{text}");

    let [whole, rest] = ["whole", "rest"].map(|name| folder.beside(name));
    let answer = folder.answer(&["log", "export", whole.to_str().unwrap(), "--archive", there]);
    assert_eq!((&answer["entries"], &answer["first"]), (&json!(1201), &json!(0)));
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

    let folder = sample();
    let output = archive(&folder, "1150", &["--yes"]);
    assert_eq!(output.code, Some(0));
    assert!(output.err.contains("dsmild starts from a snapshot before them"), "{}", output.err);
    let until = firsts(&folder.path())[0];
    assert!((900..=1000).contains(&until), "{until}");
    assert!(output.out.starts_with(&format!("archived entries 0 to {} in ", until - 1)), "{}", output.out);
    // What is archived is archived; there is nothing more.
    assert!(archive(&folder, "500", &["--yes"]).done().starts_with("nothing to archive"));
}

#[test]
fn a_moment_is_the_first_entry_of_it() {
    let by_index = sample();
    archive(&by_index, "720", &["--yes"]).done();
    let by_moment = sample();
    archive(&by_moment, "2026-11-21T08:12:00Z", &["--yes"]).done();
    assert_eq!(firsts(&by_index.path()), firsts(&by_moment.path()));
    assert!(firsts(&by_moment.path())[0] > 600);
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

    let start = store::snapshot::list(&dir).unwrap()[0];
    let start = store::snapshot::read(&dir, start).unwrap().start;
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
