//! What goes over the daemon's socket: wire types, client and server; and what agents and their files say.
//!
//! Each message is a frame: a length (u32, big endian; of a request at most [`server::REQUEST_MAX`], of a reply at
//! most [`FRAME_MAX`]) and that many bytes of JSON. A client may send several requests before the first is answered;
//! replies carry the request's id.
//!
//! # Layout
//!
//! - [`wire`]: the messages, the only serialized form of commands and answers
//! - [`client`]: asks and waits, without a runtime
//! - [`metrics`]: what is counted, for Prometheus
//! - [`server`]: accepts, knows who asks, hands on
//! - [`agent`]: the face to agents: the files that define them, and what is said on their stdin and stdout
//! - [`workflow`]: the face to people's workflows: the files that describe them, and what a run is given
//! - [`document`]: YAML with places, for files that people write
//!
//! # Invariants
//!
//! - A face translates and decides nothing: every request becomes an `engine::Command`.
//! - Who asks is what the kernel attests at connect, never what a message says.
//! - Every frame, connection and queue is bounded, and no user can take all connections.

#![forbid(unsafe_code)]

pub mod wire;

pub mod client;
pub mod metrics;

pub mod server;

pub mod agent;

pub mod workflow;

pub mod document;

/// Longest reply, bytes: a list of all tokens or a page of a checkpoint's entries is far below it.
pub const FRAME_MAX: usize = 8 << 20;

/// Where the daemon listens unless configured otherwise.
pub const SOCKET: &str = "/run/dsmil/dsmild.sock";
