//! An open node.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use types::token::{Change, Reading, Select, Token, TokenId};

use crate::error::denied;
use crate::pending::Pending;
use crate::uapi::{self, dsmil_read_entry, dsmil_token, dsmil_write_entry};
use crate::{Error, Info, ioctl};

/// Entries of one read and tokens of one listing: the module's limit.
const READ_CHUNK: usize = uapi::DSMIL_READ_MAX as usize;

/// An open `/dev/dsmil`.
///
/// Closing it, which dropping it and every [`Pending`] of it does, undoes what is pending.
#[derive(Debug)]
pub struct Device {
    // Shared with the pending change, so that it can outlive a borrow but not the file.
    fd: Arc<OwnedFd>,
}

impl From<OwnedFd> for Device {
    /// Takes a node that was opened before, for instance before privileges were dropped.
    fn from(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd) }
    }
}

impl Device {
    /// Opens the node for reading and writing, and asks for the interface's version.
    ///
    /// # Errors
    ///
    /// - [`Error::Open`]: the module is not loaded, or the user may not.
    /// - [`Error::Abi`]: the node is not one of this module, or the module is too old.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let fd = open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|source| Error::Open { path: path.to_path_buf(), source })?;
        let needed = uapi::DSMIL_ABI_VERSION;
        let found = match ioctl::version(fd.as_fd()) {
            Ok(version) => version.abi,
            // Any other driver's answer to a number that is not its own.
            Err(Errno::ENOTTY | Errno::EINVAL) => 0,
            Err(source) => return Err(Error::System { call: "version", source }),
        };
        if found < needed { Err(Error::Abi { found, needed }) } else { Ok(Self::from(fd)) }
    }

    /// Counts, limits and states.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn info(&self) -> Result<Info, Error> {
        ioctl::info(self.fd.as_fd())
            .map(Info::from)
            .map_err(|source| Error::System { call: "information", source })
    }

    /// The firmware's table, in ascending order of ids. Constant while the module is loaded but for
    /// [`Token::writable`], which the seal sets.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn tokens(&self) -> Result<Vec<Token>, Error> {
        let mut tokens = Vec::new();
        let mut room = [dsmil_token::default(); READ_CHUNK];
        let mut cursor = 0;
        loop {
            let (next, filled) = ioctl::list(self.fd.as_fd(), cursor, &mut room)
                .map_err(|source| Error::System { call: "list", source })?;
            tokens.extend(room.iter().take(filled).map(token));
            // The cursor never stands still, so this ends; a module that broke that would end it too.
            if filled == 0 || next <= cursor {
                return Ok(tokens);
            }
            cursor = next;
        }
    }

    /// Reads values, fresh from the firmware, one answer for each in the same order.
    ///
    /// # Errors
    ///
    /// Each answer may be [`Error::Unknown`], [`Error::NotReadable`], [`Error::Firmware`] or [`Error::System`].
    pub fn read(&self, wanted: &[(TokenId, Select)]) -> Vec<Result<Reading, Error>> {
        let mut answers = Vec::with_capacity(wanted.len());
        for chunk in wanted.chunks(READ_CHUNK) {
            self.read_chunk(chunk, &mut answers);
        }
        answers
    }

    fn read_chunk(&self, wanted: &[(TokenId, Select)], answers: &mut Vec<Result<Reading, Error>>) {
        let entry = |(id, select): &(TokenId, Select)| dsmil_read_entry {
            id: id.0,
            select: select_number(*select),
            ..Default::default()
        };
        let asked: Vec<_> = wanted.iter().map(entry).collect();
        let mut entries = asked.clone();
        let done = loop {
            match ioctl::read(self.fd.as_fd(), &mut entries) {
                // A signal of ours; entries are as they were, but for what a partial copy left.
                Err(Errno::EINTR) => entries.clone_from(&asked),
                done => break done,
            }
        };
        answers.extend(wanted.iter().zip(&entries).map(|((id, select), entry)| match done {
            Err(source) => Err(Error::System { call: "read", source }),
            Ok(()) => reading(*id, *select, entry),
        }));
    }

    /// Sets the tokens that may be written, and seals that until the module is reloaded. An empty list
    /// seals too.
    ///
    /// # Errors
    ///
    /// - [`Error::Sealed`]: that has been done already.
    /// - [`Error::Unknown`], [`Error::NeverWritten`], [`Error::PartialLocation`], [`Error::Invalid`]: about
    ///   the list; nothing is sealed.
    /// - [`Error::Privilege`], [`Error::LockedDown`], [`Error::System`].
    pub fn allow(&self, ids: &[TokenId]) -> Result<(), Error> {
        let ids: Vec<u16> = ids.iter().map(|id| id.0).collect();
        ioctl::allow(self.fd.as_fd(), &ids).map_err(|failed| Error::from_failed("allow", failed))
    }

    /// Writes values and leaves them pending: they go back unless the answer is confirmed within
    /// `deadline`, 1 s to 10 min in whole milliseconds, or the default of 30 s if it is zero.
    ///
    /// All or nothing. The module checks everything, saves the old values, writes, reads back and compares.
    ///
    /// # Errors
    ///
    /// - [`Error::Unknown`], [`Error::NeverWritten`], [`Error::NotAllowed`], [`Error::Invalid`],
    ///   [`Error::Unexpected`]: about one change.
    /// - [`Error::NotSealed`], [`Error::Privilege`], [`Error::LockedDown`]: nothing may be written now.
    /// - [`Error::Busy`], [`Error::Undoing`]: another change is in the way.
    /// - [`Error::Firmware`], [`Error::NotStuck`]: it failed, and says what became of the old values.
    pub fn write(&self, changes: &[Change], deadline: Duration) -> Result<Pending, Error> {
        let entry = |change: &Change| dsmil_write_entry {
            id: change.id.0,
            select: select_number(change.select),
            flags: if change.expected.is_some() { EXPECTED } else { 0 },
            value: change.value,
            expected: change.expected.unwrap_or(0),
            old: 0,
        };
        let mut entries: Vec<_> = changes.iter().map(entry).collect();
        // Too long a deadline is the module's to refuse, so it only must not become a short one.
        let deadline_ms = u32::try_from(deadline.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let transaction = ioctl::write(self.fd.as_fd(), &mut entries, deadline_ms)
            .map_err(|failed| Error::from_failed("write", failed))?;
        let old = changes.iter().zip(&entries);
        let old = old.map(|(change, e)| Reading { id: change.id, select: change.select, value: e.old });
        Ok(Pending::new(Arc::clone(&self.fd), transaction, old.collect()))
    }
}

