use proptest::prelude::*;

use super::*;
use crate::bytes::size as usize_of;
use crate::disk::sim::Sim;
use crate::error::Error;
use crate::log::tests::{Choices, Signer, create};
use crate::log::{Config, Log};
use crate::merkle::leaf_hash;
use crate::merkle::tests::defined;
use crate::tiles::path;

const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// A log of this many entries in batches of 1 to 40, with a head now and then and one at the end.
fn sample(disk: &Sim, signer: &Signer, size: u64) -> Log {
    let mut log = create(disk, &SMALL).unwrap();
    let mut batch = 1;
    while log.size() < size {
        let end = size.min(log.size() + batch);
        let entries: Vec<Vec<u8>> = (log.size()..end).map(entry).collect();
        log.append(&entries).unwrap();
        batch = batch % 40 + 1;
        if batch % 7 == 0 {
            signer.store(&mut log).unwrap();
        }
    }
    signer.store(&mut log).unwrap();
    log
}

fn prover(disk: &Sim) -> Prover {
    Prover::open_on(Arc::new(disk.clone()), dir()).unwrap()
}

fn leaves(size: u64) -> Vec<Hash> {
    (0..size).map(|index| leaf_hash(&entry(index))).collect()
}

fn check(prover: &mut Prover, leaves: &[Hash], index: u64, size: u64) {
    let proof = prover.inclusion(index, size).unwrap();
    assert!(proof.verify());
    assert_eq!((proof.leaf, proof.root), (leaves[usize_of(index)], defined(&leaves[..usize_of(size)])));
    let proof = prover.consistency(index, size).unwrap();
    assert!(proof.verify());
    let roots = [index, size].map(|size| defined(&leaves[..usize_of(size)]));
    assert_eq!([proof.from_root, proof.to_root], roots);
}

#[test]
fn every_entry_is_proven_against_every_kind_of_size() {
    let (disk, signer) = (Sim::default(), Signer::new());
    // A log that is still open: its last whole tiles may wait in memory.
    let _log = sample(&disk, &signer, 1111);
    let leaves = leaves(1111);
    let mut prover = prover(&disk);
    for size in [1, 2, 255, 256, 257, 512, 513, 1000, 1110, 1111] {
        for index in (0..size).step_by(37).chain([size - 1]) {
            check(&mut prover, &leaves, index, size);
        }
    }
    assert_eq!(prover.mended(), 0);
    assert!(matches!(prover.inclusion(5, 5), Err(Error::Invalid(_))));
    assert!(matches!(prover.inclusion(5, 1112), Err(Error::Invalid(_))));
    assert!(matches!(prover.consistency(9, 8), Err(Error::Invalid(_))));
    assert!(matches!(Prover::open_on(Arc::new(Sim::default()), dir()), Err(Error::Absent { .. })));
}

/// The files are those that the specification asks for at every head, and a proof from them needs no entry.
#[test]
fn the_tiles_of_the_newest_head_are_in_the_folder() {
    let (disk, signer) = (Sim::default(), Signer::new());
    drop(sample(&disk, &signer, 70_000));
    for (level, width) in [(0, 112), (1, 17), (2, 1)] {
        let index = [273, 1, 0][level as usize];
        assert!(files::read(&disk, dir(), (level, index), width).is_some(), "{level}");
    }
    assert!((0..273).all(|index| files::read(&disk, dir(), (0, index), WIDTH).is_some()));
    assert!(
        disk.files("").iter().all(|file| !file.starts_with("/log/tile/0/000.p")),
        "whole, so no beginnings"
    );
    let mut prover = prover(&disk);
    for file in disk.files(".log") {
        disk.tamper(&file, |bytes| bytes[4096..].fill(0));
    }
    for index in [0, 255, 256, 65_535, 65_536, 69_999] {
        assert!(prover.inclusion(index, 70_000).unwrap().verify());
    }
    assert_eq!(prover.mended(), 0);
}

