//! Workflows' files, checked without a daemon.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Output, command};

const GOOD: &str = "name: report
params:
  folder: /srv
  limit: {type: number}
steps:
  - {id: last, needs: [count, check], agent: writer, if: 'steps.count.output.words > params.limit'}
  - id: count
    agent: [counter, other]
    mode: {consensus: {copies: 5}}
    with: {path: \"${{ params.folder }}/\\e[31m\"}
  - {id: check, needs: count, agent: {capability: file.read}, mode: competitive, checkpoint-before: true}
";

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("good.yaml"), GOOD).unwrap();
    let bad = GOOD.replace("needs: count", "needs: last").replace("params.limit", "params.lmit");
    fs::write(folder.path().join("bad.yaml"), bad + "\"\\e[31mred\": 1\n").unwrap();
    let mut command = command(Path::new("/nonexistent"));
    Output::of(command.current_dir(folder.path()).arg("run").args(arguments))
}

#[test]
fn steps_are_shown_in_the_order_of_their_needs() {
    let out = run(&["good.yaml", "limit=1.50", "--dry-run"]).done();
    let expected = "LEVEL  STEP   MODE           AGENT          NEEDS        IF
1      count  consensus 3/5  counter other
2      check  competitive 2  (file.read)    count
3      last   sequential     writer         count check  steps.count.output.words > params.limit
folder = \"/srv\"
limit = 1.5
";
    assert_eq!(out, expected);
}

#[test]
fn mistakes_have_file_line_and_column_and_an_exit_code() {
    let output = run(&["bad.yaml", "--dry-run"]);
    assert_eq!(output.code, Some(1));
    let lines: Vec<&str> = output.out.lines().collect();
    assert!(
        lines[0].starts_with("bad.yaml:6:86: steps[0].if: there is no param “lmit”; write “params.limit”"),
        "{}",
        output.out
    );
    assert!(
        lines[1].contains("steps[2].needs: the needs form a circle: last needs check needs last"),
        "{}",
        output.out
    );
    // What is in a file does not reach the terminal as it is.
    assert!(lines[2].starts_with("bad.yaml:12:1: \\u{1b}[31mred: is unknown"), "{}", output.out);
    assert!(!output.out.contains('\x1b'), "{}", output.out);
    assert!(output.err.contains("3 mistakes"), "{}", output.err);
    assert_eq!(run(&["absent.yaml", "--dry-run"]).code, Some(6));
    assert_eq!(run(&["--dry-run"]).code, Some(2));
}

#[test]
fn what_a_run_is_given_must_fit() {
    let output = run(&["good.yaml", "limt=1", "folder", "--dry-run"]);
    assert_eq!(output.code, Some(2));
    assert_eq!(
        output.out.lines().collect::<Vec<_>>(),
        [
            "folder: has no value; write NAME=VALUE",
            "limt: is no param of the workflow; write “limit”, if that is meant",
            "limit: is missing; write limit=5",
        ]
    );
    assert!(output.err.contains("3 mistakes in what the run is given"), "{}", output.err);
}

#[test]
fn programs_read_all_of_it() {
    let answer = |arguments: &[&str]| {
        let output = run(arguments);
        let document: Value = serde_json::from_str(&output.out).unwrap();
        (document["answer"].clone(), output.code)
    };
    let (good, code) = answer(&["good.yaml", "limit=2", "--dry-run", "--json"]);
    assert_eq!((&good["kind"], code), (&json!("workflow_checked"), Some(0)));
    let workflow = &good["workflow"];
    assert_eq!(
        workflow["params"],
        json!([{"name": "folder", "value": "/srv"}, {"name": "limit", "value": 2}])
    );
    assert_eq!((&workflow["timeout_ms"], &workflow["on_failure"]), (&json!(300_000), &json!("stop")));
    assert_eq!(workflow["levels"].as_array().unwrap().len(), 3);
    assert_eq!(
        workflow["levels"][1][0],
        json!({"id": "check", "mode": "competitive", "agents": [], "capability": "file.read", "needs": ["count"], "if": null, "checkpoint_before": true})
    );
    let (bad, code) = answer(&["bad.yaml", "--dry-run", "--json"]);
    assert_eq!((&bad["workflow"], code), (&Value::Null, Some(1)));
    assert_eq!(bad["mistakes"][0]["line"], 6);
    let (refused, code) = answer(&["good.yaml", "--dry-run", "--json"]);
    assert_eq!((&refused["refused"][0]["name"], code), (&json!("limit"), Some(2)));
}

#[test]
fn the_samples_of_the_documentation_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/workflows");
    for (file, params) in [
        ("everything.yaml", &["texts=[\"a\"]"][..]),
        ("pipeline.yaml", &[]),
        ("competitive.yaml", &["word=x"]),
    ] {
        let file = folder.join(file);
        let output = run(&[&[file.to_str().unwrap(), "--dry-run"], params].concat());
        assert_eq!(output.code, Some(0), "{}{}", output.out, output.err);
    }
}
