//! The supervisor itself: how it stands, which runs there were, and notes for its log; by calls.

use serde_json::{Map, Value, json};

use super::{Act, Role, nothing};
use crate::fault::Fault;
use crate::input::Input;
use crate::options::Options;
use crate::task::Task;

/// What a status tells that is short enough for a report.
const TOLD: [&str; 8] = ["version", "machine", "device", "works", "checkpoints", "denials", "starts", "user"];

/// The supervisor.
pub const ROLE: Role = Role {
    name: "daemon",
    options: "",
    acts: &[
        Act {
            name: "status",
            input: &[],
            output: "`version`, `machine`, `device`, `works`, `checkpoints`, `denials`, `starts`, `user`",
            run: status,
        },
        Act {
            name: "signed",
            input: &[("lag", "how many entries may be without a signature; 0 unless given")],
            output: "`size`, `signed`, `unsigned` of the log; `is_signed`: no more than `lag` are",
            run: signed,
        },
        Act {
            name: "latency",
            input: &[("p99_us", "what the 99th percentile may be; any unless given")],
            output: "`worst_cpu`, its `p50_us` and `p99_us`, `cpus`, `waits`; `is_within`",
            run: latency,
        },
        Act {
            name: "runs",
            input: &[("state", "`running`, `paused`, `done`, `failed` or `cancelled`; any unless given")],
            output: "`runs`: `number`, `workflow`, `state`, `took_ms`, `reason`; `count`",
            run: runs,
        },
        Act {
            name: "note",
            input: &[("kind", "what it tells of; `note` unless given"), ("text", "what is told")],
            output: "`index`: its place in the log",
            run: note,
        },
    ],
    check: nothing,
};

/// Fields of a map, as far as they are there.
fn fields(of: &Value, names: &[&str]) -> Map<String, Value> {
    names.iter().filter_map(|name| Some(((*name).to_owned(), of.get(*name)?.clone()))).collect()
}

fn status(task: &Task, _: &Input, _: &Options) -> Result<Value, Fault> {
    Ok(Value::Object(fields(&task.call("status.read", &json!({}))?, &TOLD)))
}

fn signed(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let lag = input.number_or("lag", 0, u64::MAX)?;
    let answer = task.call("status.read", &json!({}))?;
    let number = |name| {
        let found = answer.get("log").and_then(|log| log.get(name)).and_then(Value::as_u64);
        found.ok_or_else(|| Fault::failed(format!("the status has no “{name}” of the log")))
    };
    let (size, signed) = (number("size")?, number("signed")?);
    let unsigned = size.saturating_sub(signed);
    Ok(json!({"size": size, "signed": signed, "unsigned": unsigned, "is_signed": unsigned <= lag}))
}

fn latency(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let most = input.number_or("p99_us", u64::MAX, u64::MAX)?;
    let answer = task.call("status.read", &json!({}))?;
    let cpus = answer.get("scheduler").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let p99 = |cpu: &Value| cpu.get("p99_us").and_then(Value::as_u64);
    let worst = cpus
        .iter()
        .filter(|cpu| p99(cpu).is_some())
        .max_by_key(|cpu| p99(cpu))
        .ok_or_else(|| Fault::unavailable("the supervisor measures no scheduler latency"))?;
    let waits: u64 = cpus.iter().filter_map(|cpu| cpu.get("count")?.as_u64()).fold(0, u64::saturating_add);
    Ok(json!({
        "cpus": cpus.len(), "waits": waits, "worst_cpu": worst.get("cpu"), "p50_us": worst.get("p50_us"),
        "p99_us": p99(worst), "is_within": p99(worst).is_some_and(|p99| p99 <= most),
    }))
}

fn runs(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let state = input.text_or("state", "")?;
    let answer = task.call("run.read", &json!({}))?;
    let all = answer.get("runs").and_then(Value::as_array);
    let all = all.ok_or_else(|| Fault::failed("the supervisor's answer has no list"))?;
    let told = ["number", "workflow", "state", "took_ms", "reason"];
    let runs: Vec<Value> = all
        .iter()
        .filter(|run| state.is_empty() || run.get("state").and_then(Value::as_str) == Some(state))
        .map(|run| Value::Object(fields(run, &told)))
        .collect();
    Ok(json!({"count": runs.len(), "runs": runs}))
}

fn note(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let (kind, text) = (input.text_or("kind", "note")?, input.text("text")?);
    let answer = task.call("note.write", &json!({"kind": kind, "text": text}))?;
    let index = answer.get("index").ok_or_else(|| Fault::failed("the answer has no index"))?;
    Ok(json!({"index": index}))
}
