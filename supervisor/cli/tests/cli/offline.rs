//! The log without a daemon.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Output, command};
use crate::folder::{Folder, flip, record};

#[test]
fn tail_reads_the_last_entries() {
    let folder = Folder::new();
    let expected = "     3  2026-11-21T08:00:03.000Z  stopped     in order\n     4  2026-11-21T08:00:04.000Z  stopped     in order\n";
    assert_eq!(folder.dsmil(&["log", "tail", "-n", "2"]).done(), expected);
    assert_eq!(folder.dsmil(&["log", "tail", "-n", "0"]).done(), "");
    let document: Value =
        serde_json::from_str(&folder.dsmil(&["log", "tail", "-n", "1", "--json"]).done()).unwrap();
    let entry =
        json!({"index": 4, "time": "2026-11-21T08:00:04.000Z", "fact": "stopped", "text": "in order"});
    assert_eq!(document, json!({"answer": {"kind": "facts", "records": [entry], "size": 5}}));
}

#[test]
fn tail_shows_what_comes_before_damage() {
    let folder = Folder::new();
    flip(&folder.path(), 3);
    let output = folder.dsmil(&["log", "tail"]);
    assert_eq!((output.out.lines().count(), output.code), (3, Some(7)));
    assert!(output.err.contains("entry 3 is damaged"), "{}", output.err);
}

#[test]
fn tail_follows_a_log_that_grows() {
    use std::io::{BufRead, BufReader};
    let mut folder = Folder::new();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("dsmil"))
        .args(["log", "tail", "-n", "1", "-f", "--dir"])
        .arg(folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("08:00:04"));
    folder.log().append(&[record(9)]).unwrap();
    assert!(lines.next().unwrap().unwrap().contains("08:00:09"));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn verify_says_what_was_checked() {
    let mut folder = Folder::new();
    let key = folder.sign();
    folder.log().append(&[record(5)]).unwrap();
    let text = folder.dsmil(&["log", "verify"]).done();
    assert!(text.contains("\nentries      6, each intact and a fact\n"), "{text}");
    assert!(
        text.contains("\nsignatures   not checked: give the machine's public key with --key\n"),
        "{text}"
    );
    assert!(text.contains("\nnot covered  1 entry after the newest head"), "{text}");
    let key = key.to_str().unwrap();
    let text = folder.dsmil(&["log", "verify", "--key", key, "--json"]).done();
    let document: Value = serde_json::from_str(&text).unwrap();
    let answer = &document["answer"];
    assert_eq!(answer["kind"], "log_verified");
    assert_eq!((&answer["entries"], &answer["heads"]), (&json!(6), &json!(1)));
    assert_eq!((&answer["covered"], &answer["signed"]), (&json!(5), &json!(true)));
    assert_eq!(answer["id"], "07".repeat(16));
    assert!(folder.dsmil(&["log", "verify", "--key", key]).done().contains("each head is signed by key "));
}

#[test]
fn a_flipped_bit_names_its_entry() {
    for index in 0..5 {
        let folder = Folder::new();
        flip(&folder.path(), index);
        let output = folder.dsmil(&["log", "verify"]);
        assert_eq!((output.code, output.out.as_str()), (Some(7), ""));
        assert!(output.err.starts_with(&format!("dsmil: error: entry {index} is damaged")), "{}", output.err);
        assert!(output.err.contains("next, “dsmil log salvage OUT”"), "{}", output.err);
        let error: Value = serde_json::from_str(&folder.dsmil(&["log", "verify", "--json"]).err).unwrap();
        assert_eq!(error["error"]["code"], "damaged");
        assert_eq!(error["error"]["damage"]["entry"], json!(index));
    }
}

#[test]
fn a_head_of_another_key_is_damage_and_no_head_proves_nothing() {
    let mut folder = Folder::new();
    let mut other = Folder::new();
    let key = other.sign();
    let key = key.to_str().unwrap();
    let output = folder.dsmil(&["log", "verify", "--key", key]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("no signed head"), "{}", output.err);
    folder.sign();
    let output = folder.dsmil(&["log", "verify", "--key", key]);
    assert_eq!(output.code, Some(7));
    assert!(output.err.contains("head 0 is damaged"), "{}", output.err);
    // A log that is sound in itself is salvaged to nothing else.
    assert!(!output.err.contains("salvage"), "{}", output.err);
}

#[test]
fn what_cannot_be_checked_is_neither_right_nor_damaged() {
    let mut folder = Folder::new();
    // A record of a later version: the largest that takes no more bytes.
    let mut newer = record(5);
    newer[2] = 23;
    folder.log().append(&[newer]).unwrap();
    let output = folder.dsmil(&["log", "verify"]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("entry 5 is intact") && output.err.contains("newer"), "{}", output.err);
    let output = folder.dsmil(&["log", "tail"]);
    assert_eq!((output.out.lines().count(), output.code), (5, Some(1)));
    assert!(output.err.contains("entry 5 cannot be shown"), "{}", output.err);
}

