//! What must hold, told from the durable facts alone, without a look at how the engine does it.

use std::collections::{BTreeMap, BTreeSet};

use engine::order::Kind;
use engine::retention::Keep;
use engine::{Fact, Order, Outcome, Progress, RequestId};
use policy::{Role, Rules};
use types::peer::Peer;
use types::token::TokenId;

use super::world::{Snapshot, World};

/// A work as the log tells it.
struct Told {
    order: Order,
    request: RequestId,
    after: Option<u64>,
    /// It waited to be confirmed.
    awaited: bool,
    /// Who said what is to become of it, and whether it stays.
    answered: Option<(RequestId, bool)>,
    progress: Option<Progress>,
    outcome: Option<Outcome>,
}

#[derive(Default)]
pub struct Oracle {
    /// What the machine holds whenever nothing exclusive runs.
    pub expected: Snapshot,
    works: BTreeMap<u64, Told>,
    checkpoints: BTreeMap<u64, Snapshot>,
    names: BTreeMap<u64, String>,
    numbers: BTreeSet<u64>,
    /// Risky actions wait for a checkpoint.
    before_risky: bool,
    /// Those that nobody asked for.
    automatic: BTreeSet<u64>,
    /// Requests whose notes are in the durable log.
    noted: BTreeSet<RequestId>,
    /// Denied facts in the durable log.
    pub denied: u64,
}

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use ensure;

impl Oracle {
    pub fn new(expected: Snapshot, before_risky: bool) -> Self {
        Self { expected, before_risky, ..Self::default() }
    }

