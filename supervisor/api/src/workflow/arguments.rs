//! What a run is given: one value for each param, checked.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use types::workflow::{DEPTH_MAX, INPUT_MAX, Kind, Param, Workflow};

use crate::document::fields::{cut, nearest};

/// One thing that is wrong with what a run is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The param, or what stands where one belongs.
    pub name: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Refused {
    /// `NAME: WHAT; ADVICE`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.name, self.what, self.advice)
    }
}

impl Refused {
    fn new(name: &str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name: cut(name), what: what.into(), advice: advice.into() }
    }
}

/// Reads `NAME=VALUE` pairs: the value of a text as it stands, any other as JSON. The result has one value for each
/// param, in their order.
///
/// # Errors
///
/// Everything that is wrong, in the order of the pairs, then what is missing.
pub fn read(workflow: &Workflow, pairs: &[String]) -> Result<Vec<Value>, Vec<Refused>> {
    let (mut given, mut refused) = (BTreeMap::new(), Vec::new());
    for pair in pairs {
        let Some((name, text)) = pair.split_once('=') else {
            refused.push(Refused::new(pair, "has no value", "write NAME=VALUE"));
            continue;
        };
        let value = match workflow.params.iter().find(|param| param.name.as_str() == name) {
            // What is unknown is told below.
            None => Value::Null,
            Some(param) => match parse(param, text) {
                Ok(value) => value,
                Err(error) => {
                    refused.push(error);
                    // It is not missing as well.
                    given.insert(name.to_owned(), None);
                    continue;
                }
            },
        };
        if given.insert(name.to_owned(), Some(value)).is_some() {
            refused.push(Refused::new(name, "is given a second time", "give it once"));
        }
    }
    finish(workflow, given, refused)
}

/// Checks values that were given by name, as for [`read`].
///
/// # Errors
///
/// Everything that is wrong, in the order of the names, then what is missing.
pub fn check(workflow: &Workflow, given: BTreeMap<String, Value>) -> Result<Vec<Value>, Vec<Refused>> {
    let given = given.into_iter().map(|(name, value)| (name, Some(value))).collect();
    finish(workflow, given, Vec::new())
}

fn parse(param: &Param, text: &str) -> Result<Value, Refused> {
    if param.kind == Kind::Text {
        return Ok(Value::from(text));
    }
    serde_json::from_str(text).map_err(|_| {
        let what = format!("“{}” is no {}", cut(text), param.kind);
        Refused::new(param.name.as_str(), what, advice(param))
    })
}

/// How a value of a param is written on a command line.
fn advice(param: &Param) -> String {
    let (name, value) = (&param.name, example(param.kind));
    format!("write {name}={value}")
}

const fn example(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "TEXT",
        Kind::Number => "5",
        Kind::Bool => "true",
        Kind::List => "'[1, 2]'",
        Kind::Map => "'{\"a\": 1}'",
    }
}

/// A missing value is one that was refused already.
fn finish(
    workflow: &Workflow,
    mut given: BTreeMap<String, Option<Value>>,
    mut refused: Vec<Refused>,
) -> Result<Vec<Value>, Vec<Refused>> {
    let mut values = Vec::with_capacity(workflow.params.len());
    let mut missing = Vec::new();
    for param in &workflow.params {
        let name = param.name.as_str();
        match (given.remove(name), &param.default) {
            (Some(Some(value)), _) if kind(&value) != Some(param.kind) => {
                let what = format!("is a {}, not a {}", word(&value), param.kind);
                refused.push(Refused::new(name, what, advice(param)));
            }
            (Some(Some(value)), _) if is_deeper(&value, DEPTH_MAX) => {
                let what = format!("nests deeper than {DEPTH_MAX}");
                refused.push(Refused::new(name, what, "flatten it"));
            }
            (Some(Some(value)), _) => values.push(value),
            (Some(None), _) => {}
            (None, Some(default)) => match serde_json::from_str(default) {
                Ok(value) => values.push(value),
                Err(error) => refused.push(Refused::new(name, error.to_string(), "mend its default")),
            },
            (None, None) => missing.push(Refused::new(name, "is missing", advice(param))),
        }
    }
    let known: Vec<&str> = workflow.params.iter().map(|param| param.name.as_str()).collect();
    for name in given.keys() {
        let advice = match (nearest(name, &known), known.is_empty()) {
            (Some(near), _) => format!("write “{near}”, if that is meant"),
            (None, true) => "leave it out: the workflow takes none".to_owned(),
            (None, false) => format!("known here: {}", known.join(", ")),
        };
        refused.push(Refused::new(name, "is no param of the workflow", advice));
    }
    refused.extend(missing);
    let length: usize = values.iter().map(|value| value.to_string().len()).sum();
    if length > INPUT_MAX {
        let what = format!("have {length} bytes as JSON");
        refused.push(Refused::new("the params", what, format!("keep them within {INPUT_MAX} together")));
    }
    if refused.is_empty() { Ok(values) } else { Err(refused) }
}

