//! The roles that work by calls: tokens, log, checkpoints, the supervisor itself.

use serde_json::{Value, json};

use crate::agent::{Agent, Outcome};
use crate::supervisor::{Supervisor, fact};

fn done(supervisor: &mut Supervisor, arguments: &[&str], input: &Value) -> Outcome {
    let mut agent = Agent::start(arguments);
    let outcome = agent.work(supervisor, "t1", input);
    agent.end();
    outcome
}

#[test]
fn tokens_are_read_and_compared() {
    let mut supervisor = Supervisor::new();
    let read = done(&mut supervisor, &["tokens", "read"], &json!({"tokens": ["0x8000", "0x9999"]})).unwrap();
    assert_eq!(read, json!({"values": {"0x8000": 1}, "failed": {"0x9999": "there is no such token"}}));
    let battery = ["tokens", "read", "--select", "battery"];
    assert_eq!(
        done(&mut supervisor, &battery, &json!({"tokens": ["0x8003"]})).unwrap()["values"]["0x8003"],
        22
    );
    let expected = json!({"expected": {"0x8000": "0x1", "0x8003": 1, "0x8010": 0}});
    let compared = done(&mut supervisor, &["tokens", "compare"], &expected).unwrap();
    assert_eq!(compared["equal"], 2);
    assert_eq!(compared["different"], json!([{"id": "0x8003", "expected": 1, "found": 2}]));
    assert_eq!(compared["is_equal"], false);
    // What a snapshot says is what a comparison takes.
    let snapshot = done(&mut supervisor, &["tokens", "snapshot"], &json!({})).unwrap();
    let expected = json!({"expected": snapshot["values"]});
    assert_eq!(done(&mut supervisor, &["tokens", "compare"], &expected).unwrap()["is_equal"], true);
}

#[test]
fn many_tokens_take_several_calls() {
    let mut supervisor = Supervisor::new();
    let ids: Vec<String> = (0..200).map(|number| format!("0x{number:04x}")).collect();
    for id in &ids {
        supervisor.values.insert((id.clone(), "current".to_owned()), 5);
    }
    let read = done(&mut supervisor, &["tokens", "read"], &json!({"tokens": ids})).unwrap();
    assert_eq!(read["values"].as_object().unwrap().len(), 200);
    assert_eq!(supervisor.asked.len(), 4);
}

#[test]
fn the_table_is_sorted_by_what_may_be_done() {
    let mut supervisor = Supervisor::new();
    let mut act = |act: &str, input: Value| done(&mut supervisor, &["tokens", act], &input).unwrap();
    assert_eq!(act("list", json!({}))["count"], 5);
    assert_eq!(act("list", json!({"named": true}))["tokens"][0]["id"], "0x8000");
    assert_eq!(act("devices", json!({"group": 1}))["tokens"][0]["id"], "0x8010");
    assert_eq!(act("writable", json!({}))["count"], 3);
    assert_eq!(act("denied", json!({}))["tokens"][0]["denied"], "it wipes the disk");
    let shared = json!({"count": 1, "locations": [{"location": 3, "tokens": ["0x8003", "0x0480"]}]});
    assert_eq!(act("shared", json!({})), shared);
    let summary = act("summary", json!({}));
    assert_eq!(summary["all"], json!({"tokens": 5, "writable": 3, "denied": 1, "shared": 1, "named": 1}));
    assert_eq!(summary["groups"]["0"]["tokens"], 3);
    // 0x8000 holds 1 as the table says, 0x0480 holds 2.
    let active = act("active", json!({}));
    assert_eq!((&active["active"], &active["inactive"]), (&json!(["0x8000", "0x0480"]), &json!(3)));
}

#[test]
fn what_is_denied_is_told_as_such() {
    let mut supervisor = Supervisor::new();
    supervisor.allowed = Some(vec!["token.read:0x8003".parse().unwrap()]);
    let (code, message) =
        done(&mut supervisor, &["tokens", "read"], &json!({"tokens": ["0x8000"]})).unwrap_err();
    assert_eq!(code, "denied");
    assert_eq!(message, "token.read: the agent's file does not ask for it");
    assert!(done(&mut supervisor, &["tokens", "read"], &json!({"tokens": ["0x8003"]})).is_ok());
}

