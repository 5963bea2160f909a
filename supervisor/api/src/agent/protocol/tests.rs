use proptest::prelude::*;
use serde_json::json;

use super::*;

fn from(line: &str) -> Result<FromAgent, String> {
    FromAgent::read(7, line).map_err(|violation| violation.to_string())
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

#[test]
fn what_is_written_is_what_docs_show() {
    let lines = [
        ToAgent::Hello { protocol: 1, agent: "load".parse().unwrap(), line_max: 65_536, heartbeat_ms: 5_000 },
        ToAgent::Task {
            id: id("t1"),
            key: id("r4.s2"),
            attempt: 1,
            timeout_ms: 30_000,
            input: Payload::of(&json!({"text": "a b"})).unwrap(),
        },
        ToAgent::Cancel { id: id("t1"), grace_ms: 2_000, reason: "deadline".into() },
        ToAgent::Result { id: id("c1"), output: Payload::of(&json!({"value": 1})).unwrap() },
        ToAgent::Error {
            id: id("c1"),
            code: "denied".parse().unwrap(),
            message: "no rule allows it".into(),
            retry: false,
        },
        ToAgent::Heartbeat { sequence: 9 },
    ];
    let expected = [
        r#"{"type":"hello","protocol":1,"agent":"load","line_max":65536,"heartbeat_ms":5000}"#,
        r#"{"type":"task","id":"t1","key":"r4.s2","attempt":1,"timeout_ms":30000,"input":{"text":"a b"}}"#,
        r#"{"type":"cancel","id":"t1","grace_ms":2000,"reason":"deadline"}"#,
        r#"{"type":"result","id":"c1","output":{"value":1}}"#,
        r#"{"type":"error","id":"c1","code":"denied","message":"no rule allows it","retry":false}"#,
        r#"{"type":"heartbeat","sequence":9}"#,
    ];
    let docs = include_str!("../../../../../docs/agents.md");
    for (message, expected) in lines.iter().zip(expected) {
        assert_eq!(message.line(1 << 16).unwrap(), format!("{expected}\n"));
        assert_eq!(ToAgent::read(1, expected).as_ref(), Ok(message));
        assert!(docs.contains(expected), "docs/agents.md does not show {expected}");
    }
}

#[test]
fn what_an_agent_says_is_what_docs_show() {
    let docs = include_str!("../../../../../docs/agents.md");
    for line in [
        r#"{"type":"hello","protocol":1,"tasks":1}"#,
        r#"{"type":"progress","id":"t1","done":1,"total":2,"text":"half"}"#,
        r#"{"type":"log","id":"t1","level":"info","text":"counted"}"#,
        r#"{"type":"call","id":"c1","task":"t1","capability":"token.read","input":{"token":"0x8000"}}"#,
        r#"{"type":"result","id":"t1","output":{"words":2}}"#,
        r#"{"type":"error","id":"t1","code":"failed","message":"no such file","retry":false}"#,
        r#"{"type":"heartbeat","sequence":9}"#,
    ] {
        let message = from(line).unwrap();
        assert_eq!(message.line(1 << 16).unwrap(), format!("{line}\n"));
        assert!(docs.contains(line), "docs/agents.md does not show {line}");
    }
    // What is optional, and in any order, with a key that has an escape.
    assert_eq!(from(r#"{"protocol":1,"\u0074ype":"hello"}"#), Ok(FromAgent::Hello { protocol: 1, tasks: 1 }));
}

#[test]
fn what_no_agent_may_say_is_told_exactly() {
    for (line, why) in [
        ("", "line 7 is not a JSON object"),
        ("1", "line 7 is not a JSON object"),
        ("[]", "not a JSON object"),
        (r#"{"type":"heartbeat","sequence":1} x"#, "trailing characters"),
        (r#"{"type":"heartbeat","sequence":1,"sequence":2}"#, "a key stands twice"),
        (r#"{"sequence":1}"#, "no message of an agent: type is missing"),
        (r#"{"type":"task"}"#, "the type \"task\" is unknown"),
        (r#"{"type":"heartbeat"}"#, "sequence is missing"),
        (r#"{"type":"heartbeat","sequence":-1}"#, "sequence: invalid value: integer `-1`, expected u64"),
        (r#"{"type":"heartbeat","sequence":1,"at":2}"#, "\"at\" is no field of this type"),
        (r#"{"type":"result","id":"a b","output":1}"#, "id is not an id of"),
        (r#"{"type":"result","id":"","output":1}"#, "id is not an id of"),
        (r#"{"type":"result","id":"t1"}"#, "output is missing"),
        (r#"{"type":"log","level":"loud","text":""}"#, "level is not debug, info, warning or error"),
        (r#"{"type":"log","level":"info","text":"a\u0000b"}"#, "text holds a NUL"),
        (r#"{"type":"call","id":"c","task":"t","capability":"X","input":1}"#, "capability “X” is not a kind"),
        (r#"{"type":"error","id":"t","code":"Bad","message":""}"#, "code is not a code"),
    ] {
        let said = from(line).unwrap_err();
        assert!(said.contains(why), "{line}: {said}");
    }
    let deep = format!(r#"{{"type":"result","id":"t","output":{}1{}}}"#, "[".repeat(65), "]".repeat(65));
    assert!(from(&deep).unwrap_err().contains("nested deeper than 64"));
    let deeper = format!(r#"{{"type":"result","id":"t","output":{}"#, "[".repeat(1 << 20));
    assert!(from(&deeper).unwrap_err().contains("not a JSON object"));
    // An agent must not stumble over what a newer supervisor says.
    assert!(ToAgent::read(1, r#"{"type":"heartbeat","sequence":1,"new":2}"#).is_ok());
}

#[test]
fn payloads_are_carried_as_they_stand() {
    let line = r#"{"type":"result","id":"t","output":{ "n": 12345678901234567890.123456789e2 }}"#;
    let Ok(FromAgent::Result { output, .. }) = from(line) else { panic!("not a result") };
    assert_eq!(output.as_str(), r#"{ "n": 12345678901234567890.123456789e2 }"#);
}

#[test]
fn no_message_is_longer_than_a_line() {
    let message = FromAgent::Log { id: None, level: Level::Info, text: "x".repeat(100) };
    assert_eq!(message.line(100).unwrap_err().bytes, 139);
    assert!(message.line(139).is_ok());
}

fn ids() -> impl Strategy<Value = Id> {
    "[A-Za-z0-9._:-]{1,64}".prop_map(|text| text.parse().unwrap())
}

fn payloads() -> impl Strategy<Value = Payload> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<String>().prop_map(|value| json!(value)),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(|values| json!(values)))
        .prop_map(|value| Payload::of(&value).unwrap())
}

fn messages() -> impl Strategy<Value = FromAgent> {
    let text = "[^\0]{0,40}";
    let code = "[a-z][a-z0-9-]{0,20}".prop_map(|text| text.parse().unwrap());
    prop_oneof![
        (any::<u32>(), 1_u32..).prop_map(|(protocol, tasks)| FromAgent::Hello { protocol, tasks }),
        (ids(), any::<u64>(), any::<Option<u64>>(), prop::option::of(text))
            .prop_map(|(id, done, total, text)| FromAgent::Progress { id, done, total, text }),
        (prop::option::of(ids()), text).prop_map(|(id, text)| FromAgent::Log {
            id,
            level: Level::Warning,
            text
        }),
        (ids(), ids(), payloads()).prop_map(|(id, task, input)| FromAgent::Call {
            id,
            task,
            capability: "file.read:/srv/ä".parse().unwrap(),
            input
        }),
        (ids(), payloads()).prop_map(|(id, output)| FromAgent::Result { id, output }),
        (ids(), code, text, any::<bool>()).prop_map(|(id, code, message, retry)| FromAgent::Error {
            id,
            code,
            message,
            retry
        }),
        any::<u64>().prop_map(|sequence| FromAgent::Heartbeat { sequence }),
    ]
}

proptest! {
    #[test]
    fn messages_read_back(message in messages()) {
        let line = message.line(1 << 20).unwrap();
        let (text, end) = line.split_at(line.len() - 1);
        prop_assert_eq!(end, "\n");
        prop_assert!(!text.contains('\n'));
        prop_assert_eq!(FromAgent::read(1, text), Ok(message));
    }

    #[test]
    fn no_line_makes_it_panic(line in any::<String>()) {
        _ = FromAgent::read(1, &line);
        _ = ToAgent::read(1, &line);
    }

    #[test]
    fn no_line_of_its_signs_makes_it_panic(line in r#"[{}\[\]":,0-9a-z\\ ]{0,60}"#) {
        _ = FromAgent::read(1, &line);
    }
}
