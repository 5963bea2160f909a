//! The root helper: starts, freezes and kills agents for a daemon that has given up its privileges.
//!
//! ```text
//! daemon ─ Client ─ seqpacket socket ─ serve ─ Subtree, Leaf, Process
//!             └─ descriptors: the brake at the start, three pipes of each agent
//! ```
//!
//! A message is one packet of CBOR. The daemon asks with an [`Effect`]; the helper tells [`Event`]s, also unasked. What the daemon
//! says is an order to look, not a fact: which file an agent is started from, as whom, and within which limits, the helper finds out
//! itself ([`folders`](crate::folders)).
//!
//! # Layout
//!
//! - `message`: what is said
//! - `socket`: packets and descriptors
//! - `client`: the daemon's side
//! - `serve`: the helper's side
//!
//! # Invariants
//!
//! - The helper runs no program but that of a definition which passes every check of [`folders`](crate::folders), and never as root.
//! - Whatever the daemon sends, the helper answers or ends. When it ends, or the daemon does, all agents are dead.
//! - It is one thread: the kernel takes the end of the thread that started an agent for the parent's. Nothing that an agent or
//!   its owner does holds it up for long.

mod message;

mod socket;

mod client;

mod serve;

pub use self::client::Client;
pub use self::message::{Effect, Event, NotStarted, Pipes};
pub use self::serve::{Read, Rules, serve};
pub use self::socket::pair;
