//! Somebody can write the disk, knows the formats, and repairs every checksum; what he lacks is the key.

use super::*;

/// Tries of each attack in a sample.
const SAMPLE: usize = 6;
/// Where the identity stands in a pack's header, and how long header and trailer are.
const HEADER: usize = 64;
const TRAILER: usize = 40;

/// A store as it was written.
struct Victim {
    disk: Sim,
    /// A copy from before its last steps.
    older: Sim,
    story: Story,
}

fn victim(base: &Sim, random: &mut Choices) -> Victim {
    loop {
        let (disk, mut story, seed) = (base.copy(), Story::default(), random.next());
        let mut chunks = open(&disk, seed).unwrap();
        for _ in 0..STEPS {
            step(&mut chunks, &mut story, random).unwrap();
        }
        let older = disk.copy();
        for _ in 0..3 {
            step(&mut chunks, &mut story, random).unwrap();
        }
        drop(chunks);
        if disk.files(".pack").len() > 1 && !older.files(".pack").is_empty() {
            return Victim { disk, older, story };
        }
    }
}

fn below(random: &mut Choices, end: usize) -> usize {
    usize::try_from(random.next()).unwrap() % end.max(1)
}

fn any_pack(disk: &Sim, random: &mut Choices) -> PathBuf {
    let packs = disk.files(".pack");
    packs[below(random, packs.len())].clone()
}

fn bytes(disk: &Sim, path: &Path) -> Vec<u8> {
    let mut copy = Vec::new();
    disk.tamper(path, |bytes| copy.clone_from(bytes));
    copy
}

fn changed(victim: &Victim, random: &mut Choices, change: impl FnOnce(&mut Vec<u8>, &mut Choices)) -> Sim {
    let disk = victim.disk.copy();
    let path = any_pack(&disk, random);
    disk.tamper(&path, |bytes| change(bytes, random));
    disk
}

fn flip(victim: &Victim, random: &mut Choices) -> Sim {
    changed(victim, random, |bytes, random| {
        let at = below(random, bytes.len());
        bytes[at] ^= 1 << (random.next() & 7);
    })
}

fn truncate(victim: &Victim, random: &mut Choices) -> Sim {
    changed(victim, random, |bytes, random| bytes.truncate(below(random, bytes.len())))
}

fn zero(victim: &Victim, random: &mut Choices) -> Sim {
    changed(victim, random, |bytes, random| {
        let from = below(random, bytes.len());
        bytes[from..].iter_mut().take(512).for_each(|byte| *byte = 0);
    })
}

fn delete(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    disk.remove(&any_pack(&disk, random)).unwrap();
    disk
}

fn swap(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let (one, other) = (any_pack(&disk, random), any_pack(&disk, random));
    let (first, second) = (bytes(&disk, &one), bytes(&disk, &other));
    disk.tamper(&one, |bytes| *bytes = second);
    disk.tamper(&other, |bytes| *bytes = first);
    disk
}

fn older(victim: &Victim, _: &mut Choices) -> Sim {
    victim.older.copy()
}

/// One pack as it was, or one that was pruned since, beside those of now.
fn older_pack(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let path = any_pack(&victim.older, random);
    let image = bytes(&victim.older, &path);
    disk.open(&path, crate::disk::Mode::Create).unwrap().write_at(0, &image).unwrap();
    disk
}

/// The trailer says that index and records are elsewhere, with a checksum that is right.
fn forge_trailer(victim: &Victim, random: &mut Choices) -> Sim {
    changed(victim, random, |bytes, random| {
        let start = bytes.len() - TRAILER;
        let records = u32::from_le_bytes(bytes[start + 16..start + 20].try_into().unwrap());
        let fewer = records - records.min(1 + u32::try_from(random.next() % 3).unwrap());
        let length = u64::from(fewer) * 56;
        let offset = u64::try_from(start).unwrap() - 16 - length;
        bytes[start..start + 8].copy_from_slice(&offset.to_le_bytes());
        bytes[start + 8..start + 16].copy_from_slice(&length.to_le_bytes());
        bytes[start + 16..start + 20].copy_from_slice(&fewer.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[start..start + 36]);
        bytes[start + 36..].copy_from_slice(&crc.to_le_bytes());
    })
}

/// Index and trailer of one pack behind the records of another.
fn foreign_index(victim: &Victim, random: &mut Choices) -> Sim {
    let other = any_pack(&victim.disk, random);
    let other = bytes(&victim.disk, &other);
    let at = |bytes: &[u8]| {
        let start = bytes.len() - TRAILER;
        usize::try_from(u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap())).unwrap()
    };
    changed(victim, random, |bytes, _| {
        bytes.truncate(at(bytes));
        bytes.extend(&other[at(&other)..]);
    })
}

