//! What a task was given, field by field, with a clear word on each that is wrong.

use serde_json::{Map, Value};

use crate::fault::Fault;

/// A field of an input: its name, and what it is.
pub type Field = (&'static str, &'static str);

/// The name of the only field of an input that is no map.
pub const WHOLE: &str = "*";

/// What a task was given.
#[derive(Debug)]
pub struct Input {
    fields: Map<String, Value>,
    whole: Value,
}

impl Input {
    /// Takes an input that has no other fields than these.
    ///
    /// # Errors
    ///
    /// It is no map, or has others.
    pub fn new(value: Value, known: &[Field]) -> Result<Self, Fault> {
        if known.iter().any(|(name, _)| *name == WHOLE) {
            return Ok(Self { fields: Map::new(), whole: value });
        }
        let fields = match value {
            Value::Object(fields) => fields,
            Value::Null => Map::new(),
            other => return Err(Fault::input(format!("the input is {}, not a map", noun(&other)))),
        };
        let names = || match known {
            [] => "it takes none".to_owned(),
            _ => format!("it takes {}", known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")),
        };
        match fields.keys().find(|key| known.iter().all(|(name, _)| name != key)) {
            Some(other) => {
                Err(Fault::input(format!("the input has an unknown field {other:?}: {}", names())))
            }
            None => Ok(Self { fields, whole: Value::Null }),
        }
    }

    /// The input, where it is taken as a whole.
    pub const fn whole(&self) -> &Value {
        &self.whole
    }

    /// A field, where it is there.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    pub fn need(&self, name: &str) -> Result<&Value, Fault> {
        self.get(name).ok_or_else(|| Fault::input(format!("the input has no “{name}”")))
    }

    /// A text that must be there.
    pub fn text(&self, name: &str) -> Result<&str, Fault> {
        let value = self.need(name)?;
        value.as_str().ok_or_else(|| wrong(name, value, "a text"))
    }

    /// A text, or another one where it is not there.
    pub fn text_or<'i>(&'i self, name: &str, other: &'i str) -> Result<&'i str, Fault> {
        self.get(name).map_or(Ok(other), |value| value.as_str().ok_or_else(|| wrong(name, value, "a text")))
    }

    /// A whole number from 0 to `max`, or another one where it is not there.
    pub fn number_or(&self, name: &str, other: u64, max: u64) -> Result<u64, Fault> {
        let Some(value) = self.get(name) else { return Ok(other) };
        value
            .as_u64()
            .filter(|number| *number <= max)
            .ok_or_else(|| wrong(name, value, &format!("a whole number from 0 to {max}")))
    }

    /// As [`number_or`](Self::number_or), for what is counted in memory.
    pub fn count_or(&self, name: &str, other: u64, max: u64) -> Result<usize, Fault> {
        self.number_or(name, other, max).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
    }

    /// Whether a field is true.
    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        self.get(name)
            .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| wrong(name, value, "true or false")))
    }

    /// A list that must be there.
    pub fn list(&self, name: &str) -> Result<&[Value], Fault> {
        let value = self.need(name)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| wrong(name, value, "a list"))
    }

    /// A list of texts that must be there.
    pub fn texts(&self, name: &str) -> Result<Vec<&str>, Fault> {
        let texts = self.list(name)?.iter();
        texts.map(|one| one.as_str().ok_or_else(|| wrong(name, one, "a list of texts"))).collect()
    }

    /// A map that must be there.
    pub fn map(&self, name: &str) -> Result<&Map<String, Value>, Fault> {
        let value = self.need(name)?;
        value.as_object().ok_or_else(|| wrong(name, value, "a map"))
    }
}

fn wrong(name: &str, value: &Value, wanted: &str) -> Fault {
    let shown = match value {
        Value::Number(number) => number.to_string(),
        other => noun(other).to_owned(),
    };
    Fault::input(format!("“{name}” is {shown}, not {wanted}"))
}

/// What kind of value it is.
pub const fn noun(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
