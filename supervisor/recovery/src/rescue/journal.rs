//! Where a restore without the daemon is recorded: in the log, or where that cannot be used in a file of its own, which the daemon takes over into the log.
//!
//! The log's head is the TPM's to sign, and nobody here asks the TPM. That is not needed either: facts after the newest head are what every crash leaves, and the
//! next start signs a head over them.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use engine::reply::Reply;
use engine::state::Checkpoint;
use engine::{Decision, Effect, Event, Fact, Input, Record, Room, State, evolve};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Gid, Uid, getgid, getuid, setfsgid, setfsuid};
use store::log::{Config, Log};
use types::time::{BootId, Time};

use crate::Error;
use crate::manifest::stored::Stored;
use crate::replay::replay;

/// The folder of files that stand in for the log, below the state folder.
pub const UNRECORDED: &str = "unrecorded";

/// The record of what happens, and the state that follows from it.
pub struct Journal {
    book: Book,
    state: State,
    /// Whose the state folder is: the daemon's user, who must be able to go on.
    owner: Owner,
    boot: BootId,
    /// After how many appends the process is gone, and whether the last one was done.
    #[cfg(test)]
    pub(super) cut: Option<(u32, bool)>,
}

enum Book {
    Log(Box<Log>),
    /// A CBOR sequence of records, made with the first.
    File(Option<File>, PathBuf),
}

impl Journal {
    /// Opens the log in a state folder, which nobody else may have open, and folds it.
    ///
    /// # Errors
    ///
    /// - [`Error::Replay`]: it is locked, damaged, or not there
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let owner = Owner::of(dir)?;
        let mut empty = State::default();
        (empty.next_work, empty.next_checkpoint) = (1, 1);
        let replayed = owner.act(|| replay(&dir.join("log"), &Config::default(), &empty))?;
        Self::new(Book::Log(Box::new(replayed.log)), replayed.state, owner)
    }

    /// Records in a file beside a log that cannot be used. What checkpoints there are is then only known from themselves.
    ///
    /// # Errors
    ///
    /// - [`Error::Io`], [`Error::Store`]: the state folder cannot be read
    pub fn beside(dir: &Path) -> Result<Self, Error> {
        let owner = Owner::of(dir)?;
        let mut state = State::default();
        (state.next_work, state.next_checkpoint) = (1, 1);
        let checkpoints = dir.join("checkpoints");
        for number in store::manifest::list(&checkpoints)? {
            let stored = store::manifest::get(&checkpoints, number)
                .map_err(Error::from)
                .and_then(|bytes| Stored::decode(number, &bytes));
            let Ok(stored) = stored else { continue };
            let statement = stored.statement;
            let known = Checkpoint {
                number,
                name: statement.name,
                created_ns: statement.created_wall_ns,
                manifest: statement.manifest,
                ..Checkpoint::default()
            };
            state.checkpoints.insert(number, known);
        }
        let path = dir.join(UNRECORDED).join(format!("{}-{}.cbor", wall_ns(), std::process::id()));
        Self::new(Book::File(None, path), state, owner)
    }

    fn new(book: Book, state: State, owner: Owner) -> Result<Self, Error> {
        Ok(Self {
            book,
            state,
            owner,
            boot: boot()?,
            #[cfg(test)]
            cut: None,
        })
    }

    /// The file that stands in for the log, if one does.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.book {
            Book::Log(_) => None,
            Book::File(_, path) => Some(path),
        }
    }

    /// What follows from the facts.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Now, by all clocks.
    #[must_use]
    pub fn now(&self) -> Time {
        let boottime = clock_gettime(ClockId::CLOCK_BOOTTIME).map(nanoseconds).unwrap_or_default();
        Time { boot: self.boot, boottime_ns: boottime.try_into().unwrap_or_default(), wall_ns: wall_ns() }
    }

    /// Has the engine decide, and records what it decides. The effect is to be performed now.
    ///
    /// # Errors
    ///
    /// It is not recorded: nothing may be done.
    pub(super) fn decide(&mut self, event: Event) -> Result<(Option<Effect>, Vec<Reply>), Error> {
        // What begins may not use up what is kept for ending it.
        let is_urgent = !matches!(event, Event::Asked { .. });
        let input = Input { time: self.now(), room: Room::Orders, event };
        let Decision { facts, replies } = engine::decide(&self.state, &input).map_err(unusable)?;
        Ok((self.record(facts, is_urgent)?, replies))
    }

    /// Records facts, durably, and gives the effect that follows.
    ///
    /// # Errors
    ///
    /// They are not recorded, and the state is as before.
    pub(super) fn record(&mut self, facts: Vec<Fact>, is_urgent: bool) -> Result<Option<Effect>, Error> {
        let (time, mut state) = (self.now(), self.state.clone());
        let (mut entries, mut effect) = (Vec::new(), None);
        for fact in facts {
            let record = Record::new(time, fact);
            entries.push(record.encode().map_err(unusable)?);
            evolve(&mut state, &record);
            effect = engine::effects(&state, &record.fact).or(effect);
        }
        if !entries.is_empty() {
            self.append(&entries, is_urgent)?;
        }
        self.state = state;
        Ok(effect)
    }

    fn append(&mut self, entries: &[Vec<u8>], is_urgent: bool) -> Result<(), Error> {
        #[cfg(test)]
        match &mut self.cut {
            Some((0, is_durable)) => {
                if *is_durable {
                    self.cut = None;
                    self.append(entries, is_urgent)?;
                }
                return Err(Error::Failed("cut off".into()));
            }
            Some((left, _)) => *left -= 1,
            None => {}
        }
        let Self { book, owner, .. } = self;
        match book {
            Book::Log(log) if is_urgent => owner.act(|| log.append_urgent(entries)).map(drop)?,
            Book::Log(log) => owner.act(|| log.append(entries)).map(drop)?,
            Book::File(file, path) => {
                let written = owner.act(|| -> std::io::Result<()> {
                    let mut open = match file.take() {
                        Some(open) => open,
                        None => create(path)?,
                    };
                    open.write_all(&entries.concat()).and_then(|()| open.sync_all())?;
                    *file = Some(open);
                    Ok(())
                });
                written.map_err(|error| Error::io("write", path.as_os_str().as_encoded_bytes(), error))?;
            }
        }
        Ok(())
    }
}

