//! Inputs and outputs: JSON that is carried as it stands.

use std::fmt;

use engine::workflow::depth;
use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

/// Deepest nesting of a payload: half of what `serde_json` reads at most.
pub const DEPTH_MAX: usize = 64;

/// A JSON value in its own words, so that no number loses a digit and a hash of it stays right.
///
/// # Invariants
///
/// It is one line, and nested no deeper than [`DEPTH_MAX`].
#[derive(Clone)]
pub struct Payload(Box<RawValue>);

/// Why a JSON value is no payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It is nested too deeply.
    #[error("is nested deeper than {DEPTH_MAX}")]
    Depth,
    /// It has more than one line.
    #[error("has more than one line")]
    Lines,
    /// It has no JSON form.
    #[error("has no JSON form")]
    NotJson,
}

impl Payload {
    /// A value as payload, in its shortest form.
    ///
    /// # Errors
    ///
    /// See [`Unfit`].
    pub fn of(value: &impl Serialize) -> Result<Self, Unfit> {
        Self::new(to_raw_value(value).map_err(|_| Unfit::NotJson)?)
    }

    pub(super) fn new(raw: Box<RawValue>) -> Result<Self, Unfit> {
        if raw.get().contains(['\n', '\r']) {
            return Err(Unfit::Lines);
        }
        if depth(raw.get()) > DEPTH_MAX {
            return Err(Unfit::Depth);
        }
        Ok(Self(raw))
    }

    /// A JSON text as payload, as it stands.
    ///
    /// # Errors
    ///
    /// See [`Unfit`].
    pub fn from_json(json: String) -> Result<Self, Unfit> {
        Self::new(RawValue::from_string(json).map_err(|_| Unfit::NotJson)?)
    }

    /// The JSON text, for good.
    #[must_use]
    pub fn into_json(self) -> String {
        Box::<str>::from(self.0).into_string()
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_no_brackets_in_texts() {
        for (json, expected) in
            [("1", 0), ("[]", 1), (r#"{"a":[1,[2]]}"#, 3), (r#"["[[[","\"[",[]]"#, 2), (r#""\\""#, 0)]
        {
            assert_eq!(depth(json), expected, "{json}");
        }
    }
}
