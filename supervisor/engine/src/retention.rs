//! Which checkpoints stay: a pure choice by rules, as of restic's `forget`.
//!
//! Checkpoints are looked at from the newest to the oldest. `last` keeps so many of them, whatever their times; `hourly`, `daily` and
//! `weekly` keep the newest one of so many hours, days and weeks (of UTC; a week begins on Monday) in which there are any. While such a
//! rule is not satisfied it keeps the oldest one, too, so that the history reaches back as far as it can. One rule that keeps a
//! checkpoint is enough.
//!
//! The order is that of numbers, which only grow, and not that of times: a clock that was set back makes the newest checkpoints look old.
//! Each run of neighbours with the same hour counts as one hour of its own, so times that jump split what belongs together, and
//! keep more; they never put together what is apart.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};

use crate::order::Order;
use crate::state::{Checkpoint, State};

/// The name of the checkpoint that no rule lets go: the owner's way back when all else fails.
pub const EMERGENCY_BASE: &str = "emergency-base";

/// Most checkpoints that go at once; what is left goes the next time. So many numbers fit into a record.
pub const GOING_MAX: usize = 4096;

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

fn is_none(count: &u32) -> bool {
    *count == 0
}

fn is_unset(flag: &bool) -> bool {
    !*flag
}

/// What is kept; by default everything. Encoded in orders: keys are only ever added.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Keep {
    /// So many of the newest; 0: no such rule.
    #[cbor(n(0), default, skip_if = "is_none")]
    pub last: u32,
    /// The newest one of so many hours; 0: no such rule.
    #[cbor(n(1), default, skip_if = "is_none")]
    pub hourly: u32,
    /// The newest one of so many days; 0: no such rule.
    #[cbor(n(2), default, skip_if = "is_none")]
    pub daily: u32,
    /// The newest one of so many weeks; 0: no such rule.
    #[cbor(n(3), default, skip_if = "is_none")]
    pub weekly: u32,
    /// The oldest go until what the others need takes at most so many bytes on the disk.
    #[n(4)]
    pub max_bytes: Option<u64>,
    /// The rules are about checkpoints that somebody asked for, too, and not about automatic ones alone.
    #[cbor(n(5), default, skip_if = "is_unset")]
    pub manual: bool,
}

impl Keep {
    /// Whether a rule says how many stay.
    #[must_use]
    pub const fn counts(&self) -> bool {
        self.last > 0 || self.hourly > 0 || self.daily > 0 || self.weekly > 0
    }

    /// Whether no rule lets anything go.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        !self.counts() && self.max_bytes.is_none()
    }
}

/// Why a checkpoint stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// It is the newest one: the nearest way back, and what the next capture recognises files by.
    Newest,
    /// A work that is under way is about it.
    InUse,
    /// It is the emergency base.
    EmergencyBase,
    /// Somebody asked for it, and the rules are about automatic ones alone.
    Manual,
    /// No rule says how many stay.
    NoRule,
    /// `last`
    Last,
    /// `hourly`
    Hourly,
    /// `daily`
    Daily,
    /// `weekly`
    Weekly,
}

impl Reason {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::InUse => "in use",
            Self::EmergencyBase => "emergency base",
            Self::Manual => "manual",
            Self::NoRule => "no rule",
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
        }
    }

    /// Whether not even the rule of size lets it go.
    const fn is_firm(self) -> bool {
        matches!(self, Self::Newest | Self::InUse | Self::EmergencyBase | Self::Manual)
    }
}

/// A checkpoint as the rules see it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Candidate {
    /// Its number.
    pub number: u64,
    /// Wall clock, nanoseconds since 1970.
    pub created_ns: i64,
    /// Somebody asked for it.
    pub manual: bool,
    /// Why it stays whatever the rules say, if so.
    pub firm: Option<Reason>,
}

/// What becomes of a checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fate {
    /// Its number.
    pub number: u64,
    /// Why it stays; it goes where there is nothing.
    pub reasons: BTreeSet<Reason>,
}

impl Fate {
    /// Whether it goes.
    #[must_use]
    pub fn goes(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether the rule of size may let it go, though the others do not.
    #[must_use]
    pub fn is_expendable(&self) -> bool {
        !self.goes() && !self.reasons.iter().any(|reason| reason.is_firm())
    }
}

/// One rule on its way from the newest to the oldest.
struct Bucket {
    reason: Reason,
    left: u32,
    /// The period of the last one that it looked at; none for `last`, where each is one of its own.
    period_ns: Option<i64>,
    /// A week begins on Monday, and 1970 on a Thursday.
    offset_ns: i64,
    seen: Option<i64>,
}

impl Bucket {
    const fn new(reason: Reason, left: u32, period_ns: Option<i64>, offset_ns: i64) -> Self {
        Self { reason, left, period_ns, offset_ns, seen: None }
    }

