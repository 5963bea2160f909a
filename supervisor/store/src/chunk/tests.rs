use proptest::prelude::*;

use super::*;
use crate::disk::sim::Sim;
use crate::error::Place;

const KEY: [u8; 32] = [3; 32];

fn dir() -> &'static Path {
    Path::new("/store")
}

fn open(disk: &Sim) -> Result<Chunks, Error> {
    Chunks::open_on(Arc::new(disk.clone()), dir(), &KEY)
}

/// Bytes that do not compress.
fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

#[test]
fn chunks_come_back_before_and_after_sync() {
    let disk = Sim::default();
    let mut chunks = open(&disk).unwrap();
    let contents =
        [vec![], b"text ".repeat(1000), noise(1, 5000), noise(2, CHUNK_BYTES_MAX), noise(3, 900_000)];
    let ids: Vec<ChunkId> = contents.iter().map(|plain| chunks.put(plain).unwrap()).collect();
    let check = |chunks: &Chunks| {
        for (id, plain) in ids.iter().zip(&contents) {
            assert!(chunks.contains(id));
            assert_eq!(&chunks.get(id).unwrap(), plain);
            assert_eq!(chunks.id(plain), *id);
        }
    };
    check(&chunks);
    chunks.sync().unwrap();
    check(&chunks);
    let stats = chunks.stats();
    assert_eq!((stats.chunks, stats.packs), (5, 1));
    assert!(stats.stored_bytes < stats.plain_bytes);
    assert!(matches!(open(&disk), Err(Error::Locked { .. })));
    drop(chunks);
    let mut chunks = open(&disk.crash(&mut || false)).unwrap();
    check(&chunks);
    assert_eq!(chunks.stats(), stats);
    // What is there is not stored again.
    chunks.put(&contents[2]).unwrap();
    chunks.sync().unwrap();
    assert_eq!(chunks.stats(), stats);
    assert!(matches!(chunks.get(&ChunkId([0; 32])), Err(Error::Absent { .. })));
    assert!(matches!(chunks.put(&vec![0; CHUNK_BYTES_MAX + 1]), Err(Error::Limit { .. })));
    assert_eq!(ids[1].to_string().parse(), Ok(ids[1]));
}

#[test]
fn a_store_on_files_is_shared_by_one_writer_and_readers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    assert!(matches!(Chunks::open_read_only(&path, &KEY), Err(Error::Absent { .. })));
    let mut chunks = Chunks::open(&path, &KEY).unwrap();
    let parts = chunks.put_stream(&noise(9, 3_000_000)[..], Path::new("a stream")).unwrap();
    chunks.sync().unwrap();
    assert!(matches!(Chunks::open(&path, &KEY), Err(Error::Locked { .. })));
    let mut reader = Chunks::open_read_only(&path, &KEY).unwrap();
    let whole: Vec<u8> = parts.iter().flat_map(|(id, _)| reader.get(id).unwrap()).collect();
    assert_eq!(whole, noise(9, 3_000_000));
    assert!(matches!(reader.put(b"x"), Err(Error::Invalid(_))));
    assert!(matches!(Chunks::open_read_only(&path, &[4; 32]), Err(Error::Key { .. })));
}

/// Many chunks that are still under way, over several packs, come back while the writer works.
#[test]
fn what_is_under_way_comes_back() {
    let folder = tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap();
    let mut chunks = Chunks::open(&folder.path().join("store"), &KEY).unwrap();
    lock(&chunks.packs).pack_bytes = 6 << 20;
    let mut put = Vec::new();
    for n in 0..60 {
        let plain = if n % 2 == 0 { noise(n, 300_000 + usize::from(n)) } else { vec![n; 900_000] };
        put.push((chunks.put(&plain).unwrap(), plain));
        let (id, plain) = &put[usize::from(n) / 2];
        assert_eq!(&chunks.get(id).unwrap(), plain);
        let (id, plain) = put.last().unwrap();
        assert_eq!(&chunks.get(id).unwrap(), plain);
    }
    let small: Vec<_> = (0..3000_u32).map(|n| chunks.put(&n.to_le_bytes()).unwrap()).collect();
    assert_eq!(chunks.stats().chunks, 3060);
    chunks.sync().unwrap();
    assert!(chunks.stats().packs > 1);
    for (id, n) in small.iter().zip(0_u32..) {
        assert_eq!(chunks.get(id).unwrap(), n.to_le_bytes());
    }
    drop(chunks);
    let chunks = Chunks::open(&folder.path().join("store"), &KEY).unwrap();
    assert!(chunks.damage().is_empty());
    for (id, plain) in &put {
        assert_eq!(&chunks.get(id).unwrap(), plain);
    }
}