/// Null is of no kind.
const fn kind(value: &Value) -> Option<Kind> {
    match value {
        Value::Null => None,
        Value::Bool(_) => Some(Kind::Bool),
        Value::Number(_) => Some(Kind::Number),
        Value::String(_) => Some(Kind::Text),
        Value::Array(_) => Some(Kind::List),
        Value::Object(_) => Some(Kind::Map),
    }
}

fn word(value: &Value) -> String {
    kind(value).map_or_else(|| "null".to_owned(), |kind| kind.to_string())
}

/// Whether lists and maps nest deeper than this.
fn is_deeper(value: &Value, depth: usize) -> bool {
    let Some(inner) = depth.checked_sub(1) else {
        return matches!(value, Value::Array(_) | Value::Object(_));
    };
    match value {
        Value::Array(items) => items.iter().any(|item| is_deeper(item, inner)),
        Value::Object(entries) => entries.values().any(|value| is_deeper(value, inner)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "
name: w
params:
  folder: /srv
  count: {type: number}
  deep: {type: bool, default: false}
  files: {type: list, default: [a, 1]}
  more: {type: map, default: {a: 1e2}}
steps: [{id: a, agent: b}]
";

    fn arguments(pairs: &[&str]) -> Result<Vec<Value>, Vec<String>> {
        let checked = super::super::read(FILE.as_bytes()).unwrap();
        let pairs: Vec<String> = pairs.iter().map(ToString::to_string).collect();
        read(&checked.workflow, &pairs).map_err(|refused| refused.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_given_replaces_defaults() {
        let rest = [json!(["a", 1]), json!({"a": 100.0})];
        assert_eq!(
            arguments(&["count=5"]).unwrap(),
            [&[json!("/srv"), json!(5), json!(false)][..], &rest].concat()
        );
        assert_eq!(
            arguments(&["deep=true", "folder=5=\"", "count=-1.5"]).unwrap(),
            [&[json!("5=\""), json!(-1.5), json!(true)][..], &rest].concat()
        );
        assert_eq!(arguments(&["folder=", "count=1", "files=[[]]"]).unwrap()[3], json!([[]]));
    }

    #[test]
    fn all_that_is_wrong_is_told() {
        for (pairs, expected) in [
            (&[][..], &["count: is missing; write count=5"][..]),
            (
                &["deep=yes", "cuont=1", "folder"],
                &[
                    "deep: “yes” is no bool; write deep=true",
                    "folder: has no value; write NAME=VALUE",
                    "cuont: is no param of the workflow; write “count”, if that is meant",
                    "count: is missing; write count=5",
                ],
            ),
            (&["count=1", "count=2"], &["count: is given a second time; give it once"]),
            (&["count=\"1\""], &["count: is a text, not a number; write count=5"]),
            (&["count=null"], &["count: is a null, not a number; write count=5"]),
            (
                &["count=1", "zzz=1"],
                &["zzz: is no param of the workflow; known here: folder, count, deep, files, more"],
            ),
        ] {
            assert_eq!(arguments(pairs).unwrap_err(), expected, "{pairs:?}");
        }
        let long = format!("folder={}", "x".repeat(INPUT_MAX));
        assert!(arguments(&["count=1", &long]).unwrap_err()[0].starts_with("the params: have "));
        let deep = |depth: usize| format!("files={}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(arguments(&["count=1", &deep(DEPTH_MAX)]).is_ok());
        assert_eq!(
            arguments(&["count=1", &deep(DEPTH_MAX + 1)]).unwrap_err(),
            ["files: nests deeper than 64; flatten it"]
        );
    }

    #[test]
    fn values_by_name_are_checked_alike() {
        let checked = super::super::read(FILE.as_bytes()).unwrap();
        let given = |json: Value| serde_json::from_value::<BTreeMap<String, Value>>(json).unwrap();
        assert_eq!(
            check(&checked.workflow, given(json!({"count": 5}))),
            arguments(&["count=5"]).map_err(|_| vec![])
        );
        let refused = check(&checked.workflow, given(json!({"count": true, "x": 1}))).unwrap_err();
        assert_eq!(refused[0].to_string(), "count: is a bool, not a number; write count=5");
        assert_eq!(refused.len(), 2);
    }
}
