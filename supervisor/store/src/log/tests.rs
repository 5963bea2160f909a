use std::collections::HashSet;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use proptest::prelude::*;

use super::cursor::{Cursor, Step};
use super::*;
use crate::disk::sim::Sim;
use crate::error::{Damage, Place};
use crate::head::PublicKey;
use crate::merkle::{Tree, leaf_hash};

/// Small files, so that a short run crosses from one to the next.
const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };
const ID: [u8; 16] = [7; 16];

fn dir() -> &'static Path {
    Path::new("/log")
}

pub(crate) fn create(disk: &Sim, config: &Config) -> Result<Log, Error> {
    Log::create_on(Arc::new(disk.clone()), dir(), ID, config)
}

fn open(disk: &Sim, config: &Config) -> Result<(Log, Vec<Vec<u8>>), Error> {
    let mut seen = Vec::new();
    let log = Log::open_on(Arc::new(disk.clone()), dir(), config, &mut |index, bytes| {
        assert_eq!(index, seen.len() as u64);
        seen.push(bytes.to_vec());
    })?;
    assert_eq!(log.size(), seen.len() as u64);
    let mut tree = Tree::default();
    seen.iter().for_each(|entry| tree.append(leaf_hash(entry)));
    assert_eq!(log.root(), tree.root());
    Ok((log, seen))
}

/// A key as the TPM would hold it.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        let point = self.0.public_key().as_ref();
        PublicKey::from_point(point[1..33].try_into().unwrap(), point[33..].try_into().unwrap()).unwrap()
    }

    pub(crate) fn sign(&self, head: Head) -> SignedHead {
        let signature = self.0.sign(&SystemRandom::new(), head.text().unwrap().as_bytes()).unwrap();
        SignedHead::assemble(head, &self.public(), signature.as_ref()).unwrap()
    }

    pub(crate) fn store(&self, log: &mut Log) -> Result<(), Error> {
        let head = log.head("dsmil.test/log", Vec::new());
        log.store_head(&self.sign(head))
    }
}

pub(crate) fn damage(result: Result<impl fmt::Debug, Error>) -> Damage {
    match result {
        Err(Error::Damaged(damage)) => *damage,
        other => panic!("not damaged: {other:?}"),
    }
}

#[test]
fn what_was_appended_is_replayed() {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    assert_eq!(log.append(&[b"a".as_slice(), b"", &[9; 3000]]).unwrap(), 0..3);
    assert_eq!(log.append(&["b"]).unwrap(), 3..4);
    assert!(matches!(open(&disk, &SMALL), Err(Error::Locked { .. })));
    drop(log);
    let (mut log, seen) = open(&disk, &SMALL).unwrap();
    assert_eq!(seen, [b"a".to_vec(), vec![], vec![9; 3000], b"b".to_vec()]);
    assert_eq!(log.append(&["c"]).unwrap(), 4..5);
    drop(log);
    assert_eq!(open(&disk, &SMALL).unwrap().1.len(), 5);
}

#[test]
fn limits_and_absence_are_told() {
    let disk = Sim::default();
    assert!(matches!(open(&disk, &SMALL), Err(Error::Absent { .. })));
    let mut log = create(&disk, &Config::default()).unwrap();
    assert!(matches!(log.append(&[vec![0; ENTRY_BYTES_MAX + 1]]), Err(Error::Limit { .. })));
    assert!(matches!(log.append(&vec![vec![0; ENTRY_BYTES_MAX]; 64]), Err(Error::Limit { .. })));
    assert!(matches!(log.append(&[] as &[&[u8]]), Err(Error::Invalid(_))));
    assert_eq!(log.append(&vec![vec![1; ENTRY_BYTES_MAX]; 63]).unwrap(), 0..63);
    drop(log);
    assert!(matches!(create(&disk, &SMALL), Err(Error::Exists { .. })));
    assert_eq!(open(&disk, &SMALL).unwrap().1.len(), 63);
}

