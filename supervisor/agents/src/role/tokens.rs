//! Tokens of the firmware: read, compared, counted; all by calls.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Act, Role};
use crate::fault::Fault;
use crate::input::{Field, Input};
use crate::options::Options;
use crate::task::Task;

/// Tokens that one call asks for.
const AT_ONCE: usize = 64;
/// Most tokens of one task.
const TOKENS_MAX: usize = 4_096;

const SOME: &[Field] = &[("tokens", "ids such as `0x8000`")];
const EXPECTED: &[Field] = &[("expected", "a map of ids and the value that each should have")];
const FILTER: &[Field] = &[
    ("group", "only devices of this group, 0 to 6"),
    ("named", "only tokens with a name in the owner's map"),
];

/// Tokens of the firmware.
pub const ROLE: Role = Role {
    name: "tokens",
    options: "`--select WHICH`",
    acts: &[
        Act {
            name: "read",
            input: SOME,
            output: "`values`: a map of ids and values; `failed`: of ids and reasons",
            run: read,
        },
        Act {
            name: "compare",
            input: EXPECTED,
            output: "`equal`: how many; `different`: `id`, `expected`, `found`; `failed`; `is_equal`",
            run: compare,
        },
        Act {
            name: "snapshot",
            input: &[],
            output: "`values` of all tokens, as `compare` takes them; `failed`",
            run: snapshot,
        },
        Act { name: "list", input: FILTER, output: "`tokens`, `count`", run: list },
        Act { name: "devices", input: FILTER, output: "the same, of DSMIL devices", run: devices },
        Act {
            name: "writable",
            input: FILTER,
            output: "the same, of those that may be written",
            run: writable,
        },
        Act {
            name: "denied",
            input: FILTER,
            output: "the same, of those that are never written, with why",
            run: denied,
        },
        Act {
            name: "shared",
            input: &[],
            output: "`locations`: those with several tokens; `count`",
            run: shared,
        },
        Act {
            name: "summary",
            input: &[],
            output: "`all`, and `groups`: of each `tokens`, `writable`, `denied`, `shared`, `named`",
            run: summary,
        },
        Act {
            name: "active",
            input: FILTER,
            output: "`active`: ids whose location holds the table's value; `inactive`: how many do not; `failed`",
            run: active,
        },
    ],
    check: |options| match (Options { select: None, ..options.clone() }) == Options::default() {
        true => Ok(()),
        false => Err("this role takes --select alone".to_owned()),
    },
};

/// Values and reasons, by id.
type Values = (BTreeMap<String, u64>, BTreeMap<String, String>);

/// Reads locations, some with each call.
fn values(task: &Task, ids: &[String], options: &Options) -> Result<Values, Fault> {
    let select = options.select.as_deref().unwrap_or("current");
    let (mut values, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for (done, some) in ids.chunks(AT_ONCE).enumerate() {
        let total = u64::try_from(ids.len()).ok();
        task.at(u64::try_from(done * AT_ONCE).unwrap_or(u64::MAX), total, || "reads tokens".to_owned())?;
        let items: Vec<Value> = some.iter().map(|id| json!({"id": id, "select": select})).collect();
        let answer = task.call("token.read", &json!({"items": items}))?;
        let readings = answer.get("values").and_then(Value::as_array).ok_or_else(no_list)?;
        // In the order asked, so what is told is told under the id that was asked with.
        for (id, reading) in some.iter().zip(readings) {
            match reading.get("value").and_then(Value::as_u64) {
                Some(value) => _ = values.insert(id.clone(), value),
                None => {
                    let why = reading.get("error").and_then(Value::as_str).unwrap_or("no value");
                    failed.insert(id.clone(), why.to_owned());
                }
            }
        }
    }
    Ok((values, failed))
}

fn no_list() -> Fault {
    Fault::failed("the supervisor's answer has no list")
}

fn number(value: &Value) -> Option<u64> {
    let text = match value {
        Value::String(text) => text,
        other => return other.as_u64(),
    };
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Ids as they stand, if there are not too many.
fn ids<'t>(ids: impl Iterator<Item = &'t str>) -> Result<Vec<String>, Fault> {
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    match ids.iter().find(|id| number(&json!(id)).is_none_or(|id| id > 0xFFFF)) {
        Some(other) => Err(Fault::input(format!("{other:?} is no token's id, such as 0x8000"))),
        None if ids.is_empty() => Err(Fault::input("no token is named")),
        None if ids.len() > TOKENS_MAX => Err(Fault::input(format!("more than {TOKENS_MAX} tokens"))),
        None => Ok(ids),
    }
}

fn read(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let (values, failed) = values(task, &ids(input.texts("tokens")?.into_iter())?, options)?;
    Ok(json!({"values": values, "failed": failed}))
}

fn compare(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let expected = input.map("expected")?;
    let (found, failed) = values(task, &ids(expected.keys().map(String::as_str))?, options)?;
    let mut different = Vec::new();
    let mut equal = 0_u64;
    for (id, value) in expected {
        let wanted = number(value).ok_or_else(|| {
            Fault::input(format!("{id} is expected to be {value}, which is no whole number"))
        })?;
        match found.get(id) {
            Some(found) if *found == wanted => equal += 1,
            Some(found) => different.push(json!({"id": id, "expected": wanted, "found": found})),
            None => {}
        }
    }
    let is_equal = different.is_empty() && failed.is_empty();
    Ok(json!({"equal": equal, "different": different, "failed": failed, "is_equal": is_equal}))
}

/// The firmware's table.
fn table(task: &Task) -> Result<Vec<Value>, Fault> {
    match task.call("token.list", &json!({}))?.get_mut("tokens").map(Value::take) {
        Some(Value::Array(tokens)) => Ok(tokens),
        _ => Err(no_list()),
    }
}

fn id(token: &Value) -> Option<&str> {
    token.get("id").and_then(Value::as_str)
}

fn is(token: &Value, field: &str) -> bool {
    match token.get(field) {
        Some(Value::Bool(is)) => *is,
        Some(Value::Null) | None => false,
        Some(_) => true,
    }
}

/// The group of a DSMIL device: its name is group and member, such as `0.3`.
fn group(token: &Value) -> Option<&str> {
    token.get("device")?.as_str()?.split('.').next()
}

/// Those of the table that the input asks for, and `wanted` too.
fn chosen(task: &Task, input: &Input, wanted: fn(&Value) -> bool) -> Result<Vec<Value>, Fault> {
    let only = match input.get("group") {
        None => None,
        Some(_) => Some(input.number_or("group", 0, 6)?.to_string()),
    };
    let named = input.flag("named")?;
    let mut tokens = table(task)?;
    tokens.retain(|token| {
        wanted(token)
            && (!named || is(token, "name"))
            && only.as_deref().is_none_or(|only| group(token) == Some(only))
    });
    Ok(tokens)
}

fn told(tokens: &[Value], fields: &[&str]) -> Value {
    let told: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let told = fields.iter().filter_map(|field| {
                let value = token.get(*field).filter(|value| !value.is_null())?;
                Some(((*field).to_owned(), value.clone()))
            });
            Value::Object(told.collect())
        })
        .collect();
    json!({"count": told.len(), "tokens": told})
}

