//! What follows from the facts.

use std::collections::{BTreeMap, VecDeque};

use policy::Rules;
use types::time::Time;

use crate::command::{RequestId, Which};
use crate::effect::Told;
use crate::fact::{Asker, Grant, Level, Outcome, Progress};
use crate::fleet::Fleet;
use crate::order::{Kind, Order, Valued};
use crate::reply::PlanReport;
use crate::run::Runs;
use crate::schedule::Schedule;
use crate::scope::Others;

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
/// Users whose denials, and users whose notes are counted; beyond it the lowest ids are forgotten.
pub const DENIED_USERS_MAX: usize = 1024;

/// Ended works that are remembered, so that a request which is asked again is not done again. The oldest is
/// forgotten first: a client that asks again does so within seconds, and exclusive works take longer than that
/// to come to a thousand.
pub const ENDED_MAX: usize = 1024;

/// Notes that are remembered, so that one which is asked again, because its answer got lost, is told again and not
/// recorded twice. The oldest is forgotten first.
pub const NOTES_MAX: usize = 4096;
/// In which time the bytes of one user's notes are counted, nanoseconds: an hour.
pub const NOTES_WINDOW_NS: i64 = 3_600_000_000_000;
/// What a note is counted for besides its content, bytes: its record and the log's frame around it.
pub const NOTE_FRAME_BYTES: u64 = 128;

/// Earlier TPMs whose keys are remembered, to check what they signed.
pub const RETIRED_MAX: usize = 16;

/// The keys of a TPM that the machine had before, as SubjectPublicKeyInfo.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Retired {
    /// Signed the log's heads.
    pub head: Vec<u8>,
    /// Signed everything else.
    pub general: Vec<u8>,
}

/// Everything that decisions rest on. It is a fold over the log, and the configuration's rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The rules in force: configuration, not a fact.
    pub rules: Rules,
    /// When checkpoints are taken that nobody asks for, and which stay: configuration, not a fact.
    pub schedule: Schedule,
    /// Facts folded in so far.
    pub facts: u64,
    /// Works under way.
    pub works: BTreeMap<u64, Work>,
    /// Exclusive works that have ended, by number: the last [`ENDED_MAX`].
    pub ended: BTreeMap<u64, Ended>,
    /// Their numbers by request.
    pub ended_by: BTreeMap<RequestId, u64>,
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
    /// The last notes.
    pub notes: Notes,
    /// The keys of TPMs that this machine had before, the oldest first: the last [`RETIRED_MAX`].
    pub retired: Vec<Retired>,
    /// When the last checkpoint was taken, or an automatic one was begun: the interval counts from here.
    pub last_taken: Option<Time>,
    /// An automatic checkpoint was taken since the rules of retention were applied.
    pub retention_due: bool,
    /// Agents and their processes.
    pub fleet: Fleet,
    /// Runs of workflows.
    pub runs: Runs,
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

    /// What the log tells of checkpoints.
    #[must_use]
    pub fn told(&self) -> Told {
        self.checkpoints.iter().map(|(number, checkpoint)| (*number, checkpoint.manifest)).collect()
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

    /// Whether a work waits for another one to end.
    #[must_use]
    pub fn is_waiting(&self, work: &Work) -> bool {
        work.after.is_some_and(|other| self.works.contains_key(&other))
    }

    /// Whether a user was denied so often lately that more is not recorded.
    #[must_use]
    pub fn is_denied_too_often(&self, uid: u32, now_ns: i64) -> bool {
        self.denied.get(&uid).is_some_and(|(since_ns, count)| {
            *count >= DENIALS_MAX && (0..DENIALS_WINDOW_NS).contains(&now_ns.saturating_sub(*since_ns))
        })
    }

    /// How many bytes a user, in notes, has told lately.
    #[must_use]
    pub fn noted_bytes(&self, uid: u32, now_ns: i64) -> u64 {
        match self.notes.users.get(&uid) {
            Some((since_ns, bytes)) if is_within(*since_ns, now_ns) => *bytes,
            _ => 0,
        }
    }

    /// The work that a request began and that has not ended.
    #[must_use]
    pub fn work_of(&self, request: RequestId) -> Option<&Work> {
        self.works.values().find(|work| work.request == request || work.answered == Some(request))
    }

    /// The restore that waits to be confirmed.
    #[must_use]
    pub fn awaiting(&self) -> Option<&Work> {
        self.works.values().find(|work| work.is_awaiting())
    }

    /// The exclusive work that a request began and that has ended, if it is not forgotten.
    #[must_use]
    pub fn ended_of(&self, request: RequestId) -> Option<&Ended> {
        self.ended.get(self.ended_by.get(&request)?)
    }

    /// Whether the machine is too hot for risky actions, or nobody knows.
    #[must_use]
    pub fn is_thermally_unsafe(&self) -> bool {
        self.zones.is_empty() || self.zones.values().any(|(level, _)| *level >= Level::Critical)
    }
}

/// Whether an hour that began then is not over.
pub(crate) fn is_within(since_ns: i64, now_ns: i64) -> bool {
    (0..NOTES_WINDOW_NS).contains(&now_ns.saturating_sub(since_ns))
}

/// The last notes: which they were, and who told how much.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Notes {
    /// Their places in the log, by request: the last [`NOTES_MAX`].
    pub places: BTreeMap<RequestId, u64>,
    /// The same requests, the oldest first.
    pub order: VecDeque<RequestId>,
    /// By user: since when, wall clock in nanoseconds, and how many bytes.
    pub users: BTreeMap<u32, (i64, u64)>,
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
    /// The request that said what is to become of a restore that waited to be confirmed.
    pub answered: Option<RequestId>,
    /// The work that must end before this one begins.
    pub after: Option<u64>,
    /// The counts of the first plan of a restore: a later one, after a crash, no longer sees all of it.
    pub plan: Option<PlanReport>,
}

impl Work {
    /// Whether it waits to be confirmed, and for nothing else.
    #[must_use]
    pub const fn is_awaiting(&self) -> bool {
        matches!(self.progress, Some(Progress::Awaiting { .. }))
    }
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
    /// Files that were read for it, where that is known.
    pub read: Option<u64>,
    /// Why it was taken.
    pub kind: Kind,
    /// Entries of the other components.
    pub others: Others,
}
