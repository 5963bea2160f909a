//! Commit, undo, and the one transaction.

use crate::*;
use machine::{Machine, Owner, Phase, Terms};
use transaction::{Entry, Fate, Fault, Firmware, Progress, Undone, commit};

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Nothing.
    No,
    /// An error, without effect.
    Error,
    /// An error, though the write took place.
    LateError,
    /// Success, though it did not; for reads, an error.
    Ignored,
    /// Success, though another value was written; for reads, an error.
    Garbled,
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        6 => Just(Wrong::No),
        1 => Just(Wrong::Error),
        1 => Just(Wrong::LateError),
        1 => Just(Wrong::Ignored),
        1 => Just(Wrong::Garbled),
    ]
}

/// Storage in memory, with a plan of what goes wrong at which call.
#[derive(Clone, Debug, Default)]
struct Storage {
    values: BTreeMap<(u16, u8), u32>,
    plan: Vec<Wrong>,
    calls: usize,
    read: BTreeSet<(u16, u8)>,
    wrote_unread: bool,
    password: bool,
    /// The commit is stopped before its entry of this number, counting both rounds.
    stop: Option<usize>,
    asked: usize,
    wrote_last: bool,
    written: Vec<(u16, u8)>,
    /// What each place has held since it was first written.
    stood: BTreeSet<((u16, u8), u32)>,
    /// Garbled by a write, and not read since.
    unseen: BTreeSet<(u16, u8)>,
    /// Still so when an attempt ended: nobody can tell these from what others write.
    lost: BTreeSet<(u16, u8)>,
}

const FAULT: Fault = Fault { error: 5, status: -1 };

impl Storage {
    fn next(&mut self) -> Wrong {
        self.calls += 1;
        self.plan.get(self.calls - 1).copied().unwrap_or(Wrong::No)
    }

    fn put(&mut self, place: (u16, u8), value: u32) {
        let before = self.values.insert(place, value);
        self.stood.extend(before.map(|before| (place, before)));
        self.stood.insert((place, value));
        self.unseen.remove(&place);
    }
}

impl Firmware for Storage {
    fn read(&mut self, location: u16, select: u8) -> Result<u32, Fault> {
        self.wrote_last = false;
        match self.next() {
            Wrong::No => {
                self.read.insert((location, select));
                self.unseen.remove(&(location, select));
                self.values.get(&(location, select)).copied().ok_or(FAULT)
            }
            _ => Err(FAULT),
        }
    }

    fn write(&mut self, location: u16, select: u8, value: u32) -> Result<(), Fault> {
        let place = (location, select);
        self.wrote_unread |= !self.read.contains(&place);
        self.written.push(place);
        self.wrote_last = true;
        match self.next() {
            Wrong::No => {
                self.put(place, value);
                Ok(())
            }
            Wrong::Error => Err(FAULT),
            Wrong::LateError => {
                self.put(place, value);
                Err(FAULT)
            }
            Wrong::Ignored => Ok(()),
            Wrong::Garbled => {
                // What was seen there before is known for ours.
                let is_known = self.values.get(&place) == Some(&!value) && !self.unseen.contains(&place);
                self.put(place, !value);
                if !is_known {
                    self.unseen.insert(place);
                }
                Ok(())
            }
        }
    }

    fn has_password(&mut self) -> bool {
        self.password
    }

    fn stop(&mut self) -> Option<u32> {
        self.asked += 1;
        (self.stop == Some(self.asked - 1)).then_some(uapi::DSMIL_REASON_INTERRUPTED)
    }
}

/// Undoes, and holds what it tells of each entry against what it counts and what stood there.
fn undo(storage: &mut Storage, entries: &mut [Entry]) -> Undone {
    let mut fates = Vec::new();
    let undone = transaction::undo(storage, entries, |storage, entry, fate| {
        assert_eq!(entry.progress, Progress::Untouched, "told once it is settled");
        let place = (entry.location, entry.select);
        match fate {
            Fate::Stood => assert_eq!(storage.values.get(&place), Some(&entry.old)),
            Fate::Back { replaced } => {
                assert_eq!(storage.values.get(&place), Some(&entry.old));
                assert!(storage.stood.contains(&(place, replaced)), "{replaced} never stood there");
            }
            Fate::Left { found, .. } => assert_eq!(storage.values.get(&place), Some(&found)),
        }
        fates.push(fate);
    });
    let left = fates.iter().filter(|fate| matches!(fate, Fate::Left { .. })).count();
    assert_eq!((fates.len(), left), ((undone.undone + undone.left) as usize, undone.left as usize));
    storage.lost.append(&mut storage.unseen.clone());
    undone
}

