//! What can be asked.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::{checkpoint, retention};

/// What can be asked; see `engine::Command` for the meaning.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// How machine, daemon and guarantees stand.
    Status,
    /// The TPM.
    Tpm,
    /// A quote: what the TPM itself states of its registers. Takes an owner.
    Quote {
        /// 1 to 32 bytes of the asker's choice, hexadecimal.
        nonce: String,
        /// Which registers of the SHA-256 bank, 0 to 23.
        pcrs: Vec<u8>,
    },
    /// What the TPM itself states of the log's anchor. Takes an owner.
    Certify {
        /// 1 to 32 bytes of the asker's choice, hexadecimal.
        nonce: String,
    },
    /// Seals data under the vault's policy.
    Seal {
        /// 1 to 128 bytes.
        data: Secret,
    },
    /// Opens what was sealed, where the policy in force holds.
    Unseal {
        /// What `seal` gave.
        blob: Secret,
    },
    /// The vault. Takes an owner.
    Vault,
    /// Begins a vault: the revocation counter, and the repository's key sealed to the policy key.
    PrepareVault {
        /// The policy key, SubjectPublicKeyInfo, base64.
        policy_key: String,
        /// Which PCRs the first terms name, 0 to 23.
        pcrs: Vec<u8>,
        /// The repository's key, opened by the recovery key; the vault is then made anew for this machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<Secret>,
    },
    /// Puts a vault in place.
    InstallVault {
        /// The vault that its owner made.
        vault: Secret,
    },
    /// Puts a signed policy in force.
    InstallPolicy {
        /// The terms with their signature.
        policy: Secret,
    },
    /// Voids every policy that was signed so far.
    RevokePolicy,
    /// Removes the vault and its counter.
    ForgetVault {
        /// And the log's anchor.
        #[serde(default)]
        anchor: bool,
    },
    /// The firmware's table.
    Tokens,
    /// Looks at locations.
    ReadTokens {
        /// Which.
        items: Vec<Item>,
    },
    /// Changes locations, all or none.
    WriteTokens {
        /// How.
        changes: Vec<Change>,
    },
    /// Takes a checkpoint.
    CreateCheckpoint {
        /// Its name.
        name: String,
        /// Read everything, and recognise nothing as unchanged.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        paranoid: bool,
    },
    /// Lists checkpoints.
    Checkpoints,
    /// When checkpoints are taken that nobody asks for, and which stay.
    Schedule,
    /// Shows one with its entries.
    Checkpoint {
        /// Name or number.
        which: String,
    },
    /// Checks one.
    VerifyCheckpoint {
        /// Name or number.
        which: String,
    },
    /// Shows what a restore would change.
    PlanRestore {
        /// Name or number.
        which: String,
        /// Read everything.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        paranoid: bool,
        /// Of what the restore would be; everything where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<checkpoint::Scope>,
        /// Leave folders where they are, and exchange none for a whole new one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_place: bool,
    },
    /// Restores one.
    Restore {
        /// Name or number.
        which: String,
        /// Leave tokens and others that cannot be restored as they are.
        #[serde(default)]
        leave_denied: bool,
        /// Read everything.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        paranoid: bool,
        /// Of what it is; everything where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<checkpoint::Scope>,
        /// Leave folders where they are, and exchange none for a whole new one.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        in_place: bool,
        /// It goes back by itself unless it is confirmed within so many seconds, 1 to 86400.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_s: Option<u32>,
    },
    /// Keeps what a restore that waits to be confirmed has put in place, or takes it back.
    Confirm {
        /// Take it back.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        undo: bool,
    },
    /// Compares one with another one, or with what is there now.
    Diff {
        /// Name or number of the first.
        from: String,
        /// Of the second; what is there now where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Only what is at or below these absolute paths, and no token; everything where there is none.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
        /// Read everything.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        paranoid: bool,
    },
    /// Deletes one.
    DeleteCheckpoint {
        /// Name or number.
        which: String,
        /// Also if it is the newest one.
        #[serde(default)]
        force: bool,
    },
    /// Lets those go that no rule keeps, and removes what none needs.
    Prune {
        /// What is kept; as configured where it is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        keep: Option<retention::Keep>,
        /// Only find out what would go.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    },
    /// Records a fact of the asker's own: either `text` or `base64`.
    Note {
        /// What it tells of.
        kind: String,
        /// What is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The same in base64 (RFC 4648, with padding) where it is no text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
    },
    /// What was known at a point of the past: exactly one of the two.
    Past {
        /// After this fact, counted from 0.
        #[serde(default)]
        fact: Option<u64>,
        /// After the last fact up to this moment: nanoseconds since 1970.
        #[serde(default)]
        wall_ns: Option<i64>,
    },
    /// Agents, their files and processes.
    Agents,
    /// What an agent wrote to its error output last.
    AgentLog {
        /// The agent.
        name: String,
    },
    /// Approves of agents' files as they are. Takes an owner.
    ApproveAgents {
        /// Which, each with the SHA-256 of its file.
        agents: Vec<Approval>,
    },
    /// Ends an agent's processes; new ones start when they are needed.
    RestartAgent {
        /// The agent.
        name: String,
    },
    /// Runs a workflow; the answer comes at its end.
    Run {
        /// Its file.
        file: String,
        /// `NAME=VALUE`, as on a command line.
        #[serde(default)]
        params: Vec<String>,
    },
    /// Runs that are under way, and the last that have ended.
    Runs,
    /// One run with its steps.
    ShowRun {
        /// Its number.
        run: u64,
    },
    /// Cancels, pauses or resumes a run.
    ControlRun {
        /// Its number.
        run: u64,
        /// `cancel`, `pause` or `resume`.
        action: String,
    },
    /// Stops all agents and runs at once.
    EmergencyStop,
    /// Facts from the log.
    Facts {
        /// The first one wanted; none: the last `limit`.
        #[serde(default)]
        from: Option<u64>,
        /// At most this many.
        limit: u32,
    },
}

/// A file of which an owner approves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The agent.
    pub name: String,
    /// SHA-256 of the file.
    pub hash: String,
}

/// One value of one location.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The token, such as `0x8000`.
    pub id: String,
    /// `current`, `ac` or `battery`.
    #[serde(default = "current")]
    pub select: String,
}

fn current() -> String {
    "current".to_owned()
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The token.
    pub id: String,
    /// `current`, `ac` or `battery`.
    #[serde(default = "current")]
    pub select: String,
    /// The value to write.
    pub value: u32,
    /// What must stand there now.
    #[serde(default)]
    pub expected: Option<u32>,
}
