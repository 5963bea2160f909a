//! Which databases differ from a checkpoint, and what stands in the way of changing them back.

use std::fmt;

use super::Database;
use crate::error::shown;

/// A database that is not as in the checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Its absolute path, or what it is called among those of servers.
    pub path: Vec<u8>,
    /// Whether it is gone.
    pub is_gone: bool,
    /// Why it cannot be restored, if so.
    pub obstacle: Option<Obstacle>,
}

/// Why a database cannot be restored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The configuration does not list it.
    NotListed,
    /// SQLite found it damaged when it was captured.
    Damaged,
    /// The server cannot be asked: why.
    Unreachable(String),
    /// The dump is for servers of this major version or later, and this one is of an earlier.
    Newer(u32, u32),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotListed => f.write_str("not in the configuration's list"),
            Self::Damaged => f.write_str("SQLite found it damaged when it was captured"),
            Self::Unreachable(why) => f.write_str(why),
            Self::Newer(made, now) => {
                write!(f, "the dump is for version {made} of PostgreSQL or later, and the server is of {now}")
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = if self.is_gone { "create" } else { "change" };
        write!(f, "{change} database {}", shown(&self.path))?;
        self.obstacle.as_ref().map_or(Ok(()), |obstacle| write!(f, ", cannot be restored: {obstacle}"))
    }
}

pub(super) fn difference(want: &Database, now: Option<[u8; 32]>, obstacle: Option<Obstacle>) -> Difference {
    let is_unknown = matches!(obstacle, Some(Obstacle::NotListed | Obstacle::Unreachable(_)));
    let is_gone = now.is_none() && !is_unknown;
    Difference { path: want.path.clone(), is_gone, obstacle }
}
