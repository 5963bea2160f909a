//! What happens at the module, as it happens.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use types::token::{Select, TokenId};
use types::unit::MilliCelsius;

use crate::error::system;
use crate::info::{heat, outcome, temperature};
use crate::uapi::{self, dsmil_event};
use crate::{Error, Heat, Outcome, ioctl};

/// Records that one call takes: 4.6 kB, so that a burst is a few calls and a quiet reader costs little.
const BATCH: usize = 64;

/// A reader of events, at its own position: it sees what happens after it was opened.
///
/// As an iterator it waits for each next one, without end. With epoll, or tokio's `AsyncFd` around it, wait until it is
/// readable and then take everything with [`Self::try_read`].
#[derive(Debug)]
pub struct Events {
    // An open file of its own: positions belong to files, and closing one undoes only its own transaction.
    fd: OwnedFd,
}

/// One event, and who caused it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Events since the module was loaded, from 1.
    pub number: u64,
    /// When: CLOCK_BOOTTIME, nanoseconds.
    pub time_ns: u64,
    /// Events just before this one that this reader has missed.
    pub lost: u32,
    /// The transaction that it belongs to.
    pub transaction: Option<u64>,
    /// Whose doing; for a transaction its owner's.
    pub who: Option<Who>,
    /// The call under way.
    pub command: Option<Command>,
    /// What happened.
    pub event: Event,
}

/// A process and its user, in the initial namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The value of a token's location changed.
    Token {
        /// The token.
        id: TokenId,
        /// Which value.
        select: Select,
        /// The value before.
        old: u32,
        /// The value after.
        new: u32,
        /// Who changed it.
        cause: Cause,
    },
    /// The allow-list was sealed.
    Sealed {
        /// Ids on it.
        ids: u32,
    },
    /// A transaction was begun.
    Begun,
    /// A transaction was written and is pending.
    Committed {
        /// Its changes.
        entries: u32,
    },
    /// A transaction ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// An undo failed and will be retried.
    Retrying {
        /// Attempts so far.
        attempts: u32,
    },
    /// An undo left a location alone because somebody else had changed it.
    Left {
        /// The token.
        id: TokenId,
        /// Which value.
        select: Select,
        /// What would have come back.
        old: u32,
    },
    /// A change was refused.
    Refused {
        /// Why.
        reason: Reason,
        /// The error that the caller got.
        error: Errno,
        /// The token, if it was about one.
        id: Option<TokenId>,
    },
    /// The firmware, or the way to it, failed.
    Firmware {
        /// The token.
        id: TokenId,
        /// Which value.
        select: Select,
        /// The error.
        error: Errno,
        /// The firmware's own status, as in [`Error::Firmware`].
        status: i32,
    },
    /// The processor's temperature crossed a threshold.
    Heat {
        /// What it means now.
        heat: Heat,
        /// The temperature, if it is known.
        temperature: Option<MilliCelsius>,
    },
    /// One that this build does not know.
    Other {
        /// Its kind.
        kind: u32,
        /// What it says besides.
        detail: u32,
    },
}

/// Who changed a token's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A commit.
    Commit,
    /// An undo.
    Undo,
    /// Not the module: a read found another value than the last one.
    Elsewhere,
    /// One that this build does not know.
    Other(u32),
}

/// A call of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The interface's version.
    Version,
    /// Information.
    Info,
    /// The table.
    List,
    /// Values.
    Read,
    /// All values.
    Snapshot,
    /// The allow-list.
    Allow,
    /// The beginning of a transaction.
    Begin,
    /// Adding to it.
    Stage,
    /// Writing it.
    Commit,
    /// Keeping it.
    Confirm,
    /// Undoing it.
    Undo,
    /// One that this build does not know.
    Other(u32),
}