    fn keeps(&mut self, created_ns: i64, is_oldest: bool) -> bool {
        if self.left == 0 {
            return false;
        }
        if let Some(period_ns) = self.period_ns {
            let period = created_ns.saturating_add(self.offset_ns).div_euclid(period_ns);
            let same = self.seen.replace(period) == Some(period);
            if same && !is_oldest {
                return false;
            }
        }
        self.left -= 1;
        true
    }
}

/// Says of each checkpoint, by number, whether it goes and why it stays. The rule of size is not among it: it needs sizes.
#[must_use]
pub fn choose(keep: &Keep, candidates: &[Candidate]) -> Vec<Fate> {
    let mut sorted: Vec<&Candidate> = candidates.iter().collect();
    sorted.sort_unstable_by_key(|candidate| candidate.number);
    let mut buckets = [
        Bucket::new(Reason::Last, keep.last, None, 0),
        Bucket::new(Reason::Hourly, keep.hourly, Some(HOUR_NS), 0),
        Bucket::new(Reason::Daily, keep.daily, Some(DAY_NS), 0),
        Bucket::new(Reason::Weekly, keep.weekly, Some(7 * DAY_NS), 3 * DAY_NS),
    ];
    let is_considered = |candidate: &Candidate| keep.manual || !candidate.manual;
    let oldest = sorted.iter().find(|one| is_considered(one)).map(|one| one.number);
    let newest = sorted.last().map(|one| one.number);
    let mut fates: Vec<_> = sorted
        .iter()
        .rev()
        .map(|candidate| {
            let mut reasons = BTreeSet::new();
            if is_considered(candidate) {
                let is_oldest = oldest == Some(candidate.number);
                let kept = buckets.iter_mut().filter_map(|bucket| {
                    bucket.keeps(candidate.created_ns, is_oldest).then_some(bucket.reason)
                });
                reasons.extend(kept);
                reasons.extend((!keep.counts()).then_some(Reason::NoRule));
            } else {
                reasons.insert(Reason::Manual);
            }
            reasons.extend(candidate.firm);
            reasons.extend((newest == Some(candidate.number)).then_some(Reason::Newest));
            Fate { number: candidate.number, reasons }
        })
        .collect();
    fates.reverse();
    fates
}

/// How many of the expendable ones, the oldest first, go by size. `needed` is what the rest needs on the disk if none of them goes, if the
/// oldest goes, if the oldest two go, and so on.
#[must_use]
pub fn by_size(max_bytes: u64, needed: &[u64]) -> usize {
    let enough = needed.iter().position(|bytes| *bytes <= max_bytes);
    enough.unwrap_or_else(|| needed.len().saturating_sub(1))
}

/// What is to be found out, and what goes in any case.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Going {
    /// Numbers of those that go by count.
    pub gone: Vec<u64>,
    /// Of those that may go by size, the oldest first; nothing where size is no matter.
    pub expendable: Vec<u64>,
}

/// What becomes of the checkpoints that there are.
#[must_use]
pub fn fates(state: &State, keep: &Keep) -> Vec<Fate> {
    let used: BTreeSet<u64> = state.works.values().flat_map(|work| used(&work.order)).collect();
    let candidate = |checkpoint: &Checkpoint| {
        let firm = if used.contains(&checkpoint.number) {
            Some(Reason::InUse)
        } else if checkpoint.name == EMERGENCY_BASE {
            Some(Reason::EmergencyBase)
        } else {
            None
        };
        let manual = !checkpoint.kind.is_automatic();
        Candidate { number: checkpoint.number, created_ns: checkpoint.created_ns, manual, firm }
    };
    choose(keep, &state.checkpoints.values().map(candidate).collect::<Vec<_>>())
}

/// What goes of the checkpoints that there are.
#[must_use]
pub fn going(state: &State, keep: &Keep) -> Going {
    let fates = fates(state, keep);
    let numbers = |wanted: &dyn Fn(&Fate) -> bool, most: usize| {
        fates.iter().filter(|fate| wanted(fate)).take(most).map(|fate| fate.number).collect::<Vec<_>>()
    };
    let gone = numbers(&Fate::goes, GOING_MAX);
    let left = if keep.max_bytes.is_some() { GOING_MAX - gone.len() } else { 0 };
    let expendable = numbers(&Fate::is_expendable, left);
    Going { gone, expendable }
}

/// The checkpoints that an order reads.
fn used(order: &Order) -> impl Iterator<Item = u64> {
    let (first, second) = match order {
        Order::VerifyCheckpoint { number }
        | Order::PlanRestore { number, .. }
        | Order::Restore { number, .. } => (Some(*number), None),
        Order::Diff { from, to, .. } => (Some(*from), *to),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

#[cfg(test)]
mod tests;
