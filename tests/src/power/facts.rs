//! What the laptop acknowledged, as lines: it tells the host, outside of the disk that loses power, and is asked for it at the next start.

use std::fmt;
use std::str::FromStr;

/// Something that was acknowledged: a power cut must not take it away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acknowledged {
    /// The note with this text stands at this place of the log.
    Note {
        /// The place.
        index: u64,
        /// The text, without spaces.
        text: String,
    },
    /// A token was set to a value, and each later value is larger.
    Token {
        /// The token.
        id: u16,
        /// The value.
        value: u32,
    },
    /// There is a checkpoint of this name, without spaces.
    Checkpoint {
        /// The name.
        name: String,
    },
    /// Everything up to here was checked after a start; the log had so many entries.
    Checked {
        /// Entries.
        entries: u64,
    },
}

/// A line that is none of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this line tells nothing that was acknowledged")]
pub struct Unknown;

impl fmt::Display for Acknowledged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note { index, text } => write!(out, "note {index} {text}"),
            Self::Token { id, value } => write!(out, "token {id:#06x} {value}"),
            Self::Checkpoint { name } => write!(out, "checkpoint {name}"),
            Self::Checked { entries } => write!(out, "checked {entries}"),
        }
    }
}

impl FromStr for Acknowledged {
    type Err = Unknown;

    fn from_str(line: &str) -> Result<Self, Unknown> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse().map_err(|_| Unknown);
        match *words.as_slice() {
            ["note", index, text] => Ok(Self::Note { index: number(index)?, text: text.to_owned() }),
            ["token", id, value] => {
                let id = id.strip_prefix("0x").and_then(|id| u16::from_str_radix(id, 16).ok());
                Ok(Self::Token { id: id.ok_or(Unknown)?, value: value.parse().map_err(|_| Unknown)? })
            }
            ["checkpoint", name] => Ok(Self::Checkpoint { name: name.to_owned() }),
            ["checked", entries] => Ok(Self::Checked { entries: number(entries)? }),
            _ => Err(Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_acknowledged() {
        let all = [
            Acknowledged::Note { index: 7, text: "cut-3/2/15".into() },
            Acknowledged::Token { id: 0x8060, value: 17 },
            Acknowledged::Checkpoint { name: "cut-3-1".into() },
            Acknowledged::Checked { entries: 5 },
        ];
        for one in all {
            let line = one.to_string();
            assert_eq!(line.parse(), Ok(one));
            // The power went in the middle of a line: what is left is not taken for something else.
            assert_eq!(line.split_once(' ').unwrap().0.parse::<Acknowledged>(), Err(Unknown));
        }
        assert_eq!("token 8060 17".parse::<Acknowledged>(), Err(Unknown));
    }
}
