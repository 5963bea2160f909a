use std::path::PathBuf;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::disk::sim::Sim;
use crate::log::tests::{Signer, create};
use crate::log::{Config, Log};

const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn check(disk: &Sim, key: Option<&PublicKey>, trusted: Option<&Head>) -> Result<Report, Error> {
    verify_on(Arc::new(disk.clone()), dir(), (key, trusted), false)
}

/// Forty entries in twenty batches over several files, a head after every fifth batch but none after the last four.
fn sample(signer: &Signer) -> Sim {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    for round in 0..20_u8 {
        log.append(&[vec![round + 1; 300], format!("entry of round {round}").into_bytes()]).unwrap();
        if round % 5 == 0 {
            signer.store(&mut log).unwrap();
        }
    }
    disk
}

fn place(result: Result<Report, Error>) -> (Place, PathBuf) {
    match result {
        Err(Error::Damaged(damage)) => (damage.place, damage.file),
        other => panic!("not damaged: {other:?}"),
    }
}

#[test]
fn a_sound_log_is_reported() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let report = check(&disk, Some(&signer.public()), None).unwrap();
    assert_eq!((report.entries, report.covered, report.heads), (40, 32, 4));
    assert!(report.signed && !report.trusted && report.torn_bytes == 0);
    let unsigned = check(&disk, None, report.head.as_ref()).unwrap();
    assert!(!unsigned.signed && unsigned.trusted);
    assert!(matches!(check(&disk, Some(&Signer::new().public()), None), Err(Error::Damaged(_))));
    assert!(matches!(check(&Sim::default(), None, None), Err(Error::Absent { .. })));
}

#[test]
fn a_rewound_or_forked_log_is_detected_with_a_trusted_head() {
    let signer = Signer::new();
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    log.append(&["a", "b"]).unwrap();
    signer.store(&mut log).unwrap();
    let older = disk.copy();
    log.append(&["c"]).unwrap();
    signer.store(&mut log).unwrap();
    let trusted = log.newest_head().unwrap().head().clone();
    drop(log);
    let key = signer.public();
    assert!(check(&older, Some(&key), None).is_ok());
    assert_eq!(place(check(&older, Some(&key), Some(&trusted))).0, Place::Entries(2..3));
    let mut fork = Log::open_on(Arc::new(older.clone()), dir(), &SMALL, &mut |_, _| ()).unwrap();
    fork.append(&["another c"]).unwrap();
    drop(fork);
    assert_eq!(place(check(&older, Some(&key), Some(&trusted))).0, Place::Entries(0..3));
    assert!(check(&disk, Some(&key), Some(&trusted)).is_ok());
}

/// The attacker writes the log anew, with right CRCs throughout, but cannot sign: the heads stay.
#[test]
fn repaired_checksums_are_caught_by_the_heads() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let forged = Sim::default();
    let mut log = create(&forged, &SMALL).unwrap();
    for round in 0..20_u8 {
        let first = if round == 7 { vec![99; 300] } else { vec![round + 1; 300] };
        log.append(&[first, format!("entry of round {round}").into_bytes()]).unwrap();
    }
    drop(log);
    for file in forged.files(".log") {
        let mut bytes = Vec::new();
        forged.tamper(&file, |b| bytes = b.clone());
        disk.tamper(&file, |b| *b = bytes);
    }
    // Round 7 is entries 14 and 15, between the heads of 12 and 22.
    assert_eq!(place(check(&disk, None, None)).0, Place::Entries(12..22));
    assert_eq!(place(check(&disk, Some(&signer.public()), None)).0, Place::Entries(12..22));
}

#[test]
fn files_that_are_missing_swapped_or_foreign_are_detected() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let files = disk.files(".log");
    assert!(files.len() >= 2, "{files:?}");
    let image = |disk: &Sim, path: &PathBuf| {
        let mut bytes = Vec::new();
        disk.tamper(path, |b| bytes = b.clone());
        bytes
    };

    let copy = disk.copy();
    let second = image(&disk, &files[1]);
    copy.tamper(&files[0], |bytes| *bytes = second);
    assert_eq!(place(check(&copy, None, None)), (Place::File, files[0].clone()));

    let copy = disk.copy();
    crate::disk::Disk::remove(&copy, &files[0]).unwrap();
    assert!(matches!(place(check(&copy, None, None)).0, Place::Entry(_) | Place::Entries(_)));

    let copy = disk.copy();
    crate::disk::Disk::remove(&copy, files.last().unwrap()).unwrap();
    assert!(matches!(place(check(&copy, None, None)).0, Place::Entries(_)));

    // A batch that is copied to another place is none there.
    let copy = disk.copy();
    copy.tamper(&files[0], |bytes| {
        let batch = bytes[4096..4096 + 32].to_vec();
        let magic = |w: &[u8]| w == b"DSBT";
        let next = 4100 + bytes[4100..].windows(4).position(magic).unwrap();
        bytes[next..next + 32].copy_from_slice(&batch);
    });
    assert_eq!(place(check(&copy, None, None)).0, Place::Entry(2));
}

#[test]
fn a_running_log_is_verified_while_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let signer = Signer::new();
    let mut log = Log::create(&path, [1; 16], &SMALL).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            let mut sizes = Vec::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                sizes.push(verify(&path, Some(&signer.public()), None).unwrap().entries);
            }
            sizes
        });
        for round in 0..1500_u32 {
            log.append(&[round.to_le_bytes().repeat(round as usize % 200)]).unwrap();
            if round % 10 == 0 {
                signer.store(&mut log).unwrap();
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(verifier.join().unwrap().is_sorted());
    });
    assert_eq!(verify(&path, None, None).unwrap().entries, 1500);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any single byte changed anywhere: detected, and never attributed to an entry that lies elsewhere.
    #[test]
    fn one_changed_byte_is_detected(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), by in 1_u8..) {
        static SAMPLE: LazyLock<(Sim, PublicKey)> = LazyLock::new(|| {
            let signer = Signer::new();
            (sample(&signer), signer.public())
        });
        let disk = SAMPLE.0.copy();
        let mut files = disk.files(".log");
        files.extend(disk.files(".heads"));
        files.push(dir().join("checkpoint"));
        let file = file.get(&files);
        let (mut offset, mut behind) = (0, false);
        disk.tamper(file, |bytes| {
            offset = at.index(bytes.len());
            behind = bytes[offset..].iter().all(|byte| *byte == 0);
            bytes[offset] ^= by;
        });
        match check(&disk, Some(&SAMPLE.1), None) {
            Err(Error::Damaged(damage)) => {
                prop_assert_eq!(&damage.file, file);
                prop_assert!(damage.offset <= offset as u64);
                if let Place::Entry(index) = damage.place {
                    // Both entries of a round are within 400 bytes of where the named one begins.
                    prop_assert!(offset as u64 - damage.offset < 400, "{damage} for byte {offset}");
                    prop_assert!(index <= 40);
                }
            }
            // Behind the last batch nothing was written: this is what a torn write looks like, and it is reported.
            Ok(report) if behind => prop_assert!(report.torn_bytes > 0 && report.entries == 40),
            other => prop_assert!(false, "byte {} of {}: {:?}", offset, file.display(), other),
        }
    }
}
