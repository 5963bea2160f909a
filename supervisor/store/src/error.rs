//! What can go wrong, told apart by what the caller does about it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation; nothing was acknowledged.
    #[error("cannot {action} {}: {cause}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// Another process has it open for writing: ask that process, or stop it.
    #[error("{} is in use by another process; ask the daemon, or stop it first", path.display())]
    Locked {
        /// The folder that is locked.
        path: PathBuf,
    },
    /// It does not exist: create it, or name another.
    #[error("there is no {what} at {}", path.display())]
    Absent {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// It exists already and is never overwritten: take another name or number.
    #[error("{} exists already and is never overwritten", path.display())]
    Exists {
        /// What is in the way.
        path: PathBuf,
    },
    /// Bytes that were written are no longer what was written: stop, and restore or salvage.
    #[error("{0}{next}", next = .0.next_step())]
    Damaged(Box<Damage>),
    /// A log cannot be opened from this place: open it as a whole, which says what is wrong with it, if anything is.
    #[error("{} cannot be opened from entry {entries} on: {why}; open it as a whole", path.display())]
    Unproven {
        /// The log.
        path: PathBuf,
        /// The size at which it should be opened.
        entries: u64,
        /// What is missing or disagrees.
        why: String,
    },
    /// The first entries were archived: open it from a snapshot, or bring the archived files back.
    #[error("the entries before {until} of {} are archived, and there is no snapshot behind them to start from: “dsmil log salvage OUT --archive DIR” makes a log that has them again", path.display())]
    Archived {
        /// The log.
        path: PathBuf,
        /// The first entry that it still holds.
        until: u64,
    },
    /// No space is left; nothing of this call was written or acknowledged. Wait, free space, try again.
    #[error("no space is left for {}: free some, then try again", path.display())]
    Full {
        /// The file that could not grow.
        path: PathBuf,
    },
    /// A write or flush failed, so what the disk holds is unknown: the process must stop at once and open anew.
    #[error("writing to {} failed, what it holds is unknown: stop and open it anew ({cause})", path.display())]
    Flush {
        /// The file that was written.
        path: PathBuf,
        /// What the operating system said, or that an earlier flush had failed.
        cause: io::Error,
    },
    /// Something is larger than its named limit.
    #[error("{what} of {found} bytes is over the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// It was written by a newer release: use that one.
    #[error("{} has format version {found}, this release knows up to {known}: use a newer one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        found: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// The key does not belong to it: unseal the right one.
    #[error("the key does not open {}: take the key that it was created with", path.display())]
    Key {
        /// What the key was tried on.
        path: PathBuf,
    },
    /// An argument or a text that cannot be what it claims to be.
    #[error("{0}")]
    Invalid(String),
}

/// Where bytes are no longer what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file that holds the bad bytes.
    pub file: PathBuf,
    /// Where in the file what is damaged begins, in bytes.
    pub offset: u64,
    /// What is damaged.
    pub place: Place,
    /// How it shows.
    pub why: &'static str,
}

/// What a damage hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The entry of this index.
    Entry(u64),
    /// One or more of these entries; which of them cannot be told.
    Entries(Range<u64>),
    /// The stored head of this number, counted from 0.
    Head(u64),
    /// The file as a whole.
    File,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Entry(index) => write!(f, "entry {index} is damaged")?,
            Place::Entries(range) => {
                write!(f, "an entry from {} to {} was changed", range.start, range.end.saturating_sub(1))?;
            }
            Place::Head(number) => write!(f, "head {number} is damaged")?,
            Place::File => f.write_str("file damaged")?,
        }
        write!(f, ": {} at byte {}: {}", self.file.display(), self.offset, self.why)
    }
}

impl Damage {
    /// What a message of a damaged log ends with; of another file there is nothing to salvage.
    fn next_step(&self) -> &'static str {
        match self.file.extension().and_then(|extension| extension.to_str()) {
            Some("log" | "heads") => "; “dsmil log salvage” copies what can be proven",
            _ => "",
        }
    }
}

impl Error {
    /// An error of the operating system: a full disk is told apart, since it passes.
    pub(crate) fn io(action: &'static str, path: &Path, cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path: path.into() },
            _ => Self::Io { action, path: path.into(), cause },
        }
    }

    /// A failure after which nobody knows what the disk holds.
    pub(crate) fn flush(path: &Path, cause: io::Error) -> Self {
        Self::Flush { path: path.into(), cause }
    }

    /// Bytes that are not what was written.
    pub(crate) fn damaged(file: &Path, offset: u64, place: Place, why: &'static str) -> Self {
        Self::Damaged(Box::new(Damage { file: file.into(), offset, place, why }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_log_names_the_next_step() {
        let text = |file: &str| Error::damaged(Path::new(file), 7, Place::Entry(3), "why").to_string();
        for file in ["/log/00000000000000000000.log", "/log/00000000000000000000.heads"] {
            assert!(text(file).ends_with("at byte 7: why; “dsmil log salvage” copies what can be proven"));
        }
        for other in ["/log", "/log/checkpoint", "/checkpoints/chunks/1.pack"] {
            assert!(text(other).ends_with("at byte 7: why"));
        }
    }
}
