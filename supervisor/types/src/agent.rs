//! Agents as their files describe them.
//!
//! - [`name`]: what an agent is called, and what it asks for
//! - [`amount`]: bytes, times and shares of a processor, as people write them
//! - [`bounds`]: limits, retries and the network of an agent
//! - [`value`]: what other programs keep in the same file

pub mod name;

pub mod amount;

pub mod bounds;

pub mod value;

use crate::hash::Hash;

pub use self::amount::{Bytes, Cpu, Milliseconds, NotAnAmount};
pub use self::bounds::{Limits, Network, Retry};
pub use self::name::{BadCapability, BadName, Capability, Name};
pub use self::value::Value;

/// An agent, as its file describes it: Markdown under YAML front matter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// What it is called: unique among the agents of a machine.
    pub name: Name,
    /// What it is for, in its author's words.
    pub description: String,
    /// The convention's `tools`; `None` where the file says nothing of them. Kept, not used.
    pub tools: Option<Vec<String>>,
    /// The convention's `model`. Kept, not used.
    pub model: Option<String>,
    /// The convention's other keys and those that begin with `x-`, in the file's order. Kept, not used.
    pub foreign: Vec<(String, Value)>,
    /// The program, by its absolute path, and its arguments. Never empty.
    pub command: Vec<String>,
    /// What it asks to be allowed; rules cut this down.
    pub capabilities: Vec<Capability>,
    /// What it may use up.
    pub limits: Limits,
    /// How often a failed task is tried again.
    pub retry: Retry,
    /// How long one attempt at a task may take.
    pub timeout: Milliseconds,
    /// What it asks to reach.
    pub network: Network,
    /// The Markdown after the front matter, as it stands.
    pub body: String,
    /// SHA-256 of the whole file: what is approved is this, not the name.
    pub hash: Hash,
}
