//! The messages. Fields are only added; unknown ones in a request are refused, in a reply ignored.
//!
//! - [`agents`]: agents and runs of workflows
//! - [`command`]: what can be asked
//! - [`checkpoint`]: what checkpoints differ in
//! - [`convert`]: between the wire and `engine`
//! - [`record`]: an entry of the log as JSON
//! - [`retention`]: which checkpoints stay, and what pruning frees
//! - [`status`]: how machine, daemon and guarantees stand
//! - [`tpm`]: what is told of the TPM; [`vault`]: of what is sealed by it
//! - [`secret`]: what must not be shown

pub mod agents;

pub mod checkpoint;

pub mod command;

pub mod convert;

pub mod record;

pub mod retention;

pub mod status;

pub mod tpm;

pub mod vault;

pub mod secret;

use serde::{Deserialize, Serialize};

pub use self::command::{Approval, Change, Command, Item};
use self::secret::Secret;
pub use self::status::{CpuLatency, DeviceStatus, LogStatus, Status, TpmStatus, Zone};

/// Asks for one thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// 32 hexadecimal digits in lower case, random: the same id again is the same request.
    pub id: String,
    /// For what.
    pub command: Command,
}

/// One message back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// The request's id.
    pub id: String,
    /// What is behind the answer.
    pub behind: Behind,
    /// The message.
    #[serde(flatten)]
    pub body: Body,
}

/// What every reply rests on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Behind {
    /// The firmware's back end: `wmi`, `smm` or `none`.
    pub firmware: String,
    /// Whether the machine is emulated, as far as is known.
    pub emulated: bool,
    /// Guarantees that this start lacks, for people.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Where the log has what the answer acknowledges; absent where nothing was recorded for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
}

/// Entries of the log, each of which can be proven (`dsmil log prove`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Facts {
    /// The first, from 0.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// The message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Body {
    /// It goes on.
    Progress {
        /// The phase that is reached.
        phase: String,
    },
    /// It is done.
    Done {
        /// The answer.
        answer: Answer,
    },
    /// It is not done.
    Refused {
        /// Which kind: `denied`, `busy`, `not_found`, `invalid`, `no_room`, `failed`.
        code: Code,
        /// What, why, and what to do.
        message: String,
    },
}

/// Kinds of refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The rules deny it.
    Denied,
    /// Something that excludes it is under way.
    Busy,
    /// There is no such thing.
    NotFound,
    /// The request makes no sense.
    Invalid,
    /// The log's disk is full.
    NoRoom,
    /// Tried and failed.
    Failed,
}

/// Answers, one kind for each command.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// To `status`.
    Status(Box<Status>),
    /// To `tpm`.
    Tpm(Box<tpm::Report>),
    /// To `quote`.
    Quote(Box<tpm::Quote>),
    /// To `certify`.
    Certification(Box<vault::Certification>),
    /// To `seal`.
    Sealed {
        /// What came of it, base64.
        blob: String,
        /// SHA-256 of that, hexadecimal, as the log names it.
        sha256: String,
    },
    /// To `unseal`.
    Unsealed {
        /// What had been sealed.
        data: Secret,
    },
    /// To `vault`.
    Vault(Box<vault::Report>),
    /// To `prepare_vault`.
    VaultPrepared(Box<vault::Prepared>),
    /// To `install_vault`, `install_policy`, `forget_vault`.
    VaultChanged,
    /// To `revoke_policy`.
    Revoked {
        /// Where the revocation counter stands.
        counter: u64,
    },
    /// To `tokens`.
    Tokens {
        /// The firmware's table in its order.
        tokens: Vec<Token>,
    },
    /// To `read_tokens`.
    Read {
        /// In the order asked.
        values: Vec<Reading>,
    },
    /// To `write_tokens`.
    Written {
        /// What stood there before.
        before: Vec<Reading>,
    },
    /// To `create_checkpoint`.
    Created {
        /// The new one.
        checkpoint: Checkpoint,
    },
    /// To `checkpoints`.
    Checkpoints {
        /// By number.
        checkpoints: Vec<Checkpoint>,
    },
    /// To `schedule`.
    Schedule(Box<retention::Schedule>),
    /// To `checkpoint`.
    Checkpoint {
        /// The checkpoint.
        checkpoint: Box<Checkpoint>,
        /// Its statement as it was signed.
        statement: String,
        /// One line for each entry, at most `ENTRIES_MAX`.
        entries: Vec<String>,
        /// Entries that are not shown.
        more: u64,
    },
    /// To `verify_checkpoint`.
    Verified {
        /// Its number.
        number: u64,
        /// Entries checked.
        entries: u64,
        /// Bytes read and authenticated.
        bytes: u64,
        /// Short id of the signing key.
        key: String,
    },
    /// To `plan_restore`.
    Plan(Plan),
    /// To `restore`, and to `confirm`.
    Restored(Plan),
    /// To `restore` with `confirm_s`: it is in place, and goes back unless it is confirmed.
    Awaiting {
        /// What it changed.
        plan: Plan,
        /// In how many seconds it goes back.
        left_s: u64,
    },
    /// To `confirm` with `undo`: what was there before is back.
    TakenBack {
        /// The checkpoint's number.
        number: u64,
    },
    /// To `diff`.
    Diff(checkpoint::Diff),
    /// To `delete_checkpoint`.
    Deleted {
        /// Its number.
        number: u64,
        /// Its name.
        name: String,
    },
    /// To `prune` with `dry_run`.
    Pruning(retention::Pruning),
    /// To `prune`.
    Pruned(retention::Pruned),
    /// To `note`.
    Noted {
        /// Its place in the log, from 0.
        index: u64,
    },
    /// To `agents`.
    Agents {
        /// By name.
        agents: Vec<agents::Agent>,
    },
    /// To `agent_log`.
    AgentLog {
        /// The last of what it wrote, as far as it is text.
        text: String,
    },
    /// To `approve_agents`.
    Approved,
    /// To `restart_agent`.
    Restarted {
        /// What was told to end.
        ended: u64,
    },
    /// To `run`.
    Ran {
        /// Its number.
        run: u64,
    },
    /// To `runs`.
    Runs {
        /// By number.
        runs: Vec<agents::Run>,
    },
    /// To `show_run`.
    Run(Box<agents::Run>),
    /// To `control_run`.
    Controlled {
        /// Its number.
        run: u64,
    },
    /// To `emergency_stop`.
    Stopped {
        /// Until all agents stood still, microseconds; none: they did not in time.
        frozen_us: Option<u64>,
        /// Until all were gone.
        killed_us: Option<u64>,
        /// Processes that are left, in a sleep that nothing interrupts.
        left: Vec<i32>,
    },
    /// To `past`.
    Past(Box<Past>),
    /// To `facts`.
    Facts {
        /// The records.
        records: Vec<record::Entry>,
        /// Entries in the log.
        size: u64,
    },
}

