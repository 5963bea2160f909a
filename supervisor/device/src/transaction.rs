//! A transaction that collects what is to be written.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use types::token::{Change, Reading, Select, TokenId};

use crate::uapi::{self, dsmil_stage_entry};
use crate::{Error, Pending, ioctl};

/// Entries that one call adds: the module's limit.
const STAGE_CHUNK: usize = uapi::DSMIL_STAGE_MAX as usize;

/// `DSMIL_STAGE_EXPECTED` as wide as the entry's flags.
const EXPECTED: u8 = 1;
const _: () = assert!(uapi::DSMIL_STAGE_EXPECTED == 1);

/// How a transaction behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Suspend and hibernation undo the pending change first.
    pub undo_on_suspend: bool,
}

impl Flags {
    pub(crate) const fn number(self) -> u32 {
        if self.undo_on_suspend { uapi::DSMIL_BEGIN_UNDO_ON_SUSPEND } else { 0 }
    }
}

/// The module's one transaction: nothing is written before its commit.
///
/// It ends unwritten at its deadline, when this is dropped, when any descriptor of the node is closed by this
/// process, and when this process ends. Only this process can use it.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is undone"]
pub struct Transaction {
    fd: Arc<OwnedFd>,
    number: u64,
    staged: Vec<(TokenId, Select)>,
    /// Committed, or ended by the module: there is nothing to undo here.
    is_over: bool,
}

impl Transaction {
    pub(crate) const fn new(fd: Arc<OwnedFd>, number: u64) -> Self {
        Self { fd, number, staged: Vec::new(), is_over: false }
    }

    /// The module's number for it, never 0, not used again until the module is reloaded.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Adds changes. Nothing is asked of the firmware.
    ///
    /// Up to 256 are taken all or none. Of a longer list that is refused, those before the refused 256 stay staged.
    ///
    /// # Errors
    ///
    /// - [`Error::Unknown`], [`Error::NeverWritten`], [`Error::NotAllowed`], [`Error::Invalid`]: about one change,
    ///   or their number.
    /// - [`Error::NotPending`]: the transaction has ended.
    /// - [`Error::NotOwner`], [`Error::System`].
    pub fn stage(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut before = 0;
        for chunk in changes.chunks(STAGE_CHUNK) {
            let entries: Vec<_> = chunk.iter().map(entry).collect();
            ioctl::stage(self.fd.as_fd(), self.number, &entries)
                .map_err(|failed| Error::from_failed("stage", failed).behind(before))?;
            self.staged.extend(chunk.iter().map(|change| (change.id, change.select)));
            before += chunk.len();
        }
        Ok(())
    }

    /// Writes what is staged and leaves it pending. The deadline starts anew.
    ///
    /// All or nothing. The module saves the old values, compares the expected ones, writes, reads back and compares.
    ///
    /// # Errors
    ///
    /// - [`Error::RateLimited`]: nothing happened, and the transaction is still open: commit again after the pause.
    /// - [`Error::Unexpected`], [`Error::Password`], [`Error::Firmware`], [`Error::NotStuck`]: it failed and the
    ///   transaction has ended; the error says what became of the old values.
    /// - [`Error::Invalid`]: nothing is staged, or it is committed already.
    /// - [`Error::NotPending`]: the transaction has ended.
    /// - [`Error::LockedDown`], [`Error::NotOwner`], [`Error::System`].
    pub fn commit(&mut self) -> Result<Pending, Error> {
        let mut old = vec![0; self.staged.len()];
        match ioctl::commit(self.fd.as_fd(), self.number, &mut old) {
            Ok(()) => {
                self.is_over = true;
                let old = std::mem::take(&mut self.staged).into_iter().zip(old);
                let old = old.map(|((id, select), value)| Reading { id, select, value }).collect();
                Ok(Pending::new(Arc::clone(&self.fd), self.number, old))
            }
            Err(failed) => {
                let error = Error::from_failed("commit", failed);
                // An undo of what has ended would only be one more refusal.
                self.is_over |= matches!(
                    error,
                    Error::Unexpected { .. }
                        | Error::Password { .. }
                        | Error::Firmware { .. }
                        | Error::NotStuck { .. }
                        | Error::NotPending
                );
                Err(error)
            }
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.is_over {
            // If this fails, the deadline or the closing of the file does it.
            let _already_ended = ioctl::undo(self.fd.as_fd(), self.number);
        }
    }
}

fn entry(change: &Change) -> dsmil_stage_entry {
    dsmil_stage_entry {
        id: change.id.0,
        select: change.select.code(),
        flags: if change.expected.is_some() { EXPECTED } else { 0 },
        value: change.value,
        expected: change.expected.unwrap_or(0),
        reserved: 0,
    }
}
