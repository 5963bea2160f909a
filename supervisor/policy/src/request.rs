//! What somebody asks for.

use types::hash::Hash;
use types::peer::Peer;
use types::token::TokenId;

/// The kinds of action, as far as rules tell them apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action<'a> {
    /// Look at what the firmware holds.
    ReadTokens,
    /// Change what the firmware holds.
    WriteTokens(&'a [TokenId]),
    /// Take a checkpoint.
    Checkpoint,
    /// Compare a checkpoint with its signature and content, or with the machine.
    Inspect,
    /// Bring the machine back to a checkpoint.
    Restore,
    /// Delete a checkpoint, which nothing brings back.
    Delete,
    /// Seal data in the TPM, or open it.
    Seal,
    /// Change what holds the repository's key.
    Vault,
    /// Run a workflow.
    Run,
    /// Approve of agents' files: what stands there may then run.
    Approve,
}

/// One request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request<'a> {
    /// Who asks.
    pub peer: Peer,
    /// For what.
    pub action: Action<'a>,
    /// SHA-256 of the whole order: a grant holds for this order and no other.
    pub order: Hash,
    /// The wall clock now, nanoseconds since 1970.
    pub now_ns: i64,
    /// The machine is hot, or its temperature is not known: risky actions wait.
    pub thermal_unsafe: bool,
}
