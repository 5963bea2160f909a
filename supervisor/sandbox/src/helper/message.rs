//! What daemon and helper say to each other.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use minicbor::{Decode, Encode};
use types::agent::Bytes;
use types::hash::Hash;

use crate::leaf::Usage;
use crate::process::Exit;
use crate::subtree::Capabilities;

/// What the daemon asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Start an agent.
    Start {
        /// What it is called between the two: no other that runs may be.
        instance: u64,
        /// Its definition.
        path: PathBuf,
        /// SHA-256 of the definition that was approved.
        hash: Hash,
    },
    /// Kill all processes of an agent; its end is told.
    Kill {
        /// Which.
        instance: u64,
    },
    /// Stop all processes of an agent.
    Freeze {
        /// Which.
        instance: u64,
    },
    /// Let them go on.
    Thaw {
        /// Which.
        instance: u64,
    },
    /// Say what an agent has used.
    Usage {
        /// Which.
        instance: u64,
    },
    /// Kill all agents; each one's end is told.
    KillAll,
    /// Stop all agents.
    FreezeAll,
    /// Let them go on.
    ThawAll,
}

/// What the helper tells.
#[derive(Debug)]
pub enum Event {
    /// An agent's program has started.
    Started {
        /// Which.
        instance: u64,
        /// Its first process, for messages.
        pid: i32,
        /// Our ends of its pipes.
        pipes: Pipes,
    },
    /// An agent was not started.
    NotStarted {
        /// Which.
        instance: u64,
        /// Why.
        why: NotStarted,
    },
    /// The first process of an agent has ended, and so have the others.
    Ended {
        /// Which.
        instance: u64,
        /// How the first process ended; none where the kernel does not let it end.
        exit: Option<Exit>,
        /// What it has used; none where the kernel does not say.
        usage: Option<Usage>,
        /// Processes that cannot be killed now: they are in the kernel's hands, and count as an agent that runs.
        stuck: u32,
    },
    /// What an agent has used.
    Usage {
        /// Which.
        instance: u64,
        /// How much.
        usage: Usage,
    },
    /// It was done, unless it is told otherwise above.
    Done {
        /// To which agent; none: to all.
        instance: Option<u64>,
    },
    /// It was not done.
    Failed {
        /// To which agent; none: to all.
        instance: Option<u64>,
        /// Why.
        why: String,
    },
}

/// Our ends of an agent's pipes. They do not block.
#[derive(Debug)]
pub struct Pipes {
    /// What is written here it reads.
    pub stdin: OwnedFd,
    /// What it says.
    pub stdout: OwnedFd,
    /// What it says to its owner.
    pub stderr: OwnedFd,
    /// Kills all its processes at a write of “1”; none on kernels before Linux 5.14.
    pub kill: Option<OwnedFd>,
}

/// Why an agent was not started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotStarted {
    /// The definition is none from which an agent may be started; asking again does not help.
    #[error("{0}")]
    Refused(String),
    /// It may, but it could not.
    #[error("{0}")]
    Failed(String),
    /// As many agents run as may.
    #[error("as many agents run as may: agents.instances_max")]
    Full,
}

/// Longest text of a reason, bytes.
const WHY_MAX: usize = 2_000;

/// An [`Effect`] on the socket.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct Asked {
    #[n(0)]
    order: Order,
    #[n(1)]
    instance: Option<u64>,
    #[cbor(n(2), with = "minicbor::bytes")]
    path: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    hash: [u8; 32],
}

#[derive(Clone, Copy, Encode, Decode)]
#[cbor(index_only)]
enum Order {
    #[n(0)]
    Start,
    #[n(1)]
    Kill,
    #[n(2)]
    Freeze,
    #[n(3)]
    Thaw,
    #[n(4)]
    Usage,
}

impl From<&Effect> for Asked {
    fn from(effect: &Effect) -> Self {
        let plain = |order, instance| Self { order, instance, path: Vec::new(), hash: [0; 32] };
        match effect {
            Effect::Start { instance, path, hash } => Self {
                path: path.as_os_str().as_bytes().to_vec(),
                hash: hash.0,
                ..plain(Order::Start, Some(*instance))
            },
            Effect::Kill { instance } => plain(Order::Kill, Some(*instance)),
            Effect::Freeze { instance } => plain(Order::Freeze, Some(*instance)),
            Effect::Thaw { instance } => plain(Order::Thaw, Some(*instance)),
            Effect::Usage { instance } => plain(Order::Usage, Some(*instance)),
            Effect::KillAll => plain(Order::Kill, None),
            Effect::FreezeAll => plain(Order::Freeze, None),
            Effect::ThawAll => plain(Order::Thaw, None),
        }
    }
}

