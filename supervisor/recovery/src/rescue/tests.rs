//! A restore without the daemon, cut off at each point, taken up again, and brought back.

use std::fs;
use std::path::PathBuf;

use engine::reply::Captured;
use engine::{Event, Outcome, StepResult};
use store::log::{Config, Log};

use super::*;
use crate::tests::tree::*;

/// A state folder with a log and checkpoints of a folder.
struct Laptop {
    dir: tempfile::TempDir,
    bench: Bench,
}

impl Laptop {
    fn new() -> Self {
        let (dir, bench) = (tempfile::tempdir().unwrap(), Bench::new());
        let config = Config { segment_bytes: 1 << 20, step_bytes: 64 << 10, reserve_bytes: 0 };
        drop(Log::create(&dir.path().join("log"), [7; 16], &config).unwrap());
        Self { dir, bench }
    }

    fn journal(&self) -> Journal {
        Journal::open(self.dir.path()).unwrap()
    }

    fn source(&self) -> Source {
        let dir = self.dir.path().join("checkpoints");
        Source { dir, chunks: self.bench.chunks(), signers: Vec::new(), device: None }
    }

    /// Takes a checkpoint, as the daemon does, and records it.
    fn checkpoint(&self, name: &str) -> u64 {
        let mut journal = self.journal();
        let command = Command::CreateCheckpoint { name: name.to_owned(), paranoid: false };
        let asked = Event::Asked { request: request().unwrap(), peer: this_process(), command };
        let (effect, _) = journal.decide(asked).unwrap();
        let effect = effect.unwrap();
        let engine::Step::Capture { number, .. } = effect.step else { panic!() };
        let mut chunks = self.bench.chunks();
        let mut manifest = self.bench.capture(&mut chunks);
        (manifest.number, manifest.name) = (number, name.to_owned());
        let unsigned = manifest.store(&mut chunks).unwrap();
        let captured = Captured {
            manifest: unsigned.statement.manifest,
            files: 1,
            tokens: 0,
            bytes: 0,
            read: None,
            skipped: Vec::new(),
            others: engine::scope::Others::default(),
        };
        let step = |result| Event::Stepped { work: effect.work, result };
        journal.decide(step(StepResult::Captured(captured))).unwrap();
        let bytes = unsigned.sign(Vec::new(), Vec::new()).encode().unwrap();
        store::manifest::put(&self.dir.path().join("checkpoints"), number, &bytes).unwrap();
        journal.decide(step(StepResult::Signed { key: String::new() })).unwrap();
        number
    }

    fn picture(&self) -> Picture {
        picture(&self.bench.root)
    }

    /// What the log tells, the last first.
    fn facts(&self) -> Vec<Fact> {
        let mut facts = Vec::new();
        let log = Log::open(&self.dir.path().join("log"), &Config::default(), &mut |_, bytes| {
            facts.push(engine::Record::decode(bytes).unwrap().fact);
        });
        drop(log.unwrap());
        facts.reverse();
        facts
    }
}

/// A laptop with one checkpoint, and what it was, and is.
fn spoiled() -> (Laptop, u64, Picture, Picture) {
    let laptop = Laptop::new();
    one_of_everything(&laptop.bench.root);
    let before = laptop.picture();
    let number = laptop.checkpoint("before");
    spoil(&laptop.bench.root);
    let changed = laptop.picture();
    (laptop, number, before, changed)
}

