use proptest::prelude::*;

use super::*;
use crate::disk::sim::Sim;
use crate::log::tests::{Signer, create, damage};
use crate::log::{Config, Log};
use crate::tiles::WIDTH;

const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

fn dir() -> &'static Path {
    Path::new("/log")
}

fn sample(signer: &Signer) -> (Sim, Head) {
    let disk = Sim::default();
    let mut log = create(&disk, &SMALL).unwrap();
    for round in 0..60_u8 {
        log.append(&[[round; 20]; 10]).unwrap();
        if round % 7 == 3 {
            signer.store(&mut log).unwrap();
        }
    }
    let head = log.newest_head().unwrap().head().clone();
    (disk, head)
}

fn scrub_all(disk: &Sim, head: &Head) -> Result<Option<Scrubbed>, Error> {
    scrub_on(Arc::new(disk.clone()), dir(), head, false, &mut |_| true)
}

#[test]
fn a_sound_log_is_read_up_to_the_head_and_its_tiles_are_mended() {
    let (disk, head) = sample(&Signer::new());
    assert_eq!(head.size, 600);
    let sound = Scrubbed { entries: 600, archived: 0, mended: 0 };
    assert_eq!(scrub_all(&disk, &head).unwrap(), Some(sound));
    let tile = dir().join(tiles::path(0, 1, WIDTH));
    disk.tamper(&tile, |bytes| bytes[77] ^= 1);
    crate::disk::Disk::remove(&disk, &dir().join(tiles::path(0, 0, WIDTH))).unwrap();
    assert_eq!(scrub_all(&disk, &head).unwrap(), Some(Scrubbed { mended: 2, ..sound }));
    assert_eq!(scrub_all(&disk, &head).unwrap(), Some(sound));
    // It stops where it is told to.
    let mut batches = 0;
    let stopped = scrub_on(Arc::new(disk.clone()), dir(), &head, false, &mut |_| {
        batches += 1;
        batches < 5
    });
    assert_eq!((stopped.unwrap(), batches), (None, 5));
    // A head that is not the log's, though the files agree with each other.
    let other = Head { root: Hash([1; 32]), ..head.clone() };
    assert_eq!(damage(scrub_all(&disk, &other)).place, Place::Entries(0..600));
    let larger = Head { size: 601, ..head };
    damage(scrub_all(&disk, &larger));
}

#[test]
fn tiles_of_a_damaged_log_are_left_as_they_are() {
    let (disk, head) = sample(&Signer::new());
    disk.tamper(&dir().join(tiles::path(0, 0, WIDTH)), |bytes| bytes[77] ^= 1);
    let last = disk.files(".log").pop().unwrap();
    disk.tamper(&last, |bytes| bytes[4200] ^= 1);
    let before = disk.fingerprint();
    damage(scrub_all(&disk, &head));
    assert_eq!(disk.fingerprint(), before);
}

#[test]
fn it_keeps_to_its_rate_beside_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let (path, signer) = (folder.path().join("log"), Signer::new());
    let mut log = Log::create(&path, [1; 16], &Config::default()).unwrap();
    for _ in 0..20 {
        log.append(&vec![[5; 1000]; 100]).unwrap();
    }
    signer.store(&mut log).unwrap();
    let head = log.newest_head().unwrap().head().clone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let began = Instant::now();
        let scrubber = scope.spawn(|| scrub(&path, &head, 8 << 20, &stop).unwrap().unwrap());
        while !scrubber.is_finished() {
            log.append(&[[6; 1000]]).unwrap();
            signer.store(&mut log).unwrap();
        }
        assert_eq!(scrubber.join().unwrap().entries, 2000);
        // 2 MB at 8 MiB a second, less the last step.
        assert!(began.elapsed() > Duration::from_millis(200), "{:?}", began.elapsed());
    });
    stop.store(true, Ordering::Relaxed);
    assert_eq!(scrub(&path, &head, 0, &stop).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_changed_byte_before_the_head_is_found(file: prop::sample::Index, at: prop::sample::Index, by in 1_u8..) {
        static SAMPLE: std::sync::LazyLock<(Sim, Head)> = std::sync::LazyLock::new(|| sample(&Signer::new()));
        let (disk, head) = (SAMPLE.0.copy(), &SAMPLE.1);
        let files = disk.files(".log");
        let mut is_used = false;
        disk.tamper(&files[file.index(files.len())], |bytes| {
            let at = at.index(bytes.len());
            is_used = bytes[at..].iter().any(|byte| *byte != 0);
            bytes[at] ^= by;
        });
        prop_assert!(scrub_all(&disk, head).is_err() || !is_used);
    }
}
