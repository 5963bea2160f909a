//! Which checkpoints stay, and what pruning frees.

use engine::reply::{Freed, PruneReport, ScheduleReport};
use engine::retention::{Keep as EngineKeep, Reason};
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

/// When checkpoints are taken that nobody asks for, and which stay.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Schedule {
    /// Seconds from one to the next; null: never by time.
    pub interval_s: Option<u64>,
    /// In how many seconds the next one is due; while something else that excludes it is under way it waits.
    pub due_in_s: Option<u64>,
    /// When that is, by the wall clock as it goes now, RFC 3339, UTC.
    pub due: Option<String>,
    /// One is taken before each risky action.
    pub before_risky: bool,
    /// The restore that waits to be confirmed, if there is one.
    #[serde(default)]
    pub awaiting: Option<Awaiting>,
    /// Which stay.
    pub keep: Keep,
    /// Every checkpoint, by number, and what the counts say of it now. Size is left aside: `prune` with `dry_run` tells.
    pub checkpoints: Vec<Fate>,
}

/// A restore that goes back unless it is confirmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Awaiting {
    /// Of which checkpoint.
    pub number: u64,
    /// In how many seconds it goes back.
    pub left_s: u64,
}

const SECOND_NS: u64 = 1_000_000_000;

impl Schedule {
    /// As the engine has it; what it says of time counts from `wall_ns`.
    #[must_use]
    pub fn new(report: ScheduleReport, wall_ns: i64) -> Self {
        let ScheduleReport { interval_ns, due_in_ns, before_risky, awaiting, keep, checkpoints } = report;
        let awaiting =
            awaiting.map(|(number, left_ns)| Awaiting { number, left_s: left_ns.div_ceil(SECOND_NS) });
        let due = |due_in_ns: u64| {
            super::record::rfc3339(wall_ns.saturating_add(i64::try_from(due_in_ns).unwrap_or(i64::MAX)))
        };
        Self {
            interval_s: interval_ns.map(|interval_ns| interval_ns / SECOND_NS),
            due_in_s: due_in_ns.map(|due_in_ns| due_in_ns.div_ceil(SECOND_NS)),
            due: due_in_ns.map(due),
            before_risky,
            awaiting,
            keep: keep.into(),
            checkpoints: checkpoints.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<(engine::state::Checkpoint, Vec<Reason>)> for Fate {
    fn from((checkpoint, reasons): (engine::state::Checkpoint, Vec<Reason>)) -> Self {
        Self {
            checkpoint: (&checkpoint).into(),
            goes: reasons.is_empty(),
            reasons: reasons.into_iter().map(|reason| reason.word().to_owned()).collect(),
        }
    }
}

impl From<PruneReport> for Pruning {
    fn from(report: PruneReport) -> Self {
        let PruneReport { checkpoints, stored_bytes, needed_bytes, unknown } = report;
        Self {
            checkpoints: checkpoints.into_iter().map(Into::into).collect(),
            stored_bytes,
            needed_bytes,
            unknown,
        }
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