#[test]
fn many_packs_are_read() {
    let disk = Sim::default();
    let mut chunks = open(&disk).unwrap();
    let ids: Vec<_> =
        (0..40).map(|n| (chunks.put(&noise(n, 300)).unwrap(), chunks.sync().unwrap()).0).collect();
    assert_eq!(chunks.stats().packs, 40);
    for _ in 0..2 {
        for (id, n) in ids.iter().zip(0..) {
            assert_eq!(chunks.get(id).unwrap(), noise(n, 300));
        }
    }
}

/// Every crash point; what was synced is there, what was not is there whole or not at all.
#[test]
fn no_crash_loses_what_was_synced() {
    let work = |disk: &Sim, synced: &mut Vec<(ChunkId, Vec<u8>)>| {
        let mut chunks = open(disk)?;
        for round in 0..3 {
            let mut put = Vec::new();
            for n in 0..3 {
                let plain = noise(round * 3 + n, 700);
                put.push((chunks.put(&plain)?, plain));
            }
            chunks.sync()?;
            synced.append(&mut put);
        }
        Ok::<(), Error>(())
    };
    let whole = Sim::default();
    work(&whole, &mut Vec::new()).unwrap();
    let mut seed = 1_u64;
    for cut in 0..=whole.operations() {
        let disk = Sim::default();
        disk.cut_power_after(cut);
        let mut synced = Vec::new();
        let _ = work(&disk, &mut synced);
        for _ in 0..100 {
            let crashed = disk.crash(&mut || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                seed >> 63 == 1
            });
            let mut chunks = open(&crashed).unwrap();
            assert!(chunks.damage().is_empty(), "{:?}", chunks.damage());
            for (id, plain) in &synced {
                assert_eq!(&chunks.get(id).unwrap(), plain);
            }
            for id in chunks.ids() {
                chunks.get(id).unwrap();
            }
            assert!(crashed.files(".tmp").is_empty());
            chunks.put(b"after the crash").unwrap();
            chunks.sync().unwrap();
        }
    }
}

#[test]
fn a_full_disk_and_a_failed_flush_are_told_apart() {
    let disk = Sim::default();
    let mut chunks = open(&disk).unwrap();
    let id = chunks.put(&noise(1, 4000)).unwrap();
    disk.set_capacity(Some(disk.used()));
    assert!(matches!(chunks.sync(), Err(Error::Full { .. })));
    assert!(matches!(chunks.put(&noise(2, 10)), Err(Error::Full { .. })));
    disk.set_capacity(None);
    let second = chunks.put(&noise(2, 10)).unwrap();
    chunks.sync().unwrap();
    disk.fail_flush_after(0);
    let lost = chunks.put(&noise(3, 10)).unwrap();
    assert!(matches!(chunks.sync(), Err(Error::Flush { .. })));
    assert!(matches!(chunks.put(&noise(4, 10)), Err(Error::Flush { .. })));
    assert!(matches!(chunks.sync(), Err(Error::Flush { .. })));
    drop(chunks);
    let chunks = open(&disk.crash(&mut || false)).unwrap();
    assert_eq!(chunks.get(&id).unwrap(), noise(1, 4000));
    assert_eq!(chunks.get(&second).unwrap(), noise(2, 10));
    assert!(!chunks.contains(&lost));
}

/// A store of three chunks in two packs.
fn sample() -> (Sim, Vec<(ChunkId, Vec<u8>)>) {
    let disk = Sim::default();
    let mut chunks = open(&disk).unwrap();
    let contents = [b"compressible ".repeat(100), noise(1, 1300), noise(2, 1300)];
    let mut put = Vec::new();
    for (number, plain) in contents.into_iter().enumerate() {
        put.push((chunks.put(&plain).unwrap(), plain));
        if number == 0 {
            chunks.sync().unwrap();
        }
    }
    chunks.sync().unwrap();
    (disk, put)
}

#[test]
fn swapped_and_foreign_bytes_are_refused() {
    let (disk, put) = sample();
    let packs = disk.files(".pack");
    let larger = packs.iter().max_by_key(|path| {
        let mut bytes = 0;
        disk.tamper(path, |b| bytes = b.len());
        bytes
    });
    // Two chunks of one size: swapped with their headers, then without.
    let record = 48 + 1300 + 16;
    for skip in [0, 48] {
        let copy = disk.copy();
        copy.tamper(larger.unwrap(), |bytes| {
            let (first, second) = bytes[64..].split_at_mut(record);
            first[skip..].swap_with_slice(&mut second[skip..record]);
        });
        let chunks = open(&copy).unwrap();
        for (id, _) in &put[1..] {
            assert!(matches!(chunks.get(id), Err(Error::Damaged(_))));
        }
        assert_eq!(chunks.get(&put[0].0).unwrap(), put[0].1);
    }
    // One pack under the name of the other: found twice, so still right; the other's chunks are missing.
    let copy = disk.copy();
    let mut image = Vec::new();
    copy.tamper(&packs[0], |bytes| image = bytes.clone());
    copy.tamper(&packs[1], |bytes| *bytes = image);
    let chunks = open(&copy).unwrap();
    for (id, plain) in &put {
        match chunks.get(id) {
            Ok(found) => assert_eq!(&found, plain),
            Err(error) => assert!(matches!(error, Error::Absent { .. })),
        }
    }
}

