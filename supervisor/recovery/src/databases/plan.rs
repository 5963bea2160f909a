//! Which databases differ from a checkpoint, and what stands in the way of changing them back.

use std::fmt;

use super::Database;
use crate::error::shown;

/// A database that is not as in the checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Its absolute path.
    pub path: Vec<u8>,
    /// Whether it is gone.
    pub is_gone: bool,
    /// Why it cannot be restored, if so.
    pub obstacle: Option<Obstacle>,
}

/// Why a database cannot be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The configuration does not list it.
    NotListed,
    /// SQLite found it damaged when it was captured.
    Damaged,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotListed => "not in the configuration's list",
            Self::Damaged => "SQLite found it damaged when it was captured",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = if self.is_gone { "create" } else { "change" };
        write!(f, "{change} database {}", shown(&self.path))?;
        self.obstacle.map_or(Ok(()), |obstacle| write!(f, ", cannot be restored: {obstacle}"))
    }
}

pub(super) fn difference(want: &Database, now: Option<[u8; 32]>, obstacle: Option<Obstacle>) -> Difference {
    let is_gone = now.is_none() && obstacle != Some(Obstacle::NotListed);
    Difference { path: want.path.clone(), is_gone, obstacle }
}