#[test]
fn real_files_are_locked_replayed_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut log = Log::create(&path, ID, &SMALL).unwrap();
    let mut reader = read(&path, 2).unwrap();
    assert!(reader.next().is_none());
    for round in 0..200_u32 {
        log.append(&[format!("{round}"), "x".repeat(round as usize)]).unwrap();
    }
    assert!(matches!(Log::open(&path, &SMALL, &mut |_, _| ()), Err(Error::Locked { .. })));
    let entries: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(entries.len(), 398);
    assert_eq!(entries[0], (2, b"1".to_vec()));
    assert!(reader.next().is_none());
    log.append(&["later"]).unwrap();
    assert_eq!(reader.next().unwrap().unwrap(), (400, b"later".to_vec()));
    let root = log.root();
    drop(log);
    let mut count = 0;
    let log = Log::open(&path, &SMALL, &mut |_, _| count += 1).unwrap();
    assert_eq!((count, log.root()), (401, root));
    assert!(read(&path, 399).unwrap().map(Result::unwrap).map(|(index, _)| index).eq([399, 400]));
}

/// A tear and a hole look alike where they are; what follows tells them apart.
#[test]
fn a_hole_is_damage_where_anything_follows() {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    log.append(&["first"]).unwrap();
    log.append(&[vec![1; 1200]]).unwrap();
    let torn = disk.copy();
    log.append(&[vec![2; 600]]).unwrap();
    drop(log);
    let file = &disk.files(".log")[0];
    // The second batch lies from 4096 + 48 on. First its header and what shares the sector, then a sector further on.
    for hole in [4096 + 48..4096 + 512, 4096 + 512..4096 + 1024] {
        let copy = torn.copy();
        copy.tamper(file, |bytes| bytes[hole.clone()].fill(0));
        assert_eq!(open(&copy, &SMALL).unwrap().1, [b"first".to_vec()]);

        let copy = disk.copy();
        copy.tamper(file, |bytes| bytes[hole.clone()].fill(0));
        let found = damage(open(&copy, &SMALL));
        assert_eq!((found.place, &found.file), (Place::Entry(1), file));
    }
    // One byte changed in the last batch: every sector of it was written, so it was complete once.
    let copy = torn.copy();
    copy.tamper(file, |bytes| bytes[4096 + 700] ^= 1);
    assert_eq!(damage(open(&copy, &SMALL)).place, Place::Entry(1));
    // The file ends in the middle of it.
    let copy = torn.copy();
    copy.tamper(file, |bytes| bytes.truncate(4096 + 700));
    assert_eq!(damage(open(&copy, &SMALL)).place, Place::Entry(1));
}

/// Entries that are zeroed at the end of a file that another follows.
#[test]
fn a_gap_between_two_files_is_damage() {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    let mut last = 0..0;
    while disk.files(".log").len() == 1 {
        last = log.size()..log.append(&[[5; 1000]]).unwrap().end;
    }
    drop(log);
    disk.tamper(&disk.files(".log")[0], |bytes| bytes[4096 + 2 * 1040..].fill(0));
    assert_eq!(damage(open(&disk, &SMALL)).place, Place::Entries(2..last.start));
}

/// Runs the batches until something fails; says how many were acknowledged.
fn run(disk: &Sim, batches: &[Vec<Vec<u8>>]) -> usize {
    let Ok(mut log) = create(disk, &SMALL) else { return 0 };
    batches.iter().take_while(|batch| log.append(batch).is_ok()).count()
}

/// What must hold after any crash: the entries of all acknowledged batches, at most one whole batch more, nothing else;
/// and it can be appended to.
fn survives(disk: &Sim, batches: &[Vec<Vec<u8>>], acknowledged: usize) {
    let entries = |count: usize| batches[..count].concat();
    let (mut log, seen) = match open(disk, &SMALL) {
        Err(Error::Absent { .. }) if acknowledged == 0 => (create(disk, &SMALL).unwrap(), Vec::new()),
        opened => opened.unwrap(),
    };
    let more = batches.len().min(acknowledged + 1);
    assert!(seen == entries(acknowledged) || seen == entries(more), "{acknowledged} batches acknowledged");
    log.append(&["after the crash"]).unwrap();
    drop(log);
    // What was found is durable by then, whatever is lost of later writes.
    let (_, again) = open(&disk.crash(&mut || false), &SMALL).unwrap();
    assert_eq!(again[..seen.len()], seen);
    assert_eq!(again[seen.len()..], [b"after the crash".to_vec()]);
}

/// Repeatable choices: splitmix64.
pub(crate) struct Choices(pub(crate) u64);

