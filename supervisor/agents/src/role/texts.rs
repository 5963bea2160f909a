//! Texts that a task is given: counted, checked, compared, filled in.
//!
//! - [`csv`]: tables; [`diff`]: two texts

mod csv;

mod diff;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Act, Role, nothing};
use crate::fault::Fault;
use crate::input::{Field, Input, noun};
use crate::options::Options;
use crate::task::{Task, hex};

const TEXT: Field = ("text", "the text");
const LIMIT: Field = ("limit", "how many are told, at most 1000; 20 unless given");
/// What is told of a longer line, characters.
const SHOWN_MAX: usize = 200;

/// Texts.
pub const ROLE: Role = Role {
    name: "texts",
    options: "",
    acts: &[
        Act { name: "count", input: &[TEXT], output: "`lines`, `words`, `characters`, `bytes`", run: count },
        Act {
            name: "words",
            input: &[TEXT, LIMIT],
            output: "`words`: `word` and `count`, the most frequent first, in lower case; `different`",
            run: words,
        },
        Act {
            name: "find",
            input: &[TEXT, LIMIT, ("sought", "what is looked for, within a line")],
            output: "`lines`: `line` and `text`; `count`",
            run: find,
        },
        Act {
            name: "json",
            input: &[TEXT],
            output: "`valid`; if so `kind`, `entries`, `depth`; else `line`, `column`, `why`",
            run: check_json,
        },
        Act {
            name: "pick",
            input: &[("text", "JSON"), ("pointer", "where, as RFC 6901 has it: `/a/0/b`")],
            output: "`value`",
            run: pick,
        },
        Act {
            name: "csv",
            input: &[
                TEXT,
                ("separator", "one character; a comma unless given"),
                ("header", "the first row names the columns; true unless given"),
            ],
            output: "`valid`, `rows`, `columns`: of each `name`, `filled`, and of numbers `numbers`, `least`, `most`, `sum`; else `line`, `why`",
            run: csv::check,
        },
        Act {
            name: "diff",
            input: &[("before", "a text of at most 2000 lines"), ("after", "another one"), LIMIT],
            output: "`changes`: `line`, `removed` or `added`; `removed`, `added`: how many; `is_equal`",
            run: diff::diff,
        },
        Act {
            name: "template",
            input: &[
                ("text", "with names in double braces: `{{name}}`"),
                ("values", "a map of names and values"),
            ],
            output: "`text`, `unused`: names that do not occur",
            run: template,
        },
        Act { name: "hash", input: &[TEXT], output: "`sha256`, `bytes`", run: hash },
    ],
    check: nothing,
};

fn limit(input: &Input) -> Result<usize, Fault> {
    input.count_or("limit", 20, 1_000)
}

fn shown(line: &str) -> String {
    line.chars().take(SHOWN_MAX).collect()
}

fn count(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let text = input.text("text")?;
    Ok(json!({
        "lines": text.lines().count(), "words": text.split_whitespace().count(), "characters": text.chars().count(),
        "bytes": text.len(),
    }))
}

fn words(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let text = input.text("text")?;
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '-');
    for word in words.filter(|word| word.contains(char::is_alphanumeric)) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by_key(|(_, count)| Reverse(*count));
    let told: Vec<Value> =
        all.iter().take(limit).map(|(word, count)| json!({"word": word, "count": count})).collect();
    Ok(json!({"words": told, "different": all.len()}))
}

fn find(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let limit = limit(input)?;
    let sought = input.text("sought")?;
    let mut lines = Vec::new();
    let mut count = 0_u64;
    for (number, line) in (1_u64..).zip(input.text("text")?.lines()).filter(|(_, line)| line.contains(sought))
    {
        count += 1;
        if lines.len() < limit {
            lines.push(json!({"line": number, "text": shown(line)}));
        }
    }
    Ok(json!({"lines": lines, "count": count}))
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(all) => 1 + all.iter().map(depth).max().unwrap_or(0),
        Value::Object(all) => 1 + all.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn check_json(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    Ok(match serde_json::from_str::<Value>(input.text("text")?) {
        Ok(value) => {
            let entries = match &value {
                Value::Array(all) => all.len(),
                Value::Object(all) => all.len(),
                _ => 1,
            };
            json!({"valid": true, "kind": noun(&value), "entries": entries, "depth": depth(&value)})
        }
        Err(error) => json!({
            "valid": false, "line": error.line(), "column": error.column(), "why": error.to_string(),
        }),
    })
}

fn pick(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let pointer = input.text("pointer")?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(Fault::input("“pointer” begins with a slash, or is empty for the whole"));
    }
    let value: Value = serde_json::from_str(input.text("text")?)
        .map_err(|error| Fault::input(format!("“text” is not JSON: {error}")))?;
    let found =
        value.pointer(pointer).ok_or_else(|| Fault::input(format!("there is nothing at {pointer}")))?;
    Ok(json!({"value": found}))
}

/// What is put in is never read again, so no value can bring in another one.
fn template(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let values = input.map("values")?;
    let mut used = std::collections::BTreeSet::new();
    let mut text = String::new();
    let mut rest = input.text("text")?;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (name, after) =
            behind.split_once("}}").ok_or_else(|| Fault::input("“{{” has no “}}” behind it"))?;
        let name = name.trim();
        let value =
            values.get(name).ok_or_else(|| Fault::input(format!("there is no value for {name:?}")))?;
        used.insert(name);
        text.push_str(before);
        match value {
            Value::String(value) => text.push_str(value),
            other => text.push_str(&other.to_string()),
        }
        if text.len() > 1 << 20 {
            return Err(Fault::failed("the text becomes larger than 1 MiB"));
        }
        rest = after;
    }
    text.push_str(rest);
    let unused: Vec<_> = values.keys().filter(|name| !used.contains(name.as_str())).collect();
    Ok(json!({"text": text, "unused": unused}))
}

fn hash(_: &Task, input: &Input, _: &Options) -> Result<Value, Fault> {
    let text = input.text("text")?;
    Ok(json!({"sha256": hex(&Sha256::digest(text.as_bytes())), "bytes": text.len()}))
}
