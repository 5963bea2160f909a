//! A change that is written but not yet kept.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use types::token::Reading;

use crate::{Error, ioctl};

/// A change that stands in the firmware, and goes back unless it is confirmed.
///
/// It goes back at its deadline, when this is dropped, when any descriptor of the node is closed by this
/// process, when this process ends, and before a reboot. Only this process can settle it.
#[derive(Debug)]
#[must_use = "a change that is dropped is undone"]
pub struct Pending {
    fd: Arc<OwnedFd>,
    transaction: u64,
    old: Vec<Reading>,
    is_settled: bool,
}

/// What an undo did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Changes whose old value stands again.
    pub undone: u32,
    /// Changes left alone because somebody else had changed the location meanwhile.
    pub left: u32,
}

impl Pending {
    pub(crate) const fn new(fd: Arc<OwnedFd>, transaction: u64, old: Vec<Reading>) -> Self {
        Self { fd, transaction, old, is_settled: false }
    }

    /// The module's number for the change, never 0, not used again until the module is reloaded.
    #[must_use]
    pub const fn transaction(&self) -> u64 {
        self.transaction
    }

    /// What stood there before, in the order of the changes.
    #[must_use]
    pub fn old(&self) -> &[Reading] {
        &self.old
    }

    /// Keeps the change.
    ///
    /// # Errors
    ///
    /// - [`Error::NotPending`]: too late, the old values are back.
    /// - [`Error::NotOwner`], [`Error::System`]: the change will go back at its deadline.
    pub fn confirm(mut self) -> Result<(), Error> {
        let done = ioctl::confirm(self.fd.as_fd(), self.transaction);
        self.is_settled = done.is_ok();
        done.map(|_| ()).map_err(|failed| Error::from_failed("confirm", failed))
    }

    /// Brings the old values back now.
    ///
    /// # Errors
    ///
    /// - [`Error::NotPending`]: they are back already.
    /// - [`Error::Firmware`], [`Error::NotStuck`]: not all are back yet; the module goes on trying.
    /// - [`Error::NotOwner`], [`Error::System`]: they will go back at the deadline.
    pub fn undo(mut self) -> Result<Settled, Error> {
        self.is_settled = true;
        ioctl::undo(self.fd.as_fd(), self.transaction)
            .map(|settle| Settled { undone: settle.undone, left: settle.left })
            .map_err(|failed| Error::from_failed("undo", failed))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_settled {
            // If this fails, the deadline or the closing of the file does it.
            let _already_settled = ioctl::undo(self.fd.as_fd(), self.transaction);
        }
    }
}