/// Why something was refused: a `DSMIL_REASON_*` number, which shows as its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Events {
    /// Opens the node for its events alone.
    ///
    /// # Errors
    ///
    /// [`Error::Open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .map_err(|source| Error::Open { path: path.to_path_buf(), source })?;
        Ok(Self { fd })
    }

    /// Waits until there is one, and appends all there are, up to 64; how many.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn read(&mut self, records: &mut Vec<Record>) -> Result<usize, Error> {
        loop {
            match self.try_read(records)? {
                0 => self.wait()?,
                count => return Ok(count),
            }
        }
    }

    /// Appends all there are now, up to 64; how many, 0 if none.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn try_read(&mut self, records: &mut Vec<Record>) -> Result<usize, Error> {
        let mut room = [dsmil_event::default(); BATCH];
        let count = self.fill(&mut room)?;
        records.extend(room.iter().take(count).map(Record::from));
        Ok(count)
    }

    fn fill(&self, room: &mut [dsmil_event]) -> Result<usize, Error> {
        loop {
            match ioctl::events(self.fd.as_fd(), room) {
                // The module has an event or says EAGAIN; what ends is not the module's node.
                Ok(0) => return Err(system("events", Errno::ENODATA)),
                Ok(count) => return Ok(count),
                Err(Errno::EAGAIN) => return Ok(0),
                // Nothing was taken; and this does not wait, so it is not kept from whom the signal is for.
                Err(Errno::EINTR) => {}
                Err(source) => return Err(system("events", source)),
            }
        }
    }

    fn wait(&self) -> Result<(), Error> {
        match poll(&mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(source) => Err(system("events", source)),
        }
    }
}

impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl std::os::fd::AsRawFd for Events {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}

impl Iterator for Events {
    type Item = Result<Record, Error>;

