//! Tokens and files together, and the checkpoint as it is stored.

use std::fs;
use std::time::Duration;

use types::time::Time;

use super::tree::*;
use crate::Error;
use crate::manifest::Manifest;
use crate::manifest::stored::Stored;
use crate::restore::{self, Machine, Phase, Restore};
use crate::tokens::tests::Bank;
use crate::worker::Worker;
use crate::worker::effect::{Effect, Executor, Progress};

fn identity() -> Vec<String> {
    vec!["product=Latitude 5450".into()]
}

#[test]
fn tokens_and_files_come_back_together() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let (mut chunks, mut bank, identity) = (bench.chunks(), Bank::new(3), identity());
    let roots = open(std::slice::from_ref(&bench.root));
    let machine =
        Machine { roots: &roots, tokens: Some(&mut bank), identity: &identity, ..Machine::default() };
    let manifest = restore::capture(machine, &mut chunks, 4, "before", Time::default()).unwrap().manifest;

    let unsigned = manifest.store(&mut chunks).unwrap();
    let text = unsigned.statement.to_string();
    assert!(text.ends_with("component files 2\ncomponent tokens 3\n"), "{text}");
    assert_eq!(unsigned.statement, manifest.statement().unwrap());
    let stored = unsigned.sign(vec![0x30, 1], vec![9; 4]);
    let bytes = stored.encode().unwrap();
    assert_eq!(Stored::decode(4, &bytes).unwrap(), stored);
    assert!(matches!(Stored::decode(5, &bytes), Err(Error::Damaged(_))));
    assert_eq!(stored.manifest(&chunks).unwrap(), manifest);
    let mut other = stored.clone();
    other.statement.manifest.0[0] ^= 1;
    assert!(matches!(other.manifest(&chunks), Err(Error::Damaged(_))));
    let mut other = stored;
    other.statement.name.push('x');
    assert!(matches!(other.manifest(&chunks), Err(Error::Damaged(_))));

    fs::write(bench.root.join("a"), "two").unwrap();
    bank.held.insert(2, 1000);
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let machine = Machine {
        roots: &roots,
        tokens: Some(&mut bank),
        executor: Some(&mut worker),
        identity: &identity,
        ..Machine::default()
    };
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    let summary = restore.plan().summary();
    assert_eq!((summary.changed, summary.tokens, summary.removed), (1, 1, 0), "{summary}");
    assert!(!restore.plan().other_machine);
    assert!(restore.execute().is_err(), "phases have an order");
    restore.prepare().unwrap();
    restore.execute().unwrap();
    restore.verify().unwrap();
    restore.clean_up().unwrap();
    assert_eq!(restore.phase(), Phase::Clean);
    drop(restore);
    assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "one");
    assert_eq!(bank.held[&2], 2);
    let machine = Machine { roots: &roots, tokens: Some(&mut bank), ..Machine::default() };
    let plan = restore::plan(machine, manifest.clone(), &chunks).unwrap();
    assert!(plan.other_machine && plan.summary().changed == 0 && plan.summary().tokens == 0);
    // Without the token device the checkpoint cannot come back as a whole.
    let machine = Machine { roots: &roots, ..Machine::default() };
    assert!(matches!(restore::plan(machine, manifest, &chunks), Err(Error::Refused(_))));
}

#[test]
fn files_go_back_when_the_firmware_fails() {
    let bench = Bench::new();
    fs::write(bench.root.join("a"), "one").unwrap();
    let (mut chunks, mut bank) = (bench.chunks(), Bank::new(3));
    let roots = open(std::slice::from_ref(&bench.root));
    let machine = Machine { roots: &roots, tokens: Some(&mut bank), ..Machine::default() };
    let manifest = restore::capture(machine, &mut chunks, 4, "before", Time::default()).unwrap().manifest;
    fs::write(bench.root.join("a"), "two").unwrap();
    bank.held.insert(2, 1000);
    bank.patience = 0;
    let mut worker = Worker::new(std::slice::from_ref(&bench.root)).unwrap();
    let machine =
        Machine { roots: &roots, tokens: Some(&mut bank), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false).unwrap();
    restore.prepare().unwrap();
    assert!(matches!(restore.execute(), Err(Error::Device(_))));
    assert_eq!(restore.phase(), Phase::Undone);
    restore.clean_up().unwrap();
    drop(restore);
    assert_eq!(fs::read_to_string(bench.root.join("a")).unwrap(), "two");
    assert!(!bench.root.join(".dsmil-restore").exists());
    // And a token that may not be written refuses before files are even staged.
    bank.tokens[2].writable = false;
    let machine =
        Machine { roots: &roots, tokens: Some(&mut bank), executor: Some(&mut worker), ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest, &chunks, false).unwrap();
    assert!(matches!(restore.prepare(), Err(Error::Refused(_))));
    assert!(!bench.root.join(".dsmil-restore").exists());
}

