//! Workflows as their files describe them.
//!
//! - [`step`]: one step, who does it, and how many times over
//! - [`template`]: inputs that are made of what came before

pub mod step;

pub mod template;

use std::fmt;
use std::str::FromStr;

use crate::agent::{Milliseconds, Name};
use crate::hash::Hash;

pub use self::step::{Compare, Mode, Step, Take, Who};
pub use self::template::{Comparison, Expression, Key, Piece, Template};

/// Most steps of a workflow.
pub const STEPS_MAX: usize = 256;
/// Most parameters.
pub const PARAMS_MAX: usize = 64;
/// Most bytes of a step's input once it is filled in, and of a run's params together, as JSON: it must fit one line to an agent, and
/// one fact.
pub const INPUT_MAX: usize = 48 << 10;
/// Deepest nesting of lists and maps in such a value: what agents are told nests no deeper.
pub const DEPTH_MAX: usize = 64;
/// Deepest nesting of an expression; each operator of a chain counts.
pub const NESTING_MAX: usize = 32;
/// How long a whole run may take unless the file says otherwise.
pub const TIMEOUT: Milliseconds = Milliseconds(300_000);

/// A workflow that was understood and checked as a whole: its needs form no circle, and whatever it refers to is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Workflow {
    /// What it is called.
    pub name: Name,
    /// What it is for, in its author's words.
    pub description: Option<String>,
    /// What a run is given.
    pub params: Vec<Param>,
    /// In the file's order.
    pub steps: Vec<Step>,
    /// How long a run may take.
    pub timeout: Milliseconds,
    /// Which runs come first where agents are short.
    pub priority: Priority,
    /// What becomes of a run of which a step failed, unless the step says otherwise.
    pub on_failure: OnFailure,
    /// SHA-256 of the whole file.
    pub hash: Hash,
}

/// A value that a run is given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// Its name.
    pub name: Name,
    /// Of what kind it is.
    pub kind: Kind,
    /// What it is where a run does not say, as JSON text; a run must say where this is missing.
    pub default: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// The kinds of values, as JSON tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// A text.
    Text,
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// A list.
    List,
    /// A map.
    Map,
}

/// Which runs come first where agents are short.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Priority {
    /// After all others.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before all others.
    High,
}

/// What becomes of a run of which a step failed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum OnFailure {
    /// What does not need the step goes on.
    Continue,
    /// Nothing begins any more, and the run has failed.
    #[default]
    Stop,
    /// The same, and what the run has changed is undone, the newest first.
    RollBack,
}

/// How a step ended, as `steps.ID.status` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Status {
    /// It has an output.
    Done,
    /// It has none, though it was tried.
    Failed,
    /// Its `if` was not true.
    Skipped,
}

/// A text that is none of a few words; these are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAWord(pub &'static str);

impl fmt::Display for NotAWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is none of {}", self.0)
    }
}

impl std::error::Error for NotAWord {}

/// Words that are written and read in one form.
macro_rules! words {
    ($kind:ident, $all:literal, $($word:literal => $variant:ident),+) => {
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }

        impl FromStr for $kind {
            type Err = NotAWord;

            fn from_str(text: &str) -> Result<Self, NotAWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(NotAWord($all)),
                }
            }
        }
    };
}
pub(crate) use words;

words!(Kind, "text, number, bool, list, map",
    "text" => Text, "number" => Number, "bool" => Bool, "list" => List, "map" => Map);
words!(Priority, "low, normal, high", "low" => Low, "normal" => Normal, "high" => High);
words!(OnFailure, "continue, stop, roll-back",
    "continue" => Continue, "stop" => Stop, "roll-back" => RollBack);
words!(Status, "done, failed, skipped", "done" => Done, "failed" => Failed, "skipped" => Skipped);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for kind in [Kind::Text, Kind::Number, Kind::Bool, Kind::List, Kind::Map] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for on_failure in [OnFailure::Continue, OnFailure::Stop, OnFailure::RollBack] {
            assert_eq!(on_failure.to_string().parse(), Ok(on_failure));
        }
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            assert_eq!(priority.to_string().parse(), Ok(priority));
        }
        for status in [Status::Done, Status::Failed, Status::Skipped] {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
        assert_eq!(
            "Stop".parse::<OnFailure>().unwrap_err().to_string(),
            "is none of continue, stop, roll-back"
        );
    }
}
