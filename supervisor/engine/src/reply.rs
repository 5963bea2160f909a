//! What those who asked are told.

use std::fmt;

use policy::Denial;

use crate::command::RequestId;
use crate::order::{Item, Valued, Write};
use crate::retention::{Going, Keep, Reason};
use crate::scope::{Held, Others};
use crate::state::Checkpoint;

/// One message to whoever waits for a request.
#[derive(Clone, PartialEq, Debug)]
pub struct Reply {
    /// The request that it belongs to.
    pub request: RequestId,
    /// The message.
    pub body: Body,
}

/// The message.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// It goes on: the phase that is reached.
    Progress(&'static str),
    /// A run is under way: its number.
    Begun(u64),
    /// It is done.
    Done(Answer),
    /// It is not done.
    Refused(Refusal),
}

/// The answer to a request with an effect.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// What locations hold, or why that cannot be said.
    Read(Vec<(Item, Result<u32, String>)>),
    /// What they held before they were changed.
    Written(Vec<Valued>),
    /// The checkpoint that was taken.
    Checkpoint(Checkpoint),
    /// The checkpoint holds.
    Verified(VerifyReport),
    /// What a restore would change.
    Plan(PlanReport),
    /// What a restore changed.
    Restored(PlanReport),
    /// What a restore has put in place, which goes back unless it is confirmed.
    Awaiting {
        /// What it changed.
        report: PlanReport,
        /// In how many nanoseconds it goes back.
        left_ns: u64,
    },
    /// What a restore had put in place has gone back, as asked.
    TakenBack {
        /// The checkpoint's number.
        number: u64,
    },
    /// What differs.
    Diff(DiffReport),
    /// A checkpoint is deleted.
    Deleted {
        /// Its number.
        number: u64,
        /// Its name.
        name: String,
    },
    /// What would go.
    Pruning(PruneReport),
    /// What no rule kept and no checkpoint needs is gone.
    Pruned {
        /// Numbers of the checkpoints that are gone.
        numbers: Vec<u64>,
        /// What that freed.
        freed: Freed,
    },
    /// A note is in the log.
    Noted {
        /// Its place there, counted from 0: what a proof that it is there is asked for.
        index: u64,
    },
    /// Data is sealed: this is what came of it.
    Sealed(Vec<u8>),
    /// Sealed data is open; what it holds goes beside the engine.
    Unsealed,
    /// What the owner makes the vault of; the repository's key goes beside the engine.
    Prepared(Prepared),
    /// The vault has changed.
    VaultChanged,
    /// A run is done.
    Ran {
        /// Its number.
        run: u64,
    },
    /// A run is cancelled, paused or resumed.
    Controlled {
        /// Its number.
        run: u64,
    },
    /// Agents are approved of.
    Approved,
    /// An agent's processes are told to end.
    Restarted {
        /// How many.
        ended: usize,
    },
    /// Everything is stopped.
    Stopped {
        /// Until all agents stood still, nanoseconds.
        frozen_ns: Option<u64>,
        /// Until all were gone.
        killed_ns: Option<u64>,
        /// Processes that are left.
        left: Vec<i32>,
    },
    /// The revocation counter went on.
    Counted {
        /// Where it stands.
        value: u64,
    },
}

/// What the owner makes a vault of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// The terms that hold on the machine as it is, encoded, to be signed by the policy key.
    pub terms: Vec<u8>,
    /// SHA-256 of the key that signs the log's heads: the machine's identity.
    pub machine: types::hash::Hash,
    /// The repository's key, sealed to the policy key.
    pub sealed: Vec<u8>,
    /// The revocation counter's name.
    pub counter: [u8; 34],
    /// Where it stands.
    pub value: u64,
}

/// Why something was not done; each kind has its own exit status in the command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The rules deny it.
    Denied(Denial),
    /// Something else that excludes it is under way.
    Busy(String),
    /// There is no such thing.
    NotFound(String),
    /// The request makes no sense.
    Invalid(String),
    /// The log's disk is full.
    NoRoom,
    /// It was tried and failed; nothing is half-done.
    Failed(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denial) => write!(f, "denied: {denial}"),
            Self::Busy(what) => write!(f, "busy: {what} is under way; try again when it has ended"),
            Self::NotFound(what) => write!(f, "there is no {what}"),
            Self::Invalid(what) => write!(f, "invalid: {what}"),
            Self::NoRoom => f.write_str(
                "the disk of the log is full, and nothing is done that cannot be recorded: free some space",
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// What a capture stored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Captured {
    /// SHA-256 of the encoded manifest.
    pub manifest: types::hash::Hash,
    /// Files, folders and links.
    pub files: u64,
    /// Token values.
    pub tokens: u64,
    /// Bytes of files' content.
    pub bytes: u64,
    /// Files that were read, not recognised as unchanged.
    pub read: Option<u64>,
    /// What was left out and why, in words for people.
    pub skipped: Vec<String>,
    /// Entries of the other components.
    pub others: Others,
}

