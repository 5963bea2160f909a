//! Ids, codes and levels.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Longest id or code, bytes.
pub const WORD_MAX: usize = 64;

/// Names a task, a call or a piece of work: 1 to 64 of `A–Z`, `a–z`, `0–9`, `.`, `_`, `:` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Id(String);

/// What kind of failure: 1 to 64 of `a–z`, `0–9` and `-`, a letter first.
///
/// Known to both sides: `cancelled`, `denied`, `failed`, `input`, `timeout`, `unavailable`; agents may have their own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct Code(String);

/// How much a record matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// For who looks for a fault.
    Debug,
    /// As it should be.
    Info,
    /// Not as it should be, and the agent goes on.
    Warning,
    /// Something failed.
    Error,
}

/// A text that is not such a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("is not {0}")]
pub struct NotAWord(&'static str);

impl Id {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Id {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        if text.is_empty() || text.len() > WORD_MAX || !text.bytes().all(is_sign) {
            return Err(NotAWord("an id of 1 to 64 letters, digits, “.”, “_”, “:” and “-”"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The codes that both sides know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// It was cancelled.
    Cancelled,
    /// The gate refused.
    Denied,
    /// It was tried, and failed.
    Failed,
    /// What it was given makes no sense.
    Input,
    /// Its time was up.
    Timeout,
    /// What it takes is not there now; trying again may help.
    Unavailable,
}

impl From<Known> for Code {
    fn from(known: Known) -> Self {
        let text = match known {
            Known::Cancelled => "cancelled",
            Known::Denied => "denied",
            Known::Failed => "failed",
            Known::Input => "input",
            Known::Timeout => "timeout",
            Known::Unavailable => "unavailable",
        };
        Self(text.to_owned())
    }
}

impl Code {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Code {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        let is_sign = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let is_begun = text.starts_with(|c: char| c.is_ascii_lowercase());
        if !is_begun || text.len() > WORD_MAX || !text.bytes().all(is_sign) {
            return Err(NotAWord("a code of 1 to 64 of a–z, 0–9 and “-”, a letter first"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Level {
    type Err = NotAWord;

    fn from_str(text: &str) -> Result<Self, NotAWord> {
        [Self::Debug, Self::Info, Self::Warning, Self::Error]
            .into_iter()
            .find(|level| level.to_string() == text)
            .ok_or(NotAWord("debug, info, warning or error"))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A word in the form in which it is shown.
pub(super) fn shown<T: fmt::Display, S: Serializer>(word: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(word)
}
