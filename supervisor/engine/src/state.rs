//! What follows from the facts.

use std::collections::BTreeMap;

use policy::Rules;

use crate::command::{RequestId, Which};
use crate::fact::{Asker, Grant, Level, Outcome, Progress};
use crate::order::{Order, Valued};
use crate::reply::PlanReport;

/// Works at once at most; more are refused as busy.
pub const WORKS_MAX: usize = 64;
/// Of these, how many only exclusive orders get: lookers-on must not keep an owner from acting.
pub const WORKS_RESERVED: usize = 8;
/// Works at once of one user but root.
pub const WORKS_OF_USER_MAX: usize = 16;
/// Denials of one user that are recorded in a minute; what comes after is refused without a fact, so that nobody who may do
/// nothing can fill the log.
pub const DENIALS_MAX: u32 = 60;
/// The minute, nanoseconds.
pub const DENIALS_WINDOW_NS: i64 = 60_000_000_000;
/// Users whose denials are counted; beyond it the lowest ids are forgotten.
pub const DENIED_USERS_MAX: usize = 1024;

/// Ended works that are remembered, so that a request which is asked again is not done again. The oldest is
/// forgotten first: a client that asks again does so within seconds, and exclusive works take longer than that
/// to come to a thousand.
pub const ENDED_MAX: usize = 1024;

/// Everything that decisions rest on. It is a fold over the log, and the configuration's rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The rules in force: configuration, not a fact.
    pub rules: Rules,
    /// Facts folded in so far.
    pub facts: u64,
    /// Works under way.
    pub works: BTreeMap<u64, Work>,
    /// Exclusive works that have ended, by number: the last [`ENDED_MAX`].
    pub ended: BTreeMap<u64, Ended>,
    /// Checkpoints that can be restored, by number.
    pub checkpoints: BTreeMap<u64, Checkpoint>,
    /// The last known level of each thermal zone, and the temperature that brought it there.
    pub zones: BTreeMap<String, (Level, Option<i32>)>,
    /// Guarantees that the present start lacks.
    pub missing: Vec<String>,
    /// Starts of the daemon.
    pub starts: u64,
    /// Orders denied.
    pub denials: u64,
    /// Recent denials by user: since when, wall clock in nanoseconds, and how many.
    pub denied: BTreeMap<u32, (i64, u32)>,
    /// The number that the next work gets.
    pub next_work: u64,
    /// The number that the next checkpoint gets.
    pub next_checkpoint: u64,
}

impl State {
    /// An empty state under these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, next_work: 1, next_checkpoint: 1, ..Self::default() }
    }

    /// The checkpoint of that name or number.
    #[must_use]
    pub fn checkpoint(&self, which: &Which) -> Option<&Checkpoint> {
        match which {
            Which::Number(number) => self.checkpoints.get(number),
            Which::Name(name) => self.checkpoints.values().find(|checkpoint| checkpoint.name == *name),
        }
    }

    /// The exclusive work under way, if there is one.
    #[must_use]
    pub fn exclusive(&self) -> Option<&Work> {
        self.works.values().find(|work| work.order.is_exclusive())
    }

    /// Whether a user was denied so often lately that more is not recorded.
    #[must_use]
    pub fn is_denied_too_often(&self, uid: u32, now_ns: i64) -> bool {
        self.denied.get(&uid).is_some_and(|(since_ns, count)| {
            *count >= DENIALS_MAX && (0..DENIALS_WINDOW_NS).contains(&now_ns.saturating_sub(*since_ns))
        })
    }

    /// The work that a request began and that has not ended.
    #[must_use]
    pub fn work_of(&self, request: RequestId) -> Option<&Work> {
        self.works.values().find(|work| work.request == request)
    }

    /// The exclusive work that a request began and that has ended, if it is not forgotten.
    #[must_use]
    pub fn ended_of(&self, request: RequestId) -> Option<&Ended> {
        self.ended.values().rev().find(|ended| ended.work.request == request)
    }

    /// Whether the machine is too hot for risky actions, or nobody knows.
    #[must_use]
    pub fn is_thermally_unsafe(&self) -> bool {
        self.zones.is_empty() || self.zones.values().any(|(level, _)| *level >= Level::Critical)
    }
}

/// An order under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Work {
    /// Its number.
    pub number: u64,
    /// The request that began it.
    pub request: RequestId,
    /// Who asked.
    pub asker: Asker,
    /// What is done.
    pub order: Order,
    /// On what ground.
    pub grant: Grant,
    /// The last point that was reached.
    pub progress: Option<Progress>,
    /// What the locations held before a write.
    pub before: Vec<Valued>,
    /// What a capture stored.
    pub captured: Option<Checkpoint>,
    /// The counts of the first plan of a restore: a later one, after a crash, no longer sees all of it.
    pub plan: Option<PlanReport>,
}

/// An order that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The work as it stood.
    pub work: Work,
    /// How it ended.
    pub outcome: Outcome,
}

/// A checkpoint that can be restored.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Wall clock, nanoseconds since 1970.
    pub created_ns: i64,
    /// SHA-256 of the encoded manifest.
    pub manifest: types::hash::Hash,
    /// Files, folders and links.
    pub files: u64,
    /// Token values.
    pub tokens: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Short id of the key that signed it; empty until it is signed.
    pub key: String,
}