/// What was known at a point of the past.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Past {
    /// The last fact that had happened.
    pub fact: u64,
    /// When that was, RFC 3339, UTC.
    pub time: String,
    /// Works that were under way.
    pub works: Vec<String>,
    /// Thermal zones.
    pub zones: Vec<Zone>,
    /// Checkpoints that could be restored.
    pub checkpoints: Vec<Checkpoint>,
    /// Guarantees that the daemon lacked.
    pub missing: Vec<String>,
    /// Orders denied so far.
    pub denials: u64,
    /// Starts of the daemon so far.
    pub starts: u64,
}

/// Most bytes of a note, whatever the configuration says.
pub const NOTE_BYTES_MAX: usize = engine::command::NOTE_BYTES_MAX;
/// Most entries of a checkpoint in one answer.
pub const ENTRIES_MAX: usize = 10_000;
/// Most facts in one answer.
pub const FACTS_MAX: u32 = 10_000;

/// One token of the firmware's table.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// The storage behind it.
    pub location: u16,
    /// The value at which it counts as active.
    pub table_value: u16,
    /// Group and member, if it is a DSMIL device.
    pub device: Option<String>,
    /// Its name in the owner's map.
    pub name: Option<String>,
    /// May be written.
    pub writable: bool,
    /// Why it is never written, if so.
    pub denied: Option<String>,
    /// Another token has the same location.
    pub shared: bool,
}

/// What a location holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reading {
    /// The token.
    pub id: String,
    /// Which value.
    pub select: String,
    /// The value.
    pub value: Option<u32>,
    /// Why there is none.
    pub error: Option<String>,
}

/// A checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// When, RFC 3339, UTC.
    pub created: String,
    /// SHA-256 of the encoded manifest.
    pub manifest: String,
    /// Files, folders and links.
    pub files: u64,
    /// Token values.
    pub tokens: u64,
    /// Bytes of files' content.
    pub bytes: u64,
    /// Short id of the key that signed it.
    pub key: String,
    /// Files that were read for it, where that is known; the others were recognised as unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<u64>,
    /// Why it was taken: `manual`, `automatic` or `emergency`.
    #[serde(default)]
    pub kind: String,
    /// Settings of the kernel.
    #[serde(default)]
    pub settings: u64,
    /// Databases.
    #[serde(default)]
    pub databases: u64,
    /// Services.
    #[serde(default)]
    pub services: u64,
}

/// What a restore would change, or changed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The checkpoint's number.
    pub number: u64,
    /// Files that come back.
    pub added: u64,
    /// Files that change.
    pub changed: u64,
    /// Files that go away.
    pub removed: u64,
    /// Tokens that change.
    pub tokens: u64,
    /// Tokens, settings, databases and services that differ and cannot be restored.
    pub denied: u64,
    /// One line for each difference.
    pub lines: Vec<String>,
    /// Folders that come back in place though it was not asked for, each with the reason: readers can see some files that are new
    /// beside some that are old.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_place: Vec<String>,
    /// Settings of the kernel that change.
    #[serde(default)]
    pub settings: u64,
    /// Databases that change.
    #[serde(default)]
    pub databases: u64,
    /// Services that change.
    #[serde(default)]
    pub services: u64,
}
