//! A request with an effect, as it is granted, hashed and recorded.

use minicbor::{Decode, Encode};
use sha2::{Digest, Sha256};
use types::hash::Hash;
use types::token::{Change, Select, TokenId};

use crate::fact::Error;
use crate::fleet::fact::Approval;
use crate::retention::Keep;
use crate::scope::{FilePath, Scope};

/// One value of one location, named by a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Item {
    /// The token's id.
    #[n(0)]
    pub id: u16,
    /// The firmware's select code.
    #[n(1)]
    pub select: u8,
}

impl Item {
    /// From the words of `types`.
    #[must_use]
    pub const fn new(id: TokenId, select: Select) -> Self {
        Self { id: id.0, select: select.code() }
    }

    /// The token.
    #[must_use]
    pub const fn token(self) -> TokenId {
        TokenId(self.id)
    }

    /// Which value; codes of a newer log count as the current one.
    #[must_use]
    pub fn select(self) -> Select {
        Select::from_code(self.select).unwrap_or_default()
    }
}

/// An item with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Valued {
    /// Which value of which location.
    #[n(0)]
    pub item: Item,
    /// The value.
    #[n(1)]
    pub value: u32,
}

/// One change of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Write {
    /// Which value of which location.
    #[n(0)]
    pub item: Item,
    /// The value to write.
    #[n(1)]
    pub value: u32,
    /// What must stand there before.
    #[n(2)]
    pub expected: Option<u32>,
}

impl From<Change> for Write {
    fn from(change: Change) -> Self {
        Self { item: Item::new(change.id, change.select), value: change.value, expected: change.expected }
    }
}

/// SHA-256, as orders name what goes beside the engine.
#[must_use]
pub fn digest(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

/// A flag that is not set is not encoded, as orders were before it.
fn is_unset(flag: &bool) -> bool {
    !*flag
}

/// What is to be done. Encoded in facts: variants and keys are only ever added.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum Order {
    /// Look at locations.
    #[n(0)]
    ReadTokens {
        /// At which.
        #[n(0)]
        items: Vec<Item>,
    },
    /// Change locations, all or none.
    #[n(1)]
    WriteTokens {
        /// How.
        #[n(0)]
        writes: Vec<Write>,
    },
    /// Take a checkpoint.
    #[n(2)]
    CreateCheckpoint {
        /// Its number, never used before.
        #[n(0)]
        number: u64,
        /// Its name.
        #[n(1)]
        name: String,
        /// Read everything, and recognise nothing as unchanged. Since version 4.
        #[cbor(n(2), default, skip_if = "is_unset")]
        paranoid: bool,
        /// Why it is taken. Since version 4.
        #[cbor(n(3), default, skip_if = "Kind::is_manual")]
        kind: Kind,
    },
    /// Check a checkpoint.
    #[n(3)]
    VerifyCheckpoint {
        /// Its number.
        #[n(0)]
        number: u64,
    },
    /// Show what a restore would change.
    #[n(4)]
    PlanRestore {
        /// The checkpoint's number.
        #[n(0)]
        number: u64,
        /// Read everything. Since version 4.
        #[cbor(n(1), default, skip_if = "is_unset")]
        paranoid: bool,
        /// Of what the restore would be; everything where it is missing. Since version 4.
        #[n(2)]
        scope: Option<Scope>,
        /// Leave folders where they are, and exchange none for a whole new one. Since version 4.
        #[cbor(n(3), default, skip_if = "is_unset")]
        in_place: bool,
    },
    /// Restore a checkpoint.
    #[n(5)]
    Restore {
        /// Its number.
        #[n(0)]
        number: u64,
        /// Leave tokens that may not be written.
        #[n(1)]
        leave_denied: bool,
        /// Read everything. Since version 4.
        #[cbor(n(2), default, skip_if = "is_unset")]
        paranoid: bool,
        /// Of what it is; everything where it is missing. Since version 4.
        #[n(3)]
        scope: Option<Scope>,
        /// Leave folders where they are, and exchange none for a whole new one. Since version 4.
        #[cbor(n(4), default, skip_if = "is_unset")]
        in_place: bool,
        /// It goes back by itself unless it is confirmed within so many seconds. Since version 4.
        #[n(5)]
        confirm_s: Option<u32>,
    },
    /// Seal data under the vault's policy. Since version 3.
    #[n(6)]
    Seal {
        /// How much, bytes.
        #[n(0)]
        bytes: u32,
    },
    /// Open sealed data. Since version 3.
    #[n(7)]
    Unseal {
        /// SHA-256 of what was sealed.
        #[cbor(n(0), with = "minicbor::bytes")]
        blob: [u8; 32],
    },
    /// Change the vault. Since version 3.
    #[n(8)]
    Vault {
        /// How.
        #[n(0)]
        change: VaultChange,
    },
    /// Compare a checkpoint with another one, or with what is there now. Since version 4.
    #[n(9)]
    Diff {
        /// The number of the first.
        #[n(0)]
        from: u64,
        /// The number of the second; what is there now where it is missing.
        #[n(1)]
        to: Option<u64>,
        /// Only what is at or below these paths, and no token; everything where there is none.
        #[n(2)]
        paths: Vec<FilePath>,
        /// Read everything.
        #[cbor(n(3), default, skip_if = "is_unset")]
        paranoid: bool,
    },
    /// Delete a checkpoint. Since version 4.
    #[n(10)]
    DeleteCheckpoint {
        /// Its number.
        #[n(0)]
        number: u64,
        /// Its name.
        #[n(1)]
        name: String,
    },
    /// Let checkpoints go that no rule keeps, and remove what none needs. Since version 4.
    #[n(11)]
    Prune {
        /// What is kept.
        #[n(0)]
        keep: Keep,
        /// Only find out what would go.
        #[cbor(n(1), default, skip_if = "is_unset")]
        dry_run: bool,
    },
    /// Keep what a restore that waits to be confirmed has put in place, or take it back. It is no work of its own: it stands only
    /// where it was denied. Since version 4.
    #[n(12)]
    Confirm {
        /// The restore.
        #[n(0)]
        work: u64,
        /// Take it back.
        #[cbor(n(1), default, skip_if = "is_unset")]
        undo: bool,
    },
    /// Run a workflow. It is no work: runs have facts of their own. Since version 5.
    #[n(13)]
    Run {
        /// What the workflow is called.
        #[n(0)]
        name: String,
        /// SHA-256 of its encoding.
        #[cbor(n(1), with = "minicbor::bytes")]
        workflow: [u8; 32],
        /// SHA-256 of the values of its parameters.
        #[cbor(n(2), with = "minicbor::bytes")]
        params: [u8; 32],
    },
    /// Approve of agents' files. It is no work: it is done with its fact. Since version 5.
    #[n(14)]
    ApproveAgents {
        /// Which.
        #[n(0)]
        files: Vec<Approval>,
    },
}