#[test]
fn a_pack_without_its_index_is_walked() {
    let (disk, put) = sample();
    for pack in disk.files(".pack") {
        disk.tamper(&pack, |bytes| bytes.truncate(bytes.len() - 1));
    }
    let chunks = open(&disk).unwrap();
    assert_eq!(chunks.damage().len(), 2);
    assert_eq!(chunks.damage()[0].place, Place::File);
    for (id, plain) in &put {
        assert_eq!(&chunks.get(id).unwrap(), plain);
    }
}

#[test]
fn another_key_or_config_is_refused() {
    let (disk, _) = sample();
    assert!(matches!(Chunks::open_on(Arc::new(disk.clone()), dir(), &[4; 32]), Err(Error::Key { .. })));
    let config = dir().join("config");
    let text = |change: &dyn Fn(&str) -> String| {
        let copy = disk.copy();
        copy.tamper(&config, |bytes| *bytes = change(std::str::from_utf8(bytes).unwrap()).into_bytes());
        open(&copy).map(drop)
    };
    assert!(text(&|text| text.to_owned()).is_ok());
    assert!(matches!(text(&|text| text.replace("zstd 3", "zstd 9")), Err(Error::Key { .. })));
    assert!(matches!(text(&|text| text.replace("version 1", "version 2")), Err(Error::Version { .. })));
    assert!(matches!(text(&|_| String::new()), Err(Error::Damaged(_))));
}

#[test]
fn cuts_follow_the_content() {
    let chunks = open(&Sim::default()).unwrap();
    let cut = |bytes: &[u8]| {
        let (mut splitter, mut parts) = (chunks.split(bytes), Vec::new());
        while let Some(part) = splitter.next_chunk().unwrap() {
            assert!(part.len() <= CHUNK_BYTES_MAX);
            parts.push(part.to_vec());
        }
        assert_eq!(parts.concat(), bytes);
        parts
    };
    assert!(cut(b"").is_empty());
    assert_eq!(cut(b"small").len(), 1);
    let long = noise(5, 8 << 20);
    let parts = cut(&long);
    assert!(parts[..parts.len() - 1].iter().all(|part| part.len() >= 128 << 10));
    // What is put before it moves only the first cuts.
    let moved = cut(&[b"inserted".as_slice(), &long].concat());
    let same = moved.iter().filter(|part| parts.contains(part)).count();
    assert!(same + 4 >= parts.len(), "{same} of {}", parts.len());
    // Another key cuts elsewhere.
    let other = Chunks::open_on(Arc::new(Sim::default()), dir(), &[8; 32]).unwrap();
    let mut splitter = other.split(&long[..]);
    assert_ne!(splitter.next_chunk().unwrap().unwrap().len(), parts[0].len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Any single byte of any pack changed: each chunk is right, or refused; at least one notices.
    #[test]
    fn one_changed_byte_is_detected(pack in 0_usize..2, at in any::<prop::sample::Index>(), by in 1_u8..) {
        let (disk, put) = sample();
        disk.tamper(&disk.files(".pack")[pack], |bytes| {
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        });
        let chunks = open(&disk);
        // The version number of a pack may have become that of a newer release.
        if let Err(error) = chunks {
            let newer = matches!(error, Error::Version { .. });
            prop_assert!(newer, "{}", error);
            return Ok(());
        }
        let chunks = chunks.unwrap();
        let mut noticed = !chunks.damage().is_empty();
        for (id, plain) in &put {
            match chunks.get(id) {
                Ok(found) => prop_assert_eq!(&found, plain),
                Err(_) => noticed = true,
            }
        }
        prop_assert!(noticed);
    }

    #[test]
    fn any_chunks_come_back(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..20)) {
        let disk = Sim::default();
        let mut chunks = open(&disk).unwrap();
        let ids: Vec<_> = contents.iter().map(|plain| chunks.put(plain).unwrap()).collect();
        chunks.sync().unwrap();
        drop(chunks);
        let chunks = open(&disk).unwrap();
        for (id, plain) in ids.iter().zip(&contents) {
            prop_assert_eq!(&chunks.get(id).unwrap(), plain);
        }
    }
}
