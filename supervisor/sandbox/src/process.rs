//! An agent that runs.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::error::Error;
use crate::folder::wait;
use crate::leaf::{Leaf, Usage};
use crate::spawn::{Begun, Entry, begin};
use crate::spec::Spec;

/// How long whoever drops an agent waits for its death.
const DROP_MAX: Duration = Duration::from_secs(1);

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// By itself, with this status, 0 to 255.
    Code(i32),
    /// By a signal.
    Signal {
        /// Which.
        number: i32,
        /// The kernel wrote a core.
        core: bool,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "status {code}"),
            Self::Signal { number, core: false } => write!(f, "signal {number}"),
            Self::Signal { number, core: true } => write!(f, "signal {number} with a core"),
        }
    }
}

/// Our ends of an agent's pipes. They do not block.
#[derive(Debug)]
pub struct Stdio {
    /// What is written here it reads.
    pub stdin: Option<OwnedFd>,
    /// What it says.
    pub stdout: Option<OwnedFd>,
    /// What it says to its owner.
    pub stderr: Option<OwnedFd>,
}

/// An agent's first process and its cgroup. Dropped, all of it is killed, waited for and removed.
#[derive(Debug)]
pub struct Process {
    pidfd: OwnedFd,
    pid: i32,
    exit: Option<Exit>,
    /// Its pipes, for whoever reads and writes them to take.
    pub stdio: Stdio,
    leaf: Leaf,
}

/// An agent whose program has not started yet, for who cannot wait for it. Dropped, it is killed and removed.
#[derive(Debug)]
pub struct Starting {
    // Dropped first: a cgroup with a process in it cannot be removed.
    begun: Begun,
    leaf: Leaf,
}

/// What became of an agent that was starting.
#[derive(Debug)]
pub enum Started {
    /// It is not known yet.
    NotYet(Starting),
    /// Its program runs.
    Runs(Process),
}

impl Starting {
    pub(crate) fn begin(leaf: Leaf, spec: &Spec, entry: Entry) -> Result<Self, Error> {
        let begun = begin(&leaf, spec, entry)?;
        Ok(Self { begun, leaf })
    }

    /// Waits for the start of the program, at most so long.
    ///
    /// # Errors
    ///
    /// [`Error::Spawn`], [`Error::Late`]; no process is left then.
    pub fn wait(mut self, within: Duration) -> Result<Started, Error> {
        if !self.begun.wait(within)? {
            return Ok(Started::NotYet(self));
        }
        match self.begun.take() {
            Some((pidfd, pid, stdio)) => {
                Ok(Started::Runs(Process { pidfd, pid, exit: None, stdio, leaf: self.leaf }))
            }
            None => Err(Error::Late),
        }
    }

    /// When it must have started, or it is [`Error::Late`].
    #[must_use]
    pub const fn until(&self) -> Instant {
        self.begun.until()
    }
}

impl AsFd for Starting {
    /// Readable once [`wait`](Self::wait) has an answer.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.begun.told()
    }
}

impl Process {
    pub(crate) fn spawn(leaf: Leaf, spec: &Spec, entry: Entry) -> Result<Self, Error> {
        let mut starting = Starting::begin(leaf, spec, entry)?;
        loop {
            let left = starting.until().saturating_duration_since(Instant::now());
            starting = match starting.wait(left)? {
                Started::Runs(process) => return Ok(process),
                // A signal came in between, or it is too late, which the next look says.
                Started::NotYet(starting) => starting,
            };
        }
    }

    /// The first process's number, for messages: [`AsFd`] is what names it for sure.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Its cgroup.
    #[must_use]
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// How the first process ended, once it has; others of the agent may go on.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        if self.exit.is_none() {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)
                .map_err(|error| Error::Process(error.into()))?;
            self.exit = status.and_then(|status| {
                status.exit_status().map(Exit::Code).or_else(|| {
                    let number = status.terminating_signal()?;
                    Some(Exit::Signal { number, core: status.dumped() })
                })
            });
        }
        Ok(self.exit)
    }

    /// Waits for the end of the first process, at most so long.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn wait(&mut self, within: Duration) -> Result<Option<Exit>, Error> {
        let end = Instant::now() + within;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if let Some(exit) = self.try_wait()? {
                return Ok(Some(exit));
            }
            if left.is_zero() {
                return Ok(None);
            }
            wait(&self.pidfd, PollFlags::IN, left).map_err(|error| Error::Process(error.into()))?;
        }
    }

    /// Sends a signal to the first process alone, and surely to no other. Nothing happens if it has ended.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(Error::Process(error.into())),
        }
    }

    /// Stops all its processes, and waits until they stand still.
    ///
    /// # Errors
    ///
    /// As [`Leaf::freeze`].
    pub fn freeze(&self, within: Duration) -> Result<(), Error> {
        self.leaf.freeze(true, Some(within))
    }

    /// Lets them go on.
    ///
    /// # Errors
    ///
    /// As [`Leaf::freeze`].
    pub fn thaw(&self) -> Result<(), Error> {
        self.leaf.freeze(false, None)
    }

    /// Kills all its processes, and waits until there is none.
    ///
    /// # Errors
    ///
    /// As [`Leaf::kill`].
    pub fn kill(&self, within: Duration) -> Result<(), Error> {
        self.leaf.kill(within)
    }

    /// What it has used so far.
    ///
    /// # Errors
    ///
    /// As [`Leaf::usage`].
    pub fn usage(&self) -> Result<Usage, Error> {
        self.leaf.usage()
    }

    /// Kills what is left of it and tells how its first process ended; its cgroup is gone then.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`]; the kernel refused.
    pub fn finish(mut self, within: Duration) -> Result<Exit, Error> {
        self.kill(within)?;
        self.wait(within)?.ok_or_else(|| Error::Stuck(vec![self.pid]))
    }
}

impl AsFd for Process {
    /// The first process; readable once it has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to be told; the cgroup, dropped next, tries once more.
        if !matches!(self.try_wait(), Ok(Some(_))) {
            _ = self.leaf.kill(DROP_MAX);
            _ = self.wait(DROP_MAX);
        }
    }
}
