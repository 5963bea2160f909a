//! Who refused, and why.

use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use types::token::{Denied, TokenId};

use crate::ioctl::Failed;
use crate::uapi;

/// Why a request to the module came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The node cannot be opened.
    #[error("cannot open {path}: {source}; is the module dsmil loaded, and may this user open its node?")]
    Open {
        /// The node.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The node is not ours, or its module is older than this build needs.
    #[error(
        "the kernel module speaks version {found} of the interface, and version {needed} is needed; load the module of this release"
    )]
    Abi {
        /// The module's version, 0 if the node is not one of this module.
        found: u32,
        /// The oldest version that will do.
        needed: u32,
    },
    /// The firmware's table has no such token.
    #[error("the firmware has no token {0}")]
    Unknown(TokenId),
    /// The token is write-only.
    #[error("token {0} cannot be read")]
    NotReadable(TokenId),
    /// The module holds no value of the token: nobody has read it since it was loaded.
    #[error("no value of token {0} is in the cache; read it from the firmware")]
    NotCached(TokenId),
    /// The module never writes the token, whoever asks.
    #[error("token {id} is never written: {rule}")]
    NeverWritten {
        /// The token.
        id: TokenId,
        /// The rule that denies it.
        rule: Denied,
    },
    /// No allow-list has been sealed since the module was loaded.
    #[error("no allow-list is sealed, so nothing may be written; seal one with “dsmild seal”")]
    NotSealed,
    /// An allow-list is sealed already, and stays until the module is reloaded.
    #[error("the allow-list is sealed until the module is reloaded")]
    Sealed,
    /// The token is not on the sealed allow-list.
    #[error("token {0} is not on the sealed allow-list")]
    NotAllowed(TokenId),
    /// An allow-list has some, but not all, tokens of a location.
    #[error("the allow-list must also have token {missing}: it shares a location with one that it has")]
    PartialLocation {
        /// A token that is missing.
        missing: TokenId,
    },
    /// Who opened the node may not change anything through it.
    #[error(
        "changes need a node opened for writing by a process with CAP_SYS_ADMIN in the initial namespace"
    )]
    Privilege,
    /// The kernel is locked down.
    #[error("the kernel is locked down: firmware settings cannot be changed")]
    LockedDown,
    /// The request makes no sense; it would not at any other time.
    #[error("{}{what}", at(*.index, *.id))]
    Invalid {
        /// Index of the entry to blame, if one is.
        index: Option<usize>,
        /// The token to blame, if one is.
        id: Option<TokenId>,
        /// What is wrong with it.
        what: Invalid,
    },
    /// The location holds another value than the caller expected; nothing was written.
    #[error("token {id} holds {found:#06x}, not the value that was expected; nothing was written")]
    Unexpected {
        /// The token.
        id: TokenId,
        /// The value that stands there.
        found: u32,
    },
    /// Another transaction is open, or another change is pending.
    #[error("another change is pending; try again once it is confirmed or undone")]
    Busy,
    /// The module is retrying an undo that the firmware refuses.
    #[error("an earlier change is still being undone; nothing can be written until that succeeds")]
    Undoing,
    /// The firmware is called too often; nothing was done.
    #[error("the firmware is called too often; try again in {} ms", .wait.as_millis())]
    RateLimited {
        /// How long until the same request would be served.
        wait: Duration,
    },
    /// Values kept changing while they were read.
    #[error("the values kept changing while they were read; try again")]
    Changed,
    /// A BIOS administrator password forbids the write.
    #[error(
        "a BIOS administrator password forbids writing token {id}: take it off in the firmware’s set-up{undo}"
    )]
    Password {
        /// The token.
        id: TokenId,
        /// What became of the other changes of the transaction.
        undo: Undo,
    },
    /// The firmware, or the way to it, failed.
    #[error("the firmware failed at token {id}: {source} (status {status}){undo}")]
    Firmware {
        /// The token.
        id: TokenId,
        /// The error.
        source: Errno,
        /// The firmware's own status: −1 completed with error, −2 not supported, −3 no answer, 0 not reached.
        status: i32,
        /// What became of a change that was under way.
        undo: Undo,
    },
    /// The firmware reported success, but holds another value.
    #[error("the firmware did not keep the value written to token {id}: it holds {found:#06x}{undo}")]
    NotStuck {
        /// The token.
        id: TokenId,
        /// The value that stands there.
        found: u32,
        /// What became of the change.
        undo: Undo,
    },
    /// The change is open or pending no longer: undone at its deadline, or settled before.
    #[error("the change is pending no longer: it was settled before, or undone at its deadline")]
    NotPending,
    /// The change belongs to another open file or process.
    #[error("the pending change belongs to another process")]
    NotOwner,
    /// The system refused for a reason that is not about tokens.
    #[error("{call} on the dsmil node failed: {source}")]
    System {
        /// What was asked.
        call: &'static str,
        /// The system's reason.
        source: Errno,
    },
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// No entries, or more than the module takes at once.
    #[error("the number of entries is out of range")]
    Count,
    /// The deadline is out of range.
    #[error("the deadline is out of range")]
    Deadline,
    /// Two entries for one location and select, or one id twice.
    #[error("another entry is about the same location")]
    Duplicate,
    /// Not the table value of any token of a shared location.
    #[error("the value is not that of any token at this shared location")]
    Value,
    /// The module does not know something that this build sends.
    #[error("the module does not understand the request")]
    Form,
    /// Nothing is staged.
    #[error("nothing is staged, so there is nothing to commit")]
    Empty,
    /// The transaction would have more entries than the module takes.
    #[error("the transaction would have too many entries")]
    Full,
}

