//! `dsmil checkpoint restore --offline` and `--emergency`. What they tell the log is tested in `recovery`.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use store::log::{Config, Log};

use crate::daemon::Output;
use crate::tar::State;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

/// Restores with these arguments.
fn restore(state: &State, arguments: &[&str]) -> Output {
    let device = ["--device", "/nonexistent/dsmil"];
    state.dsmil(&[&["checkpoint", "restore"], arguments, &device].concat())
}

fn held(state: &State) -> String {
    fs::read_to_string(state.at("root/sub/a")).unwrap()
}

/// The files that stand in for the log.
fn unrecorded(state: &State) -> Vec<PathBuf> {
    let list = fs::read_dir(state.at("state/unrecorded"));
    list.map_or_else(|_| Vec::new(), |list| list.map(|entry| entry.unwrap().path()).collect())
}

#[test]
fn without_a_log_only_an_emergency_restores_and_keeps_what_it_did_as_root() {
    if !is_root() {
        return;
    }
    let state = State::new();
    fs::write(state.at("root/sub/a"), "spoiled").unwrap();
    let refused = restore(&state, &["before", "--offline", "--yes"]);
    assert_eq!((refused.code, held(&state).as_str()), (Some(1), "spoiled"));
    assert!(
        refused.err.contains("nothing is restored") && refused.err.contains("--emergency"),
        "{}",
        refused.err
    );
    assert!(unrecorded(&state).is_empty());

    let planned = restore(&state, &["--emergency", "--dry-run", "--json"]);
    let answer: Value = serde_json::from_str(&planned.out).unwrap();
    let answer = &answer["answer"];
    assert_eq!(
        (&answer["plan"]["number"], &answer["changed"]),
        (&2.into(), &false.into()),
        "{}",
        planned.err
    );
    assert_eq!((held(&state).as_str(), unrecorded(&state).len()), ("spoiled", 0));

    let done = restore(&state, &["before", "--emergency", "--yes", "--json"]);
    assert_eq!((done.code, held(&state).as_str()), (Some(0), "one"), "{}", done.err);
    assert!(
        done.err.contains("the log does not tell of this") && done.err.contains("tokens are left"),
        "{}",
        done.err
    );
    let answer: Value = serde_json::from_str(&done.out).unwrap();
    let file = PathBuf::from(answer["answer"]["unrecorded"].as_str().unwrap());
    assert!(unrecorded(&state).contains(&file) && fs::metadata(&file).unwrap().len() > 100);
}

#[test]
fn an_emergency_takes_the_newest_that_is_whole_as_root() {
    if !is_root() {
        return;
    }
    let state = State::new();
    let packs = state.at("state/chunks/packs");
    let list = || fs::read_dir(&packs).unwrap().map(|pack| pack.unwrap().path()).collect::<Vec<_>>();
    let before = list();
    fs::write(state.at("root/sub/a"), "three".repeat(100_000)).unwrap();
    state.checkpoint(3, "damaged");
    for pack in list().into_iter().filter(|pack| !before.contains(pack)) {
        let mut bytes = fs::read(&pack).unwrap();
        let end = bytes.len() / 2;
        bytes.iter_mut().take(end).skip(40).for_each(|byte| *byte ^= 1);
        fs::write(&pack, bytes).unwrap();
    }
    state.forge(4, "forged");
    fs::write(state.at("root/sub/a"), "spoiled").unwrap();
    let pem = state.at("machine.pem");
    let done = restore(&state, &["--emergency", "--yes", "--key", pem.to_str().unwrap()]);
    assert_eq!((done.code, held(&state).as_str()), (Some(0), "two"), "{}", done.err);
    for passed_over in ["checkpoint 4 is passed over", "checkpoint 3 is passed over"] {
        assert!(done.err.contains(passed_over), "{}", done.err);
    }
    // One that is named is taken, or none.
    fs::write(state.at("root/sub/a"), "spoiled").unwrap();
    let refused = restore(&state, &["forged", "--emergency", "--yes", "--key", pem.to_str().unwrap()]);
    assert_eq!((refused.code, held(&state).as_str()), (Some(7), "spoiled"), "{}", refused.err);
}

#[test]
fn beside_whoever_has_the_log_nothing_is_restored_as_root() {
    if !is_root() {
        return;
    }
    let state = State::new();
    let config = Config { segment_bytes: 1 << 20, step_bytes: 64 << 10, reserve_bytes: 0 };
    let log = Log::create(&state.at("state/log"), [7; 16], &config).unwrap();
    for way in ["--offline", "--emergency"] {
        let refused = restore(&state, &["after", way, "--yes"]);
        assert_eq!(refused.code, Some(5), "{way}: {}", refused.err);
    }
    drop(log);
    // A log that tells of no checkpoint knows none, whatever lies in the folder.
    let refused = restore(&state, &["after", "--offline", "--yes"]);
    assert_eq!(refused.code, Some(6), "{}", refused.err);
    assert!(unrecorded(&state).is_empty());
    assert_eq!(restore(&state, &["--offline", "--yes"]).code, Some(2), "a name is needed");
    assert_eq!(state.dsmil(&["checkpoint", "restore", "after"]).code, Some(2), "a key is for --offline");
}
