//! Checkpoints: taken and listed by calls.

use serde_json::{Value, json};

use super::{Act, Role, nothing};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

const LIMIT: Field = ("limit", "how many, the newest, at most 1000; 100 unless given");

/// Checkpoints.
pub const ROLE: Role = Role {
    name: "checkpoint",
    options: "",
    acts: &[
        Act {
            name: "create",
            input: &[
                ("name", "what it is to be called"),
                ("paranoid", "read everything; false unless given"),
            ],
            output: "the checkpoint: `number`, `name`, `created`, `files`, `bytes`, `tokens` …",
            run: create,
        },
        Act { name: "list", input: &[LIMIT], output: "`checkpoints`, `count` of all", run: list },
        Act {
            name: "newest",
            input: &[("kind", "`manual`, `automatic` or `emergency`; any unless given")],
            output: "the newest checkpoint of that kind, and `count` of them; it fails where there is none",
            run: newest,
        },
    ],
    check: nothing,
};

fn create(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let ask = json!({"name": input.text("name")?, "paranoid": input.flag("paranoid")?});
    let mut answer = task.call("checkpoint.create", &ask)?;
    answer.get_mut("checkpoint").map(Value::take).ok_or_else(|| Fault::failed("the answer has no checkpoint"))
}

fn all(task: &Task) -> Result<Vec<Value>, Fault> {
    match task.call("checkpoint.list", &json!({}))?.get_mut("checkpoints").map(Value::take) {
        Some(Value::Array(all)) => Ok(all),
        _ => Err(Fault::failed("the supervisor's answer has no list")),
    }
}

fn list(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let limit = input.count_or("limit", 100, 1_000)?;
    let mut all = all(task)?;
    let count = all.len();
    Ok(json!({"count": count, "checkpoints": all.split_off(count.saturating_sub(limit))}))
}

fn newest(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let kind = input.text_or("kind", "")?;
    let mut all = all(task)?;
    all.retain(|one| kind.is_empty() || one.get("kind").and_then(Value::as_str) == Some(kind));
    let count = all.len();
    let mut newest = all.pop().ok_or_else(|| Fault::failed("there is no such checkpoint"))?;
    if let Value::Object(fields) = &mut newest {
        fields.insert("count".to_owned(), json!(count));
    }
    Ok(newest)
}