fn list(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    Ok(told(
        &chosen(task, input, |_| true)?,
        &["id", "location", "table_value", "device", "name", "writable"],
    ))
}

fn devices(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    Ok(told(&chosen(task, input, |token| is(token, "device"))?, &["id", "device", "name", "writable"]))
}

fn writable(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    Ok(told(&chosen(task, input, |token| is(token, "writable"))?, &["id", "device", "name", "shared"]))
}

fn denied(task: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    Ok(told(&chosen(task, input, |token| is(token, "denied"))?, &["id", "device", "name", "denied"]))
}

fn shared(task: &Task, _: &Input, _: &Options) -> Result<Value, Fault> {
    let mut locations: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for token in table(task)? {
        if let (Some(location), Some(id)) = (token.get("location").and_then(Value::as_u64), id(&token)) {
            locations.entry(location).or_default().push(id.to_owned());
        }
    }
    locations.retain(|_, ids| ids.len() > 1);
    let told: Vec<Value> =
        locations.iter().map(|(location, ids)| json!({"location": location, "tokens": ids})).collect();
    Ok(json!({"count": told.len(), "locations": told}))
}

fn counted(tokens: &[&Value]) -> Value {
    let count = |field| tokens.iter().filter(|token| is(token, field)).count();
    json!({
        "tokens": tokens.len(), "writable": count("writable"), "denied": count("denied"), "shared": count("shared"),
        "named": count("name"),
    })
}

fn summary(task: &Task, _: &Input, _: &Options) -> Result<Value, Fault> {
    let tokens = table(task)?;
    let mut groups: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for token in &tokens {
        groups.entry(group(token).unwrap_or("other")).or_default().push(token);
    }
    let groups: Map<String, Value> =
        groups.into_iter().map(|(group, tokens)| (group.to_owned(), counted(&tokens))).collect();
    Ok(json!({"all": counted(&tokens.iter().collect::<Vec<_>>()), "groups": groups}))
}

fn snapshot(task: &Task, _: &Input, options: &Options) -> Result<Value, Fault> {
    let tokens = table(task)?;
    let (values, failed) = values(task, &ids(tokens.iter().filter_map(id))?, options)?;
    Ok(json!({"values": values, "failed": failed}))
}

fn active(task: &Task, input: &Input, options: &Options) -> Result<Value, Fault> {
    let tokens = chosen(task, input, |_| true)?;
    if tokens.is_empty() {
        return Ok(json!({"active": [], "inactive": 0, "failed": {}}));
    }
    let (values, failed) = values(task, &ids(tokens.iter().filter_map(id))?, options)?;
    let (mut active, mut inactive) = (Vec::new(), 0_u64);
    for (token, id) in tokens.iter().filter_map(|token| Some((token, id(token)?))) {
        match values.get(id) {
            Some(value) if token.get("table_value").and_then(Value::as_u64) == Some(*value) => {
                active.push(id)
            }
            Some(_) => inactive += 1,
            None => {}
        }
    }
    Ok(json!({"active": active, "inactive": inactive, "failed": failed}))
}