/// The identity of another pack, and so its key, with a checksum that is right.
fn foreign_header(victim: &Victim, random: &mut Choices) -> Sim {
    let other = any_pack(&victim.disk, random);
    let other = bytes(&victim.disk, &other);
    changed(victim, random, |bytes, _| bytes[..HEADER].copy_from_slice(&other[..HEADER]))
}

/// Without a trailer the records are walked, and their headers can be read and written without the key: one says that it is another chunk,
/// of another size, or compressed in another way.
fn forge_record(victim: &Victim, random: &mut Choices) -> Sim {
    let ids: Vec<ChunkId> = victim.story.ever.keys().copied().collect();
    changed(victim, random, |bytes, random| {
        bytes.truncate(bytes.len() - 1);
        let mut offsets = vec![HEADER];
        while let Some(header) = bytes.get(offsets[offsets.len() - 1]..).and_then(|rest| rest.get(..48)) {
            let sealed = u32::from_le_bytes(header[36..40].try_into().unwrap());
            let next = offsets[offsets.len() - 1] + 64 + usize::try_from(sealed).unwrap();
            if next + 48 > bytes.len() {
                break;
            }
            offsets.push(next);
        }
        let at = offsets[below(random, offsets.len())];
        match random.next() % 3 {
            0 => bytes[at..at + 32].copy_from_slice(&ids[below(random, ids.len())].0),
            1 => bytes[at + 32] ^= 1,
            _ => bytes[at + 44] ^= 1,
        }
    })
}

/// The config of another store under the same key, or with other words in it.
fn config(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    disk.tamper(&dir().join("config"), |bytes| {
        let at = below(random, bytes.len());
        bytes[at] ^= 1 << (random.next() & 7);
    });
    disk
}

/// How many chunks come back as another content; and whether what could be read is still there when it was pruned.
fn wrong(disk: &Sim, victim: &Victim, random: &mut Choices) -> Vec<String> {
    let Ok(mut chunks) = open(disk, random.next()) else { return Vec::new() };
    let mut wrong = Vec::new();
    let mut readable = Contents::new();
    for (id, plain) in &victim.story.ever {
        match chunks.get(id) {
            Ok(found) if &found == plain => drop(readable.insert(*id, found)),
            Ok(_) => wrong.push(format!("{id} is another")),
            Err(_) => {}
        }
    }
    let wanted = victim.story.wanted();
    match chunks.prune(&wanted, &mut |_| ()) {
        Ok(_) => {}
        Err(error) => wrong.push(format!("not pruned: {error}")),
    }
    for (id, plain) in readable.iter().filter(|(id, _)| wanted.contains(id)) {
        match chunks.get(id) {
            Ok(found) if &found == plain => {}
            other => wrong.push(format!("{id} after it was pruned: {:?}", other.err())),
        }
    }
    wrong
}

type Attack = fn(&Victim, &mut Choices) -> Sim;

const ATTACKS: [(&str, Attack); 12] = [
    ("a bit is flipped", flip),
    ("a pack is truncated", truncate),
    ("a piece is zeroed", zero),
    ("a pack is deleted", delete),
    ("two packs are swapped", swap),
    ("an older store is put back", older),
    ("an older pack is put back", older_pack),
    ("a trailer is forged", forge_trailer),
    ("an index is another's", foreign_index),
    ("a header is another's", foreign_header),
    ("a record's header is forged", forge_record),
    ("the config is changed", config),
];

#[test]
fn no_tampering_gives_other_bytes_or_makes_pruning_lose_what_can_be_read() {
    let each = times(SAMPLE * 100) / 100;
    let (base, mut random) = (empty(), Choices(seed() << 24));
    let (mut tried, mut found) = (0, Vec::new());
    for (name, attack) in ATTACKS {
        for number in 0..each {
            let victim = victim(&base, &mut random);
            let disk = attack(&victim, &mut random);
            let why = wrong(&disk, &victim, &mut random);
            found.extend(why.into_iter().map(|why| format!("{name}, try {number}: {why}")));
            tried += 1;
        }
    }
    tell(
        "tampering that gave other bytes, or that made pruning lose what could be read",
        found.len(),
        tried,
        "",
    );
    assert!(found.is_empty(), "{found:#?}");
}
