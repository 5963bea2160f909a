//! What anybody can ask for: every face (socket, HTTP, MCP, command line) translates into [`Command`].

use std::fmt;
use std::sync::Arc;

use policy::{Denial, Role, Rules};
use types::agent;
use types::hash::Hash;
use types::peer::Peer;
use types::token::{Change, Select, TokenId};

use types::workflow::Workflow;

use crate::order::VaultChange;
use crate::reply::Refusal;
use crate::retention::Keep;
use crate::run::decide::Control;
use crate::scope::{FilePath, Scope};

/// Names a request for ever: asking again under the same id is the same request, not a second one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub [u8; 16]);

/// Most items in one read, and characters in a checkpoint's name.
pub const ITEMS_MAX: usize = 512;
/// Most characters of a checkpoint's name.
pub const NAME_MAX: usize = 64;

/// Most characters of a note's kind.
pub const KIND_MAX: usize = 32;
/// Most bytes of a note, whatever the rules say: it must fit into an entry of the log with all that stands around it.
pub const NOTE_BYTES_MAX: usize = 32 << 10;

/// Longest time in which a restore is to be confirmed, seconds: a day. Nothing else is changed meanwhile.
pub const CONFIRM_S_MAX: u32 = 86_400;

/// Everything that can be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Answered from what is known; changes nothing and is not recorded.
    Query(Query),
    /// Look at what tokens' locations hold.
    ReadTokens(Vec<(TokenId, Select)>),
    /// Change what tokens' locations hold; all changes or none.
    WriteTokens(Vec<Change>),
    /// Take a checkpoint under a name of its own.
    CreateCheckpoint {
        /// 1 to [`NAME_MAX`] of letters, digits, `.`, `_` and `-`, not all digits.
        name: String,
        /// Read everything, and recognise nothing as unchanged.
        paranoid: bool,
    },
    /// Check a checkpoint's signature and all that it refers to.
    VerifyCheckpoint(Which),
    /// Show what a restore would change.
    PlanRestore {
        /// Of which one.
        which: Which,
        /// Read everything.
        paranoid: bool,
        /// Of what the restore would be; everything where it is missing.
        scope: Option<Scope>,
        /// Leave folders where they are, and exchange none for a whole new one.
        in_place: bool,
    },
    /// Bring the machine back to a checkpoint.
    Restore {
        /// Which one.
        which: Which,
        /// Leave tokens that may not be written as they are instead of refusing.
        leave_denied: bool,
        /// Read everything.
        paranoid: bool,
        /// Of what it is; everything where it is missing.
        scope: Option<Scope>,
        /// Leave folders where they are, and exchange none for a whole new one.
        in_place: bool,
        /// It goes back by itself unless it is confirmed within so many seconds, 1 to [`CONFIRM_S_MAX`].
        confirm_s: Option<u32>,
    },
    /// Keep what a restore that waits to be confirmed has put in place, or take it back.
    Confirm {
        /// Take it back.
        undo: bool,
    },
    /// Compare a checkpoint with another one.
    Diff {
        /// The first.
        from: Which,
        /// The second; what is there now where it is missing.
        to: Option<Which>,
        /// Only what is at or below these paths, and no token; everything where there is none.
        paths: Vec<FilePath>,
        /// Read everything.
        paranoid: bool,
    },
    /// Delete a checkpoint.
    DeleteCheckpoint {
        /// Which one.
        which: Which,
        /// Also if it is the newest one.
        force: bool,
    },
    /// Let checkpoints go that no rule keeps, and remove what none needs.
    Prune {
        /// What is kept; as configured where it is missing.
        keep: Option<Keep>,
        /// Only find out what would go.
        dry_run: bool,
    },
    /// Record a fact of the asker's own. It changes nothing but the log.
    Note {
        /// What it tells of, in the asker's own words: 1 to [`KIND_MAX`] of small letters, digits, `.`, `_` and `-`.
        kind: String,
        /// What is told: text or any other bytes, at most as many as the rules allow.
        content: Vec<u8>,
    },
    /// Seal data under the vault's policy. The data goes beside the engine, which knows its length alone.
    Seal {
        /// 1 to [`SEAL_MAX`].
        bytes: u32,
    },
    /// Open what was sealed, where the policy in force holds.
    Unseal {
        /// SHA-256 of the sealed data.
        blob: Hash,
    },
    /// Change what holds the repository's key, and under which terms it opens.
    Vault(VaultChange),
    /// Run a workflow.
    Run {
        /// Which; checked as a whole.
        workflow: Arc<Workflow>,
        /// The values of its parameters in the workflow's order, as one JSON list.
        params: String,
    },
    /// Cancel, pause or resume a run.
    ControlRun {
        /// Which.
        run: u64,
        /// What is to become of it.
        control: Control,
    },
    /// End an agent's processes, and give it tasks again though it failed too often: new ones start when they are needed.
    RestartAgent(agent::Name),
    /// Stop all agents and runs at once. It is done before anything is recorded of it.
    EmergencyStop,
    /// Approve of agents' files: each by its agent and the SHA-256 of the file.
    ApproveAgents(Vec<(agent::Name, Hash)>),
}

