//! `dsmil log salvage`, on logs that were broken on purpose.

use std::fs;
use std::time::SystemTime;

use serde_json::json;

use crate::daemon::Output;
use crate::folder::{Folder, files, flip, record};

/// Heads over 5 and 8 entries, a ninth entry without; and the key.
fn sample() -> (Folder, String) {
    let mut folder = Folder::new();
    folder.sign();
    for second in 5..8 {
        folder.log().append(&[record(second)]).unwrap();
    }
    let key = folder.sign();
    folder.log().append(&[record(8)]).unwrap();
    folder.close();
    (folder, key.to_str().unwrap().to_owned())
}

/// Salvages it, and makes sure that the damaged log stays as it is.
fn salvage(folder: &Folder, more: &[&str]) -> Output {
    let times = |folder: &Folder| -> Vec<SystemTime> {
        let dir = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
        dir.chain([folder.path()]).map(|path| fs::metadata(path).unwrap().modified().unwrap()).collect()
    };
    let before = (files(&folder.path()), times(folder));
    let out = folder.beside("out");
    let output = folder.dsmil(&[&["log", "salvage", out.to_str().unwrap()], more].concat());
    assert!(before == (files(&folder.path()), times(folder)), "the damaged log was changed");
    output
}

/// The copy as `log verify` with the key sees it: entries, and those that a head covers.
#[track_caller]
fn verified(folder: &Folder, key: &str) -> (u64, u64) {
    let mut command = crate::daemon::command(std::path::Path::new("/nonexistent/socket"));
    let arguments = ["log", "verify", "--key", key, "--json", "--dir"];
    let text = Output::of(command.args(arguments).arg(folder.beside("out"))).done();
    let answer = serde_json::from_str::<serde_json::Value>(&text).unwrap()["answer"].take();
    (answer["entries"].as_u64().unwrap(), answer["covered"].as_u64().unwrap())
}

#[test]
fn what_is_proven_copied_and_lost_is_said() {
    let (folder, key) = sample();
    flip(&folder.path(), 6);
    let output = salvage(&folder, &[]);
    assert_eq!(output.code, Some(7));
    let lines = [
        "proven      entries 0 to 4, by the heads over them",
        "not proven  entry 5: copied, checksums are right, no head covers them",
        "lost        entries 6 to 7: 2 entries at least, there may have been more",
    ];
    for line in lines {
        assert!(output.out.lines().any(|found| found == line), "{line}: {}", output.out);
    }
    let found = output.out.lines().find(|line| line.starts_with("found ")).unwrap();
    assert!(found.contains("entry 6 is damaged") && found.contains(".log at byte "), "{found}");
    assert!(output.err.contains("entries 6 to 7 could not be copied"), "{}", output.err);
    assert_eq!(verified(&folder, &key), (6, 5));
    let entry = folder.dsmil(&["log", "show", "4"]);
    assert!(entry.done().contains("08:00:04"));
}

#[test]
fn programs_read_what_is_lost_and_where() {
    let (folder, _) = sample();
    flip(&folder.path(), 6);
    let output = salvage(&folder, &["--json"]);
    let answer = serde_json::from_str::<serde_json::Value>(&output.out).unwrap()["answer"].take();
    assert_eq!((&answer["kind"], &answer["whole"]), (&json!("log_salvaged"), &json!(false)));
    assert_eq!((&answer["proven"], &answer["copied"]), (&json!(5), &json!(6)));
    assert_eq!(answer["lost"], json!({"start": 6, "end": 8}));
    assert_eq!((&answer["found"][0]["damage"]["entry"], &answer["found"][1]), (&json!(6), &json!(null)));
    let error = serde_json::from_str::<serde_json::Value>(&output.err).unwrap()["error"].take();
    assert_eq!((&error["code"], &error["damage"]["entry"]), (&json!("damaged"), &json!(6)));
}

#[test]
fn a_sound_log_is_copied_whole() {
    let (folder, key) = sample();
    let text = salvage(&folder, &[]).done();
    assert!(text.contains("\nlost        nothing\n") && !text.contains("found"), "{text}");
    assert_eq!(verified(&folder, &key), (9, 8));
    // Nothing is overwritten.
    let before = files(&folder.beside("out"));
    let output = salvage(&folder, &[]);
    assert_eq!(output.code, Some(1), "{}", output.err);
    assert!(before == files(&folder.beside("out")));
}

/// No head speaks of the last entry, and it is lost all the same.
#[test]
fn a_loss_behind_the_newest_head_is_one() {
    let (folder, key) = sample();
    flip(&folder.path(), 8);
    let output = salvage(&folder, &["--json"]);
    assert_eq!(output.code, Some(7), "{}", output.out);
    let answer = serde_json::from_str::<serde_json::Value>(&output.out).unwrap()["answer"].take();
    assert_eq!((&answer["proven"], &answer["lost"]), (&json!(8), &json!({"start": 8, "end": 9})));
    assert_eq!(verified(&folder, &key), (8, 8));
}

#[test]
fn lost_heads_are_a_loss_and_a_lost_copy_of_one_is_none() {
    let (folder, key) = sample();
    fs::write(folder.path().join("checkpoint"), "nothing").unwrap();
    let output = salvage(&folder, &[]);
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(output.out.contains("it is no signed checkpoint"), "{}", output.out);
    assert_eq!(verified(&folder, &key), (9, 8));

    let (folder, key) = sample();
    let heads = folder.path().join("00000000000000000000.heads");
    let mut bytes = fs::read(&heads).unwrap();
    let second = bytes.windows(14).rposition(|window| window == b"dsmil.test/log").unwrap();
    bytes[second] ^= 1;
    fs::write(&heads, bytes).unwrap();
    let output = salvage(&folder, &[]);
    assert_eq!(output.code, Some(7), "{}", output.err);
    assert!(output.out.contains("\nlost        no entry that is known of\n"), "{}", output.out);
    assert!(output.out.contains("head 1 is damaged"), "{}", output.out);
    assert_eq!(verified(&folder, &key), (9, 5));
}

#[test]
fn files_behind_the_damage_are_named() {
    let mut folder = Folder::long();
    folder.sign();
    folder.close();
    flip(&folder.path(), 200);
    let output = salvage(&folder, &["--json"]);
    let answer = serde_json::from_str::<serde_json::Value>(&output.out).unwrap()["answer"].take();
    assert_eq!((&answer["proven"], &answer["copied"]), (&json!(0), &json!(200)));
    assert_eq!(answer["lost"], json!({"start": 200, "end": 1000}));
    assert!(answer["unread"].as_array().unwrap().len() > 3, "{answer}");
}

#[test]
fn a_log_in_use_is_left_alone_and_so_is_its_folder() {
    let mut folder = Folder::new();
    let output = salvage(&folder, &[]);
    assert_eq!(output.code, Some(5), "{}", output.err);
    assert!(output.err.contains("stop it first") && !folder.beside("out").exists(), "{}", output.err);
    folder.close();
    let output = folder.dsmil(&["log", "salvage", folder.path().to_str().unwrap()]);
    assert_eq!(output.code, Some(2), "{}", output.err);
}