/// A storage and changes to different places of it, some with an expected value, right or wrong.
fn bench() -> impl Strategy<Value = (Storage, Vec<Entry>)> {
    let place = (0_u16..30, 0_u8..3);
    let change = (0_u32..4, 0_u32..4, 0_u8..8);
    proptest::collection::btree_map(place, change, 1..12).prop_map(|places| {
        let mut storage = Storage::default();
        let entries = places.into_iter().map(|((location, select), (old, new, expected))| {
            storage.values.insert((location, select), old);
            let expected = match expected {
                0 => Some(old + 1),
                1..4 => Some(old),
                _ => None,
            };
            Entry::new(location, location, select, new, expected)
        });
        let entries = entries.collect();
        (storage, entries)
    })
}

fn without_expectations(entries: &mut [Entry]) {
    for entry in entries {
        entry.expected = None;
    }
}

proptest! {
    #[test]
    fn a_commit_writes_all_or_can_be_undone((mut storage, mut entries) in bench(), plan in vec(wrong(), 0..40)) {
        let before = storage.values.clone();
        storage.plan = plan;
        let committed = commit(&mut storage, &mut entries);
        prop_assert!(!storage.wrote_unread);
        match committed {
            Ok(()) => {
                for entry in &entries {
                    let place = (entry.location, entry.select);
                    prop_assert_eq!(storage.values[&place], entry.new);
                    prop_assert_eq!(entry.old, before[&place]);
                    prop_assert!(entry.expected.is_none_or(|e| e == entry.old));
                }
            }
            Err(failure) => prop_assert!(failure.index.is_some_and(|index| index < entries.len())),
        }
        // The firmware is well again: whatever happened, the old values come back.
        storage.plan.clear();
        let undone = undo(&mut storage, &mut entries);
        prop_assert_eq!((undone.left, undone.failure), (0, None));
        prop_assert_eq!(storage.values, before);
    }

    #[test]
    fn a_commit_stops_before_any_entry_and_can_be_undone((mut storage, mut entries) in bench(), at in 0_usize..30) {
        without_expectations(&mut entries);
        let before = storage.values.clone();
        storage.stop = Some(at);
        let done = commit(&mut storage, &mut entries);
        // A read for each entry, then a write and a read.
        let (count, calls) = (entries.len(), storage.calls);
        let wanted = if at < count { at } else { count + 2 * (at - count).min(count) };
        prop_assert_eq!(calls, wanted);
        prop_assert_eq!(done.map_err(|failure| (failure.reason, failure.index, failure.fault)), if at < 2 * count {
            Err((uapi::DSMIL_REASON_INTERRUPTED, None, None))
        } else {
            Ok(())
        });
        // An undo is never stopped.
        storage.asked = 0;
        storage.stop = Some(0);
        let undone = undo(&mut storage, &mut entries);
        prop_assert_eq!((undone.left, undone.failure), (0, None));
        prop_assert_eq!(storage.values, before);
    }

    #[test]
    fn an_undo_is_gone_on_with_until_it_succeeds_and_overwrites_nobody(
        (mut storage, mut entries) in bench(), plans in vec(vec(wrong(), 0..40), 0..6),
        others in vec((0_usize..12, 0_usize..7), 0..6),
    ) {
        without_expectations(&mut entries);
        let mut wanted = storage.values.clone();
        commit(&mut storage, &mut entries).unwrap();
        let (mut undone, mut left, mut theirs) = (0, 0, BTreeSet::new());
        for (attempt, plan) in plans.into_iter().chain([Vec::new()]).enumerate() {
            // Between two attempts, and before the first, somebody else writes.
            for (index, _) in others.iter().filter(|(_, when)| *when == attempt) {
                if let Some(entry) = entries.get(*index).filter(|e| e.progress != Progress::Untouched) {
                    let place = (entry.location, entry.select);
                    storage.put(place, 77);
                    wanted.insert(place, 77);
                    theirs.insert(place);
                }
            }
            storage.plan = plan;
            storage.calls = 0;
            let result = undo(&mut storage, &mut entries);
            undone += result.undone;
            left += result.left;
            let remaining = transaction::touched(&entries);
            prop_assert_eq!(result.failure.is_some(), remaining > 0);
        }
        for place in storage.lost.difference(&theirs) {
            wanted.insert(*place, storage.values[place]);
        }
        prop_assert_eq!(&storage.values, &wanted);
        prop_assert_eq!(left as usize, storage.lost.union(&theirs).count());
        prop_assert_eq!((undone + left) as usize, entries.len());
        storage.calls = 0;
        undo(&mut storage, &mut entries);
        prop_assert_eq!(storage.calls, 0, "what is settled is not touched again");
    }

    #[test]
    fn what_somebody_else_changed_is_left((mut storage, mut entries) in bench(), others in vec(any::<bool>(), 12)) {
        without_expectations(&mut entries);
        let mut wanted = storage.values.clone();
        commit(&mut storage, &mut entries).unwrap();
        let mut left = 0;
        for (entry, _) in entries.iter().zip(others).filter(|(_, other)| *other) {
            let place = (entry.location, entry.select);
            storage.put(place, 77);
            wanted.insert(place, 77);
            left += 1;
        }
        storage.written.clear();
        let undone = undo(&mut storage, &mut entries);
        prop_assert_eq!(undone.left, left);
        prop_assert_eq!(&storage.values, &wanted);
        let order = entries.iter().rev().map(|e| (e.location, e.select));
        let touched: Vec<_> = order.filter(|place| storage.written.contains(place)).collect();
        prop_assert_eq!(storage.written, touched, "in reverse order, each once");
        let mut machine = Machine::new();
        machine.begin(ME, TERMS, 0).unwrap();
        machine.committed(0);
        machine.undone(&undone, uapi::DSMIL_OUTCOME_UNDONE, 0);
        prop_assert_eq!(machine.left(), left);
    }

    #[test]
    fn duplicates_are_found((_, entries) in bench(), twice in any::<prop::sample::Index>()) {
        for (index, entry) in entries.iter().enumerate() {
            prop_assert!(!transaction::is_staged(&entries[..index], entry));
        }
        prop_assert!(transaction::is_staged(&entries, twice.get(&entries)));
    }

    #[test]
    fn a_password_is_named_only_where_a_write_was_answered(
        (mut storage, mut entries) in bench(), plan in vec(wrong(), 0..40), password in any::<bool>(),
    ) {
        without_expectations(&mut entries);
        storage.plan = plan;
        storage.password = password;
        if let Err(failure) = commit(&mut storage, &mut entries) {
            let refused = storage.wrote_last || failure.fault.is_none();
            let named = failure.reason == uapi::DSMIL_REASON_PASSWORD;
            prop_assert_eq!(named, password && refused);
            // The error number is the reason's own, the status stays the firmware's.
            prop_assert_eq!(failure.fault.map(|f| (f.error, f.status)), match (named, failure.fault) {
                (_, None) => None,
                (true, _) => Some((13, FAULT.status)),
                (false, _) => Some((FAULT.error, FAULT.status)),
            });
        }
    }
}

