//! Which settings differ from a checkpoint, and what stands in the way of changing them back.

use std::fmt;

use super::knobs::{Knobs, meaning};
use super::{Change, Setting, told};
use crate::error::shown;

/// A setting that is not as in the checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where it is.
    pub path: Vec<u8>,
    /// What it holds now; none where it cannot be read.
    pub now: Option<Vec<u8>>,
    /// What the checkpoint holds.
    pub want: Vec<u8>,
    /// Why it cannot be restored, if so.
    pub obstacle: Option<Obstacle>,
}

/// Why a setting cannot be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// The configuration does not list it.
    NotListed,
    /// It is not there or its value is not given, so it could not be put back.
    Unreadable,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotListed => "not in the configuration's list",
            Self::Unreadable => "not there, or not readable now",
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let now = self.now.as_ref().map_or_else(|| "?".to_owned(), |now| told(now));
        write!(f, "setting {}: {now} -> {}", shown(&self.path), told(&self.want))?;
        self.obstacle.map_or(Ok(()), |obstacle| write!(f, ", cannot be restored: {obstacle}"))
    }
}

/// What differs between a checkpoint's values and those of now. A setting that the checkpoint does not hold is left.
pub(super) fn differences(knobs: &Knobs, want: &[Setting]) -> Vec<Difference> {
    let differing = want.iter().filter_map(|setting| {
        let listed = knobs.covers(&setting.path);
        let now = if listed { knobs.read(&setting.path).ok() } else { None };
        let same = now.as_ref().is_some_and(|now| meaning(now) == meaning(&setting.value));
        let obstacle = match (listed, &now) {
            (false, _) => Some(Obstacle::NotListed),
            (true, None) => Some(Obstacle::Unreadable),
            (true, Some(_)) => None,
        };
        let want = setting.value.clone();
        (!same).then(|| Difference { path: setting.path.clone(), now, want, obstacle })
    });
    differing.collect()
}

/// The writes that take the differences away.
pub(super) fn changes(differences: &[Difference]) -> Vec<Change> {
    let open = differences.iter().filter(|difference| difference.obstacle.is_none());
    open.filter_map(|difference| {
        let before = difference.now.clone()?;
        Some(Change { path: difference.path.clone(), value: difference.want.clone(), before })
    })
    .collect()
}
