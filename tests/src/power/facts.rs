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
    /// What the folder of checkpoints' files, with a token, holds from here on.
    Folder(Folder),
    /// Everything up to here was checked after a start; the log had so many entries.
    Checked {
        /// Entries.
        entries: u64,
    },
}

/// What a folder may hold; each state is a word ([`super::folder`]), a second one and what a token holds, with a dot between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Folder {
    /// Anything: it is being changed.
    Changing,
    /// This.
    Still(String),
    /// What it held before a restore or what it is to hold after it, once the restore has been ended.
    Restoring {
        /// A whole new folder takes its place, so it holds one of both at every moment.
        at_once: bool,
        /// Before.
        before: String,
        /// After.
        after: String,
    },
}

impl Folder {
    /// Whether it may hold this, once the daemon has started.
    #[must_use]
    pub fn may_hold(&self, found: &str) -> bool {
        match self {
            Self::Changing => true,
            Self::Still(state) => state == found,
            Self::Restoring { before, after, .. } => [before, after].iter().any(|state| *state == found),
        }
    }

    /// Whether a disk that nobody has looked at since may hold this: of a state the first word counts.
    #[must_use]
    pub fn may_lie(&self, contents: &str) -> bool {
        let is = |state: &String| state.split('.').next() == Some(contents);
        match self {
            Self::Changing | Self::Restoring { at_once: false, .. } => true,
            Self::Still(state) => is(state),
            Self::Restoring { at_once: true, before, after } => is(before) || is(after),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changing => out.write_str("folder changing"),
            Self::Still(state) => write!(out, "folder still {state}"),
            Self::Restoring { at_once: true, before, after } => {
                write!(out, "folder at-once {before} {after}")
            }
            Self::Restoring { at_once: false, before, after } => {
                write!(out, "folder in-place {before} {after}")
            }
        }
    }
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
            Self::Folder(folder) => folder.fmt(out),
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
            ["folder", "changing"] => Ok(Self::Folder(Folder::Changing)),
            ["folder", "still", state] => Ok(Self::Folder(Folder::Still(state.to_owned()))),
            ["folder", way @ ("at-once" | "in-place"), before, after] => {
                Ok(Self::Folder(Folder::Restoring {
                    at_once: way == "at-once",
                    before: before.to_owned(),
                    after: after.to_owned(),
                }))
            }
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
            Acknowledged::Folder(Folder::Changing),
            Acknowledged::Folder(Folder::Still("0a.1b.7".into())),
            Acknowledged::Folder(Folder::Restoring {
                at_once: true,
                before: "0a".into(),
                after: "1b".into(),
            }),
            Acknowledged::Folder(Folder::Restoring {
                at_once: false,
                before: "0a".into(),
                after: "1b".into(),
            }),
        ];
        for one in all {
            let line = one.to_string();
            assert_eq!(line.parse(), Ok(one));
            // The power went in the middle of a line: what is left is not taken for something else.
            assert_eq!(line.split_once(' ').unwrap().0.parse::<Acknowledged>(), Err(Unknown));
        }
        let restoring =
            |at_once| Folder::Restoring { at_once, before: "0a.1b.7".into(), after: "2c.3d.8".into() };
        for (folder, held, lain) in [
            (Folder::Changing, true, true),
            (Folder::Still("0a.1b.7".into()), true, true),
            (Folder::Still("0a.1b.8".into()), false, true),
            (Folder::Still("2c.1b.7".into()), false, false),
            (restoring(true), true, true),
            (restoring(false), true, true),
        ] {
            assert_eq!((folder.may_hold("0a.1b.7"), folder.may_lie("0a")), (held, lain), "{folder:?}");
        }
        assert!(!restoring(true).may_hold("0a.1b.8") && !restoring(true).may_lie("ff"));
        assert!(!restoring(false).may_hold("ff.1b.7") && restoring(false).may_lie("ff"));
        assert_eq!("token 8060 17".parse::<Acknowledged>(), Err(Unknown));
    }
}