const ME: Owner = Owner { file: 1, process: 1 };
const TERMS: Terms = Terms { period: 10 * SECOND, undo_on_suspend: false };

/// What may happen to the module.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin { owner: Owner, terms: Terms },
    Commit { owner: Owner },
    Confirm { owner: Owner },
    Undo { owner: Owner },
    Close { file: u64, process: Option<usize> },
    Sleep { powers_off: bool },
    Wait { time: i64 },
}

fn owner() -> impl Strategy<Value = Owner> {
    (1_u64..3, 1_usize..3).prop_map(|(file, process)| Owner { file, process })
}

fn terms() -> impl Strategy<Value = Terms> {
    (1_i64..20, any::<bool>())
        .prop_map(|(period, undo_on_suspend)| Terms { period: period * SECOND, undo_on_suspend })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (owner(), terms()).prop_map(|(owner, terms)| Step::Begin { owner, terms }),
        4 => owner().prop_map(|owner| Step::Commit { owner }),
        2 => owner().prop_map(|owner| Step::Confirm { owner }),
        1 => owner().prop_map(|owner| Step::Undo { owner }),
        1 => (1_u64..3, proptest::option::of(1_usize..3)).prop_map(|(file, process)| Step::Close { file, process }),
        1 => any::<bool>().prop_map(|powers_off| Step::Sleep { powers_off }),
        3 => (0_i64..10).prop_map(|time| Step::Wait { time: time * SECOND }),
    ]
}

