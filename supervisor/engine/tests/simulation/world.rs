//! The world outside the engine: firmware behind a kernel, files, the checkpoints' store, and what recovery keeps.
//!
//! Every micro-step may fail, and may be the last one before a crash.

use std::collections::{BTreeMap, BTreeSet};

use engine::effect::Standing;
use engine::order::{Item, Valued, Write};
use engine::reply::{Captured, DiffReport, Freed, PlanReport, Survey, VerifyReport};
use engine::retention::Going;
use engine::scope::{FilePath, Held};
use engine::{Effect, Step, StepResult};
use policy::Rules;
use types::hash::Hash;
use types::token::TokenId;

use super::random::Random;

/// The daemon or the machine died.
pub struct Crash;

/// An effect's end, or the end of everything.
type Ran<T> = Result<Result<T, String>, Crash>;

/// What a checkpoint holds: files by path, locations, and settings of the kernel. These outlive a power cut here, as those do
/// that the machine sets at each start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    pub files: BTreeMap<&'static str, u64>,
    pub locations: BTreeMap<u16, u32>,
    pub settings: BTreeMap<&'static str, u8>,
}

/// What recovery keeps on disk while a restore runs.
#[derive(Clone, Debug)]
struct Journal {
    work: u64,
    /// The files as they were.
    before: BTreeMap<&'static str, u64>,
    target: Snapshot,
    report: PlanReport,
}

pub struct World {
    /// Files and locations as they are now.
    pub now: Snapshot,
    /// The firmware's table: a token's location. Two tokens may share one.
    pub table: BTreeMap<u16, u16>,
    /// The module's sealed list.
    listed: BTreeSet<TokenId>,
    /// What the kernel puts back unless it is confirmed.
    pub pending: Vec<(u16, u32)>,
    stored: BTreeMap<u64, Snapshot>,
    signed: BTreeMap<u64, Snapshot>,
    /// Checkpoints that were told to go.
    leaving: BTreeSet<u64>,
    journal: Option<Journal>,
    /// Works whose undo was made to fail: only these may leave something half-done.
    pub undo_failed: BTreeSet<u64>,
    /// How often, of a thousand, a step fails and a micro-step is the last one.
    pub failing: usize,
    pub crashing: usize,
}

impl World {
    pub fn new(table: BTreeMap<u16, u16>, listed: BTreeSet<TokenId>, now: Snapshot) -> Self {
        Self {
            now,
            table,
            listed,
            pending: Vec::new(),
            stored: BTreeMap::new(),
            signed: BTreeMap::new(),
            leaving: BTreeSet::new(),
            journal: None,
            undo_failed: BTreeSet::new(),
            failing: 0,
            crashing: 0,
        }
    }

    /// The daemon's end of the transaction is gone: the kernel undoes it, unless the kernel is gone as well.
    pub fn die(&mut self, power_cut: bool) {
        if power_cut {
            self.pending.clear();
        } else {
            self.kernel_undo();
        }
    }

    fn kernel_undo(&mut self) {
        for (location, before) in self.pending.drain(..).rev() {
            self.now.locations.insert(location, before);
        }
    }

    fn tick(&self, random: &mut Random) -> Result<(), Crash> {
        if random.often(self.crashing) { Err(Crash) } else { Ok(()) }
    }

    /// Performs an effect as the daemon does: redeem the grant, act under the permit.
    pub fn perform(
        &mut self,
        random: &mut Random,
        rules: &Rules,
        now_ns: i64,
        effect: &Effect,
    ) -> Result<StepResult, Crash> {
        self.tick(random)?;
        let order = effect.order.hash().unwrap();
        let grant = policy::Grant::from(&effect.grant);
        let permit = match effect.standing() {
            Standing::Beginning => policy::redeem(rules, &grant, order, now_ns),
            Standing::GoingOn => policy::redeem_next(rules, &grant, order),
            Standing::Ending => policy::redeem_undo(&grant, order),
        };
        let result = match permit {
            Ok(permit) => {
                assert_eq!(permit.order(), order);
                self.act(random, effect)?
            }
            Err(denial) => Err(denial.to_string()),
        };
        self.tick(random)?;
        Ok(result.unwrap_or_else(StepResult::Failed))
    }

