//! The published schema, the reader and the samples agree.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use types::workflow::step::AT_ONCE_MAX;
use types::workflow::{PARAMS_MAX, STEPS_MAX};

use super::super::*;
use crate::document::scalar::Meaning;
use crate::workflow::{mode, params, step};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn schema() -> Value {
    serde_json::from_slice(&fs::read(docs().join("workflow.schema.json")).unwrap()).unwrap()
}

fn samples() -> Vec<(String, String)> {
    let folder = fs::read_dir(docs().join("workflows")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// A document as JSON, as any reader of YAML's core schema has it.
fn json(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar { text, is_plain } => match Meaning::of(text, *is_plain) {
            Meaning::Null => Value::Null,
            Meaning::Bool(is_true) => Value::Bool(is_true),
            Meaning::Number => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str())),
            Meaning::Text => Value::from(text.as_str()),
        },
        Kind::List(nodes) => nodes.iter().map(json).collect(),
        Kind::Map(entries) => entries.iter().map(|(key, node)| (key.text.clone(), json(node))).collect(),
    }
}

fn document_of(text: &str) -> Value {
    let mut mistakes = Mistakes::default();
    let node = document::read(text, 1, &mut mistakes).unwrap();
    assert!(mistakes.is_empty());
    json(&node)
}

/// The words of JSON Schema that ours uses. What is not among them makes the test fail.
fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(words) = schema else { return schema.as_bool().expect("a schema") };
    let by_key = |map: &Map<String, Value>| map.iter().all(|(key, value)| entry(root, words, key, value));
    words.iter().all(|(word, said)| match word.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" => true,
        // Patterns are for editors; what they say is tested with the reader.
        "pattern" => said.is_string(),
        "$ref" => {
            let path = said.as_str().unwrap().strip_prefix('#').unwrap();
            is_valid(root, root.pointer(path).unwrap_or_else(|| panic!("{path}")), value)
        }
        "type" => match said {
            Value::Array(kinds) => kinds.iter().any(|kind| is_of(kind, value)),
            kind => is_of(kind, value),
        },
        "enum" => said.as_array().unwrap().contains(value),
        "anyOf" => said.as_array().unwrap().iter().any(|schema| is_valid(root, schema, value)),
        "required" => value.as_object().is_none_or(|map| {
            said.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(by_key),
        // Read with the properties; ours has but the one pattern.
        "patternProperties" => *said == serde_json::json!({"^x-": true}),
        "additionalProperties" => words.contains_key("properties") || value.as_object().is_none_or(by_key),
        "propertyNames" => value
            .as_object()
            .is_none_or(|map| map.keys().all(|key| is_valid(root, said, &Value::from(key.as_str())))),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(root, said, item))),
        "uniqueItems" => value
            .as_array()
            .is_none_or(|items| items.iter().enumerate().all(|(place, item)| !items[..place].contains(item))),
        "minimum" => value.as_f64().is_none_or(|number| number >= said.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= said.as_f64().unwrap()),
        "minItems" | "minLength" | "minProperties" => {
            length(word, value).is_none_or(|length| length >= number(said))
        }
        "maxItems" | "maxLength" | "maxProperties" => {
            length(word, value).is_none_or(|length| length <= number(said))
        }
        other => panic!("the schema has the word {other}, which this test does not know"),
    })
}

fn entry(root: &Value, words: &Map<String, Value>, key: &str, value: &Value) -> bool {
    if let Some(schema) = words.get("properties").and_then(|properties| properties.get(key)) {
        return is_valid(root, schema, value);
    }
    let is_foreign = words.contains_key("patternProperties") && key.starts_with("x-");
    is_foreign || words.get("additionalProperties").is_none_or(|schema| is_valid(root, schema, value))
}

fn is_of(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    }
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

fn length(word: &str, value: &Value) -> Option<usize> {
    match (&word[3..], value) {
        ("Items", Value::Array(items)) => Some(items.len()),
        ("Length", Value::String(text)) => Some(text.chars().count()),
        ("Properties", Value::Object(map)) => Some(map.len()),
        _ => None,
    }
}

#[test]
fn samples_are_good_for_the_reader_and_by_the_schema() {
    let (schema, samples) = (schema(), samples());
    assert!(samples.len() >= 7);
    for (name, text) in &samples {
        let read = read(text.as_bytes());
        assert!(read.is_ok(), "{name}: {:#?}", read.unwrap_err());
        assert!(is_valid(&schema, &schema, &document_of(text)), "{name}");
    }
    // One for each mode, and one with every key.
    for (mode, _) in mode::MODES {
        assert!(samples.iter().any(|(name, _)| *name == format!("{mode}.yaml")), "{mode}");
    }
    let (_, everything) = samples.iter().find(|(name, _)| name == "everything.yaml").unwrap();
    let all = document_of(everything);
    for key in KEYS {
        assert!(all.get(key).is_some(), "everything.yaml has no “{key}”");
    }
    for key in step::KEYS {
        let steps = all["steps"].as_array().unwrap();
        assert!(steps.iter().any(|step| step.get(key).is_some()), "no step of everything.yaml has “{key}”");
    }
}