/// A new file in a folder that is made where it is missing; durably.
fn create(path: &Path) -> std::io::Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
    folder.ancestors().take(2).try_for_each(|folder| File::open(folder)?.sync_all())?;
    Ok(file)
}

/// Whose the state folder is.
#[derive(Clone, Copy)]
struct Owner {
    uid: Uid,
    gid: Gid,
}

impl Owner {
    fn of(dir: &Path) -> Result<Self, Error> {
        let meta = fs::symlink_metadata(dir);
        let meta = meta.map_err(|error| Error::io("look at", dir.as_os_str().as_encoded_bytes(), error))?;
        Ok(Self { uid: Uid::from_raw(meta.uid()), gid: Gid::from_raw(meta.gid()) })
    }

    /// Does something to files as their owner, so that the daemon can go on with what is made by it.
    fn act<T>(self, act: impl FnOnce() -> T) -> T {
        struct Back;
        impl Drop for Back {
            fn drop(&mut self) {
                setfsuid(getuid());
                setfsgid(getgid());
            }
        }
        // The group first: afterwards it would not be allowed. It is this thread's alone.
        let _back = Back;
        setfsgid(self.gid);
        setfsuid(self.uid);
        act()
    }
}

fn unusable(error: engine::fact::Error) -> Error {
    Error::Invalid(error.to_string())
}

fn boot() -> Result<BootId, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(|error| Error::io("read", path.as_bytes(), error))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id =
        u128::from_str_radix(&digits, 16).map_err(|_| Error::Invalid(format!("{path} holds no number")))?;
    Ok(BootId(id.to_be_bytes()))
}

fn wall_ns() -> i64 {
    clock_gettime(ClockId::CLOCK_REALTIME).map(nanoseconds).unwrap_or_default()
}

fn nanoseconds(time: nix::sys::time::TimeSpec) -> i64 {
    time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
}
