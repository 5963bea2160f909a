//! What a run of survival tells: one line for each figure, from the laptop to the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bench::{Better, Figure};

/// What a line of the standard output begins with that holds a figure.
const MARK: &str = "figure ";

/// One figure. Less is better; more than the goal is a failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// What was run.
    pub variant: String,
    /// What was counted or measured, with its unit.
    pub metric: String,
    /// The count, or one value for each trial.
    pub samples: Vec<f64>,
    /// What no sample may exceed.
    pub goal: f64,
    /// What the reader must know to judge it.
    pub notes: Vec<String>,
    /// Further keys.
    pub more: BTreeMap<String, Value>,
}

impl Told {
    /// A count of what must never happen, out of so many trials.
    #[must_use]
    pub fn violations(variant: &str, metric: &str, count: u32, tried: u32) -> Self {
        let (variant, metric) = (variant.to_owned(), metric.to_owned());
        let told = Self {
            variant,
            metric,
            samples: vec![f64::from(count)],
            goal: 0.0,
            notes: vec![],
            more: BTreeMap::new(),
        };
        told.with("tried", tried)
    }

    /// With a further key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.more.insert(key.to_owned(), value.into());
        self
    }

    /// With a note.
    #[must_use]
    pub fn noted(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// No sample exceeds the goal, and at least one trial was made.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        let tried = self.more.get("tried").and_then(Value::as_u64);
        !self.samples.is_empty() && tried != Some(0) && self.samples.iter().all(|sample| *sample <= self.goal)
    }

    /// As a line.
    ///
    /// # Errors
    ///
    /// A sample is no number.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{MARK}{}", serde_json::to_string(self)?))
    }

    /// What a line tells; none if it is not one of these.
    ///
    /// # Errors
    ///
    /// It begins like one and goes on otherwise.
    pub fn parse(line: &str) -> Result<Option<Self>, serde_json::Error> {
        line.strip_prefix(MARK).map(serde_json::from_str).transpose()
    }

    /// In the form of a benchmark's figure, which has no peer here.
    #[must_use]
    pub fn figure(self) -> Figure {
        let mut more: serde_json::Map<String, Value> = self.more.clone().into_iter().collect();
        more.insert("goal".to_owned(), json!({ "ours": self.goal }));
        more.insert("reached".to_owned(), json!(self.is_reached()));
        let worst = self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        more.insert("worst".to_owned(), json!((worst * 1000.0).round() / 1000.0));
        let mut notes = self.notes;
        let tried = more.get("tried").map_or(String::new(), |tried| format!(" in {tried} trials"));
        notes.push(format!("the worst is {worst:.0}{tried}; the goal is {:.0} at most", self.goal));
        Figure {
            // As long as the program runs: there are a handful.
            variant: self.variant.leak(),
            metric: self.metric.leak(),
            better: Better::Lower,
            ours: self.samples,
            peers: vec![],
            notes,
            more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_told() {
        let told = Told::violations("kills", "lost", 0, 15).with("seed", 7).noted("a note");
        assert_eq!(Told::parse(&told.line().unwrap()).unwrap(), Some(told));
        assert_eq!(Told::parse("progress").unwrap(), None);
        assert!(Told::parse("figure {}").is_err());
    }

    #[test]
    fn nothing_tried_is_no_success() {
        let reached = |count, tried| Told::violations("kills", "lost", count, tried).is_reached();
        assert!(reached(0, 1));
        assert!(!reached(0, 0));
        assert!(!reached(1, 10));
    }
}