impl Asked {
    /// The effect; nothing where it is none.
    pub(super) fn effect(self) -> Option<Effect> {
        let path = PathBuf::from(OsString::from_vec(self.path));
        Some(match (self.order, self.instance) {
            (Order::Start, Some(instance)) => Effect::Start { instance, path, hash: Hash(self.hash) },
            (Order::Kill, Some(instance)) => Effect::Kill { instance },
            (Order::Freeze, Some(instance)) => Effect::Freeze { instance },
            (Order::Thaw, Some(instance)) => Effect::Thaw { instance },
            (Order::Usage, Some(instance)) => Effect::Usage { instance },
            (Order::Kill, None) => Effect::KillAll,
            (Order::Freeze, None) => Effect::FreezeAll,
            (Order::Thaw, None) => Effect::ThawAll,
            (Order::Start | Order::Usage, None) => return None,
        })
    }
}

/// What the helper says on the socket; descriptors go beside it.
#[derive(Encode, Decode)]
pub(super) enum Told {
    /// First of all. Descriptors: see [`crate::Subtree::brake`].
    #[n(0)]
    Ready {
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        #[n(1)]
        can: Can,
    },
    /// Instead: agents cannot be started here.
    #[n(1)]
    Unfit(#[n(0)] String),
    /// Descriptors: stdin, stdout, stderr, and perhaps what kills.
    #[n(2)]
    Started(#[n(0)] u64, #[n(1)] i32),
    #[n(3)]
    Refused(#[n(0)] u64, #[n(1)] String),
    #[n(4)]
    NotStarted(#[n(0)] u64, #[n(1)] String),
    #[n(5)]
    Full(#[n(0)] u64),
    #[n(6)]
    Ended {
        #[n(0)]
        instance: u64,
        #[n(1)]
        exit: Option<Ending>,
        #[n(2)]
        usage: Option<Used>,
        #[n(3)]
        stuck: u32,
    },
    #[n(7)]
    Usage(#[n(0)] u64, #[n(1)] Used),
    #[n(8)]
    Done(#[n(0)] Option<u64>),
    #[n(9)]
    Failed(#[n(0)] Option<u64>, #[n(1)] String),
}

/// [`Capabilities`].
#[derive(Encode, Decode)]
pub(super) struct Can {
    #[n(0)]
    freeze: bool,
    #[n(1)]
    kill: bool,
    #[n(2)]
    memory: bool,
    #[n(3)]
    pids: bool,
    #[n(4)]
    cpu: bool,
    #[n(5)]
    cpuset: bool,
    #[n(6)]
    missing: Vec<String>,
}

impl From<&Capabilities> for Can {
    fn from(can: &Capabilities) -> Self {
        let Capabilities { freeze, kill, memory, pids, cpu, cpuset, missing } = can.clone();
        Self { freeze, kill, memory, pids, cpu, cpuset, missing }
    }
}

impl From<Can> for Capabilities {
    fn from(can: Can) -> Self {
        let Can { freeze, kill, memory, pids, cpu, cpuset, missing } = can;
        Self { freeze, kill, memory, pids, cpu, cpuset, missing }
    }
}

/// [`Exit`].
#[derive(Clone, Copy, Encode, Decode)]
pub(super) enum Ending {
    #[n(0)]
    Code(#[n(0)] i32),
    #[n(1)]
    Signal(#[n(0)] i32, #[n(1)] bool),
}

impl From<Exit> for Ending {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal { number, core } => Self::Signal(number, core),
        }
    }
}

impl From<Ending> for Exit {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Code(code) => Self::Code(code),
            Ending::Signal(number, core) => Self::Signal { number, core },
        }
    }
}

/// [`Usage`].
#[derive(Clone, Copy, Encode, Decode)]
pub(super) struct Used {
    #[n(0)]
    cpu_us: u64,
    #[n(1)]
    memory: Option<u64>,
    #[n(2)]
    memory_peak: Option<u64>,
    #[n(3)]
    memory_kills: Option<u64>,
    #[n(4)]
    processes: u64,
}

impl From<Usage> for Used {
    fn from(usage: Usage) -> Self {
        Self {
            cpu_us: usage.cpu_us,
            memory: usage.memory.map(|bytes| bytes.0),
            memory_peak: usage.memory_peak.map(|bytes| bytes.0),
            memory_kills: usage.memory_kills,
            processes: u64::try_from(usage.processes).unwrap_or(u64::MAX),
        }
    }
}

impl From<Used> for Usage {
    fn from(used: Used) -> Self {
        Self {
            cpu_us: used.cpu_us,
            memory: used.memory.map(Bytes),
            memory_peak: used.memory_peak.map(Bytes),
            memory_kills: used.memory_kills,
            processes: usize::try_from(used.processes).unwrap_or(usize::MAX),
        }
    }
}

/// A reason that fits into a message.
pub(super) fn reason(why: &impl ToString) -> String {
    let mut why = why.to_string();
    why.truncate(why.floor_char_boundary(WHY_MAX));
    why
}