#[test]
fn there_is_no_log_or_no_key() {
    let folder = Folder::new();
    let nowhere = folder.beside("nowhere");
    for what in ["verify", "tail"] {
        let mut command = command(Path::new("/nonexistent/socket"));
        let output = Output::of(command.args(["log", what, "--dir"]).arg(&nowhere));
        assert_eq!(output.code, Some(6), "{}", output.err);
        assert!(output.err.contains("nowhere"), "{}", output.err);
    }
    let output = folder.dsmil(&["log", "verify", "--key", "/nonexistent.pem"]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("cannot read the key /nonexistent.pem"), "{}", output.err);
}

#[test]
fn a_log_that_was_cut_back_is_told_by_a_kept_head_alone() {
    let mut folder = Folder::new();
    folder.sign();
    let older = folder.beside("older");
    let copied = std::process::Command::new("cp").arg("-r").arg(folder.path()).arg(&older).status();
    assert!(copied.unwrap().success());
    folder.log().append(&[record(5)]).unwrap();
    folder.sign();
    let kept = folder.beside("kept");
    fs::copy(folder.path().join("checkpoint"), &kept).unwrap();
    let kept = kept.to_str().unwrap();

    let text = folder.dsmil(&["log", "verify", "--head", kept]).done();
    assert!(text.contains("no: the log goes on from the 6 entries of the trusted head"), "{text}");
    // What follows the trusted head is no harm.
    folder.log().append(&[record(6)]).unwrap();
    let text = folder.dsmil(&["log", "verify", "--head", kept, "--json"]).done();
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["answer"]["trusted"], 6);

    let verify = |arguments: &[&str]| {
        let mut command = command(Path::new("/nonexistent/socket"));
        Output::of(command.args(["log", "verify", "--dir"]).arg(&older).args(arguments))
    };
    assert!(verify(&[]).done().contains("later entries unknown"));
    let output = verify(&["--head", kept]);
    assert_eq!(output.code, Some(7));
    assert!(output.err.contains("the log was cut or rewound"), "{}", output.err);
}

#[test]
fn a_head_to_trust_is_checked_itself() {
    let mut folder = Folder::new();
    let mut other = Folder::new();
    folder.sign();
    let key = other.sign();
    let head = folder.path().join("checkpoint");
    let (head, key) = (head.to_str().unwrap(), key.to_str().unwrap());
    let output = other.dsmil(&["log", "verify", "--key", key, "--head", head]);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("is not signed by this key"), "{}", output.err);
    let output = other.dsmil(&["log", "verify", "--head", key]);
    assert!(output.err.contains("this is no signed checkpoint"), "{}", output.err);
}

#[test]
fn search_finds_what_fits_all_conditions() {
    let folder = Folder::new();
    let found = |arguments: &[&str]| -> Vec<Value> {
        let output = folder.dsmil(&[&["log", "search", "--json"], arguments].concat());
        let document: Value = serde_json::from_str(&output.out).unwrap();
        document["answer"]["records"].as_array().unwrap().iter().map(|entry| entry["index"].clone()).collect()
    };
    assert_eq!(found(&["IN ORDER", "--from", "3"]), [3, 4]);
    assert_eq!(found(&["--fact", "stopped", "-n", "2"]), [0, 1]);
    let (since, until) = ("2026-11-21T08:00:02Z", "2026-11-21T09:00:04+01:00");
    assert_eq!(found(&["--since", since, "--until", until]), [2, 3]);
    for nothing in [&["--work", "1"][..], &["--user", "0"], &["--fact", "denied"], &["--since", "1s"]] {
        assert!(found(nothing).is_empty(), "{nothing:?}");
        let output = folder.dsmil(&[&["log", "search"], nothing].concat());
        assert_eq!(output.code, Some(6), "{}", output.err);
    }
    for wrong in [&["--fact", "felt"][..], &["--since", "soon"]] {
        let output = folder.dsmil(&[&["log", "search"], wrong].concat());
        assert_eq!(output.code, Some(2), "{}", output.err);
    }
}