#[test]
fn facts_tell_who_what_and_how_long() {
    let mut supervisor = Supervisor::new();
    let mut act = |act: &str, input: Value| done(&mut supervisor, &["log", act], &input).unwrap();
    let denials = act("denials", json!({}));
    assert_eq!((&denials["count"], &denials["by_user"]), (&json!(1), &json!({"1001": 1})));
    assert_eq!(denials["denials"][0]["index"], 4);
    let failures = act("failures", json!({}));
    assert_eq!(failures["failures"][0]["text"], "failed: no room");
    let slowest = act("slowest", json!({"limit": 1}));
    assert_eq!(
        slowest["slowest"],
        json!([{"work": 2, "took_ms": 10_000, "text": "create checkpoint 1 “a”"}])
    );
    assert_eq!((&slowest["count"], &slowest["open"]), (&json!(2), &json!(1)));
    assert_eq!(act("users", json!({}))["users"]["1000"], json!({"accepted": 2, "noted": 1}));
    assert_eq!(act("kinds", json!({}))["kinds"]["accepted"], 3);
    assert_eq!(act("kinds", json!({"last": 2}))["count"], 2);
    assert_eq!(act("heat", json!({}))["changes"][0]["index"], 5);
    let found = act("search", json!({"text": "token", "kind": "accepted"}));
    assert_eq!((&found["count"], &found["facts"][0]["index"]), (&json!(2), &json!(1)));
}

#[test]
fn a_long_log_is_read_page_by_page_also_where_pages_are_too_long() {
    let mut supervisor = Supervisor::new();
    supervisor.facts = (0..1_300).map(|index| fact(index, "noted", 1, None, Some(1), "note: x")).collect();
    supervisor.page_max = 100;
    let kinds = done(&mut supervisor, &["log", "kinds"], &json!({"last": 1_200})).unwrap();
    assert_eq!(kinds, json!({"count": 1_200, "kinds": {"noted": 1_200}}));
    // The length, two pages that were too long, and 20 of 62 at most.
    assert!(supervisor.asked.len() < 30, "{}", supervisor.asked.len());
}

#[test]
fn checkpoints_are_taken_and_listed() {
    let mut supervisor = Supervisor::new();
    let newest = done(&mut supervisor, &["checkpoint", "newest"], &json!({"kind": "manual"})).unwrap();
    assert_eq!((&newest["name"], &newest["count"]), (&json!("first"), &json!(1)));
    let taken = done(&mut supervisor, &["checkpoint", "create"], &json!({"name": "third"})).unwrap();
    assert_eq!((&taken["number"], &taken["files"]), (&json!(3), &json!(7)));
    let listed = done(&mut supervisor, &["checkpoint", "list"], &json!({"limit": 1})).unwrap();
    assert_eq!((&listed["count"], &listed["checkpoints"][0]["name"]), (&json!(3), &json!("third")));
    let (code, _) =
        done(&mut supervisor, &["checkpoint", "newest"], &json!({"kind": "emergency"})).unwrap_err();
    assert_eq!(code, "failed");
}

#[test]
fn the_supervisor_is_looked_at_and_told() {
    let mut supervisor = Supervisor::new();
    let mut act = |act: &str, input: Value| done(&mut supervisor, &["daemon", act], &input).unwrap();
    assert_eq!(act("status", json!({}))["machine"], "Dell Inc. Latitude");
    assert_eq!(act("signed", json!({})), json!({"size": 9, "signed": 7, "unsigned": 2, "is_signed": false}));
    assert_eq!(act("signed", json!({"lag": 2}))["is_signed"], true);
    let latency = act("latency", json!({"p99_us": 3_999}));
    assert_eq!((&latency["worst_cpu"], &latency["is_within"]), (&json!(1), &json!(false)));
    let failed = act("runs", json!({"state": "failed"}));
    assert_eq!((&failed["count"], &failed["runs"][0]["workflow"]), (&json!(1), &json!("nightly")));
    assert_eq!(act("note", json!({"text": "all is well"}))["index"], 9);
    assert_eq!(supervisor.facts.last().unwrap().text, "note: all is well");
}