#[test]
fn a_changed_manifest_is_another_one_or_none() {
    let bench = Bench::new();
    fs::create_dir(bench.root.join("d")).unwrap();
    fs::write(bench.root.join("d/a"), "one").unwrap();
    let manifest = bench.capture(&mut bench.chunks());
    let encoded = manifest.encode().unwrap();
    for place in 0..encoded.len() {
        let mut bytes = encoded.clone();
        bytes[place] ^= 0x41;
        if let Ok(other) = Manifest::decode(&bytes) {
            assert_ne!(other.statement_of(&bytes).digest(), manifest.statement_of(&encoded).digest());
        }
        assert!(Manifest::decode(&encoded[..place]).is_err());
    }
}

#[test]
fn hostile_manifests_are_refused() {
    use crate::files::entry::Kind;
    use crate::manifest::Part;
    let bench = Bench::new();
    fs::create_dir(bench.root.join("d")).unwrap();
    fs::write(bench.root.join("d/a"), "one").unwrap();
    let manifest = bench.capture(&mut bench.chunks());
    type Twist = fn(&mut Vec<crate::files::entry::Entry>);
    let twists: [Twist; 9] = [
        |entries| entries[2].path = b"d/../../etc/shadow".to_vec(),
        |entries| entries[2].path = b"/etc/shadow".to_vec(),
        |entries| entries[2].path = b".dsmil-restore/x".to_vec(),
        |entries| entries[2].path = b"elsewhere/a".to_vec(),
        |entries| entries[2].meta.mode = 0o100_755,
        |entries| entries[2].kind = Kind::HardLink { to: b"d".to_vec() },
        |entries| entries[2].kind = Kind::Symlink { target: Vec::new() },
        |entries| entries[1].kind = Kind::Fifo,
        |entries| entries[2].meta.mtime.nanos = 1_000_000_000,
    ];
    for (number, twist) in twists.iter().enumerate() {
        let mut manifest = manifest.clone();
        let Part::Files { roots } = &mut manifest.parts[0] else { panic!() };
        twist(&mut roots[0].entries);
        let bytes = minicbor::to_vec(&manifest).unwrap();
        assert!(matches!(Manifest::decode(&bytes), Err(Error::Damaged(_))), "twist {number}");
    }
}

#[test]
fn a_phase_that_takes_too_long_changes_nothing() {
    let bench = Bench::new();
    one_of_everything(&bench.root);
    let mut chunks = bench.chunks();
    let manifest = bench.capture(&mut chunks);
    spoil(&bench.root);
    let before = picture(&bench.root);
    let roots = open(std::slice::from_ref(&bench.root));
    let mut slow = Slow(Worker::new(std::slice::from_ref(&bench.root)).unwrap());
    let mut begin = |limit| {
        let machine = Machine {
            roots: &roots,
            executor: Some(&mut slow),
            checks_late: true,
            phase_limit: Some(limit),
            ..Machine::default()
        };
        let mut restore = Restore::begin(machine, manifest.clone(), &chunks, false)?;
        restore.prepare()
    };
    let is_late = |ended: Result<(), Error>, during| match ended {
        Err(Error::Late { phase, .. }) => assert_eq!(phase, during),
        other => panic!("{other:?}"),
    };
    is_late(begin(Duration::ZERO), "validate");
    is_late(begin(Duration::from_secs(3)), "prepare");
    assert_same(&picture(&bench.root), &before, "after it took too long");
}

/// Takes its time.
struct Slow(Worker);

impl Executor for Slow {
    fn perform(&mut self, effect: &Effect) -> Result<Progress, Error> {
        if matches!(effect, Effect::Open { .. } | Effect::Stage { .. }) {
            std::thread::sleep(Duration::from_secs(2));
        }
        self.0.perform(effect)
    }
}
