use proptest::prelude::*;

use super::*;
use crate::disk::sim::Sim;
use crate::head::PublicKey;
use crate::log::tests::{Signer, create};

const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn out() -> &'static Path {
    Path::new("/out")
}

fn shared(disk: &Sim) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn entry(index: u64) -> Vec<u8> {
    format!("the entry of number {index}").into_bytes()
}

/// Heads after each fifth batch of ten, the last two batches without.
fn sample(signer: &Signer) -> Sim {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    for round in 1..=82 {
        log.append(&(log.size()..log.size() + 10).map(entry).collect::<Vec<_>>()).unwrap();
        if round % 5 == 0 {
            signer.store(&mut log).unwrap();
        }
    }
    disk
}

fn salvage(disk: &Sim) -> Result<Salvaged, Error> {
    salvage_on(&shared(disk), (dir(), None), out(), &SMALL, &mut Meter::new(&mut |_| ()))
}

fn archive(disk: &Sim, to: &Path) -> Result<crate::log::Archive, Error> {
    crate::log::archive::archive_on(&shared(disk), (dir(), to), 500, false, &mut Meter::new(&mut |_| ()))
}

/// The new log verifies with the key, and has the first entries of the old one.
fn check(disk: &Sim, key: &PublicKey, salvaged: &Salvaged) {
    let report = crate::verify::verify_on(shared(disk), out(), (Some(key), None), false).unwrap();
    assert_eq!((report.entries, report.covered, report.id), (salvaged.copied, salvaged.proven, salvaged.id));
    let mut next = report.archived;
    let mut cursor = Cursor::new(shared(disk), out(), Kind::Entries, next, false).unwrap();
    while let Step::Batch(batch) = cursor.step().unwrap() {
        for found in batch.entries() {
            assert_eq!((found.index, found.bytes), (next, entry(next).as_slice()));
            next += 1;
        }
    }
    assert_eq!(next, salvaged.copied);
}

#[test]
fn a_sound_log_is_copied_whole() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let salvaged = salvage(&disk).unwrap();
    assert_eq!((salvaged.proven, salvaged.copied, &salvaged.lost), (800, 820, &(820..820)));
    assert!(salvaged.found.is_empty() && salvaged.unread.is_empty() && salvaged.is_whole, "{salvaged:?}");
    check(&disk, &signer.public(), &salvaged);
    assert!(matches!(salvage(&disk), Err(Error::Exists { .. })));
    assert!(matches!(salvage(&Sim::default()), Err(Error::Absent { .. })));
}

#[test]
fn entries_before_a_damage_are_copied_and_the_rest_is_named() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let files = disk.files(".log");
    disk.tamper(&files[2], |bytes| bytes[6000] ^= 1);
    let before = disk.copy();
    let salvaged = salvage(&disk).unwrap();
    assert!(
        salvaged.proven > 0 && salvaged.proven <= salvaged.copied && salvaged.copied < 800,
        "{salvaged:?}"
    );
    assert_eq!(salvaged.copied - salvaged.copied % 50, salvaged.proven);
    assert_eq!(salvaged.lost.start, salvaged.copied);
    assert!(salvaged.lost.end >= 800);
    assert!(matches!(&salvaged.found[..], [Error::Damaged(damage)] if damage.file == files[2]));
    assert_eq!(salvaged.unread, files[3..]);
    check(&disk, &signer.public(), &salvaged);
    let text = crate::blob::read_on(&disk, &out().join("salvage"), 9999).unwrap();
    assert!(
        String::from_utf8(text).unwrap().contains(&format!("copied: entries before {}", salvaged.copied))
    );
    // Not a byte of the damaged log is another one.
    for file in before.files("") {
        let read = |disk: &Sim| crate::blob::read_on(disk, &file, 1 << 20).unwrap();
        assert_eq!(read(&disk), read(&before));
    }
}