const SECOND: i64 = time::NSEC_PER_SEC;

/// The machine with one entry to write, as the module drives it.
struct Module {
    machine: Machine,
    storage: Storage,
    entry: Vec<Entry>,
    now: i64,
    /// The value that was confirmed last: the one that must stand whenever nothing is pending.
    kept: u32,
    written: u32,
}

impl Module {
    fn new() -> Self {
        let storage = Storage { values: BTreeMap::from([((1, 0), 0)]), ..Storage::default() };
        Self { machine: Machine::new(), storage, entry: Vec::new(), now: 0, kept: 0, written: 0 }
    }

    fn undo(&mut self, outcome: u32) {
        let undone = undo(&mut self.storage, &mut self.entry);
        if undone.left > 0 {
            // Told as somebody else's, since nobody could say whose it is.
            assert!(self.storage.lost.contains(&(1, 0)));
            self.kept = self.storage.values.get(&(1, 0)).copied().unwrap_or(self.kept);
        }
        let ended = self.machine.undone(&undone, outcome, self.now);
        assert_eq!(ended.is_some(), self.machine.phase() == Phase::Idle);
    }

    fn tick(&mut self) {
        if self.machine.due_in(self.now) == Some(0) {
            self.undo(uapi::DSMIL_OUTCOME_EXPIRED);
        }
    }

    fn may(&mut self, step: machine::Step, owner: Owner) -> bool {
        self.tick();
        self.machine.may(step, self.machine.number(), owner).is_ok()
    }

    fn commit(&mut self) {
        self.written += 1;
        self.entry = vec![Entry::new(1, 1, 0, self.written, None)];
        if commit(&mut self.storage, &mut self.entry).is_ok() {
            self.machine.committed(self.now);
        } else {
            self.undo(uapi::DSMIL_OUTCOME_FAILED);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Begin { owner, terms } => {
                if self.machine.begin(owner, terms, self.now).is_ok() {
                    self.entry.clear();
                }
            }
            Step::Commit { owner } if self.may(machine::Step::Build, owner) => self.commit(),
            Step::Confirm { owner } if self.may(machine::Step::Confirm, owner) => {
                self.kept = self.written;
                self.machine.confirmed();
            }
            Step::Undo { owner } if self.may(machine::Step::Undo, owner) => {
                self.undo(uapi::DSMIL_OUTCOME_UNDONE);
            }
            Step::Commit { .. } | Step::Confirm { .. } | Step::Undo { .. } => {}
            Step::Close { file, process } => {
                if self.machine.closes(file, process) {
                    self.undo(uapi::DSMIL_OUTCOME_CLOSED);
                }
            }
            Step::Sleep { powers_off } => {
                let asked = self.machine.undoes_on_suspend();
                if self.machine.ends_in_sleep(powers_off) {
                    self.undo(uapi::DSMIL_OUTCOME_SUSPENDED);
                    let is_undone = self.machine.phase() == Phase::Idle;
                    assert_eq!(self.machine.keeps_awake(), asked && !is_undone);
                }
                // Nothing that is written sleeps with what is switched off, or where that was asked.
                let is_pending = matches!(self.machine.phase(), Phase::Pending { .. });
                assert!(!is_pending || !powers_off && !asked);
            }
            Step::Wait { time } => {
                self.now += time;
                self.tick();
            }
        }
    }
}

