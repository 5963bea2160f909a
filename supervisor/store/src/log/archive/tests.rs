use super::*;
use crate::disk::sim::Sim;
use crate::log::tests::{Choices, Signer, create, damage};
use crate::log::{Config, Log, Start};
use crate::merkle::leaf_hash;
use crate::tiles::WIDTH;
use crate::tiles::prover::Prover;

const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn to() -> &'static Path {
    Path::new("/archive")
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index:05}").into_bytes()
}

fn append(log: &mut Log, count: u64) {
    let entries: Vec<_> = (log.size()..log.size() + count).map(entry).collect();
    log.append(&entries).unwrap();
}

/// Some seven files of some 230 entries; a head now and then, and after the place to start from.
fn sample(signer: &Signer) -> (Sim, Start) {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    while log.size() < 1500 {
        append(&mut log, 13);
        if log.size().is_multiple_of(5) {
            signer.store(&mut log).unwrap();
        }
    }
    let start = log.start().unwrap();
    append(&mut log, 9);
    signer.store(&mut log).unwrap();
    (disk, start)
}

fn shared(disk: &Sim) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn archive(disk: &Sim, before: u64) -> Result<Archive, Error> {
    archive_on(&shared(disk), (dir(), to()), before, false, &mut Meter::new(&mut |_| ()))
}

fn open_at(disk: &Sim, start: &Start) -> Result<Log, Error> {
    Log::open_at_on(shared(disk), dir(), &SMALL, start, &mut |_, _| ())
}

fn verify(disk: &Sim) -> Result<crate::verify::Report, Error> {
    crate::verify::verify_on(shared(disk), dir(), (None, None), false)
}

/// The entries from a folder of files, until they end.
fn entries(disk: &Sim, dir: &Path) -> Vec<(u64, Vec<u8>)> {
    let mut cursor = Cursor::new(shared(disk), dir, Kind::Entries, 0, false).unwrap();
    let mut seen = Vec::new();
    while let Ok(super::super::cursor::Step::Batch(batch)) = cursor.step() {
        seen.extend(batch.entries().map(|entry| (entry.index, entry.bytes.to_vec())));
    }
    seen
}

/// Every entry is in the log or in the archive, the log verifies, opens and proves each of them.
fn check(disk: &Sim, start: &Start) {
    let report = verify(disk).unwrap();
    let mut all = if report.archived > 0 { entries(disk, to()) } else { Vec::new() };
    all.truncate(size(report.archived));
    let mut rest = Cursor::new(shared(disk), dir(), Kind::Entries, report.archived, false).unwrap();
    while let super::super::cursor::Step::Batch(batch) = rest.step().unwrap() {
        all.extend(batch.entries().map(|entry| (entry.index, entry.bytes.to_vec())));
    }
    assert!(all.into_iter().eq((0..report.entries).map(|index| (index, entry(index)))));
    let mut prover = Prover::open_on(shared(disk), dir()).unwrap();
    let covered = report.covered;
    for index in (0..covered).step_by(397).chain([report.archived, report.archived.saturating_sub(1)]) {
        let proof = prover.inclusion(index, covered).unwrap();
        assert_eq!(proof.leaf, leaf_hash(&entry(index)));
        prover.consistency(index, covered).unwrap();
    }
    let mut log = open_at(disk, start).unwrap();
    assert_eq!(log.size(), report.entries);
    append(&mut log, 700);
    Signer::new().store(&mut log).unwrap();
    drop(log);
    assert_eq!(verify(disk).unwrap().entries, report.entries + 700);
}

#[test]
fn archived_entries_are_elsewhere_and_still_proven() {
    let (disk, start) = sample(&Signer::new());
    let files = disk.files(".log");
    let done = archive(&disk, 900).unwrap();
    assert!(done.entries.start == 0 && (600..=900).contains(&done.entries.end), "{done:?}");
    assert_eq!(disk.files(".log").len(), files.len(), "moved");
    let report = verify(&disk).unwrap();
    assert_eq!((report.archived, report.entries), (done.entries.end, start.entries() + 9));
    let whole = Log::open_on(shared(&disk), dir(), &SMALL, &mut |_, _| ());
    assert!(matches!(whole, Err(Error::Archived { until, .. }) if until == done.entries.end));
    check(&disk.copy(), &start);
    // Once more, nothing; then further, but never the last file, nor what no head covers.
    assert!(archive(&disk, 900).unwrap().entries.is_empty());
    let further = archive(&disk, u64::MAX).unwrap();
    assert_eq!(further.entries.start, done.entries.end);
    assert_eq!(disk.files(".log").iter().filter(|file| file.starts_with(dir())).count(), 1);
    check(&disk.copy(), &start);
    let mut prover = Prover::open_on(shared(&disk), dir()).unwrap();
    (0..1500).step_by(50).for_each(|index| drop(prover.inclusion(index, 1500).unwrap()));
    assert_eq!(prover.mended(), 0);
    // A start before what is there is of no use any more.
    let mut log = create(&Sim::default(), &SMALL).unwrap();
    append(&mut log, 5);
    assert!(matches!(open_at(&disk, &log.start().unwrap()), Err(Error::Unproven { .. })));
}