/// Entries that were changed with their CRCs made right are refuted by the head over them, and not copied.
#[test]
fn what_a_head_refutes_is_not_copied() {
    let signer = Signer::new();
    let (disk, forged) = (sample(&signer), Sim::default());
    let mut log = create(&forged, &SMALL).unwrap();
    while log.size() < 820 {
        let change = |index| if index == 333 { b"the entry of number 000".to_vec() } else { entry(index) };
        log.append(&(log.size()..log.size() + 10).map(change).collect::<Vec<_>>()).unwrap();
    }
    drop(log);
    for file in forged.files(".log") {
        let bytes = crate::blob::read_on(&forged, &file, 1 << 20).unwrap();
        disk.tamper(&file, |old| *old = bytes);
    }
    let salvaged = salvage(&disk).unwrap();
    assert_eq!((salvaged.proven, salvaged.copied, salvaged.lost.clone()), (300, 300, 300..salvaged.lost.end));
    assert!(
        matches!(&salvaged.found[..], [Error::Damaged(damage)] if damage.place == Place::Entries(300..350))
    );
    check(&disk, &signer.public(), &salvaged);
}

#[test]
fn a_log_with_an_archive_is_salvaged_from_there_on() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let archived = archive(&disk, Path::new("/archive"));
    assert!(!archived.unwrap().entries.is_empty());
    let last = disk.files(".log").into_iter().rfind(|file| file.starts_with(dir())).unwrap();
    disk.tamper(&last, |bytes| bytes[4096 + 300] ^= 1);
    let salvaged = salvage(&disk).unwrap();
    assert!(salvaged.copied > 500 && salvaged.copied < 820 && !salvaged.is_whole);
    check(&disk, &signer.public(), &salvaged);
}

/// From an archive comes a log that opens from its beginning; what is no archive of this log is refused.
#[test]
fn what_was_archived_is_brought_back() {
    let signer = Signer::new();
    let disk = sample(&signer);
    let to = Path::new("/archive");
    let whole = salvage(&disk.copy()).unwrap();
    archive(&disk, to).unwrap();
    let with = |disk: &Sim| {
        salvage_on(&shared(disk), (dir(), Some(to)), out(), &SMALL, &mut Meter::new(&mut |_| ()))
    };
    let sound = disk.copy();
    let salvaged = with(&sound).unwrap();
    assert_eq!((salvaged.proven, salvaged.copied, salvaged.is_whole), (whole.proven, whole.copied, true));
    check(&sound, &signer.public(), &salvaged);
    let mut seen = 0;
    let log = Log::open_on(shared(&sound), out(), &SMALL, &mut |index, bytes| {
        assert_eq!((index, bytes), (seen, entry(seen).as_slice()));
        seen += 1;
    });
    assert_eq!((log.unwrap().size(), seen), (820, 820));
    // An entry that was changed, with its checksums made right; a file that is missing; another log's.
    let first = Kind::Entries.path(to, 0);
    let last = disk.files(".log").into_iter().rfind(|file| file.starts_with(to)).unwrap();
    let changed = disk.copy();
    changed.tamper(&first, |bytes| bytes[4096 + 60] ^= 1);
    assert!(with(&changed).is_err());
    let missing = disk.copy();
    missing.tamper(&last, Vec::clear);
    assert!(with(&missing).is_err());
    let foreign = disk.copy();
    foreign.tamper(&first, |bytes| {
        bytes[16] ^= 1;
        let crc = crc32c::crc32c(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
    });
    let refused = with(&foreign).unwrap_err().to_string();
    assert!(refused.contains("another log"), "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever bytes are changed: what comes out is a sound log with the first entries of the old one.
    #[test]
    fn what_is_salvaged_is_sound(changes in prop::collection::vec(
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..), 1..4,
    )) {
        static SAMPLE: std::sync::LazyLock<(Sim, PublicKey)> = std::sync::LazyLock::new(|| {
            let signer = Signer::new();
            (sample(&signer), signer.public())
        });
        let disk = SAMPLE.0.copy();
        let mut files = disk.files(".log");
        files.extend(disk.files(".heads"));
        files.push(dir().join("checkpoint"));
        for (file, at, by) in changes {
            disk.tamper(&files[file.index(files.len())], |bytes| {
                let at = at.index(bytes.len());
                bytes[at] ^= by;
            });
        }
        if let Ok(salvaged) = salvage(&disk) {
            let report = crate::verify::verify_on(shared(&disk), out(), (None, None), false).unwrap();
            prop_assert_eq!((report.entries, report.covered), (salvaged.copied, salvaged.proven));
            // Changed heads are signed by nobody, which the key says; then nothing else is checked here.
            if crate::verify::verify_on(shared(&disk), out(), (Some(&SAMPLE.1), None), false).is_ok() {
                check(&disk, &SAMPLE.1, &salvaged);
            }
        }
    }
}
