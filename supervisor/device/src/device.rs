//! An open node.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use types::token::{Change, Reading, Select, Token, TokenId};

use crate::error::{denied, system};
use crate::snapshot::{aged, entries};
use crate::uapi::{self, dsmil_read_entry, dsmil_token};
use crate::{Age, Aged, Error, Events, Flags, Info, Pages, Pending, Snapshot, Transaction, ioctl};

/// Entries of one read: the module's limit.
const READ_CHUNK: usize = uapi::DSMIL_READ_MAX as usize;
/// Tokens of one listing, on the stack.
const LIST_CHUNK: usize = 256;
const _: () = assert!(LIST_CHUNK <= uapi::DSMIL_LIST_MAX as usize);
/// Attempts at a snapshot for which the room was too little. The table is constant, so the second one fits.
const SNAPSHOT_ATTEMPTS_MAX: u32 = 3;

/// How long to wait for the module's limits on calls to the firmware, before that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Pauses of one request.
    pub pauses_max: u32,
    /// All its pauses together.
    pub total_max: Duration,
}

impl Patience {
    /// [`Error::RateLimited`] at once.
    pub const NONE: Self = Self { pauses_max: 0, total_max: Duration::ZERO };
    /// For a program that has other threads for what is urgent. With the module's usual limits the longest pause is
    /// 16 s, between two transactions of the largest size.
    pub const USUAL: Self = Self { pauses_max: 8, total_max: Duration::from_secs(30) };
}

/// An open `/dev/dsmil`.
///
/// Closing it, which dropping it and every [`Transaction`] and [`Pending`] of it does, undoes what is pending.
#[derive(Debug)]
pub struct Device {
    // Shared with the transaction, so that it can outlive a borrow but not the file.
    fd: Arc<OwnedFd>,
    patience: Patience,
}