#[test]
fn a_restore_is_told_like_one_of_the_daemon_as_root() {
    if !is_root() {
        return;
    }
    let (laptop, number, before, changed) = spoiled();
    let (mut journal, source) = (laptop.journal(), laptop.source());
    let asked = Asked::default();
    let planned = plan(&journal, &source, number, &asked).unwrap();
    assert!(planned.added > 0 && planned.changed > 0 && planned.removed > 0, "{planned:?}");
    assert_same(&laptop.picture(), &changed, "planned");
    let size = journal.state().facts;
    let Ending::Restored(report) = bring_back(&mut journal, &source, number, &asked).unwrap() else {
        panic!()
    };
    assert_eq!(report, planned);
    assert_same(&laptop.picture(), &before, "restored");
    assert!(!laptop.bench.root.join(".dsmil-restore").exists());
    drop((journal, source));
    // Accepted, four points, verified, finished.
    let facts = laptop.facts();
    assert!(matches!(facts[0], Fact::Finished { outcome: Outcome::Done, .. }), "{:?}", facts[0]);
    let reached = |fact: &Fact| matches!(fact, Fact::Progressed { progress: Progress::Verified, .. });
    assert!(reached(&facts[1]) && facts.len() as u64 == size + 6, "{facts:?}");
    let Fact::Accepted { asker, order, .. } = &facts[5] else { panic!("{:?}", facts[5]) };
    assert_eq!(asker.pid, i32::try_from(std::process::id()).unwrap());
    assert!(matches!(order, Order::Restore { .. }));
    assert!(laptop.journal().state().works.is_empty());
}

#[test]
fn cut_off_anywhere_it_is_taken_up_or_brought_back_as_root() {
    if !is_root() {
        return;
    }
    for point in 0.. {
        for (is_durable, goes_on) in [(false, true), (true, true), (false, false), (true, false)] {
            let (laptop, number, before, changed) = spoiled();
            let asked = Asked::default();
            let (mut journal, source) = (laptop.journal(), laptop.source());
            journal.cut = Some((point, is_durable));
            if bring_back(&mut journal, &source, number, &asked).is_ok() {
                // There are no more points.
                assert_eq!(point, 6);
                return;
            }
            drop((journal, source));
            let (mut journal, source) = (laptop.journal(), laptop.source());
            let what = format!("point {point}, durable {is_durable}, goes on {goes_on}");
            if goes_on {
                let ending = bring_back(&mut journal, &source, number, &asked).unwrap();
                assert!(matches!(ending, Ending::Restored(_)), "{what}: {ending:?}");
                assert_same(&laptop.picture(), &before, &what);
            } else {
                start_daemon(&mut journal, &source);
                // Accepted, planned, prepared, executed, verified, finished: once it is verified there is no way back.
                let whole = if (point, is_durable) >= (4, true) { &before } else { &changed };
                assert_same(&laptop.picture(), whole, &what);
            }
            assert!(journal.state().works.is_empty(), "{what}");
            assert!(!laptop.bench.root.join(".dsmil-restore").exists(), "{what}");
            drop(journal);
            // What is told is told in an order that the engine knows.
            laptop.facts();
        }
    }
}

/// What the daemon does with it: its rules are others, so what needs a permit is refused, and what ends a work is not.
fn start_daemon(journal: &mut Journal, source: &Source) {
    let works: Vec<_> = journal.state().works.values().cloned().collect();
    for work in works {
        let resumed = engine::decide::resume(&work, journal.now());
        let Some(effect) = journal.record(vec![resumed], true).unwrap() else {
            continue;
        };
        let effect = if effect.step.standing() == engine::Standing::Ending {
            Some(effect)
        } else {
            let result = StepResult::Failed("the rules have changed".to_owned());
            journal.decide(Event::Stepped { work: effect.work, result }).unwrap().0
        };
        Acting::carry_out(journal, source, effect).unwrap();
    }
}

#[test]
fn another_restore_ends_the_one_before_as_root() {
    if !is_root() {
        return;
    }
    let (laptop, first, before, _) = spoiled();
    let second = laptop.checkpoint("second");
    let spoiled = laptop.picture();
    let (mut journal, source) = (laptop.journal(), laptop.source());
    journal.cut = Some((3, true));
    bring_back(&mut journal, &source, first, &Asked::default()).unwrap_err();
    drop((journal, source));
    assert!(laptop.picture() != spoiled, "the first was in place");
    let (mut journal, source) = (laptop.journal(), laptop.source());
    let ending = bring_back(&mut journal, &source, second, &Asked::default()).unwrap();
    assert!(matches!(ending, Ending::Restored(_)), "{ending:?}");
    assert_same(&laptop.picture(), &spoiled, "the second");
    assert!(laptop.picture() != before && journal.state().works.is_empty());
    drop((journal, source));
    let undone = |fact: &Fact| matches!(fact, Fact::Finished { outcome: Outcome::Undone { .. }, .. });
    assert_eq!(laptop.facts().iter().filter(|fact| undone(fact)).count(), 1);
}

