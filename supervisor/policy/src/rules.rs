//! The table that a machine's configuration gives.

use std::collections::BTreeSet;

use types::hash::Hash;
use types::peer::Peer;
use types::token::TokenId;

use crate::request::Action;

/// What a peer may do, from its socket credentials.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// May look at state, log and tokens.
    Observer,
    /// May also take checkpoints.
    Operator,
    /// May also write tokens, restore, delete checkpoints, and use what is sealed.
    Owner,
}

/// The rules in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Hash of the configuration that they come from: a grant made under other rules is looked at again.
    pub version: Hash,
    /// Users who may take checkpoints, besides root.
    pub operators: BTreeSet<u32>,
    /// Users who may do everything, besides root.
    pub owners: BTreeSet<u32>,
    /// Tokens that may be written; the kernel module holds the same list sealed and refuses the rest.
    pub tokens: BTreeSet<TokenId>,
    /// Most changes in one request.
    pub changes_max: usize,
    /// How long a grant lives, nanoseconds.
    pub grant_ns: i64,
    /// What users may tell of their own accord.
    pub notes: Notes,
    /// Which actions count as risky.
    pub risky: Risky,
}

/// Which actions count as risky: what may be wanted back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Risky {
    /// Writing tokens.
    pub writes: bool,
    /// Restoring a checkpoint.
    pub restores: bool,
}

/// Limits of notes: they need no permit, so that these alone keep a user from filling the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Most bytes of one.
    pub bytes_max: usize,
    /// Most bytes that the notes of one user who is not root take in an hour.
    pub hour_bytes_max: u64,
}

impl Rules {
    /// Whether an action is marked as risky.
    #[must_use]
    pub const fn is_risky(&self, action: &Action<'_>) -> bool {
        match action {
            Action::WriteTokens(_) => self.risky.writes,
            Action::Restore => self.risky.restores,
            Action::ReadTokens
            | Action::Checkpoint
            | Action::Inspect
            | Action::Delete
            | Action::Seal
            | Action::Vault
            | Action::Run
            | Action::Approve => false,
        }
    }

    /// The role of a peer.
    #[must_use]
    pub fn role(&self, peer: &Peer) -> Role {
        if peer.uid == 0 || self.owners.contains(&peer.uid) {
            Role::Owner
        } else if self.operators.contains(&peer.uid) {
            Role::Operator
        } else {
            Role::Observer
        }
    }
}