    fn act(&mut self, random: &mut Random, effect: &Effect) -> Ran<StepResult> {
        let early = random.often(self.failing / 2);
        // A failure that is reported although the step was done, where that can be.
        let late = random.often(self.failing / 2);
        if early && !matches!(effect.step, Step::Write { .. } | Step::Execute) {
            if matches!(effect.step, Step::UndoWrite { .. } | Step::UndoRestore { .. }) {
                self.undo_failed.insert(effect.work);
            }
            return Ok(Err("injected before the step".to_owned()));
        }
        let result = match &effect.step {
            Step::Read(items) => Ok(StepResult::Read(
                items
                    .iter()
                    .map(|item| (*item, self.read(*item).ok_or_else(|| "unknown".to_owned())))
                    .collect(),
            )),
            Step::ReadBefore(items) => items
                .iter()
                .map(|item| self.read(*item).map(|value| Valued { item: *item, value }))
                .collect::<Option<_>>()
                .map(StepResult::Before)
                .ok_or_else(|| "unknown token".to_owned()),
            Step::Write { writes, .. } => self.write(random, writes, early)?,
            Step::Confirm => self.confirm(random),
            Step::UndoWrite { writes, before } => self.undo_write(random, writes, before)?,
            Step::Capture { number, .. } => Ok(self.capture(*number)),
            Step::Sign { number } => self.sign(*number),
            Step::Verify { number } => self
                .signed
                .get(number)
                .map(|_| StepResult::Verified(VerifyReport { number: *number, ..Default::default() }))
                .ok_or_else(|| format!("no checkpoint {number}")),
            Step::Diff { from, to, .. } => {
                Ok(StepResult::Compared(DiffReport { from: *from, to: *to, ..DiffReport::default() }))
            }
            Step::Delete { number, .. } => {
                self.leaving.insert(*number);
                self.signed.remove(number);
                Ok(StepResult::Done)
            }
            Step::Survey(going) => Ok(self.survey(going)),
            Step::RemoveAll { numbers } => self.remove_all(random, numbers, late)?,
            Step::Prune => Ok(self.prune()),
            Step::Plan { number, .. } => {
                self.plan(*number, true).map(|(_, report)| StepResult::Planned(report))
            }
            Step::Validate { number, leave_denied, .. } => {
                self.plan(*number, *leave_denied).map(|(_, report)| StepResult::Planned(report))
            }
            Step::Prepare { number } => self.prepare(effect.work, *number),
            Step::Execute => self.execute(random, effect.work, early)?,
            Step::VerifyRestored => self.verify_restored(effect.work),
            Step::CleanUp => self.clean_up(effect.work),
            Step::UndoRestore { writes, settings } => {
                self.undo_restore(random, effect.work, (writes, settings))?
            }
            Step::Seal | Step::Unseal { .. } | Step::Vault(_) => Err("there is no vault here".to_owned()),
        };
        let undoing = matches!(
            effect.step,
            Step::UndoWrite { .. } | Step::UndoRestore { .. } | Step::CleanUp | Step::RemoveAll { .. }
        );
        if late && !undoing && result.is_ok() {
            if let Step::Write { .. } = effect.step {
                self.kernel_undo();
            }
            return Ok(Err("injected after the step".to_owned()));
        }
        Ok(result)
    }

    /// Each checkpoint needs one byte of its own.
    fn survey(&self, going: &Going) -> StepResult {
        let present: Vec<u64> = self.signed.keys().copied().collect();
        let left = present.iter().filter(|number| !going.gone.contains(number)).count();
        let needed = (0..=going.expendable.len())
            .map(|gone| u64::try_from(left.saturating_sub(gone)).unwrap())
            .collect();
        let stored_bytes = u64::try_from(self.stored.len()).unwrap();
        StepResult::Surveyed(Survey { going: going.clone(), stored_bytes, needed, present })
    }

    /// One file after the other; each of them may be the last one before a crash, or stay.
    fn remove_all(&mut self, random: &mut Random, numbers: &[u64], fail: bool) -> Ran<StepResult> {
        self.leaving.extend(numbers);
        let (mut gone, mut failure) = (Vec::new(), None);
        for number in numbers {
            self.tick(random)?;
            if fail && random.often(300) {
                failure = Some("injected in the middle".to_owned());
            } else {
                self.signed.remove(number);
                gone.push(*number);
            }
        }
        self.tick(random)?;
        Ok(Ok(StepResult::Removed(gone, failure)))
    }

    fn prune(&mut self) -> StepResult {
        let before = self.stored.len();
        self.stored.retain(|number, _| self.signed.contains_key(number));
        let gone = u64::try_from(before - self.stored.len()).unwrap();
        StepResult::Pruned(Freed { chunks: gone, ..Freed::default() })
    }

    /// Whether a checkpoint can be restored, or was about to go when something failed.
    pub fn holds(&self, number: u64) -> bool {
        let is_whole = self.signed.contains_key(&number) && self.stored.contains_key(&number);
        is_whole || self.leaving.contains(&number)
    }

