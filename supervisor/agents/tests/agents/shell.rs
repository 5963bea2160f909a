//! The role of commands: what they are given, and that nothing of them is left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::agent::{Agent, code, once};

#[test]
fn a_command_reads_the_input_and_nothing_else() {
    let sort = ["shell", "run", "--", "/usr/bin/sort"];
    assert_eq!(once(&sort, &json!({"text": "b\na\n"})), Ok(json!({"text": "a\nb\n", "errors": ""})));
    // What is given is never a word of the command.
    assert_eq!(once(&sort, &json!({"text": "; id"})).unwrap()["text"], "; id\n");
    assert_eq!(code(once(&sort, &json!({"text": "a", "command": "id"}))), "input");
    let large = "line\n".repeat(4_000);
    assert_eq!(
        once(&["shell", "run", "--", "/bin/cat"], &json!({"text": large})).unwrap()["text"],
        json!(large)
    );
    // One that does not read is none that failed.
    assert_eq!(
        once(&["shell", "run", "--", "/bin/true"], &json!({"text": "x".repeat(40_000)})).unwrap()["text"],
        ""
    );
}

#[test]
fn its_status_counts() {
    let script = ["--", "/bin/sh", "-c", "echo out; echo why >&2; exit 3"];
    let (code, message) = once(&[&["shell", "run"][..], &script].concat(), &json!({})).unwrap_err();
    assert_eq!(code, "failed");
    assert!(message.contains("exit status: 3") && message.contains("why"), "{message}");
    let told = once(&[&["shell", "status"][..], &script].concat(), &json!({})).unwrap();
    assert_eq!(told, json!({"status": 3, "signal": null, "text": "out\n", "errors": "why\n"}));
    let killed = once(&["shell", "status", "--", "/bin/sh", "-c", "kill -9 $$"], &json!({})).unwrap();
    assert_eq!(killed["signal"], 9);
    let (_, message) = once(&["shell", "run", "--", "/no/such"], &json!({})).unwrap_err();
    assert!(message.contains("/no/such cannot be run"), "{message}");
}

#[test]
fn one_that_floods_is_killed() {
    let began = Instant::now();
    let (code, message) = once(&["shell", "run", "--", "/usr/bin/yes"], &json!({})).unwrap_err();
    assert_eq!(code, "failed");
    assert!(message.contains("more than 32768 bytes"), "{message}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

/// A command with a child and a grandchild, which write their numbers into a folder and then wait.
fn family(folder: &TempDir) -> (Vec<String>, Vec<PathBuf>) {
    let at = folder.path().display();
    let script = format!(
        "(sh -c 'echo $$ >{at}/grandchild; sleep 300' & echo started; sleep 300) & echo $$ >{at}/child; wait"
    );
    let arguments = ["shell", "run", "--", "/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    (arguments, vec![folder.path().join("child"), folder.path().join("grandchild")])
}

fn wait_for(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn pid(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether a process runs; one that only waits to be reaped does not.
fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

fn begun(folder: &TempDir) -> (Agent, Vec<u32>) {
    let (arguments, files) = family(folder);
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut agent = Agent::start(&words);
    agent.task("t1", &json!({}));
    wait_for("the command does not begin", || files.iter().all(|file| pid(file).is_some()));
    let pids: Vec<u32> = files.iter().filter_map(|file| pid(file)).collect();
    assert!(pids.iter().all(|pid| lives(*pid)));
    (agent, pids)
}

#[test]
fn cancelling_kills_all_that_it_began() {
    let folder = TempDir::new().unwrap();
    let (mut agent, pids) = begun(&folder);
    agent.beats(1);
    // Long enough for it to say that it is at work.
    agent.hear();
    agent.cancel("t1");
    assert_eq!(code(agent.end_of("t1")), "cancelled");
    wait_for("something is left", || pids.iter().all(|pid| !lives(*pid)));
    agent.end();
}

#[test]
fn the_end_of_stdin_kills_all_that_it_began() {
    let folder = TempDir::new().unwrap();
    let (mut agent, pids) = begun(&folder);
    assert!(agent.close().success());
    wait_for("something is left", || pids.iter().all(|pid| !lives(*pid)));
}

#[test]
fn what_a_command_leaves_behind_is_killed_at_its_end() {
    let folder = TempDir::new().unwrap();
    let at = folder.path().join("left");
    let script = format!(
        "sh -c 'echo $$ >{0}; sleep 300' & while ! [ -s {0} ]; do sleep 0.01; done; echo done",
        at.display()
    );
    let told = once(&["shell", "run", "--", "/bin/sh", "-c", &script], &json!({})).unwrap();
    assert_eq!(told["text"], "done\n");
    wait_for("something is left", || !lives(pid(&at).unwrap()));
}