#[test]
fn an_entry_is_proven_by_a_file_and_a_key_alone() {
    let mut folder = Folder::new();
    let key = folder.sign();
    let key = key.to_str().unwrap();
    folder.log().append(&[record(5)]).unwrap();
    let file = folder.beside("entry.tlog-proof");
    let file = file.to_str().unwrap();
    assert!(
        folder
            .dsmil(&["log", "prove", "3", "--out", file])
            .done()
            .contains("entry 3 in the log of 5 entries")
    );
    assert_eq!(folder.dsmil(&["log", "prove", "3"]).done(), fs::read_to_string(file).unwrap());
    // An existing file is kept.
    assert_eq!(folder.dsmil(&["log", "prove", "2", "--out", file]).code, Some(1));
    let check = |file: &str, key: &str| {
        let mut command = command(Path::new("/nonexistent/socket"));
        Output::of(command.args(["log", "verify-proof", file, "--key", key]))
    };
    let text = check(file, key).done();
    assert!(text.contains("3 of 5, proven") && text.contains("in order"), "{text}");
    let mut elsewhere = Folder::new();
    let other = elsewhere.sign();
    assert_eq!(check(file, other.to_str().unwrap()).code, Some(7));
    let changed = fs::read_to_string(file).unwrap().replace("index 3", "index 2");
    fs::write(file, changed).unwrap();
    assert_eq!(check(file, key).code, Some(7));
    fs::write(file, "nothing").unwrap();
    let output = check(file, key);
    assert_eq!(output.code, Some(1));
    assert!(output.err.contains("this is no proof"), "{}", output.err);
    // Not covered by a head yet, and not there at all.
    for index in ["5", "600"] {
        let output = folder.dsmil(&["log", "prove", index]);
        assert_eq!(output.code, Some(6), "{}", output.err);
    }
}

#[test]
fn a_log_goes_on_from_a_kept_head_or_does_not() {
    let mut folder = Folder::new();
    folder.sign();
    let kept = folder.beside("kept");
    fs::copy(folder.path().join("checkpoint"), &kept).unwrap();
    folder.log().append(&[record(5), record(6), record(7)]).unwrap();
    folder.sign();
    let kept = kept.to_str().unwrap();
    let document: Value =
        serde_json::from_str(&folder.dsmil(&["log", "prove", "--since", kept]).done()).unwrap();
    let answer = &document["answer"];
    assert_eq!((&answer["from"], &answer["to"]), (&json!(5), &json!(8)));
    assert!(!answer["hashes"].as_array().unwrap().is_empty());
    let mut other = Folder::new();
    other.log().append(&[record(9)]).unwrap();
    other.sign();
    let head = other.path().join("checkpoint");
    let output = folder.dsmil(&["log", "prove", "--since", head.to_str().unwrap()]);
    assert_eq!(output.code, Some(7));
    assert!(output.err.contains("does not go on from this head"), "{}", output.err);
    assert_eq!(folder.dsmil(&["log", "prove"]).code, Some(2));
    // Into a file: people are told, programs get the document.
    let (one, two) = (folder.beside("one.json"), folder.beside("two.json"));
    let text = folder.dsmil(&["log", "prove", "--since", kept, "--out", one.to_str().unwrap()]).done();
    assert_eq!(text, format!("{}: the log of 8 entries goes on from its first 5 entries\n", one.display()));
    let told = folder.answer(&["log", "prove", "--since", kept, "--out", two.to_str().unwrap()]);
    assert_eq!((&told["kind"], &told["out"]), (&json!("log_consistency"), &json!(two)));
    let written: Value = serde_json::from_str(&fs::read_to_string(&two).unwrap()).unwrap();
    assert_eq!((&written, &written["hashes"]), (answer, &told["hashes"]));
}

#[test]
fn a_proof_is_one_document_for_programs() {
    let mut folder = Folder::new();
    let key = folder.sign();
    let (out, other) = (folder.beside("entry.tlog-proof"), folder.beside("other"));
    let told = folder.answer(&["log", "prove", "3"]);
    assert_eq!(
        (&told["kind"], &told["index"], &told["entries"]),
        (&json!("log_proof"), &json!(3), &json!(5))
    );
    let text = told["proof"].as_str().unwrap();
    assert_eq!(folder.dsmil(&["log", "prove", "3"]).done(), text);
    fs::write(&other, text).unwrap();
    let to_file = folder.answer(&["log", "prove", "3", "--out", out.to_str().unwrap()]);
    assert_eq!((&to_file["out"], &to_file["proof"]), (&json!(out), &Value::Null));
    assert_eq!(to_file["root"], told["root"]);
    assert_eq!(fs::read_to_string(&out).unwrap(), text);
    let mut command = command(Path::new("/nonexistent/socket"));
    Output::of(command.args(["log", "verify-proof"]).arg(&other).arg("--key").arg(&key)).done();
}

#[test]
fn a_clock_that_was_set_back_is_named_and_is_no_damage() {
    let mut folder = Folder::empty();
    for second in [10, 20, 5, 6] {
        folder.log().append(&[record(second)]).unwrap();
    }
    folder.sign();
    let text = folder.dsmil(&["log", "verify"]).done();
    assert!(text.contains("clock       set back 1 time, first by 15.0 s before entry 2"), "{text}");
    let found = &folder.answer(&["log", "verify"])["set_back"];
    assert_eq!(
        (&found["times"], &found["entry"], &found["by_ns"]),
        (&1.into(), &2.into(), &15_000_000_000_i64.into())
    );
    let mut straight = Folder::new();
    straight.sign();
    assert!(straight.answer(&["log", "verify"])["set_back"].is_null());
}