/// Most bytes that are sealed at once: what every TPM takes.
pub const SEAL_MAX: u32 = 128;

/// Questions that change nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// How machine, daemon and guarantees stand.
    Status,
    /// The firmware's table of tokens.
    Tokens,
    /// All checkpoints.
    Checkpoints,
    /// When checkpoints are taken that nobody asks for, and which stay.
    Schedule,
    /// One checkpoint with its entries.
    Checkpoint(Which),
    /// What followed from the facts up to a point of the past.
    Past(Point),
    /// The TPM: what it offers, what it has cost, and how the log is anchored in it.
    Tpm,
    /// The TPM's own statement of its registers.
    Quote {
        /// Of the asker's choice, so that an old statement does not pass for a new one.
        nonce: Vec<u8>,
        /// Which registers, one bit each, register 0 the lowest.
        registers: u32,
    },
    /// The vault: how it stands, and what its owner needs to open or renew it.
    Vault,
    /// Agents, their files and processes.
    Agents,
    /// What an agent wrote to its error output last.
    AgentLog(agent::Name),
    /// Runs that are under way, and the last that have ended.
    Runs,
    /// One run with its steps.
    Run(u64),
    /// The TPM's own statement of the log's anchor.
    Certify {
        /// Of the asker's choice.
        nonce: Vec<u8>,
    },
    /// Facts from the log.
    Facts {
        /// The first one wanted, counted from 0; none: the last `limit`.
        from: Option<u64>,
        /// How many at most.
        limit: u32,
    },
}

impl Query {
    /// Whether the rules let a peer ask. Whoever may connect may look at state, log and tokens; a statement that the machine's
    /// attestation key signs is the owner's to give away.
    ///
    /// # Errors
    ///
    /// `Denied`: it takes an owner.
    pub fn admit(&self, rules: &Rules, peer: &Peer) -> Result<(), Refusal> {
        let is_owners =
            matches!(self, Self::Quote { .. } | Self::Certify { .. } | Self::Vault | Self::AgentLog(_));
        let needed = if is_owners { Role::Owner } else { Role::Observer };
        if rules.role(peer) < needed {
            return Err(Refusal::Denied(Denial::Role { needed }));
        }
        Ok(())
    }
}

/// A point of the past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// After this fact, counted from 0.
    Fact(u64),
    /// After the last fact up to this moment: CLOCK_REALTIME, nanoseconds since 1970.
    Wall(i64),
}

/// Names a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// By its number.
    Number(u64),
    /// By its name.
    Name(String),
}

impl Which {
    /// Digits alone are a number, anything else a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Number)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "number {number}"),
            Self::Name(name) => write!(f, "“{name}”"),
        }
    }
}

/// What is wrong with a name for a checkpoint, if anything.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.chars().count() > NAME_MAX {
        Some("a checkpoint's name has 1 to 64 characters")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        Some("a checkpoint's name has letters, digits, “.”, “_” and “-” only")
    } else if name.chars().all(|c| c.is_ascii_digit()) {
        Some("a checkpoint's name is not a number, or it could be taken for one")
    } else {
        None
    }
}

/// What is wrong with the kind of a note, if anything.
#[must_use]
pub fn kind_fault(kind: &str) -> Option<&'static str> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if kind.is_empty() || kind.len() > KIND_MAX {
        Some("a note's kind has 1 to 32 characters")
    } else if !kind.bytes().all(is_word) {
        Some("a note's kind has small letters, digits, “.”, “_” and “-” only")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_takes_an_owner_and_looking_takes_nobody() {
        let rules = Rules { owners: [1].into(), operators: [2].into(), ..Rules::default() };
        let may = |uid, query: &Query| query.admit(&rules, &Peer { pid: 1, uid, gid: uid }).is_ok();
        let quote = Query::Quote { nonce: vec![1], registers: 1 };
        assert_eq!([0, 1, 2, 3].map(|uid| may(uid, &quote)), [true, true, false, false]);
        let certify = Query::Certify { nonce: vec![1] };
        for query in [Query::Vault, certify] {
            assert_eq!([0, 1, 2, 3].map(|uid| may(uid, &query)), [true, true, false, false]);
        }
        for query in [Query::Status, Query::Tpm, Query::Facts { from: None, limit: 1 }] {
            assert!([0, 1, 2, 3].iter().all(|uid| may(*uid, &query)));
        }
    }
}