#[test]
fn a_running_log_is_proven_while_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let signer = Signer::new();
    let mut log = Log::create(&path, [1; 16], &SMALL).unwrap();
    log.append(&[entry(0)]).unwrap();
    signer.store(&mut log).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checker = scope.spawn(|| {
            let mut prover = Prover::open(&path).unwrap();
            let mut count = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                prover.refresh().unwrap();
                let size = prover.newest().head().size;
                let proof = prover.inclusion(size / 2, size).unwrap();
                assert_eq!(proof.leaf, leaf_hash(&entry(size / 2)));
                assert!(prover.consistency(size / 3, size).unwrap().verify());
                count += 1;
            }
            count
        });
        while log.size() < 5000 {
            let size = log.size();
            log.append(&(size..size + 25).map(entry).collect::<Vec<_>>()).unwrap();
            signer.store(&mut log).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(checker.join().unwrap() > 0);
    });
}

#[test]
fn opening_makes_bad_tiles_again_but_not_in_a_damaged_log() {
    let (disk, signer) = (Sim::default(), Signer::new());
    drop(sample(&disk, &signer, 66_000));
    let whole = disk.copy();
    let [first, second] = [path(0, 3, WIDTH), path(1, 0, WIDTH)].map(|path| dir().join(path));
    let spoil = |disk: &Sim| {
        disk.tamper(&first, |bytes| bytes[5] ^= 1);
        disk.tamper(&second, |bytes| bytes.truncate(100));
        crate::disk::Disk::remove(disk, &dir().join(path(0, 256, WIDTH))).unwrap();
    };
    spoil(&disk);
    let damaged = disk.copy();
    let file = damaged.files(".log").swap_remove(7);
    damaged.tamper(&file, |bytes| bytes[4200] ^= 1);
    let before = damaged.fingerprint();
    assert!(Log::open_on(Arc::new(damaged.clone()), dir(), &SMALL, &mut |_, _| ()).is_err());
    assert_eq!(damaged.fingerprint(), before);
    // Until then a proof is right as well, from the entries.
    let mut prover = prover(&disk);
    assert_eq!(prover.inclusion(800, 66_000).unwrap().leaf, leaf_hash(&entry(800)));
    assert_eq!(prover.mended(), 1);
    drop(Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| ()).unwrap());
    for index in 0..257 {
        assert_eq!(
            files::read(&disk, dir(), (0, index), WIDTH),
            files::read(&whole, dir(), (0, index), WIDTH)
        );
    }
    assert_eq!(files::read(&disk, dir(), (1, 0), WIDTH), files::read(&whole, dir(), (1, 0), WIDTH));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a crash or an attacker does to tiles: a proof is right, or there is none.
    #[test]
    fn spoilt_tiles_never_spoil_a_proof(
        size in 300_u64..1500, index: prop::sample::Index, upto: prop::sample::Index,
        spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..4), 1..6),
    ) {
        let (disk, signer) = (Sim::default(), Signer::new());
        drop(sample(&disk, &signer, size));
        let tiles: Vec<PathBuf> = disk.files("").into_iter().filter(|file| file.starts_with("/log/tile")).collect();
        for (file, at, how) in spoil {
            let file = file.get(&tiles);
            disk.tamper(file, |bytes| match how {
                0 => bytes.iter_mut().skip(at.index(32)).for_each(|byte| *byte ^= 4),
                1 => bytes.truncate(at.index(bytes.len() + 1)),
                2 => bytes.fill(0),
                _ => bytes.reverse(),
            });
        }
        let leaves = leaves(size);
        let upto = upto.index(usize_of(size)) as u64 + 1;
        check(&mut prover(&disk), &leaves, index.index(usize_of(upto)) as u64, upto);
    }

    /// After a crash that lost any part of the tiles, too: none of them was flushed.
    #[test]
    fn lost_tiles_never_spoil_a_proof(size in 256_u64..900, seed: u64) {
        let (disk, signer) = (Sim::default(), Signer::new());
        drop(sample(&disk, &signer, size));
        let mut random = Choices(seed);
        let crashed = disk.crash(&mut || random.next() & 1 == 1);
        let leaves = leaves(size);
        check(&mut prover(&crashed), &leaves, size / 2, size);
        let log = Log::open_on(Arc::new(crashed.clone()), dir(), &SMALL, &mut |_, _| ()).unwrap();
        drop(log);
        let mut prover = prover(&crashed);
        check(&mut prover, &leaves, size / 3, size - size % 256);
        prop_assert_eq!(prover.mended(), 0);
    }
}