    /// Takes note of a fact that has become durable.
    pub fn durable(&mut self, world: &World, rules: &Rules, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Denied { asker, order, .. } => {
                self.denied += 1;
                let peer = Peer { pid: asker.pid, uid: asker.uid, gid: asker.gid };
                let heat_alone = matches!(order, Order::WriteTokens { .. });
                ensure!(heat_alone || !may(rules, peer, order), "denied without a reason: {fact:?}");
            }
            Fact::Accepted { work, request, asker, order, after, .. } => {
                let peer = Peer { pid: asker.pid, uid: asker.uid, gid: asker.gid };
                ensure!(may(rules, peer, order), "granted against the rules: {fact:?}");
                let newest = self.works.last_key_value().map_or(0, |(number, _)| *number);
                ensure!(*work > newest, "work number {work} comes again");
                if let Order::CreateCheckpoint { number, name, kind, .. } = order {
                    self.automatic.extend(kind.is_automatic().then_some(*number));
                    ensure!(self.numbers.insert(*number), "checkpoint number {number} comes again");
                    ensure!(
                        !self.names.values().any(|other| other == name),
                        "checkpoint name {name} comes again"
                    );
                }
                if order.is_exclusive() {
                    let mut others = self.works.iter().filter(|(number, _)| Some(**number) != *after);
                    let other = others.find(|(_, told)| told.is_exclusive() && told.outcome.is_none());
                    ensure!(other.is_none(), "two exclusive works at once: {fact:?}");
                    let same =
                        self.works.values().find(|told| told.is_exclusive() && told.request.0 == *request);
                    ensure!(same.is_none(), "one request was done twice: {fact:?}");
                }
                let request = RequestId(*request);
                if matches!(order, Order::WriteTokens { .. }) {
                    ensure!(
                        after.is_some() == self.before_risky,
                        "risky, and no checkpoint before it: {fact:?}"
                    );
                }
                let before = after.and_then(|after| self.works.get(&after));
                ensure!(
                    after.is_none()
                        || before.is_some_and(|told| matches!(
                            &told.order,
                            Order::CreateCheckpoint { kind: Kind::Automatic, .. }
                        )),
                    "it waits for what is no checkpoint: {fact:?}"
                );
                let told = Told {
                    order: order.clone(),
                    request,
                    after: *after,
                    awaited: false,
                    answered: None,
                    progress: None,
                    outcome: None,
                };
                self.works.insert(*work, told);
            }
            Fact::Progressed { work, progress } => {
                let after = self.works.get(work).and_then(|told| told.after);
                let before = after.and_then(|after| self.works.get(&after)?.outcome.as_ref());
                ensure!(
                    after.is_none() || matches!(before, Some(Outcome::Signed { .. })),
                    "it went on without the checkpoint before it: {fact:?}"
                );
                let told = self.works.get_mut(work).ok_or("progress of a work that never began")?;
                ensure!(told.outcome.is_none(), "work {work} goes on after its end");
                let undoing = matches!(told.progress, Some(Progress::Undoing { .. }));
                ensure!(
                    !undoing || matches!(progress, Progress::Undoing { .. }),
                    "an undo was left: {fact:?}"
                );
                if let Progress::Answered { request, asker, keep } = progress {
                    let peer = Peer { pid: asker.pid, uid: asker.uid, gid: asker.gid };
                    ensure!(may(rules, peer, &told.order), "confirmed against the rules: {fact:?}");
                    let waited = matches!(told.progress, Some(Progress::Awaiting { .. }));
                    let again = matches!(&told.progress, Some(same) if same == progress);
                    ensure!(waited || again, "nobody waited to be confirmed: {fact:?}");
                    told.answered = Some((RequestId(*request), *keep));
                }
                if matches!(progress, Progress::Awaiting { .. }) {
                    told.awaited = true;
                }
                told.progress = Some(progress.clone());
                let keep = if let Order::Prune { keep, .. } = &told.order { Some(*keep) } else { None };
                match (progress, keep) {
                    (Progress::Chosen { numbers }, Some(keep)) => self.chosen(&keep, numbers)?,
                    (Progress::Removed { numbers, .. }, _) => {
                        numbers.iter().for_each(|number| {
                            self.checkpoints.remove(number);
                            self.names.remove(number);
                        });
                    }
                    _ => {}
                }
            }
            Fact::Finished { work, outcome } => {
                let told = self.works.get_mut(work).ok_or("end of a work that never began")?;
                ensure!(told.outcome.is_none(), "work {work} ended twice");
                told.outcome = Some(outcome.clone());
                self.ended(world, *work)?;
            }
            Fact::Noted { request, .. } => {
                ensure!(self.noted.insert(RequestId(*request)), "one note was recorded twice: {fact:?}");
            }
            Fact::Started { .. } | Fact::Stopped | Fact::Heat { .. } => {}
            Fact::Snapshotted { .. }
            | Fact::Anchored { .. }
            | Fact::PowerLost { .. }
            | Fact::Moved { .. }
            // This simulation runs no workflow.
            | Fact::Agent(_)
            | Fact::RunAccepted(_)
            | Fact::Advanced(_) => {}
        }
        Ok(())
    }

    fn ended(&mut self, world: &World, work: u64) -> Result<(), String> {
        let Some(Told { order, progress, outcome: Some(outcome), .. }) = self.works.get(&work) else {
            return Err(format!("work {work} has no end"));
        };
        match (order, outcome, progress) {
            (Order::WriteTokens { writes }, Outcome::Done, _) => {
                for write in writes {
                    let location = world.table[&write.item.id] * 4 + u16::from(write.item.select);
                    let before = self.expected.locations.insert(location, write.value);
                    let surprise = write.expected.is_some() && write.expected != before;
                    ensure!(
                        !surprise,
                        "work {work} wrote over {before:?}, expected was {:?}",
                        write.expected
                    );
                }
            }
            (Order::DeleteCheckpoint { number, .. }, Outcome::Done, _) => {
                ensure!(self.checkpoints.remove(number).is_some(), "checkpoint {number} was deleted twice");
                self.names.remove(number);
            }
            (Order::CreateCheckpoint { number, name, .. }, Outcome::Signed { .. }, _) => {
                self.checkpoints.insert(*number, self.expected.clone());
                self.names.insert(*number, name.clone());
            }
            (Order::Restore { confirm_s: Some(_), .. }, Outcome::Done, Some(Progress::Awaiting { .. })) => {
                return Err(format!("work {work} was kept, and nobody had confirmed it"));
            }
            // Restored and verified, even where the old copies could not be removed.
            (Order::Restore { number, .. }, Outcome::Done, _)
            | (
                Order::Restore { number, .. },
                Outcome::Failed { .. },
                Some(Progress::Verified | Progress::Answered { keep: true, .. }),
            ) => {
                let target = self.checkpoints.get(number).ok_or("restored what was never a checkpoint")?;
                self.expected.files.clone_from(&target.files);
                self.expected.settings.clone_from(&target.settings);
                for (location, value) in &target.locations {
                    if world.is_listed(*location) {
                        self.expected.locations.insert(*location, *value);
                    }
                }
            }
            // The undo failed, and its answer says so: what is there now is what there is.
            (_, Outcome::Failed { reason }, Some(Progress::Undoing { .. })) => {
                ensure!(world.undo_failed.contains(&work), "work {work} was not undone: {reason}");
                ensure!(reason.contains("undoing it failed"), "half-done, and nobody is told: {reason}");
                self.expected.clone_from(&world.after_deadline());
            }
            (Order::CreateCheckpoint { .. }, Outcome::Done, _) => {
                return Err("unsigned checkpoint".to_owned());
            }
            _ => {}
        }
        Ok(())
    }

    /// What pruning chose to let go, by the plainest words of the rules.
    fn chosen(&self, keep: &Keep, numbers: &[u64]) -> Result<(), String> {
        let newest = self.checkpoints.last_key_value().map(|(number, _)| number);
        ensure!(!numbers.iter().any(|number| Some(number) == newest), "the newest is to go: {numbers:?}");
        ensure!(numbers.is_empty() || !keep.is_everything(), "something goes by no rule: {numbers:?}");
        ensure!(
            numbers.is_empty() || keep.manual || numbers.iter().all(|number| self.automatic.contains(number)),
            "what somebody asked for is to go: {numbers:?}"
        );
        let last = usize::try_from(keep.last).unwrap();
        let lasting: Vec<_> = self.checkpoints.keys().rev().take(last).collect();
        let by_count = keep.max_bytes.is_none() && keep.manual;
        ensure!(
            !by_count || !numbers.iter().any(|number| lasting.contains(&number)),
            "one of the last {last} is to go: {numbers:?}"
        );
        Ok(())
    }

    /// Nothing exclusive runs: the machine is as the acknowledged facts say.
    pub fn quiet(&self, world: &World) -> Result<(), String> {
        ensure!(world.pending.is_empty(), "a write is left pending");
        let lost = self.checkpoints.keys().find(|number| !world.holds(**number));
        ensure!(lost.is_none(), "checkpoint {lost:?} is lost");
        ensure!(
            world.now.locations == self.expected.locations,
            "locations are {:?} and should be {:?}",
            world.now.locations,
            self.expected.locations
        );
        ensure!(
            world.now.settings == self.expected.settings,
            "settings are {:?} and should be {:?}",
            world.now.settings,
            self.expected.settings
        );
        ensure!(
            world.now.files == self.expected.files,
            "files are {:?} and should be {:?}",
            world.now.files,
            self.expected.files
        );
        Ok(())
    }

    /// How the exclusive work of a request ended, as far as is durable.
    pub fn success(&self, request: RequestId) -> Option<bool> {
        let asked = |told: &&Told| told.is_exclusive() && told.request == request;
        if let Some(told) = self.works.values().find(asked) {
            // Told well while it waits, and once more, if asked, when it has ended.
            if told.awaited && told.outcome.is_none() {
                return Some(true);
            }
            return Some(ended_well(told.outcome.as_ref()?));
        }
        let (told, keep) = self.works.values().find_map(|told| match told.answered {
            Some((answered, keep)) if answered == request => Some((told, keep)),
            _ => None,
        })?;
        let outcome = told.outcome.as_ref()?;
        Some(if keep { ended_well(outcome) } else { matches!(outcome, Outcome::Undone { .. }) })
    }

    /// Whether a request has been told that what it asked for is in place and waits.
    pub fn waits_or_waited(&self, request: RequestId) -> bool {
        self.works.values().any(|told| told.request == request && told.awaited)
    }

    /// What a work is about.
    pub fn order(&self, work: u64) -> Option<&Order> {
        self.works.get(&work).map(|told| &told.order)
    }

    /// Whether any work of a request has ended well or waits, it was noted, or it has ended another's waiting.
    pub fn done(&self, request: RequestId) -> bool {
        let of_its_own = |told: &Told| {
            told.request == request && (told.awaited || told.outcome.as_ref().is_some_and(ended_well))
        };
        self.noted.contains(&request)
            || self.works.values().any(of_its_own)
            || self.works.values().any(|told| {
                told.answered.is_some_and(|(answered, _)| answered == request) && told.outcome.is_some()
            })
    }

    /// Every accepted work has ended.
    pub fn all_ended(&self) -> Result<(), String> {
        match self.works.iter().find(|(_, told)| told.outcome.is_none()) {
            Some((number, told)) => Err(format!("work {number} never ends: {:?}", told.order)),
            None => Ok(()),
        }
    }
}