    fn location(&self, item: Item) -> Option<u16> {
        // Each select has its own bank in the firmware.
        self.table.get(&item.id).map(|location| location * 4 + u16::from(item.select))
    }

    /// A listed token of a location.
    fn item(&self, location: u16) -> Item {
        let at = |(id, at): &(&u16, &u16)| **at == location / 4 && self.listed.contains(&TokenId(**id));
        let id = *self.table.iter().find(at).unwrap().0;
        Item { id, select: u8::try_from(location % 4).unwrap() }
    }

    fn read(&self, item: Item) -> Option<u32> {
        self.now.locations.get(&self.location(item)?).copied()
    }

    /// One pending write; the module refuses what is not on its sealed list.
    fn put(&mut self, location: u16, value: u32) {
        let before = self.now.locations.insert(location, value).unwrap();
        self.pending.push((location, before));
    }

    fn write(&mut self, random: &mut Random, writes: &[Write], fail: bool) -> Ran<StepResult> {
        assert!(self.pending.is_empty(), "one transaction at a time");
        let stop = if fail { random.below(writes.len()) } else { usize::MAX };
        let mut seen = Vec::new();
        for (index, write) in writes.iter().enumerate() {
            self.tick(random)?;
            let location =
                self.location(write.item).filter(|_| self.listed.contains(&TokenId(write.item.id)));
            match location {
                Some(location) if index != stop && !seen.contains(&location) => {
                    seen.push(location);
                    self.put(location, write.value);
                }
                // Also two tokens of one location in one request: the read back would not compare.
                _ => {
                    self.kernel_undo();
                    return Ok(Err(format!("token {:04X} cannot be written", write.item.id)));
                }
            }
        }
        Ok(Ok(StepResult::Done))
    }

    fn confirm(&mut self, random: &mut Random) -> Result<StepResult, String> {
        if random.often(self.failing) {
            self.kernel_undo();
            return Err("the deadline has passed: the kernel has undone it".to_owned());
        }
        if self.pending.is_empty() {
            return Err("nothing is pending".to_owned());
        }
        self.pending.clear();
        Ok(StepResult::Done)
    }

    fn undo_write(&mut self, random: &mut Random, writes: &[Write], before: &[Valued]) -> Ran<StepResult> {
        self.kernel_undo();
        for write in writes {
            let old = before.iter().find(|old| old.item == write.item).unwrap().value;
            if self.read(write.item) == Some(write.value) {
                self.tick(random)?;
                self.put(self.location(write.item).unwrap(), old);
            }
        }
        self.tick(random)?;
        self.pending.clear();
        Ok(Ok(StepResult::Done))
    }

    fn capture(&mut self, number: u64) -> StepResult {
        assert!(self.pending.is_empty(), "a checkpoint saw a pending write");
        assert!(!self.stored.contains_key(&number), "checkpoint {number} was captured twice");
        self.stored.insert(number, self.now.clone());
        StepResult::Captured(Captured { manifest: Hash([7; 32]), files: 1, ..Captured::default() })
    }

    fn sign(&mut self, number: u64) -> Result<StepResult, String> {
        let stored = self.stored.get(&number).ok_or("signing what was never captured")?;
        self.signed.insert(number, stored.clone());
        Ok(StepResult::Signed { key: "k".to_owned() })
    }

    /// Whether a location may be written.
    pub fn is_listed(&self, location: u16) -> bool {
        self.table.iter().any(|(id, at)| *at == location / 4 && self.listed.contains(&TokenId(*id)))
    }

    /// What is there once the kernel's deadline for a pending write has passed.
    pub fn after_deadline(&self) -> Snapshot {
        let mut now = self.now.clone();
        now.locations.extend(self.pending.iter().rev().copied());
        now
    }

    fn plan(&self, number: u64, leave: bool) -> Result<(Snapshot, PlanReport), String> {
        let mut target = self.signed.get(&number).ok_or_else(|| format!("no checkpoint {number}"))?.clone();
        let mut report = PlanReport { number, ..PlanReport::default() };
        for (path, content) in &target.files {
            match self.now.files.get(path) {
                None => report.added += 1,
                Some(now) if now != content => report.changed += 1,
                Some(_) => {}
            }
        }
        report.removed =
            self.now.files.keys().filter(|path| !target.files.contains_key(*path)).map(|_| 1).sum();
        for (location, value) in &mut target.locations {
            if self.now.locations[location] == *value {
            } else if self.is_listed(*location) {
                report.tokens += 1;
                let item = self.item(*location);
                let expected = Some(self.now.locations[location]);
                report.writes.push(Write { item, value: *value, expected });
            } else {
                report.denied += 1;
                *value = self.now.locations[location];
            }
        }
        for (name, value) in &target.settings {
            if self.now.settings[name] != *value {
                let held = vec![self.now.settings[name]];
                report.others.settings += 1;
                report.settings.push(Held { path: FilePath(name.as_bytes().to_vec()), value: held });
            }
        }
        if report.denied > 0 && !leave {
            Err("tokens may not be written".to_owned())
        } else {
            Ok((target, report))
        }
    }