    /// Waits for the next one and takes it alone, so that readiness stays true of what is left.
    fn next(&mut self) -> Option<Self::Item> {
        let mut room = [dsmil_event::default()];
        loop {
            match self.fill(&mut room) {
                Ok(0) => {
                    if let Err(error) = self.wait() {
                        return Some(Err(error));
                    }
                }
                Ok(_) => return room.first().map(|event| Ok(Record::from(event))),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl From<&dsmil_event> for Record {
    fn from(event: &dsmil_event) -> Self {
        Self {
            number: event.number,
            time_ns: event.time_ns,
            lost: event.lost,
            transaction: (event.transaction != 0).then_some(event.transaction),
            who: (event.pid != 0).then_some(Who { pid: event.pid, uid: event.uid }),
            command: (event.command != 0).then(|| command(event.command)),
            event: what(event),
        }
    }
}

fn what(event: &dsmil_event) -> Event {
    let dsmil_event { kind, detail, old, .. } = *event;
    let id = TokenId(event.id);
    let known = |select: Select| match kind {
        uapi::DSMIL_EVENT_TOKEN => {
            Some(Event::Token { id, select, old, new: event.new_value, cause: cause(detail) })
        }
        uapi::DSMIL_EVENT_SEALED => Some(Event::Sealed { ids: detail }),
        uapi::DSMIL_EVENT_BEGUN => Some(Event::Begun),
        uapi::DSMIL_EVENT_COMMITTED => Some(Event::Committed { entries: detail }),
        uapi::DSMIL_EVENT_ENDED => Some(Event::Ended { outcome: outcome(detail) }),
        uapi::DSMIL_EVENT_RETRYING => Some(Event::Retrying { attempts: detail }),
        uapi::DSMIL_EVENT_LEFT => Some(Event::Left { id, select, old }),
        uapi::DSMIL_EVENT_REFUSED => Some(Event::Refused {
            reason: Reason(event.reason),
            error: Errno::from_raw(event.error),
            id: (event.id != 0).then_some(id),
        }),
        uapi::DSMIL_EVENT_FIRMWARE => {
            let error = Errno::from_raw(event.error);
            Some(Event::Firmware { id, select, error, status: event.status })
        }
        uapi::DSMIL_EVENT_HEAT => Some(Event::Heat {
            heat: heat(detail),
            temperature: temperature(detail, event.new_value.cast_signed()),
        }),
        _ => None,
    };
    // Where the select is not one of ours, what the record says is not either.
    Select::from_code(event.select).and_then(known).unwrap_or(Event::Other { kind, detail })
}

const fn cause(number: u32) -> Cause {
    match number {
        uapi::DSMIL_CAUSE_COMMIT => Cause::Commit,
        uapi::DSMIL_CAUSE_UNDO => Cause::Undo,
        uapi::DSMIL_CAUSE_ELSEWHERE => Cause::Elsewhere,
        other => Cause::Other(other),
    }
}

const fn command(number: u32) -> Command {
    match number {
        uapi::DSMIL_IOC_VERSION => Command::Version,
        uapi::DSMIL_IOC_INFO => Command::Info,
        uapi::DSMIL_IOC_LIST => Command::List,
        uapi::DSMIL_IOC_READ => Command::Read,
        uapi::DSMIL_IOC_SNAPSHOT => Command::Snapshot,
        uapi::DSMIL_IOC_ALLOW => Command::Allow,
        uapi::DSMIL_IOC_BEGIN => Command::Begin,
        uapi::DSMIL_IOC_STAGE => Command::Stage,
        uapi::DSMIL_IOC_COMMIT => Command::Commit,
        uapi::DSMIL_IOC_CONFIRM => Command::Confirm,
        uapi::DSMIL_IOC_UNDO => Command::Undo,
        other => Command::Other(other),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            uapi::DSMIL_REASON_NONE => "not refused",
            uapi::DSMIL_REASON_RESERVED => "reserved member",
            uapi::DSMIL_REASON_COUNT => "count",
            uapi::DSMIL_REASON_DEADLINE => "deadline",
            uapi::DSMIL_REASON_SELECT => "select",
            uapi::DSMIL_REASON_DUPLICATE => "duplicate",
            uapi::DSMIL_REASON_UNKNOWN => "unknown token",
            uapi::DSMIL_REASON_NEVER_WRITTEN => "never written",
            uapi::DSMIL_REASON_NOT_SEALED => "not sealed",
            uapi::DSMIL_REASON_SEALED => "sealed",
            uapi::DSMIL_REASON_NOT_ALLOWED => "not on the allow-list",
            uapi::DSMIL_REASON_PARTIAL_LOCATION => "part of a location",
            uapi::DSMIL_REASON_CAPABILITY => "capability",
            uapi::DSMIL_REASON_READ_ONLY_FILE => "read-only file",
            uapi::DSMIL_REASON_LOCKED_DOWN => "locked down",
            uapi::DSMIL_REASON_VALUE => "value",
            uapi::DSMIL_REASON_EXPECTED => "unexpected value",
            uapi::DSMIL_REASON_BUSY => "busy",
            uapi::DSMIL_REASON_UNDOING => "undoing",
            uapi::DSMIL_REASON_CLOSING => "closing",
            uapi::DSMIL_REASON_FIRMWARE => "firmware",
            uapi::DSMIL_REASON_NOT_STUCK => "not stuck",
            uapi::DSMIL_REASON_PASSWORD => "password",
            uapi::DSMIL_REASON_NO_TRANSACTION => "no transaction",
            uapi::DSMIL_REASON_NOT_OWNER => "not the owner",
            uapi::DSMIL_REASON_COMMITTED => "committed already",
            uapi::DSMIL_REASON_NOT_COMMITTED => "not committed",
            uapi::DSMIL_REASON_EMPTY => "empty",
            uapi::DSMIL_REASON_FULL => "full",
            uapi::DSMIL_REASON_RATE => "rate",
            uapi::DSMIL_REASON_ROOM => "room",
            uapi::DSMIL_REASON_CHANGED => "changed",
            uapi::DSMIL_REASON_MEMORY => "memory",
            uapi::DSMIL_REASON_INTERRUPTED => "interrupted",
            other => return write!(f, "reason {other}"),
        })
    }
}

#[cfg(test)]
mod tests;
