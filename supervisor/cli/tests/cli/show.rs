//! `dsmil log show`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::folder::{Folder, flip, leaf, record};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A note by hand: version 2, “noted” (variant 7) with request, asker (process 42, user 1000), kind and content.
fn note(content: &[u8]) -> Vec<u8> {
    let mut bytes = record(9);
    bytes.truncate(bytes.len() - 3);
    bytes[2] = 2;
    bytes.extend([0x82, 0x07, 0xA4, 0x00, 0x50]);
    bytes.extend([1; 16]);
    bytes.extend([0x01, 0xA3, 0x00, 0x18, 42, 0x01, 0x19, 0x03, 0xE8, 0x02, 0x19, 0x03, 0xE8]);
    bytes.extend([0x02, 0x64]);
    bytes.extend(b"note");
    bytes.extend([0x03, 0x40 + u8::try_from(content.len()).unwrap()]);
    bytes.extend(content);
    bytes
}

#[test]
fn an_entry_is_shown_wholly() {
    let mut folder = Folder::new();
    folder.sign();
    folder.log().append(&[record(5)]).unwrap();
    folder.log().append(&[record(6)]).unwrap();
    folder.sign();
    folder.log().append(&[record(7)]).unwrap();
    let text = folder.dsmil(&["log", "show", "3"]).done();
    let boot = ["03"; 16].join(" ");
    for line in [
        "entry        3",
        "time         2026-11-21T08:00:03.000Z",
        "fact         stopped",
        "text         in order",
        "bytes        37",
        &format!("leaf hash    {}", hex(&leaf(&record(3)))),
        &format!("cbor         {{0: 1, 1: h'{boot}', 2: 0, 3: 1795248003000000000, 4: [1, {{}}]}}"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(text.contains("\nfirst head   of 5 entries, root "), "{text}");
    assert!(text.contains("\nnewest head  of 7 entries, root "), "{text}");
    assert!(text.contains(": the entry is proven to be in it\n"), "{text}");

    let answer = folder.answer(&["log", "show", "5"]);
    assert_eq!((&answer["kind"], &answer["index"]), (&json!("log_entry"), &json!(5)));
    assert_eq!((&answer["bytes"], &answer["leaf"]), (&json!(37), &json!(hex(&leaf(&record(5))))));
    assert_eq!((&answer["entry"]["fact"], &answer["entry"]["text"]), (&json!("stopped"), &json!("in order")));
    assert_eq!(
        (&answer["first_head"], &answer["first_head"]["entries"]),
        (&answer["newest_head"], &json!(7))
    );
    // The newest head is the file beside the entries.
    let checkpoint = fs::read_to_string(folder.path().join("checkpoint")).unwrap();
    assert_eq!(checkpoint.lines().nth(1), Some("7"));

    let answer = folder.answer(&["log", "show", "7"]);
    assert_eq!((&answer["first_head"], &answer["newest_head"]), (&json!(null), &json!(null)));
    assert!(folder.dsmil(&["log", "show", "7"]).done().contains("\nhead       none covers it yet\n"));
    for nowhere in ["8", "18446744073709551615"] {
        let output = folder.dsmil(&["log", "show", nowhere]);
        assert_eq!((output.code, output.out.as_str()), (Some(6), ""), "{}", output.err);
        assert!(output.err.contains(&format!("there is no entry {nowhere}")), "{}", output.err);
    }
}

/// Where heads lie in several files, too.
#[test]
fn the_first_head_that_covers_it_is_named() {
    let mut folder = Folder::small();
    for second in 0..120 {
        folder.log().append(&[record(second), record(second)]).unwrap();
        folder.sign();
    }
    let heads = fs::read_dir(folder.path()).unwrap().filter(|file| {
        file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "heads")
    });
    assert!(heads.count() > 2);
    for index in (0..240_u64).step_by(17) {
        let answer = folder.answer(&["log", "show", &index.to_string()]);
        assert_eq!(answer["first_head"]["entries"], json!(index / 2 * 2 + 2), "{index}");
        assert_eq!(answer["newest_head"]["entries"], 240);
    }
}

#[test]
fn who_asked_is_shown_and_a_terminal_is_safe() {
    let mut folder = Folder::new();
    folder.log().append(&[note(b"hello \x1b[2J")]).unwrap();
    let text = folder.dsmil(&["log", "show", "5"]).done();
    assert!(text.contains("\nasked by   user 1000, process 42\n"), "{text}");
    assert!(text.contains("\ntext       note: hello \\u{1b}[2J\n"), "{text}");
    assert!(text.contains("2: \"note\", 3: h'68 65 6c 6c 6f 20 1b 5b 32 4a'"), "{text}");
    let answer = folder.answer(&["log", "show", "5"]);
    assert_eq!(answer["entry"]["asker"], json!({"uid": 1000, "pid": 42}));
}

#[test]
fn bytes_are_written_as_they_are() {
    let folder = Folder::new();
    let mut dsmil = Command::new(assert_cmd::cargo::cargo_bin!("dsmil"));
    let output = dsmil.args(["log", "show", "2", "--raw", "--dir"]).arg(folder.path()).output().unwrap();
    assert_eq!((output.stdout, output.status.code()), (record(2), Some(0)));
    assert_eq!(folder.dsmil(&["log", "show", "2", "--raw", "--json"]).code, Some(2));
}

#[test]
fn an_entry_of_a_newer_release_is_shown_by_its_notation() {
    let mut folder = Folder::new();
    let mut newer = record(5);
    newer[2] = 23;
    folder.log().append(&[newer]).unwrap();
    let text = folder.dsmil(&["log", "show", "5"]).done();
    assert!(
        text.contains("(an entry that this release does not know)") && text.contains("{0: 23, "),
        "{text}"
    );
    assert_eq!(folder.answer(&["log", "show", "5"])["entry"], json!(null));
    folder.log().append(&[b"\xff no CBOR"]).unwrap();
    assert!(folder.dsmil(&["log", "show", "6"]).done().contains("\ncbor "));
}

#[test]
fn a_damaged_entry_is_not_shown_and_its_neighbours_are() {
    let mut folder = Folder::new();
    folder.sign();
    flip(&folder.path(), 3);
    assert!(folder.dsmil(&["log", "show", "2"]).done().contains("proven to be in it"));
    let output = folder.dsmil(&["log", "show", "3"]);
    assert_eq!((output.code, output.out.as_str()), (Some(7), ""));
    assert!(output.err.contains("entry 3 is damaged"), "{}", output.err);
    // The tile is gone, so that the proof needs the damaged entry.
    fs::remove_dir_all(folder.path().join("tile")).unwrap();
    let output = folder.dsmil(&["log", "show", "2"]);
    assert_eq!(output.code, Some(7), "{}", output.err);
    assert!(output.out.contains("08:00:02") && output.out.contains("unknown: the log is damaged"));
}

/// Files of a log with the same id and other entries: each checksum is right.
#[test]
fn an_entry_that_was_exchanged_is_told() {
    let mut folder = Folder::new();
    folder.sign();
    let mut other = Folder::empty();
    for second in 10..15 {
        other.log().append(&[record(second)]).unwrap();
    }
    other.close();
    let name = Path::new("00000000000000000000.log");
    fs::copy(other.path().join(name), folder.path().join(name)).unwrap();
    let output = folder.dsmil(&["log", "show", "3"]);
    assert_eq!(output.code, Some(7), "{}{}", output.out, output.err);
    assert!(output.out.contains("08:00:13") && !output.out.contains("proven"), "{}", output.out);
}
