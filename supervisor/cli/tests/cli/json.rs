//! What programs read.

use api::wire::{Answer, Behind, Code};
use serde_json::{Value, json};

use crate::daemon::{Daemon, Say, checkpoint, lacking, plan, reading, status, tokens};

fn document(daemon: &Daemon, arguments: &[&str]) -> Value {
    let text = daemon.dsmil(&[arguments, &["--json"]].concat()).done();
    assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_answer_is_the_wire_answer_with_what_is_behind_it() {
    let which = ["checkpoint", "show", "3"];
    for (arguments, answer) in [
        (&["status"][..], status()),
        (&["tokens", "list"], tokens()),
        (&["tpm", "quote", "--nonce", "00"], Answer::Quote(Box::new(crate::tpm::quote()))),
        (&["tpm", "status"], crate::tpm::answer(crate::tpm::report())),
        (&["tokens", "get", "0x8000"], Answer::Read { values: vec![reading("0x8000", 26)] }),
        (&["tokens", "set", "0x8000=1"], Answer::Written { before: vec![reading("0x8000", 26)] }),
        (&["checkpoint", "create", "a"], Answer::Created { checkpoint: checkpoint() }),
        (&["checkpoint", "list"], Answer::Checkpoints { checkpoints: vec![checkpoint()] }),
        (
            &which,
            Answer::Checkpoint {
                checkpoint: Box::new(checkpoint()),
                statement: "s".to_owned(),
                entries: vec!["e".to_owned()],
                more: 0,
            },
        ),
        (
            &["checkpoint", "verify", "3"],
            Answer::Verified { number: 3, entries: 1, bytes: 2, key: "k".to_owned() },
        ),
        (&["checkpoint", "plan", "3"], Answer::Plan(plan())),
        (&["checkpoint", "restore", "3"], Answer::Restored(plan())),
        (&["log", "note", "x"], Answer::Noted { index: 7 }),
        (&["log", "tail"], Answer::Facts { records: vec![crate::human::entry(1)], size: 2 }),
    ] {
        let sent = answer.clone();
        let daemon = Daemon::start(lacking(), move |_| vec![Say::Progress("x"), Say::Done(sent.clone())]);
        let mut document = document(&daemon, arguments);
        let behind: Behind = serde_json::from_value(document["behind"].take()).unwrap();
        assert_eq!(behind, lacking());
        assert_eq!(serde_json::from_value::<Answer>(document["answer"].take()).unwrap(), answer);
    }
}

#[test]
fn the_shape_is_the_documented_one() {
    let daemon = Daemon::answering(Answer::Read { values: vec![reading("0x8000", 26)] });
    let expected = json!({
        "answer": {
            "kind": "read",
            "values": [{"id": "0x8000", "select": "current", "value": 26, "error": null}],
        },
        "behind": {"firmware": "wmi", "emulated": false, "missing": []},
    });
    assert_eq!(document(&daemon, &["tokens", "get", "0x8000"]), expected);
}

#[test]
fn filters_hold_for_programs_too() {
    let document = document(&Daemon::answering(tokens()), &["tokens", "list", "--devices", "--writable"]);
    let ids: Vec<_> = document["answer"]["tokens"].as_array().unwrap().iter().map(|t| &t["id"]).collect();
    assert_eq!(ids, ["0x8001"]);
}

#[test]
fn fields_of_a_newer_daemon_are_ignored() {
    let newer = r#"{"id":"ID","behind":{"firmware":"wmi","emulated":false,"since":2},"reply":"done","more":[1],
        "answer":{"kind":"verified","number":3,"entries":1,"bytes":2,"key":"k","algorithm":"new"}}"#;
    let daemon = Daemon::start(Behind::default(), move |_| vec![Say::Raw(newer)]);
    assert_eq!(document(&daemon, &["checkpoint", "verify", "3"])["answer"]["number"], 3);
}

#[test]
fn errors_are_json_on_the_error_output() {
    let daemon = Daemon::refusing(Code::Denied, "denied: 0x8009 is in the quarantine");
    let output = daemon.dsmil(&["--json", "tokens", "set", "0x8009=1"]);
    let expected =
        json!({"error": {"code": "denied", "message": "denied: 0x8009 is in the quarantine", "exit": 4}});
    assert_eq!(serde_json::from_str::<Value>(&output.err).unwrap(), expected);
    assert_eq!((output.out.as_str(), output.code), ("", Some(4)));
    for usage in [&["--json", "tokens", "gett"][..], &["tokens", "get", "0x99999", "--json"]] {
        let output = daemon.dsmil(usage);
        let error: Value = serde_json::from_str(&output.err).unwrap();
        assert_eq!((&error["error"]["code"], &error["error"]["exit"]), (&json!("usage"), &json!(2)));
        assert_eq!((output.out.as_str(), output.code), ("", Some(2)));
    }
}
