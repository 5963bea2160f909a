//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why an agent was not started, or a cgroup not used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the cgroup tree: the machine is not set up for agents.
    #[error("{path}: {source}")]
    Tree {
        /// Which.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The folder is not in a cgroup v2 tree.
    #[error("{0} is not in a cgroup v2 tree")]
    NotCgroup2(PathBuf),
    /// What is to run cannot be run by anybody; asking again does not help.
    #[error("{0}")]
    Unfit(&'static str),
    /// Preparing failed before there was a process.
    #[error("cannot prepare a process: {0}")]
    Prepare(#[source] io::Error),
    /// The kernel does not say, or do, what was asked of a process.
    #[error("cannot handle a process: {0}")]
    Process(#[source] io::Error),
    /// The new process could not become the agent; it is gone.
    #[error("{step}: {source}")]
    Spawn {
        /// What it could not do.
        step: Step,
        /// What the kernel says.
        source: io::Error,
    },
    /// The new process did not become the agent in time, as when the tree is frozen; it is killed.
    #[error("the program did not start in time")]
    Late,
    /// The helper, or who asks it, has ended or says what is not understood.
    #[error("the helper of agents: {0}")]
    Helper(String),
    /// These processes did not die in time: they are in the kernel's hands.
    #[error("processes that cannot be killed now: {0:?}")]
    Stuck(Vec<i32>),
}

/// What a new process does before the agent's program takes over, in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Step {
    /// Enters its cgroup, where the kernel could not begin it there.
    Cgroup = 1,
    /// Begins a session of its own.
    Session,
    /// Takes its stdin, stdout and stderr.
    Stdio,
    /// Has all other descriptors closed.
    Descriptors,
    /// Takes its resource limits.
    Limits,
    /// Is bound to its processors.
    Processors,
    /// Gives up capabilities for ever.
    Capabilities,
    /// Becomes another user.
    User,
    /// Is bound to the life of its parent.
    Parent,
    /// Enters its folder.
    Folder,
    /// Executes the program.
    Program,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Cgroup,
        Self::Session,
        Self::Stdio,
        Self::Descriptors,
        Self::Limits,
        Self::Processors,
        Self::Capabilities,
        Self::User,
        Self::Parent,
        Self::Folder,
        Self::Program,
    ];

    pub(crate) fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|step| *step as i32 == code)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "cannot enter its cgroup",
            Self::Session => "cannot begin a session",
            Self::Stdio => "cannot set up stdin, stdout and stderr",
            Self::Descriptors => "cannot close descriptors",
            Self::Limits => "cannot set resource limits",
            Self::Processors => "cannot be bound to its processors",
            Self::Capabilities => "cannot drop capabilities",
            Self::User => "cannot become the agent's user",
            Self::Parent => "cannot be bound to its parent",
            Self::Folder => "cannot enter its folder",
            Self::Program => "cannot execute the program",
        })
    }
}
