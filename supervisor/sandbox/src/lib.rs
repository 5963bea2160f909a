//! Runs a program as an agent: in a cgroup of its own, with limits, as another user, inheriting nothing.
//!
//! ```text
//! Subtree::prepare ─► Leaf (limits) ─► spawn(Spec) ─► Process: wait, freeze, kill, usage ─► finish
//!       └─► freeze, kill: all agents at once, by one write each
//! ```
//!
//! # Layout
//!
//! - [`subtree`]: the part of the cgroup v2 tree that holds all agents, and what it can do
//! - [`leaf`]: one agent's cgroup
//! - [`spec`]: what is to run, and as whom
//! - [`process`]: an agent that runs
//! - [`brake`]: the emergency stop, for who has given up its privileges
//! - [`folders`]: where definitions lie, and what must hold of them
//! - [`helper`]: a root process that does all this for a daemon without privileges
//! - [`delegated`]: finds the cgroup that is ours
//! - `spawn`: makes the process; `child`: what happens in it before the agent's program takes over
//! - `folder`: files of a cgroup
//!
//! # Invariants
//!
//! - No instruction of an agent's program runs outside of its cgroup, with a capability, or with a descriptor beyond 0, 1
//!   and 2.
//! - Whatever a program forks, kill ends: a cgroup cannot be left from within.
//! - Every wait has a bound. What is dropped is killed and removed.
//! - Namespaces, Landlock and seccomp are not here yet.

// Making a process and what it does before exec are system calls that no safe interface offers.
#![deny(unsafe_code)]

pub mod subtree;

pub mod leaf;

pub mod spec;

pub mod process;

pub mod brake;

pub mod folders;

pub mod helper;

pub mod delegated;

mod spawn;

mod child;

mod folder;

mod error;

pub use self::brake::Brake;
pub use self::error::{Error, Step};
pub use self::leaf::{Leaf, Place, Usage};
pub use self::process::{Exit, Process, Started, Starting};
pub use self::spec::{Spec, User};
pub use self::subtree::{By, Capabilities, Subtree};
