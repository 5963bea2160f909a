//! An agent in Rust: reads tokens through the gate, one call for each, and tells their values.

#![expect(clippy::indexing_slicing, reason = "a field that is missing is null, not a panic")]

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};

use serde_json::{Map, Value, json};

fn say(message: &Value) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}

/// The next message that is no heartbeat; those are answered here, also while a call is open.
fn next(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Result<Option<Value>, Box<dyn Error>> {
    for line in lines {
        let message: Value = serde_json::from_str(&line?)?;
        if message["type"] != "heartbeat" {
            return Ok(Some(message));
        }
        say(&json!({"type": "heartbeat", "sequence": message["sequence"]}))?;
    }
    Ok(None)
}

/// Does one task: its result, or why there is none.
fn work(
    task: &Value,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) -> Result<Value, Box<dyn Error>> {
    let id = &task["id"];
    let mut values = Map::new();
    for token in task["input"]["tokens"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        say(&json!({
            "type": "call", "id": token, "task": id, "capability": "token.read", "input": {"token": token},
        }))?;
        loop {
            let answer = next(lines)?.ok_or("the supervisor is gone")?;
            if answer["type"] == "cancel" && answer["id"] == *id {
                return Ok(json!({
                    "type": "error", "id": id, "code": "cancelled", "message": "as asked", "retry": false,
                }));
            }
            if answer["id"] == token && answer["type"] == "result" {
                values.insert(token.to_owned(), answer["output"]["value"].clone());
                break;
            }
            if answer["id"] == token && answer["type"] == "error" {
                let message = format!("{token}: {}", answer["message"].as_str().unwrap_or("no reason given"));
                let (code, retry) = (&answer["code"], &answer["retry"]);
                return Ok(
                    json!({"type": "error", "id": id, "code": code, "message": message, "retry": retry}),
                );
            }
        }
    }
    Ok(json!({"type": "result", "id": id, "output": values}))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = stdin().lock().lines();
    while let Some(message) = next(&mut lines)? {
        if message["type"] == "hello" {
            say(&json!({"type": "hello", "protocol": 1}))?;
        } else if message["type"] == "task" {
            say(&work(&message, &mut lines)?)?;
        }
    }
    Ok(())
}
