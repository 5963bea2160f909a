use super::*;
use crate::disk::Disk as _;
use crate::disk::sim::Sim;
use crate::error::Error;
use std::path::Path;

const KEY: [u8; 32] = [5; 32];

fn open(disk: &Sim) -> Chunks {
    let chunks = Chunks::open_on(Arc::new(disk.clone()), Path::new("/store"), &KEY).unwrap();
    lock(&chunks.packs).pack_bytes = 20_000;
    chunks
}

fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut noise);
    noise
}

/// A pack for each list of seeds, each seed a chunk of 1,000 bytes.
fn packs(chunks: &mut Chunks, lists: &[&[u8]]) -> Vec<Vec<ChunkId>> {
    let pack = |seeds: &&[u8]| {
        let ids = seeds.iter().map(|seed| chunks.put(&noise(*seed, 1000)).unwrap()).collect();
        chunks.sync().unwrap();
        ids
    };
    lists.iter().map(pack).collect()
}

fn prune(chunks: &mut Chunks, keep: &[ChunkId]) -> Result<Pruned, Error> {
    chunks.prune(&keep.iter().copied().collect(), &mut |_| ())
}

#[test]
fn what_is_unwanted_goes_where_that_pays() {
    let disk = Sim::default();
    let mut chunks = open(&disk);
    let ids = packs(&mut chunks, &[&[1, 2, 3, 4, 5, 6, 7, 8], &[11, 12, 13, 14], &[21, 22, 23]]);
    // Of the first an eighth is unwanted, of the second half, of the third all.
    let keep = [&ids[0][1..], &ids[1][..2]].concat();
    let (before, mut seen) = (disk.used(), Vec::new());
    let pruned = chunks.prune(&keep.iter().copied().collect(), &mut |now| seen.push(*now)).unwrap();
    assert_eq!((pruned.packs_removed, pruned.packs_rewritten, pruned.packs_written), (2, 1, 1));
    assert_eq!((pruned.chunks_removed, pruned.chunks_missing), (5, 0));
    assert_eq!(pruned.bytes_freed, (before - disk.used()) as u64);
    assert_eq!(pruned.bytes_unwanted, 1000 + 48 + 16 + 56);
    assert!(pruned.damage.is_empty());
    let last = seen.last().unwrap();
    assert_eq!((last.packs_done, last.packs), (3, 3));
    assert_eq!(last.bytes_removed - last.bytes_written, pruned.bytes_freed);
    assert_eq!(chunks.stats().packs, 2);
    // Here and after it was opened anew.
    for round in 0..2 {
        for (id, seed) in keep.iter().zip([2, 3, 4, 5, 6, 7, 8, 11, 12]) {
            assert_eq!(chunks.get(id).unwrap(), noise(seed, 1000), "{round}");
        }
        assert!(chunks.contains(&ids[0][0]));
        for gone in [&ids[1][2..], &ids[2][..]].concat() {
            assert!(matches!(chunks.get(&gone), Err(Error::Absent { .. })));
        }
        drop(chunks);
        chunks = open(&disk);
    }
    // What is gone can be stored again; pruning again finds nothing to do.
    packs(&mut chunks, &[&[21]]);
    let wanted: Vec<ChunkId> = chunks.ids().copied().collect();
    let again = prune(&mut chunks, &wanted).unwrap();
    assert_eq!((again.packs_removed, again.bytes_freed), (0, 0));
}