impl From<OwnedFd> for Device {
    /// Takes a node that was opened before, for instance before privileges were dropped.
    fn from(fd: OwnedFd) -> Self {
        Self { fd: Arc::new(fd), patience: Patience::NONE }
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
            Err(source) => return Err(system("version", source)),
        };
        if found < needed { Err(Error::Abi { found, needed }) } else { Ok(Self::from(fd)) }
    }

    /// Waits when the firmware is called too often, instead of failing at once.
    #[must_use]
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Counts, limits and states.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn info(&self) -> Result<Info, Error> {
        ioctl::info(self.fd.as_fd()).map(Info::from).map_err(|source| system("information", source))
    }

    /// The firmware's table, in ascending order of ids. Constant while the module is loaded but for
    /// [`Token::writable`], which the seal sets.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn tokens(&self) -> Result<Vec<Token>, Error> {
        let mut tokens = Vec::new();
        let mut room = [dsmil_token::default(); LIST_CHUNK];
        let mut cursor = 0;
        loop {
            let (next, filled) =
                ioctl::list(self.fd.as_fd(), cursor, &mut room).map_err(|source| system("list", source))?;
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
    /// Each answer may be [`Error::Unknown`], [`Error::NotReadable`], [`Error::Firmware`],
    /// [`Error::RateLimited`] or [`Error::System`].
    pub fn read(&self, wanted: &[(TokenId, Select)]) -> Vec<Result<Reading, Error>> {
        let answers = self.read_cached(wanted, Age::Fresh).into_iter().zip(wanted);
        let reading =
            |(answer, (id, select)): (Result<Aged, Error>, &(TokenId, Select))| -> Result<Reading, Error> {
                Ok(Reading { id: *id, select: *select, value: answer?.value })
            };
        answers.map(reading).collect()
    }

    /// Reads values that may come from the module's cache, one answer for each in the same order.
    ///
    /// # Errors
    ///
    /// As [`Self::read`], and [`Error::NotCached`] where the firmware was not to be called.
    pub fn read_cached(&self, wanted: &[(TokenId, Select)], age: Age) -> Vec<Result<Aged, Error>> {
        let mut answers = Vec::with_capacity(wanted.len());
        for chunk in wanted.chunks(READ_CHUNK) {
            let entry = |(id, select): &(TokenId, Select)| dsmil_read_entry {
                id: id.0,
                select: select.code(),
                ..Default::default()
            };
            let asked: Vec<_> = chunk.iter().map(entry).collect();
            let done = self.patiently(|| {
                ioctl::read(self.fd.as_fd(), &asked, age.number())
                    .map_err(|failed| Error::from_failed("read", failed))
            });
            match done {
                Ok(entries) => {
                    answers.extend(chunk.iter().zip(&entries).map(|((id, _), entry)| aged(*id, entry)));
                }
                Err(error) => answers.extend(chunk.iter().map(|_| Err(error.clone()))),
            }
        }
        answers
    }

    /// Every readable token with each of `selects`, all of one generation: nothing was written by the module while
    /// they were read.
    ///
    /// # Errors
    ///
    /// - [`Error::Changed`]: something was written, again and again.
    /// - [`Error::RateLimited`], [`Error::Invalid`] (no selects), [`Error::System`].
    pub fn snapshot(&self, selects: &[Select], age: Age) -> Result<Snapshot, Error> {
        let bits = selects.iter().fold(0, |bits, select| bits | 1 << select.code());
        let wide = |count: u32| usize::try_from(count).unwrap_or(0);
        // One more than none, so that the module says itself what is wrong with an empty request.
        let mut count = wide(self.info()?.readable.saturating_mul(u32::count_ones(bits))).max(1);
        for _ in 0..SNAPSHOT_ATTEMPTS_MAX {
            let mut room = vec![dsmil_read_entry::default(); count];
            let done =
                self.patiently(|| match ioctl::snapshot(self.fd.as_fd(), &mut room, bits, age.number()) {
                    Ok(taken) => Ok(Ok(taken)),
                    Err(failed) if failed.failure.reason == uapi::DSMIL_REASON_ROOM => {
                        Ok(Err(failed.failure.found.min(uapi::DSMIL_SNAPSHOT_MAX)))
                    }
                    Err(failed) => Err(Error::from_failed("snapshot", failed)),
                })?;
            match done {
                Ok(taken) => {
                    let filled = room.get(..taken.count).unwrap_or(&room);
                    let (generation, time_ns) = (taken.generation, taken.time_ns);
                    return Ok(Snapshot { generation, time_ns, entries: entries(filled) });
                }
                Err(found) => count = wide(found).max(1),
            }
        }
        Err(system("snapshot", Errno::ENOSPC))
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

    /// Opens the module's one transaction. It is dropped unless it is committed within `deadline`, 1 s to 10 min in
    /// whole milliseconds, or the default of 30 s if that is zero; what it then wrote goes back unless it is
    /// confirmed within as long again.
    ///
    /// # Errors
    ///
    /// - [`Error::NotSealed`], [`Error::Privilege`], [`Error::LockedDown`]: nothing may be written now.
    /// - [`Error::Busy`], [`Error::Undoing`]: another transaction is in the way.
    /// - [`Error::Invalid`]: the deadline is out of range.
    /// - [`Error::System`].
    pub fn begin(&self, deadline: Duration, flags: Flags) -> Result<Transaction, Error> {
        // Too long a deadline is the module's to refuse, so it only must not become a short one.
        let deadline_ms = u32::try_from(deadline.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let number = ioctl::begin(self.fd.as_fd(), deadline_ms, flags.number())
            .map_err(|failed| Error::from_failed("begin", failed))?;
        Ok(Transaction::new(Arc::clone(&self.fd), number))
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
    /// - [`Error::RateLimited`]: nothing was written.
    /// - [`Error::Password`], [`Error::Firmware`], [`Error::NotStuck`]: it failed, and says what became of the old
    ///   values.
    pub fn write(&self, changes: &[Change], deadline: Duration) -> Result<Pending, Error> {
        // From the beginning each time: a transaction that waits would reach its deadline and keep others out.
        self.patiently(|| {
            let mut transaction = self.begin(deadline, Flags::default())?;
            transaction.stage(changes)?;
            transaction.commit()
        })
    }

    /// Writes back what a snapshot holds of the tokens on the sealed allow-list, where something else stands now; as
    /// [`Self::write`], it stays only if it is confirmed. None if nothing differs.
    ///
    /// What changes between looking and writing refuses the whole of it.
    ///
    /// # Errors
    ///
    /// As [`Self::write`], and what [`Self::read`] says of a present value.
    pub fn restore(&self, snapshot: &Snapshot, deadline: Duration) -> Result<Option<Pending>, Error> {
        let mut changes = snapshot.writable(&self.tokens()?);
        let wanted: Vec<_> = changes.iter().map(|change| (change.id, change.select)).collect();
        for (change, now) in changes.iter_mut().zip(self.read(&wanted)) {
            change.expected = Some(now?.value);
        }
        changes.retain(|change| change.expected != Some(change.value));
        if changes.is_empty() { Ok(None) } else { self.write(&changes, deadline).map(Some) }
    }

    /// What happens from now on. The node is opened once more for it, which this process must still be allowed to:
    /// one that gives up privileges takes [`Events`] first.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn events(&self) -> Result<Events, Error> {
        // Not a duplicate, the closing of which would undo what is pending.
        Events::open(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The state and the cached values without a system call. The pages stay when this is dropped.
    ///
    /// # Errors
    ///
    /// - [`Error::Abi`]: the pages are older than this build needs.
    /// - [`Error::System`]: they cannot be mapped, or do not hold what they should.
    pub fn map(&self) -> Result<Pages, Error> {
        let bytes = usize::try_from(self.info()?.page_bytes).unwrap_or(0);
        Pages::map(self.fd.as_fd(), bytes)
    }

    /// Asks again, after the pause that the module names, while the firmware is called too often.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let (mut pauses, mut left) = (self.patience.pauses_max, self.patience.total_max);
        loop {
            let done = ask();
            let Err(Error::RateLimited { wait }) = done else { return done };
            // At least the clock's step, so that no answer makes this spin.
            let wait = wait.max(Duration::from_millis(1));
            match (pauses.checked_sub(1), left.checked_sub(wait)) {
                (Some(fewer), Some(less)) => (pauses, left) = (fewer, less),
                _ => return done,
            }
            sleep(wait);
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// What a request comes to that is refused `refusals` times, and how often it was asked.
    fn asked(patience: Patience, wait: Duration, refusals: u32) -> (Result<u32, Error>, u32) {
        let device = Device::from(OwnedFd::from(File::open("/dev/null").unwrap())).with_patience(patience);
        let mut times = 0;
        let done = device.patiently(|| {
            times += 1;
            if times <= refusals { Err(Error::RateLimited { wait }) } else { Ok(times) }
        });
        (done, times)
    }

    #[test]
    fn patience_is_bounded_by_pauses_and_by_time() {
        let (soon, late) = (Duration::ZERO, Duration::from_secs(3600));
        let patience = Patience { pauses_max: 3, total_max: Duration::from_secs(1) };
        assert_eq!(asked(patience, soon, 3), (Ok(4), 4));
        assert_eq!(asked(patience, soon, 4), (Err(Error::RateLimited { wait: soon }), 4));
        assert_eq!(asked(patience, late, 1), (Err(Error::RateLimited { wait: late }), 1));
        assert_eq!(asked(Patience::NONE, soon, 1), (Err(Error::RateLimited { wait: soon }), 1));
    }
}
