use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::disk::Disk as _;
use crate::disk::sim::Sim;
use crate::error::Error;
use crate::log::tests::{Choices, Signer, create};
use crate::log::{Config, Log};

const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn entry(index: u64) -> Vec<u8> {
    format!("the entry of number {index}").repeat(3).into_bytes()
}

fn append(log: &mut Log, count: u64) -> Result<(), Error> {
    let entries: Vec<_> = (log.size()..log.size() + count).map(entry).collect();
    log.append(&entries).map(drop)
}

/// Opens from a start; what is replayed must be the entries that follow it.
fn open_at(disk: &Sim, start: &Start) -> Result<Log, Error> {
    let mut seen = Vec::new();
    let mut replay = |index, bytes: &[u8]| seen.push((index, bytes.to_vec()));
    let log = Log::open_at_on(Arc::new(disk.clone()), dir(), &SMALL, start, &mut replay)?;
    assert!(seen.into_iter().eq((start.entries()..log.size()).map(|index| (index, entry(index)))));
    Ok(log)
}

fn open(disk: &Sim) -> Log {
    Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| ()).unwrap()
}

/// Batches before the place and after it, and heads around it; several files of entries.
fn sample(signer: &Signer, before: u64, after: u64) -> (Sim, Start) {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    for _ in 0..before / 10 {
        append(&mut log, 10).unwrap();
        signer.store(&mut log).unwrap();
    }
    // One that is asked for before the place and stored after it.
    let late = log.head("dsmil.test/log", Vec::new());
    append(&mut log, 3).unwrap();
    let start = log.start().unwrap();
    log.store_head(&signer.sign(late)).unwrap();
    for _ in 0..after / 10 {
        append(&mut log, 10).unwrap();
        signer.store(&mut log).unwrap();
    }
    append(&mut log, 5).unwrap();
    (disk, start)
}

fn unproven(result: Result<Log, Error>) -> String {
    match result {
        Err(Error::Unproven { why, .. }) => why,
        other => panic!("not unproven: {other:?}"),
    }
}

#[test]
fn a_log_goes_on_from_a_start_as_from_the_whole() {
    let signer = Signer::new();
    for (before, after) in [(0, 10), (10, 10), (300, 300), (600, 10), (600, 600)] {
        let (disk, start) = sample(&signer, before, after);
        let start = Start::decode(&start.encode()).unwrap();
        assert_eq!(start.entries(), before + 3);
        let (other, mut quick) = (disk.copy(), open_at(&disk, &start).unwrap());
        let mut whole = open(&other);
        assert_eq!((quick.root(), quick.size()), (whole.root(), before + after + 8));
        assert_eq!(quick.newest_head().unwrap(), whole.newest_head().unwrap());
        for log in [&mut quick, &mut whole] {
            append(log, 300).unwrap();
            signer.store(log).unwrap();
        }
        let roots = (quick.root(), whole.root());
        let again = quick.start().unwrap();
        drop((quick, whole));
        assert_eq!(roots.0, roots.1);
        assert_eq!(open(&disk).root(), roots.0);
        assert_eq!(open_at(&disk, &again).unwrap().root(), roots.0);
    }
}

#[test]
fn what_no_head_covers_is_not_believed() {
    let signer = Signer::new();
    let (disk, start) = sample(&signer, 100, 0);
    let before = disk.fingerprint();
    assert!(unproven(open_at(&disk, &start)).contains("no stored head"));
    assert_eq!(disk.fingerprint(), before, "nothing was written");
    let mut log = open(&disk);
    signer.store(&mut log).unwrap();
    drop(log);
    open_at(&disk, &start).unwrap();
}