fn ended_well(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done | Outcome::Signed { .. } | Outcome::Pruned { .. })
}

impl Told {
    fn is_exclusive(&self) -> bool {
        self.order.is_exclusive()
    }
}

/// The rules once more, in the plainest words; heat is looked at elsewhere.
fn may(rules: &Rules, peer: Peer, order: &Order) -> bool {
    let role = match peer.uid {
        0 => Role::Owner,
        uid if rules.owners.contains(&uid) => Role::Owner,
        uid if rules.operators.contains(&uid) => Role::Operator,
        _ => Role::Observer,
    };
    match order {
        Order::ReadTokens { .. }
        | Order::VerifyCheckpoint { .. }
        | Order::PlanRestore { .. }
        | Order::Diff { .. }
        | Order::Prune { dry_run: true, .. } => true,
        Order::CreateCheckpoint { .. } => role >= Role::Operator,
        Order::Restore { .. }
        | Order::Confirm { .. }
        | Order::DeleteCheckpoint { .. }
        | Order::Prune { .. }
        | Order::Seal { .. }
        | Order::Unseal { .. }
        | Order::Vault { .. }
        | Order::ApproveAgents { .. } => role == Role::Owner,
        Order::Run { .. } => role >= Role::Operator,
        Order::WriteTokens { writes } => {
            role == Role::Owner
                && (1..=rules.changes_max).contains(&writes.len())
                && writes.iter().all(|write| rules.tokens.contains(&TokenId(write.item.id)))
        }
    }
}
