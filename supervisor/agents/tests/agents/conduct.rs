//! How the program keeps to the protocol.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use api::agent::protocol::{FromAgent, Payload, ToAgent};
use serde_json::json;
use tempfile::TempDir;

use crate::agent::{Agent, PROGRAM, id, once};
use crate::supervisor::Supervisor;

/// A folder with one thermal zone.
pub fn zones(readings: &[(&str, &str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (index, (kind, now, trip)) in readings.iter().enumerate() {
        let zone = folder.path().join(format!("thermal_zone{index}"));
        std::fs::create_dir(&zone).unwrap();
        std::fs::write(zone.join("type"), format!("{kind}\n")).unwrap();
        std::fs::write(zone.join("temp"), format!("{now}\n")).unwrap();
        std::fs::write(zone.join("trip_point_0_temp"), format!("{trip}\n")).unwrap();
        std::fs::write(zone.join("trip_point_0_type"), "critical\n").unwrap();
    }
    folder
}

#[test]
fn echo_answers_all_that_came_together_in_order() {
    let mut agent = Agent::start(&["echo"]);
    let inputs = [json!(null), json!(1.50), json!({"b": [1, {"a": "ä\n"}]}), json!("x".repeat(40_000))];
    for (number, input) in inputs.iter().enumerate() {
        agent.task(&format!("t{number}"), input);
    }
    agent.tell(&ToAgent::Heartbeat { sequence: 9 });
    for (number, input) in inputs.iter().enumerate() {
        assert_eq!(agent.end_of(&format!("t{number}")).unwrap(), *input);
    }
    assert_eq!(agent.hear(), FromAgent::Heartbeat { sequence: 9 });
    // Numbers keep their digits.
    let input = Payload::from_json("[1e2,0.10]".to_owned()).unwrap();
    agent.task("t", &json!(null));
    assert_eq!(agent.end_of("t"), Ok(json!(null)));
    agent.tell(&ToAgent::Task { id: id("d"), key: id("k"), attempt: 1, timeout_ms: 9, input });
    agent.end_raw("d", "[1e2,0.10]");
    agent.end();
}

#[test]
fn heartbeats_progress_and_cancelling_come_in_the_middle_of_work() {
    let folder = zones(&[("cpu", "50000", "90000")]);
    let root = folder.path().to_str().unwrap();
    let mut agent = Agent::start(&["thermal", "average", "--root", root]);
    agent.task("t1", &json!({"seconds": 600, "every_ms": 60_000}));
    agent.beats(1);
    // Also while nothing happens for longer than a second.
    let FromAgent::Progress { id, done, total, .. } = agent.hear() else { panic!("no progress") };
    assert_eq!((id.as_str(), done, total), ("t1", 0, Some(10)));
    agent.beats(2);
    let asked = Instant::now();
    agent.cancel("t1");
    assert_eq!(agent.end_of("t1").unwrap_err().0, "cancelled");
    assert!(asked.elapsed() < Duration::from_secs(2));
    // What is not open any more is not answered twice.
    agent.cancel("t1");
    agent.beats(3);
    agent.task("t2", &json!({"seconds": 0}));
    assert_eq!(agent.end_of("t2").unwrap()["zones"][0]["average"], 50.0);
    agent.end();
}

/// Tasks may stand right behind hello in the pipe; whoever does them is slower than hello's answer all the same.
#[test]
fn hello_comes_first_however_much_came_with_it() {
    for _ in 0..20 {
        let hello = r#"{"type":"hello","protocol":1,"agent":"a","line_max":4096,"heartbeat_ms":5000}"#;
        let task = r#"{"type":"task","id":"t1","key":"k","attempt":1,"timeout_ms":9,"input":[1]}"#;
        let beats = "{\"type\":\"heartbeat\",\"sequence\":1}\n".repeat(400);
        let mut child = Command::new(PROGRAM)
            .args(["judge", "first"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("{hello}\n{task}\n{beats}").as_bytes()).unwrap();
        let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(said.starts_with("{\"type\":\"hello\""), "{said}");
        assert_eq!(said.lines().count(), 402);
        assert_eq!(said.lines().filter(|line| line.contains("\"t1\"")).count(), 1);
    }
}

#[test]
fn two_tasks_run_at_once() {
    let folder = zones(&[("cpu", "50000", "90000")]);
    let root = folder.path().to_str().unwrap();
    let mut agent = Agent::start(&["thermal", "average", "--root", root]);
    agent.task("slow", &json!({"seconds": 300}));
    agent.task("quick", &json!({"seconds": 0}));
    assert!(agent.end_of("quick").is_ok());
    agent.cancel("slow");
    assert_eq!(agent.end_of("slow").unwrap_err().0, "cancelled");
    agent.end();
}

#[test]
fn bad_inputs_are_told_by_field() {
    for (arguments, input, said) in [
        (&["texts", "count"][..], json!([1]), "the input is a list, not a map"),
        (&["texts", "count"], json!({}), "the input has no “text”"),
        (&["texts", "count"], json!({"text": 5}), "“text” is 5, not a text"),
        (&["texts", "count"], json!({"text": "a", "txt": 1}), "an unknown field \"txt\": it takes text"),
        (
            &["texts", "words"],
            json!({"text": "a", "limit": 1001}),
            "“limit” is 1001, not a whole number from 0 to 1000",
        ),
        (&["tokens", "read"], json!({"tokens": ["8000x"]}), "\"8000x\" is no token's id"),
        (&["tokens", "read"], json!({"tokens": []}), "no token is named"),
        (&["daemon", "status"], json!({"a": 1}), "it takes none"),
        (&["judge", "longest"], json!({}), "not a list"),
    ] {
        let (code, message) = once(arguments, &input).unwrap_err();
        assert_eq!(code, "input", "{message}");
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn a_result_that_is_too_long_is_a_failure_and_not_a_violation() {
    let mut command = Command::new(PROGRAM);
    command.args(["texts", "template"]);
    let mut agent = Agent::begin(command, 256);
    agent.task("t1", &json!({"text": "x".repeat(300), "values": {}}));
    let (code, message) = agent.end_of("t1").unwrap_err();
    assert_eq!(code, "failed");
    assert!(message.contains("ask for less"), "{message}");
    // A message that is too long is left out, but the task has its end.
    agent.task("t2", &json!({"text": format!("{{{{{}}}}}", "y".repeat(400)), "values": {}}));
    assert_eq!(agent.end_of("t2"), Err(("input".to_owned(), String::new())));
    agent.end();
}

#[test]
fn the_end_of_stdin_ends_it_also_at_work() {
    let folder = zones(&[("cpu", "50000", "90000")]);
    let mut agent = Agent::start(&["thermal", "average", "--root", folder.path().to_str().unwrap()]);
    agent.task("t1", &json!({"seconds": 300}));
    agent.beats(1);
    let closed = Instant::now();
    assert!(agent.close().success());
    assert!(closed.elapsed() < Duration::from_secs(10), "{:?}", closed.elapsed());
}

#[test]
fn a_supervisor_that_speaks_nonsense_is_left() {
    let mut child = Command::new(PROGRAM)
        .arg("echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"{\"type\":\"hello\"}\n").unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("line 1"));
    assert!(ended.stdout.is_empty());
}

#[test]
fn wrong_arguments_are_told_before_anything_is_said() {
    for (arguments, said) in [
        (&["chef"][..], "there is no role"),
        (&["texts", "cook"], "texts cannot \"cook\""),
        (&["files", "list"], "--root"),
        (&["files", "list", "--root", "srv"], "absolute"),
        (&["files", "list", "--root", "/srv", "--host", "a"], "--root alone"),
        (&["shell", "run"], "say what to run"),
        (&["shell", "run", "--", "sort"], "say what to run"),
        (&["http", "get"], "--host"),
        (&["tokens", "read", "--select", "dc"], "battery"),
        (&["judge", "longest", "--root", "/"], "no arguments"),
        (&["echo", "loud"], "no arguments"),
    ] {
        let ended = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}");
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(told.contains(said) && ended.stdout.is_empty(), "{arguments:?}: {told}");
    }
}

/// A call that was asked is not asked again by the next attempt at the same work: its answer serves that one.
#[test]
fn another_attempt_waits_for_the_call_that_is_open() {
    let mut supervisor = Supervisor::new();
    let mut agent = Agent::start(&["checkpoint", "create"]);
    agent.task_of("t1", "r1.s0.i0", &json!({"name": "a"}));
    let FromAgent::Call { id: first, capability, input, .. } = agent.hear_more() else { panic!("no call") };
    agent.cancel("t1");
    assert_eq!(agent.end_of("t1").unwrap_err().0, "cancelled");
    agent.task_of("t2", "r1.s0.i0", &json!({"name": "a"}));
    // It waits for the answer, and asks nothing.
    let FromAgent::Progress { text, .. } = agent.hear() else { panic!("no progress") };
    assert_eq!(text.as_deref(), Some("waits for checkpoint.create"));
    let answer = supervisor.answer(first.clone(), &capability, input.as_str());
    agent.tell(&answer);
    assert_eq!(agent.end_of("t2").unwrap()["number"], 3);
    assert_eq!(supervisor.checkpoints.len(), 3);
    // Later it is the same question of the same work; of other work it is another one.
    agent.task_of("t3", "r1.s0.i0", &json!({"name": "a"}));
    let FromAgent::Call { id: again, .. } = agent.hear_more() else { panic!("no call") };
    assert_eq!(again, first);
    agent.task_of("t4", "r1.s1.i0", &json!({"name": "a"}));
    let FromAgent::Call { id: other, .. } = agent.hear_more() else { panic!("no call") };
    assert_ne!(other, first);
}
