//! Names the place of the best of a list, from 0: for consensus. `null` stands for a copy that failed and is never chosen.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{Act, Role, nothing};
use crate::fault::Fault;
use crate::input::{Field, Input, WHOLE};
use crate::options::Options;
use crate::task::Task;

const OUTPUTS: &[Field] = &[(WHOLE, "a list; `null` is never chosen")];
const PLACE: &str = "a place in the list, from 0: the first of those that are best";

/// Judges.
pub const ROLE: Role = Role {
    name: "judge",
    options: "",
    acts: &[
        Act { name: "longest", input: OUTPUTS, output: PLACE, run: longest },
        Act { name: "frequent", input: OUTPUTS, output: PLACE, run: frequent },
        Act { name: "largest", input: OUTPUTS, output: PLACE, run: largest },
        Act { name: "first", input: OUTPUTS, output: PLACE, run: first },
    ],
    check: nothing,
};

/// The entries that may be chosen, with their places.
fn entries(input: &Input) -> Result<Vec<(usize, &Value)>, Fault> {
    let list = input.whole().as_array().ok_or_else(|| Fault::input("the input is not a list of outputs"))?;
    let entries: Vec<_> = list.iter().enumerate().filter(|(_, one)| !one.is_null()).collect();
    if entries.is_empty() { Err(Fault::input("the list has nothing to choose from")) } else { Ok(entries) }
}

/// The place of the first entry of which `size` is largest.
fn best<K: PartialOrd>(
    entries: &[(usize, &Value)],
    size: impl Fn(&Value) -> Option<K>,
) -> Result<Value, Fault> {
    let mut best: Option<(usize, K)> = None;
    for (place, entry) in entries {
        let Some(size) = size(entry) else { continue };
        if best.as_ref().is_none_or(|(_, found)| size > *found) {
            best = Some((*place, size));
        }
    }
    best.map(|(place, _)| json!(place)).ok_or_else(|| Fault::input("no entry can be compared in this way"))
}

/// Texts by their characters, anything else by its JSON.
fn longest(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    best(&entries(input)?, |one| {
        Some(one.as_str().map_or_else(|| one.to_string().chars().count(), |text| text.chars().count()))
    })
}

/// Equal as JSON values; the order of a map's keys does not matter.
fn frequent(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let entries = entries(input)?;
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (_, one) in &entries {
        *counts.entry(one.to_string()).or_default() += 1;
    }
    best(&entries, |one| counts.get(&one.to_string()).copied())
}

/// Numbers, or maps by their `value` or `score`.
fn largest(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    best(&entries(input)?, |one| {
        one.as_f64().or_else(|| one.get("value").or_else(|| one.get("score"))?.as_f64())
    })
}

/// The first that is neither empty nor false, and no map that says of itself that it is an error.
fn first(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let is_valid = |one: &Value| match one {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(_) => true,
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty() && map.get("error").is_none_or(Value::is_null),
    };
    best(&entries(input)?, |one| is_valid(one).then_some(0))
}
