//! What can go wrong, told apart by what the caller does about it.

use std::io;

/// Why a capture or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("cannot {action} {path}: {cause}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// There is no room for the new contents; nothing was changed. Free some and try again.
    #[error(
        "no space for {needed} bytes of new contents under {path}, {free} are free: free some, then try again"
    )]
    Full {
        /// The root.
        path: String,
        /// What the new contents take, in bytes.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
    },
    /// The chunk store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The log cannot be gone on with.
    #[error(transparent)]
    Replay(#[from] crate::replay::Error),
    /// The checkpoint is not what was written: take another one.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(String),
    /// It was written by a newer release: use that one.
    #[error("the checkpoint has format version {found}, this release knows up to {known}: use a newer one")]
    Version {
        /// The version that it names.
        found: u32,
        /// The newest version that is known here.
        known: u32,
    },
    /// Nothing was captured: name a folder or load the module.
    #[error("a checkpoint without any entry would restore nothing: name a folder, or load the kernel module")]
    Empty,
    /// The token device failed or refused.
    #[error("the token device: {0}")]
    Device(String),
    /// It is not allowed or not possible here, and nothing was changed by this call.
    #[error("refused: {0}")]
    Refused(String),
    /// The helper could not finish what it was asked: undo.
    #[error("the restore helper failed: {0}")]
    Failed(String),
    /// Another program holds it: nothing was changed by this call. Try again when that has ended its work.
    #[error("{0}")]
    Busy(String),
    /// A phase of a restore has taken longer than it may: undo. Give it more time (`checkpoint.phase_s` in the daemon's configuration) where
    /// there is so much to restore.
    #[error("the phase “{phase}” has taken longer than the {limit_s} s that it may (checkpoint.phase_s)")]
    Late {
        /// Which.
        phase: &'static str,
        /// Its limit.
        limit_s: u64,
    },
    /// An earlier restore was not finished: resume or abandon it first.
    #[error("an earlier restore of {0} was not finished: resume or abandon it first")]
    Unfinished(String),
    /// What is there now is not what the checkpoint holds; the list says where.
    #[error("{} places are not as in the checkpoint, the first: {}", .0.len(), .0.first().map_or("", String::as_str))]
    Differs(Vec<String>),
    /// Something is larger than its named limit.
    #[error("{what} of {found} is over the limit of {limit}")]
    Limit {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The other end of the helper's socket is gone or speaks nonsense: restart both.
    #[error("the restore helper cannot be reached: {0}")]
    Helper(String),
    /// An argument that cannot be what it claims to be.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// Whether the checkpoint, or what it refers to, is not what was written: another may be whole.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged(_)
                | Self::Version { .. }
                | Self::Store(store::Error::Damaged(_) | store::Error::Absent { .. })
        )
    }

    /// An error of the operating system.
    pub(crate) fn io(action: &'static str, path: &[u8], cause: impl Into<io::Error>) -> Self {
        Self::Io { action, path: shown(path), cause: cause.into() }
    }

    /// The error number of the operating system, if that is where it came from.
    pub(crate) fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Io { cause, .. } => rustix::io::Errno::from_io_error(cause),
            _ => None,
        }
    }
}

/// A path for people: what is not text or would move the cursor is escaped.
#[must_use]
pub fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".into();
    }
    String::from_utf8_lossy(path).escape_debug().to_string()
}

/// A length as a number of fixed width.
pub(crate) fn length(value: usize) -> u64 {
    // No supported machine has addresses of more than 64 bits.
    u64::try_from(value).unwrap_or(u64::MAX)
}
