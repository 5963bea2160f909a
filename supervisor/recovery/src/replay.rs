//! The log folded into the state, for whoever goes on with it: the daemon, and a restore without it.

use std::path::Path;

use engine::{Fact, Record, State, evolve};
use store::log::{Config, Log};
use types::hash::Hash;

/// Why a log is not gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("the log in {dir} is not opened, because starting must not mean forgetting")]
    Refused {
        /// Its folder.
        dir: String,
        /// Why.
        #[source]
        cause: store::Error,
    },
    /// Old entries are archived, and no snapshot can be started from.
    #[error("the log in {dir} is not opened, because starting must not mean forgetting: {why}; {cause}")]
    Archived {
        /// Its folder.
        dir: String,
        /// Why the newest snapshot is not used.
        why: String,
        /// What opening it as a whole gives.
        cause: store::Error,
    },
    /// An entry is no fact that this program knows.
    #[error("entry {index} of the log in {dir}: {cause}")]
    Entry {
        /// Its place.
        index: u64,
        /// The log's folder.
        dir: String,
        /// Why.
        cause: engine::fact::Error,
    },
}

/// A log that was folded.
pub struct Replayed {
    /// Open, and locked.
    pub log: Log,
    /// What follows from its facts.
    pub state: State,
    /// How many facts were in the snapshot that the fold began with; 0 without one.
    pub from: u64,
    /// Snapshots that are not used, and why.
    pub passed_over: Vec<(u64, String)>,
}

/// How the log's files grow: no more is zeroed ahead than a file is to hold.
#[must_use]
pub fn growth(file_bytes: u64) -> Config {
    let usual = Config::default();
    let step_bytes = usual.step_bytes.min(file_bytes);
    Config { segment_bytes: file_bytes, step_bytes, ..usual }
}

/// Opens the log in a folder and folds it into an empty state: from the newest snapshot that the log itself names, else from the beginning.
///
/// # Errors
///
/// See [`Error`].
pub fn replay(dir: &Path, growth: &Config, empty: &State) -> Result<Replayed, Error> {
    let shown = || dir.display().to_string();
    let refused = |cause| Error::Refused { dir: shown(), cause };
    let mut passed_over = Vec::new();
    for entries in store::snapshot::list(dir).map_err(refused)?.into_iter().rev() {
        match replay_from(dir, entries, (growth, empty))? {
            Ok((log, state)) => return Ok(Replayed { log, state, from: entries, passed_over }),
            Err(why) => passed_over.push((entries, why)),
        }
    }
    let mut fold = Fold::new(empty.clone(), None);
    let log = match Log::open(dir, growth, &mut |index, bytes| fold.see(index, bytes)) {
        Ok(log) => log,
        // As a whole it cannot be read, so what is wrong with it was seen from the snapshot.
        Err(cause @ store::Error::Archived { .. }) => {
            return Err(match passed_over.into_iter().next() {
                Some((_, why)) => Error::Archived { dir: shown(), why, cause },
                None => refused(cause),
            });
        }
        Err(cause) => return Err(refused(cause)),
    };
    Ok(Replayed { log, state: fold.end(dir)?, from: 0, passed_over })
}

/// Folds from a snapshot, if it can be read and a fact under a signed head names it; else why not.
fn replay_from(
    dir: &Path,
    entries: u64,
    (growth, empty): (&Config, &State),
) -> Result<Result<(Log, State), String>, Error> {
    let snapshot = match store::snapshot::read(dir, entries) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let state = match engine::snapshot::decode(&snapshot.state, empty.rules.clone()) {
        Ok(state) if state.facts == entries => state,
        Ok(_) => return Ok(Err("it is of another number of facts".to_owned())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut fold = Fold::new(state, Some((entries, snapshot.hash)));
    let log = match Log::open_at(dir, growth, &snapshot.start, &mut |index, bytes| fold.see(index, bytes)) {
        Ok(log) => log,
        Err(store::Error::Unproven { why, .. }) => return Ok(Err(why)),
        Err(cause) => return Err(Error::Refused { dir: dir.display().to_string(), cause }),
    };
    let covered = log.newest_head().map_or(0, |head| head.head().size);
    if fold.named.is_none_or(|named| named >= covered) {
        return Ok(Err("no fact under a signed head names it".to_owned()));
    }
    Ok(Ok((log, fold.end(dir)?)))
}

/// Records one after the other.
struct Fold {
    state: State,
    /// The snapshot that a record is to name, and the index of the one that does.
    wanted: Option<(u64, Hash)>,
    named: Option<u64>,
    fault: Option<(u64, engine::fact::Error)>,
}

impl Fold {
    const fn new(state: State, wanted: Option<(u64, Hash)>) -> Self {
        Self { state, wanted, named: None, fault: None }
    }

    fn see(&mut self, index: u64, bytes: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        match Record::decode(bytes) {
            Ok(record) => {
                if let Fact::Snapshotted { facts, hash } = record.fact
                    && self.wanted == Some((facts, Hash(hash)))
                {
                    self.named = Some(index);
                }
                evolve(&mut self.state, &record);
            }
            Err(error) => self.fault = Some((index, error)),
        }
    }

    fn end(self, dir: &Path) -> Result<State, Error> {
        match self.fault {
            Some((index, cause)) => Err(Error::Entry { index, dir: dir.display().to_string(), cause }),
            None => Ok(self.state),
        }
    }
}