    fn prepare(&mut self, work: u64, number: u64) -> Result<StepResult, String> {
        let (target, report) = self.plan(number, true)?;
        match &mut self.journal {
            // Prepared before a crash: what was there before is what was there before the first attempt.
            Some(journal) if journal.work == work => journal.target = target,
            _ => self.journal = Some(Journal { work, before: self.now.files.clone(), target, report }),
        }
        Ok(StepResult::Done)
    }

    fn prepared(&self, work: u64) -> Journal {
        let journal = self.journal.clone().filter(|journal| journal.work == work);
        journal.expect("a restore went on that nobody had prepared")
    }

    fn execute(&mut self, random: &mut Random, work: u64, fail: bool) -> Ran<StepResult> {
        let target = self.prepared(work).target;
        self.put_all(random, &target, fail)
    }

    /// Puts files in place one by one, then locations in one transaction; stops half-way if it is to fail.
    fn put_all(&mut self, random: &mut Random, target: &Snapshot, fail: bool) -> Ran<StepResult> {
        assert!(self.pending.is_empty(), "one transaction at a time");
        let paths: BTreeSet<_> = self.now.files.keys().chain(target.files.keys()).copied().collect();
        for path in paths {
            self.tick(random)?;
            if fail && random.often(200) {
                return Ok(Err("injected in the middle".to_owned()));
            }
            match target.files.get(path) {
                Some(content) => self.now.files.insert(path, *content),
                None => self.now.files.remove(path),
            };
        }
        for (name, value) in &target.settings {
            if self.now.settings[name] != *value {
                self.tick(random)?;
                if fail && random.often(300) {
                    return Ok(Err("injected in the middle".to_owned()));
                }
                self.now.settings.insert(name, *value);
            }
        }
        for (location, value) in &target.locations {
            if self.now.locations[location] != *value {
                self.tick(random)?;
                if fail && random.often(300) {
                    self.kernel_undo();
                    return Ok(Err("injected in the middle".to_owned()));
                }
                self.put(*location, *value);
            }
        }
        self.tick(random)?;
        self.pending.clear();
        Ok(Ok(StepResult::Done))
    }

    fn verify_restored(&self, work: u64) -> Result<StepResult, String> {
        let target = self.prepared(work).target;
        let same = target
            .locations
            .iter()
            .all(|(location, value)| !self.is_listed(*location) || self.now.locations[location] == *value);
        let files = self.now.files == target.files && self.now.settings == target.settings;
        assert!(same && files, "what was executed is not in place");
        Ok(StepResult::Planned(self.prepared(work).report))
    }

    /// Idempotent: after a crash there may be nothing left to remove.
    fn clean_up(&mut self, work: u64) -> Result<StepResult, String> {
        let journal = self.journal.take().filter(|journal| journal.work == work);
        Ok(StepResult::Planned(journal.map(|journal| journal.report).unwrap_or_default()))
    }

    /// Files come back from what recovery has kept, locations and settings from what the log has.
    fn undo_restore(
        &mut self,
        random: &mut Random,
        work: u64,
        (writes, settings): (&[Write], &[Held]),
    ) -> Ran<StepResult> {
        self.kernel_undo();
        let mut before = self.now.clone();
        for write in writes {
            let location = self.location(write.item).unwrap();
            if self.now.locations[&location] == write.value {
                before.locations.insert(location, write.expected.unwrap());
            }
        }
        for held in settings {
            let slot = before.settings.iter_mut().find(|(name, _)| name.as_bytes() == held.path.0);
            *slot.unwrap().1 = held.value[0];
        }
        let journal = self.journal.clone().filter(|journal| journal.work == work);
        if let Some(journal) = &journal {
            before.files.clone_from(&journal.before);
        }
        if let Err(why) = self.put_all(random, &before, false)? {
            return Ok(Err(why));
        }
        self.tick(random)?;
        if journal.is_some() {
            self.journal = None;
        }
        Ok(Ok(StepResult::Done))
    }
}