/// What checkpoints need on the disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Survey {
    /// Of which it is.
    pub going: Going,
    /// What all chunks take, bytes.
    pub stored_bytes: u64,
    /// What is needed if those go that go by count; if the oldest expendable one goes too; the oldest two, and so on.
    pub needed: Vec<u64>,
    /// The checkpoints that lie in the folder.
    pub present: Vec<u64>,
}

/// What would go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PruneReport {
    /// Every checkpoint, by number; those without a reason go.
    pub checkpoints: Vec<(Checkpoint, Vec<Reason>)>,
    /// What all chunks take, bytes.
    pub stored_bytes: u64,
    /// What is needed afterwards; less is freed than the difference, where rewriting a pack does not pay.
    pub needed_bytes: u64,
    /// Checkpoints in the folder of which the log knows nothing; what they need stays.
    pub unknown: Vec<u64>,
}

/// When checkpoints are taken that nobody asks for, and what stays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScheduleReport {
    /// Nanoseconds from one to the next; none: never by time.
    pub interval_ns: Option<u64>,
    /// In how many nanoseconds the next one is due.
    pub due_in_ns: Option<u64>,
    /// One is taken before each risky action.
    pub before_risky: bool,
    /// The restore that waits to be confirmed: the checkpoint's number, and in how many nanoseconds it goes back.
    pub awaiting: Option<(u64, u64)>,
    /// Which stay.
    pub keep: Keep,
    /// Every checkpoint, by number, and why it stays; those without a reason go with the next automatic one. Size is left aside.
    pub checkpoints: Vec<(Checkpoint, Vec<Reason>)>,
}

/// What pruning freed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Freed {
    /// Pack files that are gone, those that were rewritten among them.
    pub packs: u64,
    /// Of these rewritten.
    pub rewritten: u64,
    /// Chunks that are gone.
    pub chunks: u64,
    /// How much less the store takes on the disk, bytes.
    pub bytes: u64,
    /// What is not needed and still there, because rewriting its pack does not pay or it is damaged, bytes.
    pub left_bytes: u64,
    /// What is damaged or missing, in words for people.
    pub damage: Vec<String>,
}

/// What checking a checkpoint found to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct VerifyReport {
    /// The checkpoint's number.
    pub number: u64,
    /// Entries checked.
    pub entries: u64,
    /// Bytes of content read and authenticated.
    pub bytes: u64,
    /// Short id of the key that signed it.
    pub key: String,
}

/// What two checkpoints differ in, or one and what is there now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiffReport {
    /// The first one's number.
    pub from: u64,
    /// The second one's; none: what is there now.
    pub to: Option<u64>,
    /// Files that only the second has.
    pub created: u64,
    /// Files that only the first has.
    pub removed: u64,
    /// Files that differ.
    pub changed: u64,
    /// Tokens that differ.
    pub tokens: u64,
    /// Each difference, as many as an answer holds; the counts say how many there really are.
    pub differences: Vec<Differing>,
    /// How many of the other components differ.
    pub others: Others,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Differing {
    /// A file, folder or link.
    File {
        /// Its absolute path, for people.
        path: String,
        /// How.
        change: FileChange,
    },
    /// A token.
    Token {
        /// Which value of which location.
        item: Item,
        /// In the first; none where it has none.
        before: Option<u32>,
        /// In the second.
        after: Option<u32>,
    },
    /// A setting of the kernel.
    Setting {
        /// Where it is, for people.
        path: String,
        /// In the first, for people; none where it has none.
        before: Option<String>,
        /// In the second.
        after: Option<String>,
    },
    /// A database.
    Database {
        /// Where it is, for people.
        path: String,
        /// How.
        change: FileChange,
    },
    /// A service.
    Service {
        /// Its unit's name.
        unit: String,
        /// How, in words: from the first to the second.
        how: Vec<String>,
    },
}

/// How a file differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileChange {
    /// Only the second has it.
    Created,
    /// Only the first has it.
    Removed,
    /// Both have it; in what they differ, in words.
    Changed(Vec<&'static str>),
}

/// What a restore would change, or changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlanReport {
    /// The checkpoint's number.
    pub number: u64,
    /// Files that come back.
    pub added: u64,
    /// Files whose content or metadata changes.
    pub changed: u64,
    /// Files that go away.
    pub removed: u64,
    /// Tokens that change.
    pub tokens: u64,
    /// Tokens and others that differ and may not be written.
    pub denied: u64,
    /// One line for each difference, at most [`PlanReport::LINES_MAX`].
    pub lines: Vec<String>,
    /// The writes of tokens, each with the value that stands there now.
    pub writes: Vec<Write>,
    /// Folders that come back in place though it was not asked for, each with the reason.
    pub in_place: Vec<String>,
    /// Of the other components what changes.
    pub others: Others,
    /// What the settings that change hold now, in the order in which they are written; and how the services are.
    pub settings: Vec<Held>,
}

impl PlanReport {
    /// Most lines kept; the counts say how many there really are.
    pub const LINES_MAX: usize = 1000;

    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added == 0
            && self.changed == 0
            && self.removed == 0
            && self.tokens == 0
            && self.denied == 0
            && self.others.is_empty()
    }
}
