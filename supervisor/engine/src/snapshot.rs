//! The state as bytes, so that a start, or a look at the past, need not fold the whole log.
//!
//! One CBOR item: a map with integer keys, as a record is, and with the same promise: keys are only ever added, and a
//! snapshot of any released version opens for ever. `docs/facts.md` lists the keys. The rules are not in it: they are
//! configuration.

mod agents;

use minicbor::{Decode, Encode};
use policy::Rules;
use types::hash::Hash;
use types::time::{BootId, Time};

use crate::command::RequestId;
use crate::fact::{Asker, Error, Grant, Level, Outcome, Progress};
use crate::order::{Kind, Order, Valued, Write};
use crate::reply::PlanReport;
use crate::schedule::Schedule;
use crate::scope::{Held, Others};
use crate::state::{self, State};

/// The newest encoding that this build writes.
pub const VERSION: u32 = 2;

/// Encodes a state.
///
/// # Errors
///
/// [`Error::Encode`].
pub fn encode(state: &State) -> Result<Vec<u8>, Error> {
    minicbor::to_vec(Snapshot::from(state)).map_err(|error| Error::Encode(error.to_string()))
}

/// Decodes a state, under these rules.
///
/// # Errors
///
/// [`Error::Newer`] for a snapshot of a newer build, [`Error::Decode`] for anything that is not one snapshot.
pub fn decode(bytes: &[u8], rules: Rules) -> Result<State, Error> {
    if let Some(version) = crate::fact::version(bytes).filter(|version| *version > VERSION) {
        return Err(Error::Newer(version));
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let snapshot: Snapshot = decoder.decode().map_err(|error| Error::Decode(error.to_string()))?;
    match bytes.len() - decoder.position() {
        0 => Ok(snapshot.into_state(rules)),
        more => Err(Error::Decode(format!("{more} bytes follow the snapshot"))),
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Snapshot {
    #[n(0)]
    version: u32,
    #[n(1)]
    facts: u64,
    #[n(2)]
    starts: u64,
    #[n(3)]
    denials: u64,
    #[n(4)]
    next_work: u64,
    #[n(5)]
    next_checkpoint: u64,
    #[n(6)]
    missing: Vec<String>,
    #[n(7)]
    works: Vec<Work>,
    #[n(8)]
    ended: Vec<Ended>,
    #[n(9)]
    checkpoints: Vec<Checkpoint>,
    #[n(10)]
    zones: Vec<Zone>,
    #[n(11)]
    denied: Vec<Denied>,
    /// The last notes, the oldest first. Who skips them may record one twice that is asked again.
    #[n(12)]
    notes: Option<Vec<Note>>,
    #[n(13)]
    noting: Option<Vec<Noting>>,
    /// Who skips them cannot check what an earlier TPM signed, and says so.
    #[n(14)]
    retired: Option<Vec<Retired>>,
    /// Who skips these takes the next automatic checkpoint at once, and applies no rules before it.
    #[n(15)]
    last_taken: Option<Moment>,
    #[cbor(n(16), default, skip_if = "is_unset")]
    retention_due: bool,
    /// Since version 2.
    #[n(17)]
    agents: Option<agents::Agents>,
}

fn is_unset(flag: &bool) -> bool {
    !*flag
}

#[derive(Encode, Decode)]
#[cbor(map)]
pub(crate) struct Moment {
    #[cbor(n(0), with = "minicbor::bytes")]
    boot: [u8; 16],
    #[n(1)]
    boottime_ns: u64,
    #[n(2)]
    wall_ns: i64,
}

impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Self { boot: time.boot.0, boottime_ns: time.boottime_ns, wall_ns: time.wall_ns }
    }
}

impl From<Moment> for Time {
    fn from(moment: Moment) -> Self {
        Self { boot: BootId(moment.boot), boottime_ns: moment.boottime_ns, wall_ns: moment.wall_ns }
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Retired {
    #[cbor(n(0), with = "minicbor::bytes")]
    head: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    general: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Note {
    #[cbor(n(0), with = "minicbor::bytes")]
    request: [u8; 16],
    #[n(1)]
    place: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Noting {
    #[n(0)]
    uid: u32,
    #[n(1)]
    since_ns: i64,
    #[n(2)]
    bytes: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Work {
    #[n(0)]
    number: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    request: [u8; 16],
    #[n(2)]
    asker: Asker,
    #[n(3)]
    order: Order,
    #[n(4)]
    grant: Grant,
    #[n(5)]
    progress: Option<Progress>,
    #[n(6)]
    before: Vec<Valued>,
    #[n(7)]
    captured: Option<Checkpoint>,
    #[n(8)]
    plan: Option<Plan>,
    /// Who skips it takes up nothing that waits: a start ends it.
    #[n(9)]
    after: Option<u64>,
    /// Who skips it cannot tell again how a confirmation ended.
    #[n(10)]
    answered: Option<minicbor::bytes::ByteArray<16>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Ended {
    #[n(0)]
    work: Work,
    #[n(1)]
    outcome: Outcome,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Checkpoint {
    #[n(0)]
    number: u64,
    #[n(1)]
    name: String,
    #[n(2)]
    created_ns: i64,
    #[cbor(n(3), with = "minicbor::bytes")]
    manifest: [u8; 32],
    #[n(4)]
    files: u64,
    #[n(5)]
    tokens: u64,
    #[n(6)]
    bytes: u64,
    #[n(7)]
    key: String,
    #[n(8)]
    read: Option<u64>,
    /// Who skips it takes an automatic one for one that somebody asked for, and keeps it.
    #[cbor(n(9), default, skip_if = "Kind::is_manual")]
    kind: Kind,
    #[cbor(n(10), default, skip_if = "Others::is_empty")]
    others: Others,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Plan {
    #[n(0)]
    number: u64,
    #[n(1)]
    added: u64,
    #[n(2)]
    changed: u64,
    #[n(3)]
    removed: u64,
    #[n(4)]
    tokens: u64,
    #[n(5)]
    denied: u64,
    #[n(6)]
    lines: Vec<String>,
    #[n(7)]
    writes: Vec<Write>,
    #[cbor(n(8), default, skip_if = "Vec::is_empty")]
    in_place: Vec<String>,
    #[cbor(n(9), default, skip_if = "Others::is_empty")]
    others: Others,
    #[cbor(n(10), default, skip_if = "Vec::is_empty")]
    settings: Vec<Held>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Zone {
    #[n(0)]
    name: String,
    #[n(1)]
    level: Level,
    #[n(2)]
    millicelsius: Option<i32>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Denied {
    #[n(0)]
    uid: u32,
    #[n(1)]
    since_ns: i64,
    #[n(2)]
    count: u32,
}

impl From<&State> for Snapshot {
    fn from(state: &State) -> Self {
        Self {
            version: VERSION,
            facts: state.facts,
            starts: state.starts,
            denials: state.denials,
            next_work: state.next_work,
            next_checkpoint: state.next_checkpoint,
            missing: state.missing.clone(),
            works: state.works.values().map(Work::from).collect(),
            ended: state.ended.values().map(Ended::from).collect(),
            checkpoints: state.checkpoints.values().map(Checkpoint::from).collect(),
            zones: state
                .zones
                .iter()
                .map(|(name, (level, millicelsius))| Zone {
                    name: name.clone(),
                    level: *level,
                    millicelsius: *millicelsius,
                })
                .collect(),
            denied: state
                .denied
                .iter()
                .map(|(uid, (since_ns, count))| Denied { uid: *uid, since_ns: *since_ns, count: *count })
                .collect(),
            notes: some(state.notes.order.iter().filter_map(|request| {
                Some(Note { request: request.0, place: *state.notes.places.get(request)? })
            })),
            noting: some(state.notes.users.iter().map(|(uid, (since_ns, bytes))| Noting {
                uid: *uid,
                since_ns: *since_ns,
                bytes: *bytes,
            })),
            retired: some(
                state
                    .retired
                    .iter()
                    .map(|one| Retired { head: one.head.clone(), general: one.general.clone() }),
            ),
            last_taken: state.last_taken.map(Moment::from),
            retention_due: state.retention_due,
            agents: agents::Agents::of(state),
        }
    }
}

impl Snapshot {
    fn into_state(self, rules: Rules) -> State {
        let (fleet, runs) = self.agents.map(agents::Agents::into_parts).unwrap_or_default();
        State {
            rules,
            fleet,
            runs,
            schedule: Schedule::default(),
            last_taken: self.last_taken.map(Into::into),
            retention_due: self.retention_due,
            facts: self.facts,
            works: self.works.into_iter().map(|work| (work.number, work.into())).collect(),
            // Exclusive works come one after the other, so the later of two has the higher number.
            ended_by: self
                .ended
                .iter()
                .flat_map(|one| {
                    let requests = [Some(one.work.request), one.work.answered.map(<[u8; 16]>::from)];
                    requests.into_iter().flatten().map(|request| (RequestId(request), one.work.number))
                })
                .collect(),
            ended: self.ended.into_iter().map(|ended| (ended.work.number, ended.into())).collect(),
            checkpoints: self.checkpoints.into_iter().map(|one| (one.number, one.into())).collect(),
            zones: self.zones.into_iter().map(|zone| (zone.name, (zone.level, zone.millicelsius))).collect(),
            missing: self.missing,
            starts: self.starts,
            denials: self.denials,
            denied: self.denied.into_iter().map(|one| (one.uid, (one.since_ns, one.count))).collect(),
            retired: self
                .retired
                .unwrap_or_default()
                .into_iter()
                .map(|one| state::Retired { head: one.head, general: one.general })
                .collect(),
            notes: notes(self.notes.unwrap_or_default(), self.noting.unwrap_or_default()),
            next_work: self.next_work,
            next_checkpoint: self.next_checkpoint,
        }
    }
}

fn notes(notes: Vec<Note>, noting: Vec<Noting>) -> state::Notes {
    state::Notes {
        order: notes.iter().map(|note| RequestId(note.request)).collect(),
        places: notes.into_iter().map(|note| (RequestId(note.request), note.place)).collect(),
        users: noting.into_iter().map(|one| (one.uid, (one.since_ns, one.bytes))).collect(),
    }
}

/// A list, or nothing where it is empty: a key of its own that an older state does not have.
fn some<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.collect();
    (!items.is_empty()).then_some(items)
}

impl From<&state::Work> for Work {
    fn from(work: &state::Work) -> Self {
        Self {
            number: work.number,
            request: work.request.0,
            asker: work.asker,
            order: work.order.clone(),
            grant: work.grant.clone(),
            progress: work.progress.clone(),
            before: work.before.clone(),
            captured: work.captured.as_ref().map(Checkpoint::from),
            plan: work.plan.as_ref().map(Plan::from),
            after: work.after,
            answered: work.answered.map(|request| request.0.into()),
        }
    }
}

impl From<Work> for state::Work {
    fn from(work: Work) -> Self {
        Self {
            number: work.number,
            request: RequestId(work.request),
            asker: work.asker,
            order: work.order,
            grant: work.grant,
            progress: work.progress,
            before: work.before,
            captured: work.captured.map(Into::into),
            plan: work.plan.map(Into::into),
            after: work.after,
            answered: work.answered.map(|request| RequestId(request.into())),
        }
    }
}

impl From<&state::Ended> for Ended {
    fn from(ended: &state::Ended) -> Self {
        Self { work: (&ended.work).into(), outcome: ended.outcome.clone() }
    }
}

impl From<Ended> for state::Ended {
    fn from(ended: Ended) -> Self {
        Self { work: ended.work.into(), outcome: ended.outcome }
    }
}

impl From<&state::Checkpoint> for Checkpoint {
    fn from(one: &state::Checkpoint) -> Self {
        Self {
            number: one.number,
            name: one.name.clone(),
            created_ns: one.created_ns,
            manifest: one.manifest.0,
            files: one.files,
            tokens: one.tokens,
            bytes: one.bytes,
            key: one.key.clone(),
            read: one.read,
            kind: one.kind,
            others: one.others,
        }
    }
}

impl From<Checkpoint> for state::Checkpoint {
    fn from(one: Checkpoint) -> Self {
        Self {
            number: one.number,
            name: one.name,
            created_ns: one.created_ns,
            manifest: Hash(one.manifest),
            files: one.files,
            tokens: one.tokens,
            bytes: one.bytes,
            key: one.key,
            read: one.read,
            kind: one.kind,
            others: one.others,
        }
    }
}

impl From<&PlanReport> for Plan {
    fn from(plan: &PlanReport) -> Self {
        Self {
            number: plan.number,
            added: plan.added,
            changed: plan.changed,
            removed: plan.removed,
            tokens: plan.tokens,
            denied: plan.denied,
            lines: plan.lines.clone(),
            writes: plan.writes.clone(),
            in_place: plan.in_place.clone(),
            others: plan.others,
            settings: plan.settings.clone(),
        }
    }
}

impl From<Plan> for PlanReport {
    fn from(plan: Plan) -> Self {
        Self {
            number: plan.number,
            added: plan.added,
            changed: plan.changed,
            removed: plan.removed,
            tokens: plan.tokens,
            denied: plan.denied,
            lines: plan.lines,
            writes: plan.writes,
            in_place: plan.in_place,
            others: plan.others,
            settings: plan.settings,
        }
    }
}