#[test]
fn damaged_packs_stay_and_are_told() {
    let disk = Sim::default();
    let mut chunks = open(&disk);
    let ids = packs(&mut chunks, &[&[1, 2, 3], &[11, 12, 13], &[21, 22, 23]]);
    let path = |chunks: &Chunks, id: &ChunkId| {
        let Some(Place::Stored(location)) = chunks.index.get(id) else { panic!("not stored") };
        lock(&chunks.packs).sealed[location.pack].as_ref().unwrap().path.clone()
    };
    let files: Vec<_> = ids.iter().map(|ids| path(&chunks, &ids[0])).collect();
    drop(chunks);
    // Of the first the index, of the second the content of the first chunk, the third's header.
    disk.tamper(&files[0], |bytes| bytes.truncate(bytes.len() - 1));
    disk.tamper(&files[1], |bytes| bytes[64 + 48] ^= 1);
    disk.tamper(&files[2], |bytes| bytes[0] ^= 1);
    let mut chunks = open(&disk);
    let pruned = prune(&mut chunks, &[ids[0][0], ids[1][0], ids[1][1], ids[2][0]]).unwrap();
    let mut told: Vec<_> = pruned.damage.iter().map(|damage| damage.file.clone()).collect();
    let mut damaged = files.clone();
    told.sort();
    damaged.sort();
    assert_eq!(told, damaged);
    assert_eq!(pruned.packs_removed, 0);
    assert_eq!(pruned.chunks_missing, 1);
    assert_eq!(chunks.get(&ids[0][0]).unwrap(), noise(1, 1000));
    assert_eq!(chunks.get(&ids[1][1]).unwrap(), noise(12, 1000));
    assert!(matches!(chunks.get(&ids[1][0]), Err(Error::Damaged(_))));
}

#[test]
fn a_copy_is_given_up_only_if_the_other_one_can_be_read() {
    // Which of the two is broken, and which is found first, by its name.
    for (broken, name) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
        let disk = Sim::default();
        let mut chunks = open(&disk);
        let mut names = [[1; 16], [name; 16]].into_iter();
        lock(&chunks.packs).identity = Box::new(move || Ok(names.next().unwrap()));
        let ids = packs(&mut chunks, &[&[1, 2]]);
        let before = disk.copy();
        // Rewritten, then the old pack comes back: each wanted chunk lies in two.
        prune(&mut chunks, &ids[0][..1]).unwrap();
        drop(chunks);
        let image = |disk: &Sim, path: &Path| {
            let mut image = Vec::new();
            disk.tamper(path, |bytes| image.clone_from(bytes));
            image
        };
        let old = before.files(".pack")[0].clone();
        let new = disk.files(".pack")[0].clone();
        let bytes = image(&before, &old);
        disk.open(&old, crate::disk::Mode::Create).unwrap().write_at(0, &bytes).unwrap();
        disk.tamper([&old, &new][broken], |bytes| bytes[64 + 48] ^= 1);
        let mut chunks = open(&disk);
        prune(&mut chunks, &ids[0][..1]).unwrap();
        drop(chunks);
        let chunks = open(&disk);
        let sound =
            lock(&chunks.packs).sealed.iter().flatten().any(|pack| &pack.path != [&old, &new][broken]);
        assert!(sound, "the copy that could be read is gone");
    }
}

#[test]
fn a_full_disk_is_told_and_small_packs_are_put_together() {
    let disk = Sim::default();
    let mut chunks = open(&disk);
    let seeds: Vec<u8> = (0..40).collect();
    let lists: Vec<&[u8]> = seeds.chunks(1).collect();
    let ids = packs(&mut chunks, &lists).concat();
    disk.set_capacity(Some(disk.used() + 100));
    assert!(matches!(prune(&mut chunks, &ids), Err(Error::Full { .. })));
    assert!(disk.files(".tmp").is_empty());
    for (id, seed) in ids.iter().zip(&seeds) {
        assert_eq!(chunks.get(id).unwrap(), noise(*seed, 1000));
    }
    disk.set_capacity(None);
    let pruned = prune(&mut chunks, &ids).unwrap();
    assert_eq!((pruned.packs_rewritten, pruned.chunks_removed), (40, 0));
    assert!(chunks.stats().packs < 5, "{}", chunks.stats().packs);
    for (id, seed) in ids.iter().zip(&seeds) {
        assert_eq!(chunks.get(id).unwrap(), noise(*seed, 1000));
    }
    disk.fail_flush_after(0);
    assert!(matches!(prune(&mut chunks, &ids[..10]), Err(Error::Flush { .. })));
    assert!(matches!(chunks.put(b"x"), Err(Error::Flush { .. })));
}
