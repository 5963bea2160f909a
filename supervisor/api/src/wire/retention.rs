//! Which checkpoints stay, and what pruning frees.

use engine::reply::{Freed, PruneReport};
use engine::retention::Keep as EngineKeep;
use serde::{Deserialize, Serialize};

use super::Checkpoint;

/// What is kept. Without a count everything stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// So many of the newest; 0: no such rule.
    pub last: u32,
    /// The newest one of so many hours in which there are any; 0: no such rule.
    pub hourly: u32,
    /// Of so many days.
    pub daily: u32,
    /// Of so many weeks.
    pub weekly: u32,
    /// The oldest go until the others need at most so many bytes on the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Not only automatic ones go, but those that somebody asked for, too.
    pub manual: bool,
}

impl From<Keep> for EngineKeep {
    fn from(keep: Keep) -> Self {
        let Keep { last, hourly, daily, weekly, max_bytes, manual } = keep;
        Self { last, hourly, daily, weekly, max_bytes, manual }
    }
}

impl From<EngineKeep> for Keep {
    fn from(keep: EngineKeep) -> Self {
        let EngineKeep { last, hourly, daily, weekly, max_bytes, manual } = keep;
        Self { last, hourly, daily, weekly, max_bytes, manual }
    }
}

/// What would go.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pruning {
    /// Every checkpoint, by number.
    pub checkpoints: Vec<Fate>,
    /// What all chunks take on the disk.
    pub stored_bytes: u64,
    /// What is needed of it afterwards; less is freed than the difference where rewriting a pack does not pay.
    pub needed_bytes: u64,
    /// Checkpoints in the daemon's folder of which the log knows nothing; what they need stays.
    #[serde(default)]
    pub unknown: Vec<u64>,
}

/// What becomes of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Fate {
    /// Which.
    pub checkpoint: Checkpoint,
    /// Whether it goes.
    pub goes: bool,
    /// Why it stays: `newest`, `in use`, `emergency base`, `manual`, `no rule`, `last`, `hourly`, `daily`, `weekly`.
    pub reasons: Vec<String>,
}

/// What is gone.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// Numbers of checkpoints.
    pub checkpoints: Vec<u64>,
    /// Pack files, those that were rewritten among them.
    pub packs: u64,
    /// Of these rewritten.
    pub rewritten: u64,
    /// Chunks.
    pub chunks: u64,
    /// How much less the store takes on the disk, bytes.
    pub bytes: u64,
    /// What is not needed and still there, because rewriting its pack does not pay or it is damaged, bytes.
    pub left_bytes: u64,
    /// What is damaged or missing.
    pub damage: Vec<String>,
}

impl From<PruneReport> for Pruning {
    fn from(report: PruneReport) -> Self {
        let PruneReport { checkpoints, stored_bytes, needed_bytes, unknown } = report;
        let fate =
            |(checkpoint, reasons): (engine::state::Checkpoint, Vec<engine::retention::Reason>)| Fate {
                checkpoint: (&checkpoint).into(),
                goes: reasons.is_empty(),
                reasons: reasons.into_iter().map(|reason| reason.word().to_owned()).collect(),
            };
        Self { checkpoints: checkpoints.into_iter().map(fate).collect(), stored_bytes, needed_bytes, unknown }
    }
}

impl From<(Vec<u64>, Freed)> for Pruned {
    fn from((checkpoints, freed): (Vec<u64>, Freed)) -> Self {
        let Freed { packs, rewritten, chunks, bytes, left_bytes, damage } = freed;
        Self { checkpoints, packs, rewritten, chunks, bytes, left_bytes, damage }
    }
}

/// Rules in one line.
pub(super) fn described(keep: &EngineKeep) -> String {
    let counts =
        [("last", keep.last), ("hourly", keep.hourly), ("daily", keep.daily), ("weekly", keep.weekly)];
    let mut parts: Vec<_> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("keep {name} {count}"))
        .collect();
    parts.extend(keep.max_bytes.map(|bytes| format!("at most {bytes} bytes")));
    if parts.is_empty() {
        return "keep all checkpoints".to_owned();
    }
    parts.extend(keep.manual.then(|| "manual ones too".to_owned()));
    parts.join(", ")
}

/// Most numbers in one line.
const LISTED_MAX: usize = 32;

/// Numbers in one line.
pub(super) fn listed(numbers: &[u64]) -> String {
    let mut parts: Vec<_> = numbers.iter().take(LISTED_MAX).map(ToString::to_string).collect();
    let more = numbers.len().saturating_sub(LISTED_MAX);
    parts.extend((more > 0).then(|| format!("{more} more")));
    format!("checkpoints {}", parts.join(", "))
}
