//! Agents' files, checked without a daemon.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Output, command};

const GOOD: &str = "---
name: word-counter
description: Counts words.
command: [/usr/bin/true]
capabilities: [token.read]
limits: {memory: 64MiB}
---
";

/// A folder with a good file and a bad one; the command run on both.
fn check(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.md"), GOOD).unwrap();
    let bad = GOOD
        .replace("64MiB", "64MB")
        .replace("command", "comand")
        .replace("limits", "\"\\e[31mred\": 1\nlimits");
    fs::write(folder.path().join("bad.md"), bad).unwrap();
    let mut command = command(Path::new("/nonexistent"));
    Output::of(command.current_dir(folder.path()).args(["agent", "check"]).args(arguments))
}

#[test]
fn a_good_file_is_told_in_short() {
    let out = check(&["good.md"]).done();
    let line = out.lines().nth(1).unwrap();
    assert!(line.starts_with("word-counter  token.read  64MiB   30s      "), "{out}");
    assert_eq!(line.split_whitespace().last().unwrap().len(), 64);
}

#[test]
fn mistakes_have_file_line_and_column_and_an_exit_code() {
    let output = check(&["bad.md", "good.md"]);
    assert_eq!(output.code, Some(1));
    let lines: Vec<&str> = output.out.lines().collect();
    assert!(lines[0].starts_with("bad.md:2:1: command: is missing; write "), "{}", output.out);
    // What is in a file does not reach the terminal as it is.
    assert!(
        lines.iter().any(|line| line.starts_with("bad.md:6:1: \\u{1b}[31mred: is unknown")),
        "{}",
        output.out
    );
    assert!(!output.out.contains('\x1b'), "{}", output.out);
    assert!(
        lines.iter().any(|line| line.starts_with("bad.md:7:18: limits.memory: “64MB” has the unknown unit"))
    );
    assert!(lines.last().unwrap().starts_with("word-counter"), "{}", output.out);
    assert!(output.err.contains("mistakes"), "{}", output.err);
    assert_eq!(check(&["absent.md"]).code, Some(6));
    assert_eq!(check(&[]).code, Some(2));
}

#[test]
fn programs_read_all_of_it() {
    let output = check(&["good.md", "bad.md", "--json"]);
    let document: Value = serde_json::from_str(&output.out).unwrap();
    let answer = &document["answer"];
    assert_eq!(answer["kind"], "agents_checked");
    assert_eq!(answer["files"][0]["agent"]["capabilities"], json!(["token.read"]));
    assert_eq!(answer["files"][0]["mistakes"], json!([]));
    assert_eq!(answer["files"][1]["agent"], Value::Null);
    assert_eq!(answer["files"][1]["mistakes"][0]["key"], "command");
    assert_eq!(answer["files"][1]["mistakes"][0]["line"], 2);
    assert_eq!(output.code, Some(1));
}
