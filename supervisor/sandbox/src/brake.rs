//! The emergency stop, for who may not open, signal or write anything any more.
//!
//! All that it needs was opened by root and handed over: freezing and killing all agents is one write each, also after the
//! privileges are gone, and asks nobody.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::Error;
use crate::folder::{Folder, wait_event, write};
use crate::subtree::processes;

/// The open files of the cgroup above all agents.
#[derive(Debug)]
pub struct Brake {
    folder: Folder,
    events: OwnedFd,
    freeze: Option<OwnedFd>,
    kill: Option<OwnedFd>,
}

impl Brake {
    pub(crate) fn new(
        path: PathBuf,
        [folder, events]: [OwnedFd; 2],
        freeze: Option<OwnedFd>,
        kill: Option<OwnedFd>,
    ) -> Self {
        Self { folder: Folder::from_fd(folder, path), events, freeze, kill }
    }

    /// Stops all agents. They stand still when [`wait_frozen`](Self::wait_frozen) says so.
    ///
    /// # Errors
    ///
    /// The kernel refused, or has no freezer.
    pub fn freeze(&self) -> Result<(), Error> {
        self.order(self.freeze.as_ref(), "cgroup.freeze", "1")
    }

    /// Lets all agents go on that were stopped by [`freeze`](Self::freeze).
    ///
    /// # Errors
    ///
    /// As [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<(), Error> {
        self.order(self.freeze.as_ref(), "cgroup.freeze", "0")
    }

    /// Kills all agents, also frozen ones.
    ///
    /// # Errors
    ///
    /// The kernel refused, or has no `cgroup.kill` (before Linux 5.14): the helper kills one by one then.
    pub fn kill(&self) -> Result<(), Error> {
        self.order(self.kill.as_ref(), "cgroup.kill", "1")
    }

    /// Waits until all agents stand still; false if they do not in time.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn wait_frozen(&self, within: Duration) -> Result<bool, Error> {
        self.wait("frozen", true, within)
    }

    /// Waits until there is no process of any agent.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`] with those that there still are.
    pub fn wait_empty(&self, within: Duration) -> Result<(), Error> {
        if self.wait("populated", false, within)? {
            return Ok(());
        }
        match self.processes()? {
            left if left.is_empty() => Ok(()),
            left => Err(Error::Stuck(left)),
        }
    }

    /// All processes of all agents.
    ///
    /// # Errors
    ///
    /// The tree cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        processes(&self.folder)
    }

    fn wait(&self, key: &str, value: bool, within: Duration) -> Result<bool, Error> {
        wait_event(&self.events, key, value, within).map_err(|e| self.folder.wrong("cgroup.events", e))
    }

    fn order(&self, fd: Option<&OwnedFd>, name: &str, text: &str) -> Result<(), Error> {
        fd.map_or(Err(rustix::io::Errno::OPNOTSUPP), |fd| write(fd, text))
            .map_err(|error| self.folder.wrong(name, error))
    }
}