/// Why a checkpoint is taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Somebody asked for it.
    #[default]
    #[n(0)]
    Manual,
    /// It was time for one, or something risky followed.
    #[n(1)]
    Automatic,
    /// In an emergency, with the least validation.
    #[n(2)]
    Emergency,
}

impl Kind {
    /// Whether somebody asked for it.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        matches!(self, Self::Manual)
    }

    /// Whether nobody asked for it.
    #[must_use]
    pub const fn is_automatic(self) -> bool {
        matches!(self, Self::Automatic)
    }

    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "automatic",
            Self::Emergency => "emergency",
        }
    }
}

/// What changes about the vault: the repository's key, sealed under a policy that its owner signs. What is handed over goes
/// beside the engine; the hash of it stands here. Encoded in facts: variants and keys are only ever added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum VaultChange {
    /// Make the revocation counter, and seal the repository's key to the policy key; the owner then makes the vault of it.
    #[n(0)]
    Prepare {
        /// SHA-256 of the policy key (SubjectPublicKeyInfo).
        #[cbor(n(0), with = "minicbor::bytes")]
        key: [u8; 32],
        /// Which PCRs the first terms name, register 0 the lowest bit.
        #[n(1)]
        registers: u32,
        /// The repository's key came with the request, opened by the recovery key: the machine or its counter is another one.
        #[n(2)]
        anew: bool,
    },
    /// Put a vault in place.
    #[n(1)]
    Install {
        /// SHA-256 of the vault.
        #[cbor(n(0), with = "minicbor::bytes")]
        vault: [u8; 32],
    },
    /// Put a signed policy in force.
    #[n(2)]
    InstallPolicy {
        /// SHA-256 of the signed policy.
        #[cbor(n(0), with = "minicbor::bytes")]
        policy: [u8; 32],
    },
    /// Increment the revocation counter, which voids every policy that was signed so far.
    #[n(3)]
    Revoke,
    /// Remove the vault and its counter.
    #[n(4)]
    Forget {
        /// And the log's anchor.
        #[n(0)]
        anchor: bool,
    },
}

impl VaultChange {
    /// A few words for people.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Prepare { anew: false, .. } => "prepare the vault",
            Self::Prepare { anew: true, .. } => "prepare the vault anew, by the recovery key",
            Self::Install { .. } => "install the vault",
            Self::InstallPolicy { .. } => "install a policy",
            Self::Revoke => "revoke all policies",
            Self::Forget { anchor: false } => "forget the vault",
            Self::Forget { anchor: true } => "forget the vault and the anchor",
        }
    }
}

impl Order {
    /// SHA-256 of the encoded order: what a grant is bound to.
    ///
    /// # Errors
    ///
    /// The encoder failed, which a grant treats as a denial.
    pub fn hash(&self) -> Result<Hash, Error> {
        let bytes = minicbor::to_vec(self).map_err(|error| Error::Encode(error.to_string()))?;
        Ok(Hash(Sha256::digest(&bytes).into()))
    }

    /// Whether it changes the machine or must see it unchanged: one such order at a time.
    #[must_use]
    pub const fn is_exclusive(&self) -> bool {
        matches!(
            self,
            Self::WriteTokens { .. }
                | Self::CreateCheckpoint { .. }
                | Self::Restore { .. }
                | Self::DeleteCheckpoint { .. }
                | Self::Prune { dry_run: false, .. }
                | Self::Vault { .. }
        )
    }

    /// A few words for people.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        match self {
            Self::ReadTokens { .. } => "read tokens",
            Self::WriteTokens { .. } => "write tokens",
            Self::CreateCheckpoint { .. } => "create checkpoint",
            Self::VerifyCheckpoint { .. } => "verify checkpoint",
            Self::PlanRestore { .. } => "plan restore",
            Self::Restore { .. } => "restore",
            Self::Seal { .. } => "seal",
            Self::Unseal { .. } => "unseal",
            Self::Vault { change } => change.title(),
            Self::Diff { .. } => "compare checkpoints",
            Self::DeleteCheckpoint { .. } => "delete checkpoint",
            Self::Prune { dry_run: false, .. } => "prune checkpoints",
            Self::Prune { dry_run: true, .. } => "plan to prune checkpoints",
            Self::Confirm { undo: false, .. } => "confirm a restore",
            Self::Confirm { undo: true, .. } => "take a restore back",
            Self::Run { .. } => "run a workflow",
            Self::ApproveAgents { .. } => "approve agents",
        }
    }
}
