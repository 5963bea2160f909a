//! What is recorded of agents and their processes. Keys and variants are only ever added.

use minicbor::{Decode, Encode};

use crate::fact::{Asker, Grant};

/// Something about agents.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub enum AgentFact {
    /// A file that describes one is new, or has changed.
    #[n(0)]
    Defined {
        /// What it is called.
        #[n(0)]
        name: String,
        /// Where the file lies.
        #[n(1)]
        path: String,
        /// Who owns it.
        #[n(2)]
        uid: u32,
        /// SHA-256 of the file.
        #[cbor(n(3), with = "minicbor::bytes")]
        hash: [u8; 32],
        /// What it asks to be allowed.
        #[n(4)]
        capabilities: Vec<String>,
        /// Attempts after the first.
        #[n(5)]
        retry_limit: u32,
        /// Before the second attempt, milliseconds.
        #[n(6)]
        retry_delay_ms: u64,
        /// Before any attempt, milliseconds.
        #[n(7)]
        retry_delay_max_ms: u64,
        /// One attempt at a task, milliseconds.
        #[n(8)]
        timeout_ms: u64,
    },
    /// The file is gone.
    #[n(1)]
    Gone {
        /// The agent.
        #[n(0)]
        name: String,
    },
    /// An owner approved of files.
    #[n(2)]
    Approved {
        /// The request.
        #[cbor(n(0), with = "minicbor::bytes")]
        request: [u8; 16],
        /// Who.
        #[n(1)]
        asker: Asker,
        /// Which, each by its agent and SHA-256.
        #[n(2)]
        files: Vec<Approval>,
        /// On what ground.
        #[n(3)]
        grant: Grant,
    },
    /// A process is started.
    #[n(3)]
    Started {
        /// Its number.
        #[n(0)]
        instance: u64,
        /// The agent.
        #[n(1)]
        name: String,
        /// SHA-256 of its file.
        #[cbor(n(2), with = "minicbor::bytes")]
        hash: [u8; 32],
        /// For which run: its grant is the ground.
        #[n(3)]
        run: u64,
    },
    /// It has said hello.
    #[n(4)]
    Ready {
        /// Its number.
        #[n(0)]
        instance: u64,
        /// Its process id.
        #[n(1)]
        pid: i32,
        /// How many tasks it works on at once.
        #[n(2)]
        tasks: u32,
    },
    /// It has ended.
    #[n(5)]
    Ended {
        /// Its number.
        #[n(0)]
        instance: u64,
        /// Why, for people.
        #[n(1)]
        reason: String,
        /// It was not asked to.
        #[n(2)]
        is_failure: bool,
    },
    /// An agent gets no task for a while, after too many failures in a row; or is trusted again.
    #[n(6)]
    Breaker {
        /// The agent.
        #[n(0)]
        name: String,
        /// For how long, nanoseconds; none: it is trusted again.
        #[n(1)]
        open_ns: Option<u64>,
    },
    /// Everything was stopped at once.
    #[n(7)]
    EmergencyStop {
        /// Who.
        #[n(0)]
        asker: Asker,
        /// The request.
        #[cbor(n(1), with = "minicbor::bytes")]
        request: [u8; 16],
        /// Until all agents stood still, nanoseconds; none: they did not in time.
        #[n(2)]
        frozen_ns: Option<u64>,
        /// Until all were gone.
        #[n(3)]
        killed_ns: Option<u64>,
        /// Processes that are left, in a sleep that nothing interrupts.
        #[n(4)]
        left: Vec<i32>,
    },
    /// A process is told to end: nothing has been asked of it for long, or its file has changed.
    #[n(8)]
    Leaving {
        /// Its number.
        #[n(0)]
        instance: u64,
        /// Why, for people.
        #[n(1)]
        reason: String,
    },
}

/// A file that was approved.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Approval {
    /// The agent.
    #[n(0)]
    pub name: String,
    /// SHA-256 of its file.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: [u8; 32],
}
