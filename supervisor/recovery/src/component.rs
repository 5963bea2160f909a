//! What every component of a checkpoint does.

use std::fmt;

use store::chunk::Chunks;

use crate::Error;
use crate::databases;
use crate::files;
use crate::manifest::Part;
use crate::remembered::Marked;
use crate::services;
use crate::settings;
use crate::tokens;

/// A part of the machine that a checkpoint covers.
///
/// A restore calls `plan`, `prepare`, `execute`, `verify`, `clean_up` in this order, on every component before the next
/// phase begins; after an error in `prepare`, `execute` or `verify`, `undo` and then `clean_up`.
pub trait Component {
    /// Its name in statements and plans.
    fn name(&self) -> &'static str;

    /// Names of components that are restored before it.
    fn after(&self) -> &'static [&'static str];

    /// Reads its state. Chunks are durable after the caller's `sync`.
    ///
    /// # Errors
    ///
    /// It cannot be read, or not be stored.
    fn capture(&mut self, chunks: &mut Chunks) -> Result<Part, Error>;

    /// Reads its state as a capture does, and stores nothing.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn observe(&mut self, chunks: &Chunks) -> Result<Part, Error>;

    /// Files that the last capture did not read, because they are known.
    fn recognised(&self) -> u64 {
        0
    }

    /// Says what a restore would change, and that everything it needs is there and authentic. Changes nothing.
    ///
    /// # Errors
    ///
    /// The present state cannot be read, or the checkpoint is damaged.
    fn plan(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<Difference>, Error>;

    /// What its plan does not change at once though that was wished, each with the reason.
    fn in_place(&self) -> Vec<String> {
        Vec::new()
    }

    /// How that which it changes was before its plan, by name, where only the log keeps it.
    fn before(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        Vec::new()
    }

    /// Makes the planned changes ready without doing any.
    ///
    /// # Errors
    ///
    /// Not everything could be made ready.
    fn prepare(&mut self, want: &Part, chunks: &Chunks) -> Result<(), Error>;

    /// Does the planned changes.
    ///
    /// # Errors
    ///
    /// Some may be done: undo.
    fn execute(&mut self) -> Result<(), Error>;

    /// Whether it is taken back after the others instead of before those that it is restored after: because it starts what reads
    /// them.
    fn is_undone_last(&self) -> bool {
        false
    }

    /// Takes back what was done.
    ///
    /// # Errors
    ///
    /// Something is not as it was; the call can be repeated.
    fn undo(&mut self) -> Result<(), Error>;

    /// Reads everything again and says what is not as in the checkpoint.
    ///
    /// # Errors
    ///
    /// The present state cannot be read.
    fn verify(&mut self, want: &Part, chunks: &Chunks) -> Result<Vec<Difference>, Error>;

    /// Removes what only undoing needed.
    ///
    /// # Errors
    ///
    /// Something is left over; the call can be repeated.
    fn clean_up(&mut self) -> Result<(), Error>;

    /// After everything: what makes the restored state known to the next capture.
    ///
    /// # Errors
    ///
    /// The present state cannot be read.
    fn remember(&mut self, _want: &Part, _chunks: &Chunks) -> Result<Vec<Marked>, Error> {
        Ok(Vec::new())
    }
}

/// One thing that is not as in a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// A file.
    File {
        /// The absolute path of its root.
        root: Vec<u8>,
        /// What differs.
        difference: files::plan::Difference,
    },
    /// A token.
    Token(tokens::Difference),
    /// A setting of the kernel.
    Setting(settings::Difference),
    /// A database.
    Database(databases::Difference),
    /// A service.
    Service(services::Difference),
}

impl Difference {
    /// Whether something stands in the way of bringing it back.
    #[must_use]
    pub const fn is_blocked(&self) -> bool {
        match self {
            Self::File { .. } => false,
            Self::Token(difference) => difference.obstacle.is_some(),
            Self::Setting(difference) => difference.obstacle.is_some(),
            Self::Database(difference) => difference.obstacle.is_some(),
            Self::Service(difference) => difference.obstacle.is_some(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { root, difference } => {
                let path = crate::error::shown(&[root.as_slice(), &difference.path].join(&b'/'));
                match difference.change {
                    files::plan::Change::Create => write!(f, "create {path}"),
                    files::plan::Change::Remove => write!(f, "remove {path}"),
                    files::plan::Change::Alter(aspects) => write!(f, "change {path}: {aspects}"),
                }
            }
            Self::Token(difference) => difference.fmt(f),
            Self::Setting(difference) => difference.fmt(f),
            Self::Database(difference) => difference.fmt(f),
            Self::Service(difference) => difference.fmt(f),
        }
    }
}