impl Choices {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Every crash point of a run over several files; all subsets of up to 12 unflushed sectors, samples beyond.
#[test]
fn no_crash_loses_what_was_acknowledged() {
    let mut random = Choices(1);
    let sizes = [1, 700, 40, 1500, 2000, 4900, 10, 3000, 600, 1024, 2500, 16, 5000, 4000, 300, 4500];
    let batch = |size: &usize| {
        vec![(0..*size).map(|_| random.next().to_le_bytes()[0]).collect(), Vec::new(), vec![0; size / 2]]
    };
    let batches: Vec<Vec<Vec<u8>>> = sizes.iter().map(batch).collect();
    let whole = Sim::default();
    assert_eq!(run(&whole, &batches), batches.len());
    assert!(whole.files(".log").len() > 1);
    let mut states = HashSet::new();
    for cut in 0..=whole.operations() {
        let disk = Sim::default();
        disk.cut_power_after(cut);
        let acknowledged = run(&disk, &batches);
        let choices = disk.choices();
        let tries = if choices <= 12 { 1_u64 << choices } else { 200 };
        for mask in 0..tries {
            let mut bits = mask;
            let crashed = disk.crash(&mut || {
                let choice = if choices <= 12 { bits } else { random.next() };
                bits >>= 1;
                choice & 1 == 1
            });
            if states.insert((crashed.fingerprint(), acknowledged)) {
                // A second crash, in the middle of the repair of the first.
                let again = crashed.copy();
                again.cut_power_after(random.next() % 6);
                drop(open(&again, &SMALL));
                survives(&again.crash(&mut || random.next() & 1 == 1), &batches, acknowledged);
                survives(&crashed, &batches, acknowledged);
            }
        }
    }
    assert!(states.len() > 1000, "{} states", states.len());
}

#[test]
fn a_failed_flush_stops_the_log_and_is_not_believed_later() {
    for good in 0..40 {
        let disk = Sim::default();
        let mut log = create(&disk, &SMALL).unwrap();
        disk.fail_flush_after(good);
        let batches: Vec<Vec<Vec<u8>>> = (0..30).map(|round| vec![vec![round; 900]]).collect();
        let done = batches.iter().take_while(|batch| log.append(batch).is_ok()).count();
        if done < batches.len() {
            assert!(matches!(log.append(&["again"]), Err(Error::Flush { .. })));
        }
        assert_eq!(log.size(), done as u64);
        drop(log);
        // The process starts anew without a crash: the lost batch is still readable. What it reads must then be durable.
        let (log, seen) = open(&disk, &SMALL).unwrap();
        drop(log);
        assert!(seen.len() == done || seen.len() == done + 1);
        assert_eq!(open(&disk.crash(&mut || false), &SMALL).unwrap().1, seen);
    }
}

#[test]
fn a_full_disk_is_back_pressure() {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    let signer = Signer::new();
    disk.set_capacity(Some(disk.used() + 9000));
    let mut size = 0;
    let full = loop {
        match log.append(&[vec![1; 100]]) {
            Ok(range) => size = range.end,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full { .. }), "{full:?}");
    assert_eq!(log.size(), size);
    log.append_urgent(&["stopping"]).unwrap();
    // No room for heads either: the log stays usable.
    disk.set_capacity(Some(disk.used()));
    assert!(matches!(signer.store(&mut log), Err(Error::Full { .. })));
    disk.set_capacity(None);
    log.append(&["later"]).unwrap();
    signer.store(&mut log).unwrap();
    drop(log);
    assert_eq!(open(&disk, &SMALL).unwrap().1.len() as u64, size + 2);
}

#[test]
fn room_that_was_made_sure_of_is_there_and_the_reserve_behind_it() {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    // Over the end of the first file, where a new one has to be made.
    disk.set_capacity(Some(disk.used() + 9000));
    let full = loop {
        if let Err(error) = log.ensure(200) {
            break error;
        }
        log.append(&[vec![1; 100]]).unwrap();
    };
    assert!(matches!(full, Error::Full { .. }), "{full:?}");
    // The first file holds 28 such batches.
    assert!(log.size() > 28, "{}", log.size());
    log.append_urgent(&[vec![2; 150]]).unwrap();
}

#[test]
fn heads_are_checked_at_the_start() {
    let (disk, signer) = (Sim::default(), Signer::new());
    let mut log = create(&disk, &SMALL).unwrap();
    log.append(&["a", "b"]).unwrap();
    let early = log.head("dsmil.test/log", vec!["counter 7".into()]);
    log.append(&["c"]).unwrap();
    // A signature takes a while: the log has grown by then.
    log.store_head(&signer.sign(early.clone())).unwrap();
    signer.store(&mut log).unwrap();
    assert!(matches!(log.store_head(&signer.sign(early)), Err(Error::Invalid(_))));
    assert_eq!(log.newest_head().unwrap().head().size, 3);
    drop(log);

    // The last batch, zeroed: without heads this would be a torn tail.
    let copy = disk.copy();
    let [file] = &copy.files(".log")[..] else { panic!() };
    let last = 4096 + 32 + 24;
    copy.tamper(file, |bytes| bytes[last..].fill(0));
    assert_eq!(damage(open(&copy, &SMALL)).place, Place::Entries(2..3));

    let copy = disk.copy();
    let [heads] = &copy.files(".heads")[..] else { panic!() };
    copy.tamper(heads, |bytes| bytes[4096..].fill(0));
    assert_eq!(damage(open(&copy, &SMALL)).file, dir().join("checkpoint"));

    // An older `checkpoint` is what a crash leaves; it is brought up to date.
    let newest = blob::read_on(&disk, &dir().join("checkpoint"), 1000).unwrap();
    let mut first = Cursor::new(Arc::new(disk.clone()), dir(), Kind::Heads, 0, false).unwrap();
    let Step::Batch(batch) = first.step().unwrap() else { panic!() };
    let older = batch.entries().next().unwrap().bytes.to_vec();
    disk.tamper(&dir().join("checkpoint"), |bytes| *bytes = older);
    drop(open(&disk, &SMALL).unwrap());
    assert_eq!(blob::read_on(&disk, &dir().join("checkpoint"), 1000).unwrap(), newest);
}

#[test]
fn storing_heads_survives_crashes() {
    let signer = Signer::new();
    let work = |disk: &Sim| {
        let mut stored = 0;
        let mut log = create(disk, &SMALL)?;
        for round in 0..3_u8 {
            log.append(&[vec![round; 300]])?;
            signer.store(&mut log)?;
            stored = log.size();
        }
        Ok::<u64, Error>(stored)
    };
    let whole = Sim::default();
    work(&whole).unwrap();
    let mut random = Choices(3);
    for cut in 0..=whole.operations() {
        let disk = Sim::default();
        disk.cut_power_after(cut);
        let done = work(&disk).is_ok();
        for _ in 0..50 {
            let crashed = disk.crash(&mut || random.next() & 1 == 1);
            match open(&crashed, &SMALL) {
                Err(Error::Absent { .. }) => assert!(!done),
                opened => {
                    let (mut log, seen) = opened.unwrap();
                    assert!(!done || log.newest_head().unwrap().head().size == seen.len() as u64);
                    signer.store(&mut log).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_batches_come_back(batches in prop::collection::vec(
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..900), 1..6), 0..12,
    )) {
        let disk = Sim::default();
        prop_assert_eq!(run(&disk, &batches), batches.len());
        let (_, seen) = open(&disk.crash(&mut || false), &SMALL).unwrap();
        prop_assert_eq!(seen, batches.concat());
    }

    /// A file that starts like a log and goes on with anything never panics and never opens as something else.
    #[test]
    fn any_bytes_are_refused_or_cut(garbage in prop::collection::vec(any::<u8>(), 1..2000), at in 0_usize..1500) {
        let disk = Sim::default();
        let mut log = create(&disk, &SMALL).unwrap();
        log.append(&["kept"]).unwrap();
        drop(log);
        let file = &disk.files(".log")[0];
        disk.tamper(file, |bytes| {
            let at = 4096 + 48 + at;
            let end = bytes.len().min(at + garbage.len());
            bytes[at..end].copy_from_slice(&garbage[..end - at]);
        });
        match open(&disk, &SMALL) {
            Ok((_, seen)) => prop_assert_eq!(seen, [b"kept".to_vec()]),
            Err(Error::Damaged(damage)) => prop_assert_eq!(damage.place, Place::Entry(1)),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