#[test]
fn the_schema_has_the_keys_of_the_reader() {
    let schema = schema();
    let modes = "/$defs/mode/anyOf/1/properties";
    let mut places: Vec<(String, Vec<&str>)> = vec![
        ("/properties".into(), KEYS.to_vec()),
        ("/$defs/step/properties".into(), step::KEYS.to_vec()),
        ("/$defs/param/anyOf/1/properties".into(), params::KEYS.to_vec()),
        ("/$defs/retry/properties".into(), vec!["limit", "delay", "delay-max"]),
        (modes.into(), mode::MODES.iter().map(|(word, _)| *word).collect()),
        (format!("{modes}/consensus/properties/compare/anyOf/1/properties"), mode::COMPARES.to_vec()),
    ];
    places
        .extend(mode::MODES.iter().map(|(word, keys)| (format!("{modes}/{word}/properties"), keys.to_vec())));
    for (path, mut keys) in places {
        let properties = schema.pointer(&path).unwrap_or_else(|| panic!("{path}")).as_object().unwrap();
        keys.sort_unstable();
        let mut found: Vec<&str> = properties.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, keys, "{path}");
    }
}

#[test]
fn the_schema_has_the_bounds_and_defaults_of_the_reader() {
    let schema = schema();
    let at = |path: &str| schema.pointer(path).unwrap_or_else(|| panic!("{path}")).clone();
    let modes = "/$defs/mode/anyOf/1/properties";
    assert_eq!(at("/properties/steps/maxItems"), STEPS_MAX);
    assert_eq!(at("/properties/params/maxProperties"), PARAMS_MAX);
    assert_eq!(at("/properties/timeout/default"), TIMEOUT.to_string());
    assert_eq!(at("/properties/priority/default"), Priority::default().to_string());
    assert_eq!(at("/properties/on-failure/default"), OnFailure::default().to_string());
    assert_eq!(at("/$defs/at-once/maximum"), AT_ONCE_MAX);
    assert_eq!(at("/$defs/copies/maximum"), AT_ONCE_MAX);
    assert_eq!(at(&format!("{modes}/parallel/properties/at-once/default")), mode::AT_ONCE);
    assert_eq!(at(&format!("{modes}/pipeline/properties/at-once/default")), mode::AT_ONCE);
    assert_eq!(at(&format!("{modes}/pipeline/properties/buffer/default")), mode::BUFFER);
    assert_eq!(at(&format!("{modes}/consensus/properties/copies/default")), mode::COPIES);
    assert_eq!(at(&format!("{modes}/redundant/properties/copies/default")), mode::COPIES);
    assert_eq!(at(&format!("{modes}/competitive/properties/copies/default")), mode::COPIES_COMPETITIVE);
    let retry = types::agent::Retry::default();
    assert_eq!(at("/$defs/retry/properties/limit/default"), retry.limit);
    assert_eq!(at("/$defs/retry/properties/delay/default"), retry.delay.to_string());
    assert_eq!(at("/$defs/retry/properties/delay-max/default"), retry.delay_max.to_string());
}

/// What the reader refuses for its form, the schema refuses too: an editor shows it while it is written.
#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema();
    let good = "name: a\nparams: {p: 1}\nsteps:\n- {id: b, agent: c}\n";
    for (from, to) in [
        ("name: a", "nam: a"),
        ("p: 1", "p: {kind: text}"),
        ("p: 1", "p: {}"),
        ("p: 1", "p: ~"),
        ("agent: c", "agnt: c"),
        ("agent: c", "agent: []"),
        ("agent: c", "agent: [c, c]"),
        ("agent: c", "agent: {capabilty: a}"),
        ("agent: c", "agent: c, mode: paralel"),
        ("agent: c", "agent: c, mode: parallel"),
        ("agent: c", "agent: c, mode: {parallel: {}}"),
        ("agent: c", "agent: c, mode: {parallel: {each: params.p, at-once: 257}}"),
        ("agent: c", "agent: c, mode: {consensus: {copies: 1}}"),
        ("agent: c", "agent: c, mode: {consensus: {compare: {tolerance: 2}}}"),
        ("agent: c", "agent: c, mode: {redundant: {take: last}}"),
        ("agent: c", "agent: c, retry: {limit: -1}"),
        ("agent: c", "agent: c, checkpoint-before: maybe"),
        ("agent: c", "agent: c, on-failure: ignore"),
        ("- {id: b, agent: c}", " []"),
        ("name: a", "name: a\npriority: urgent"),
    ] {
        let bad = good.replace(from, to);
        assert!(read(bad.as_bytes()).is_err(), "{bad}");
        assert!(!is_valid(&schema, &schema, &document_of(&bad)), "{bad}");
    }
    assert!(is_valid(&schema, &schema, &document_of(good)) && read(good.as_bytes()).is_ok());
}