/// What became of a change whose writing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undo {
    /// Nothing had been written.
    NotNeeded,
    /// The old values are back.
    Done,
    /// The old values are not back yet: the module goes on trying.
    Retrying,
    /// The old values are back, but for locations that somebody else had changed.
    Left,
}

impl std::fmt::Display for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotNeeded => "",
            Self::Done => "; the old values are back",
            Self::Retrying => "; the old values are not back yet, the module goes on trying",
            Self::Left => "; the old values are back, but for locations that somebody else had changed",
        })
    }
}

impl Undo {
    const fn from_number(number: u32) -> Self {
        match number {
            uapi::DSMIL_UNDO_NONE => Self::NotNeeded,
            uapi::DSMIL_UNDO_DONE => Self::Done,
            uapi::DSMIL_UNDO_LEFT => Self::Left,
            // What is not known is not claimed to be over.
            _ => Self::Retrying,
        }
    }
}

impl Error {
    /// The same about an entry that stands behind `before` others in what the caller gave.
    pub(crate) fn behind(self, before: usize) -> Self {
        match self {
            Self::Invalid { index: Some(index), id, what } => {
                Self::Invalid { index: index.checked_add(before), id, what }
            }
            other => other,
        }
    }

    /// A failure that the module described.
    pub(crate) fn from_failed(call: &'static str, failed: Failed) -> Self {
        let Failed { errno, failure, undo } = failed;
        let id = TokenId(failure.id);
        let undo = Undo::from_number(undo);
        let invalid = |what| Self::Invalid {
            index: (failure.index != uapi::DSMIL_NO_INDEX)
                .then(|| usize::try_from(failure.index).ok())
                .flatten(),
            id: (failure.id != 0).then_some(id),
            what,
        };
        match failure.reason {
            uapi::DSMIL_REASON_COUNT => invalid(Invalid::Count),
            uapi::DSMIL_REASON_EMPTY => invalid(Invalid::Empty),
            uapi::DSMIL_REASON_FULL => invalid(Invalid::Full),
            uapi::DSMIL_REASON_DEADLINE => invalid(Invalid::Deadline),
            uapi::DSMIL_REASON_RESERVED
            | uapi::DSMIL_REASON_SELECT
            | uapi::DSMIL_REASON_COMMITTED
            | uapi::DSMIL_REASON_NOT_COMMITTED => invalid(Invalid::Form),
            uapi::DSMIL_REASON_DUPLICATE => invalid(Invalid::Duplicate),
            uapi::DSMIL_REASON_VALUE => invalid(Invalid::Value),
            uapi::DSMIL_REASON_UNKNOWN => Self::Unknown(id),
            uapi::DSMIL_REASON_NEVER_WRITTEN => {
                Self::NeverWritten { id, rule: denied(failure.rule).unwrap_or(Denied::Other(0)) }
            }
            uapi::DSMIL_REASON_NOT_SEALED => Self::NotSealed,
            uapi::DSMIL_REASON_SEALED => Self::Sealed,
            uapi::DSMIL_REASON_NOT_ALLOWED => Self::NotAllowed(id),
            uapi::DSMIL_REASON_PARTIAL_LOCATION => Self::PartialLocation { missing: id },
            uapi::DSMIL_REASON_CAPABILITY | uapi::DSMIL_REASON_READ_ONLY_FILE => Self::Privilege,
            uapi::DSMIL_REASON_LOCKED_DOWN => Self::LockedDown,
            uapi::DSMIL_REASON_EXPECTED => Self::Unexpected { id, found: failure.found },
            uapi::DSMIL_REASON_BUSY => Self::Busy,
            uapi::DSMIL_REASON_UNDOING => Self::Undoing,
            uapi::DSMIL_REASON_FIRMWARE => Self::Firmware { id, source: errno, status: failure.status, undo },
            uapi::DSMIL_REASON_NOT_STUCK => Self::NotStuck { id, found: failure.found, undo },
            uapi::DSMIL_REASON_PASSWORD => Self::Password { id, undo },
            uapi::DSMIL_REASON_RATE => {
                Self::RateLimited { wait: Duration::from_millis(u64::from(failure.wait_ms)) }
            }
            uapi::DSMIL_REASON_CHANGED => Self::Changed,
            uapi::DSMIL_REASON_NO_TRANSACTION => Self::NotPending,
            uapi::DSMIL_REASON_NOT_OWNER => Self::NotOwner,
            _ => Self::System { call, source: errno },
        }
    }
}

/// A system call that failed for a reason that is not about tokens.
pub(crate) const fn system(call: &'static str, source: Errno) -> Error {
    Error::System { call, source }
}

/// The rule of a `DSMIL_RULE_*` number.
pub(crate) fn denied(rule: u16) -> Option<Denied> {
    match u32::from(rule) {
        uapi::DSMIL_RULE_NONE => None,
        uapi::DSMIL_RULE_QUARANTINE => Some(Denied::Quarantine),
        uapi::DSMIL_RULE_POWER => Some(Denied::Power),
        uapi::DSMIL_RULE_DESTRUCTIVE => Some(Denied::Destructive),
        uapi::DSMIL_RULE_UPSTREAM => Some(Denied::Upstream),
        uapi::DSMIL_RULE_SHARED_LOCATION => Some(Denied::SharedLocation),
        _ => Some(Denied::Other(u8::try_from(rule).unwrap_or(u8::MAX))),
    }
}

fn at(index: Option<usize>, id: Option<TokenId>) -> String {
    match (index, id) {
        (Some(index), Some(id)) => format!("entry {index}, token {id}: "),
        (Some(index), None) => format!("entry {index}: "),
        _ => String::new(),
    }
}