/// `DSMIL_WRITE_EXPECTED` as wide as the entry's flags.
const EXPECTED: u8 = 1;
const _: () = assert!(uapi::DSMIL_WRITE_EXPECTED == 1);

/// The interface's number of a select, which is the firmware's (SELECT_TOKEN_* in linux/wmi.h).
const fn select_number(select: Select) -> u8 {
    match select {
        Select::Current => 0,
        Select::Battery => 1,
        Select::Ac => 2,
    }
}
const _: () =
    assert!(uapi::DSMIL_SELECT_CURRENT == 0 && uapi::DSMIL_SELECT_BATTERY == 1 && uapi::DSMIL_SELECT_AC == 2);

fn token(token: &dsmil_token) -> Token {
    Token {
        id: TokenId(token.id),
        location: token.location,
        table_value: token.value,
        denied: denied(token.rule),
        writable: token.flags & uapi::DSMIL_TOKEN_WRITABLE != 0,
        shares_location: token.flags & uapi::DSMIL_TOKEN_SHARED != 0,
    }
}

fn reading(id: TokenId, select: Select, entry: &dsmil_read_entry) -> Result<Reading, Error> {
    if entry.error == 0 {
        return Ok(Reading { id, select, value: entry.value });
    }
    Err(match Errno::from_raw(entry.error) {
        Errno::ENOENT => Error::Unknown(id),
        Errno::EACCES => Error::NotReadable(id),
        source => Error::Firmware { id, source, status: entry.status, undo: crate::Undo::NotNeeded },
    })
}