#[test]
fn damage_is_told_from_other_failures_and_changes_nothing_as_root() {
    if !is_root() {
        return;
    }
    let (laptop, first, _, _) = spoiled();
    let changed = laptop.picture();
    let source = laptop.source();
    let mut journal = laptop.journal();
    // Somebody puts another checkpoint in its place.
    let dir = laptop.dir.path().join("checkpoints");
    let bytes = store::manifest::get(&dir, first).unwrap();
    store::manifest::remove(&dir, first).unwrap();
    let mut other = Stored::decode(first, &bytes).unwrap();
    other.statement.manifest.0[0] ^= 1;
    store::manifest::put(&dir, first, &other.encode().unwrap()).unwrap();
    let ending = bring_back(&mut journal, &source, first, &Asked::default()).unwrap();
    assert!(
        matches!(&ending, Ending::Failed { reason, damaged: true } if reason.contains("of which the log tells")),
        "{ending:?}"
    );
    assert_same(&laptop.picture(), &changed, "refused");
    assert!(journal.state().works.is_empty());
    // A chunk is damaged.
    store::manifest::remove(&dir, first).unwrap();
    store::manifest::put(&dir, first, &bytes).unwrap();
    drop(source);
    for pack in fs::read_dir(laptop.bench.store.join("packs")).unwrap() {
        let pack = pack.unwrap().path();
        let mut bytes = fs::read(&pack).unwrap();
        // The one with the contents; the manifest stays whole.
        let Some(end) = bytes.len().checked_sub(100_000) else { continue };
        bytes.iter_mut().take(end).skip(60).step_by(50).for_each(|byte| *byte ^= 1);
        fs::write(&pack, bytes).unwrap();
    }
    let ending = bring_back(&mut journal, &laptop.source(), first, &Asked::default()).unwrap();
    assert!(matches!(&ending, Ending::Failed { damaged: true, .. }), "{ending:?}");
    assert_same(&laptop.picture(), &changed, "damaged");
}

#[test]
fn beside_a_log_that_cannot_be_used_a_file_tells_of_it_as_root() {
    if !is_root() {
        return;
    }
    let (laptop, number, before, _) = spoiled();
    let journal = laptop.journal();
    let Err(Error::Replay(error)) = Journal::open(laptop.dir.path()) else { panic!() };
    assert!(
        matches!(error, crate::replay::Error::Refused { cause: store::Error::Locked { .. }, .. }),
        "{error}"
    );
    drop(journal);
    let log = laptop.dir.path().join("log");
    for file in fs::read_dir(&log).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|kind| kind == "log") {
            let mut bytes = fs::read(&file).unwrap();
            bytes.iter_mut().skip(100).take(2000).for_each(|byte| *byte ^= 1);
            fs::write(&file, bytes).unwrap();
        }
    }
    assert!(matches!(Journal::open(laptop.dir.path()), Err(Error::Replay(_))));
    let mut journal = Journal::beside(laptop.dir.path()).unwrap();
    assert_eq!((find(&journal, "before"), newest_first(&journal)), (Some(number), vec![number]));
    let ending = bring_back(&mut journal, &laptop.source(), number, &Asked::default()).unwrap();
    assert!(matches!(ending, Ending::Restored(_)), "{ending:?}");
    assert_same(&laptop.picture(), &before, "restored");
    let path: PathBuf = journal.file().unwrap().to_owned();
    let bytes = fs::read(path).unwrap();
    let mut rest = minicbor::Decoder::new(&bytes);
    let mut facts = Vec::new();
    while rest.position() < bytes.len() {
        facts.push(rest.decode::<engine::Record>().unwrap().fact);
    }
    assert!(matches!(facts.as_slice(), [Fact::Accepted { .. }, .., Fact::Finished { .. }]), "{facts:?}");
}