proptest! {
    #[test]
    fn no_unconfirmed_change_survives(steps in vec(step(), 1..60), plan in vec(wrong(), 0..120)) {
        let mut module = Module::new();
        module.storage.plan = plan;
        for step in steps {
            let (phase, number) = (module.machine.phase(), module.machine.number());
            module.step(step);
            if matches!(module.machine.phase(), Phase::Idle | Phase::Open { .. }) {
                prop_assert_eq!(module.storage.values[&(1, 0)], module.kept);
            }
            if phase != Phase::Idle {
                prop_assert_eq!(module.machine.number(), number, "one transaction at a time");
            }
            if let Phase::Open { deadline } | Phase::Pending { deadline } = module.machine.phase() {
                let is_noticed = deadline > module.now || !matches!(step, Step::Wait { .. });
                prop_assert!(is_noticed);
            }
        }
        // The owner is gone, the firmware is well again: it ends within the longest pause.
        module.storage.plan.clear();
        for file in 1..3 {
            module.step(Step::Close { file, process: None });
        }
        module.step(Step::Wait { time: 64 * SECOND });
        prop_assert_eq!(module.machine.phase(), Phase::Idle);
        prop_assert_eq!(module.storage.values[&(1, 0)], module.kept);
    }

    #[test]
    fn only_the_owner_takes_steps(a in owner(), b in owner(), number in 0_u64..4, committed in any::<bool>()) {
        use machine::Step::{Build, Confirm, Undo};
        let mut machine = Machine::new();
        for step in [Build, Confirm, Undo] {
            prop_assert_eq!(machine.may(step, number, a), Err(uapi::DSMIL_REASON_NO_TRANSACTION));
        }
        prop_assert_eq!(machine.begin(a, TERMS, 0), Ok(1));
        if committed {
            machine.committed(5);
        }
        prop_assert_eq!(machine.begin(b, TERMS, 0), Err(uapi::DSMIL_REASON_BUSY));
        for (step, wrong) in [
            (Build, committed.then_some(uapi::DSMIL_REASON_COMMITTED)),
            (Confirm, (!committed).then_some(uapi::DSMIL_REASON_NOT_COMMITTED)),
            (Undo, None),
        ] {
            let wanted = if number != 1 {
                Err(uapi::DSMIL_REASON_NO_TRANSACTION)
            } else if a != b {
                Err(uapi::DSMIL_REASON_NOT_OWNER)
            } else {
                wrong.map_or(Ok(()), Err)
            };
            prop_assert_eq!(machine.may(step, number, b), wanted);
        }
        prop_assert_eq!(machine.closes(b.file, Some(b.process)), a == b);
        prop_assert_eq!(machine.closes(b.file, None), a.file == b.file);
        prop_assert!(!machine.ends_in_sleep(false) && !machine.keeps_awake());
        prop_assert_eq!(machine.ends_in_sleep(true), committed);
        let begun = if committed { 5 } else { 0 };
        prop_assert_eq!(machine.due_in(3), Some(TERMS.period + begun - 3));
    }
}

#[test]
fn pauses_between_attempts_double_up_to_64_seconds() {
    let mut machine = Machine::new();
    machine.begin(ME, TERMS, 0).unwrap();
    machine.committed(0);
    let failure = transaction::Failure { reason: 0, index: Some(0), fault: Some(FAULT), found: 0 };
    let failed = Undone { failure: Some(failure), ..Default::default() };
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(machine.undone(&failed, uapi::DSMIL_OUTCOME_EXPIRED, 5), None);
        pauses.push(machine.due_in(5).unwrap() / SECOND);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    assert_eq!(machine.begin(ME, TERMS, 5), Err(uapi::DSMIL_REASON_UNDOING));
    assert_eq!(machine.may(machine::Step::Confirm, 1, ME), Err(uapi::DSMIL_REASON_UNDOING));
    for _ in 0..100 {
        machine.undone(&failed, uapi::DSMIL_OUTCOME_CLOSED, 5);
    }
    assert_eq!(machine.due_in(5), Some(64 * SECOND));
    machine.undone(&Undone::default(), uapi::DSMIL_OUTCOME_CLOSED, 5);
    assert_eq!(machine.outcome(), uapi::DSMIL_OUTCOME_EXPIRED, "the reason that began it");
}