#[test]
fn what_disagrees_is_refused_before_anything_is_written() {
    let signer = Signer::new();
    let (disk, start) = sample(&signer, 300, 100);
    let refused = |change: &dyn Fn(&Sim), start: &Start| {
        let copy = disk.copy();
        change(&copy);
        let before = copy.fingerprint();
        unproven(open_at(&copy, start));
        assert_eq!(copy.fingerprint(), before);
    };
    let nothing = |_: &Sim| ();
    refused(&nothing, &Start { id: [9; 16], ..start.clone() });
    let mut edge = start.edge.clone();
    edge.append(crate::merkle::leaf_hash(b"another"), &mut |_, _, _| ());
    refused(&nothing, &Start { edge, ..start.clone() });
    for change in [1, 8, 1 << 40] {
        refused(
            &nothing,
            &Start {
                entries: Spot { offset: start.entries.offset + change, ..start.entries },
                ..start.clone()
            },
        );
        let heads = start.heads.map(|spot| Spot { offset: spot.offset + change, ..spot });
        refused(&nothing, &Start { heads, ..start.clone() });
        refused(
            &nothing,
            &Start {
                entries: Spot { segment: start.entries.segment + change, ..start.entries },
                ..start.clone()
            },
        );
    }
    // The entries that follow, changed and gone; the files of heads and of entries gone.
    let last = disk.files(".log").pop().unwrap();
    refused(&|disk| disk.tamper(&last, |bytes| bytes[4096 + 60] ^= 1), &start);
    refused(&|disk| disk.tamper(&last, |bytes| bytes[4096..].fill(0)), &start);
    refused(&|disk| disk.files(".heads").iter().for_each(|file| disk.remove(file).unwrap()), &start);
    refused(&|disk| disk.files(".log").iter().skip(1).for_each(|file| disk.remove(file).unwrap()), &start);
    // An edge of another log with the same number of entries.
    let mut forged = Edge::default();
    (0..start.entries()).for_each(|_| forged.append(types::hash::Hash([3; 32]), &mut |_, _, _| ()));
    refused(&nothing, &Start { edge: forged, ..start.clone() });
    open_at(&disk, &start).unwrap();
}

/// Damage before the place is not looked at: that is what the scrub is for.
#[test]
fn what_is_before_is_not_read() {
    let (disk, start) = sample(&Signer::new(), 600, 100);
    let first = disk.files(".log").swap_remove(0);
    disk.tamper(&first, |bytes| bytes[4096..].fill(7));
    open_at(&disk, &start).unwrap();
}

/// From whatever a crash leaves, the quick start comes to what the whole one comes to, or says that it cannot.
#[test]
fn crashes_after_a_start_lose_nothing() {
    let signer = Signer::new();
    let work = |disk: &Sim, start: &mut Option<Start>| {
        let mut log = create(disk, &SMALL)?;
        for round in 0..14 {
            append(&mut log, 23)?;
            if round == 6 {
                *start = Some(log.start()?);
            }
            if round % 3 == 0 {
                signer.store(&mut log)?;
            }
        }
        Ok::<(), Error>(())
    };
    let whole = Sim::default();
    work(&whole, &mut None).unwrap();
    let (mut random, mut quick, mut states) = (Choices(5), 0, 0);
    for cut in 0..=whole.operations() {
        let (disk, mut start) = (Sim::default(), None);
        disk.cut_power_after(cut);
        drop(work(&disk, &mut start));
        let Some(start) = start else { continue };
        for _ in 0..30 {
            let crashed = disk.crash(&mut || random.next() & 1 == 1);
            states += 1;
            let other = crashed.copy();
            match open_at(&crashed, &start) {
                Ok(mut log) => {
                    quick += 1;
                    assert_eq!(log.root(), open(&other).root());
                    append(&mut log, 4).unwrap();
                    let root = log.root();
                    drop(log);
                    assert_eq!(open(&crashed.crash(&mut || false)).root(), root);
                }
                Err(Error::Unproven { .. }) => drop(open(&other)),
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert!(quick > states / 3, "{quick} of {states}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With any byte changed, and the CRC made right again: refused, or it comes to the same.
    #[test]
    fn a_changed_start_never_opens_another_log(at: prop::sample::Index, by in 1_u8.., right: bool) {
        static SAMPLE: std::sync::LazyLock<(Sim, Start)> = std::sync::LazyLock::new(|| sample(&Signer::new(), 300, 40));
        let (disk, start) = (SAMPLE.0.copy(), &SAMPLE.1);
        let mut bytes = start.encode();
        let end = bytes.len() - if right { 4 } else { 0 };
        bytes[at.index(end)] ^= by;
        if right {
            let crc = crc32c::crc32c(&bytes[..end]).to_le_bytes();
            bytes[end..].copy_from_slice(&crc);
        }
        let changed = Start::decode(&bytes);
        prop_assert!(right || changed.is_none());
        if let Some(changed) = changed {
            match Log::open_at_on(Arc::new(disk.clone()), dir(), &SMALL, &changed, &mut |_, _| ()) {
                Ok(log) => prop_assert_eq!(log.root(), open(&SAMPLE.0.copy()).root()),
                Err(error) => prop_assert!(matches!(error, Error::Unproven { .. }), "{}", error),
            }
        }
    }
}