#[test]
fn an_archive_that_was_tampered_with_is_found() {
    let (disk, start) = sample(&Signer::new());
    let sound = disk.copy();
    let until = archive(&disk, u64::MAX).unwrap().entries.end;
    // The mark gone, or of another place; a file gone; hashes of archived entries changed.
    let mark = dir().join(archived::NAME);
    let copy = disk.copy();
    Disk::remove(&copy, &mark).unwrap();
    assert_eq!(damage(verify(&copy)).place, Place::Entries(0..until));
    let copy = disk.copy();
    let earlier = sound.copy();
    archive(&earlier, 500).unwrap();
    let bytes = blob::read_on(&earlier, &mark, 1 << 20).unwrap();
    copy.tamper(&mark, |mark| *mark = bytes);
    damage(verify(&copy));
    let copy = disk.copy();
    copy.tamper(&dir().join(tiles::path(0, 2, WIDTH)), |bytes| bytes[32] ^= 1);
    damage(verify(&copy));
    let mut edge = Edge::default();
    (0..until).for_each(|index| edge.append(leaf_hash(&index.to_le_bytes()), &mut |_, _, _| ()));
    let copy = disk.copy();
    copy.tamper(&mark, |mark| *mark = Archived::new([7; 16], edge).encode());
    damage(verify(&copy));
    // A changed entry is not archived.
    sound.tamper(&sound.files(".log")[1], |bytes| bytes[4200] ^= 1);
    let before = sound.fingerprint();
    damage(archive(&sound, 900));
    assert_eq!(sound.fingerprint(), before);
    // Another file of that name is in the way.
    let (other, _) = sample(&Signer::new());
    archive(&other, 900).unwrap();
    Disk::remove(&other, &mark).unwrap();
    drop(open_at(&disk, &start));
}

#[test]
fn another_file_in_the_archive_is_not_overwritten() {
    let (disk, start) = sample(&Signer::new());
    let name = Kind::Entries.path(to(), 0);
    Disk::open(&disk, &name, Mode::Create).unwrap().write_at(0, b"another").unwrap();
    assert!(matches!(archive(&disk, 900), Err(Error::Exists { path }) if path == name));
    assert_eq!(verify(&disk).unwrap().archived, 0);
    check(&disk, &start);
}

#[test]
fn a_crash_at_any_step_loses_nothing() {
    let (sound, start) = sample(&Signer::new());
    // As after a crash: tiles are there again only once they are flushed.
    for tile in sound.files("").into_iter().filter(|file| file.starts_with("/log/tile")) {
        Disk::remove(&sound, &tile).unwrap();
    }
    let whole = sound.copy();
    archive(&whole, 500).unwrap();
    let first = whole.operations();
    archive(&whole, 1300).unwrap();
    let mut random = Choices(11);
    let (mut before, mut after) = (0, 0);
    for cut in 0..=whole.operations() {
        let disk = sound.copy();
        disk.cut_power_after(cut);
        let done = archive(&disk, 500).and_then(|_| archive(&disk, 1300)).is_ok();
        assert!(!done || cut >= first);
        for _ in 0..2 {
            let crashed = disk.crash(&mut || random.next() & 1 == 1);
            let archived = verify(&crashed).unwrap().archived;
            (before, after) = (before + u64::from(archived == 0), after + u64::from(archived > 500));
            check(&crashed.copy(), &start);
            // The next call ends what this one began.
            archive(&crashed, 1300).unwrap();
            check(&crashed, &start);
        }
    }
    assert!(before > 0 && after > 0, "{before} before, {after} after");
}

/// Whoever reads meanwhile finds no damage.
#[test]
fn archiving_disturbs_no_reader() {
    let folder = tempfile::tempdir().unwrap();
    let [path, elsewhere] = ["log", "archive"].map(|name| folder.path().join(name));
    let mut log = Log::create(&path, [1; 16], &SMALL).unwrap();
    while log.size() < 12_000 {
        append(&mut log, 40);
    }
    Signer::new().store(&mut log).unwrap();
    let head = log.newest_head().unwrap().head().clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    let reads = |work: &dyn Fn()| {
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            work();
        }
    };
    let never = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| reads(&|| drop(crate::verify::verify(&path, None, None).unwrap())));
        scope.spawn(|| reads(&|| assert!(crate::log::scrub(&path, &head, 0, &never).unwrap().is_some())));
        scope.spawn(|| reads(&|| drop(Prover::open(&path).unwrap().inclusion(77, head.size).unwrap())));
        for before in (1000..12_000).step_by(1000) {
            super::archive(&path, &elsewhere, before, &mut |_| ()).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(40));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(crate::verify::verify(&path, None, None).unwrap().archived > 10_000);
}
