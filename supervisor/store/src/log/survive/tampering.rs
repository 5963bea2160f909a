//! Somebody can write the disk, knows the formats, and repairs every checksum; what he lacks is the key and the head that
//! the verifier kept.

use super::super::cursor::{Cursor, Step};
use super::super::tests::Choices;
use super::*;
use crate::disk::Mode;
use crate::merkle::leaf_hash;
use crate::tiles::prover::Prover;

/// Tries of each attack in a sample.
const SAMPLE: usize = 6;

/// A log as it was written, and what its verifier kept of it.
struct Victim {
    disk: Sim,
    /// A copy from before its last third.
    older: Sim,
    entries: Vec<Vec<u8>>,
    /// The newest head. Nothing stands after it.
    kept: Head,
}

fn entry(random: &mut Choices) -> Vec<u8> {
    let length = random.next() % 700;
    (0..length).map(|_| random.next().to_le_bytes()[0] | 1).collect()
}

/// Some entries in a batch, and sometimes a head.
fn grow(log: &mut Log, entries: &mut Vec<Vec<u8>>, batches: u64, random: &mut Choices) {
    for _ in 0..batches {
        let batch: Vec<_> = (0..=random.next() % 3).map(|_| entry(random)).collect();
        log.append(&batch).unwrap();
        entries.extend(batch);
        if random.next().is_multiple_of(3) {
            KEYS.store(log).unwrap();
        }
    }
    KEYS.store(log).unwrap();
}

fn victim(random: &mut Choices) -> Victim {
    let (disk, mut entries) = (Sim::default(), Vec::new());
    let mut log = Log::create_on(Arc::new(disk.clone()), dir(), ID, &SMALL).unwrap();
    let batches = 6 + random.next() % 60;
    grow(&mut log, &mut entries, batches, random);
    let older = disk.copy();
    grow(&mut log, &mut entries, 1 + batches / 3, random);
    let kept = log.newest_head().unwrap().head().clone();
    drop(log);
    Victim { disk, older, entries, kept }
}

/// Where the bytes of an entry lie: file and place.
fn place(disk: &Sim, entry: &[u8]) -> Option<(PathBuf, usize)> {
    disk.files(".log").into_iter().find_map(|path| {
        let bytes = read(disk, &path);
        let at = bytes.windows(entry.len()).position(|window| window == entry)?;
        Some((path, at))
    })
}

pub(super) fn read(disk: &Sim, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Mode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Puts the stored heads and the newest one of one disk onto another.
fn take_heads(from: &Sim, to: &Sim) {
    let old = to.files(".heads").into_iter().chain(to.files("/checkpoint"));
    old.for_each(|path| to.remove(&path).unwrap());
    for path in from.files(".heads").into_iter().chain(from.files("/checkpoint")) {
        to.open(&path, Mode::Create).unwrap().write_at(0, &read(from, &path)).unwrap();
    }
}

/// The log written anew with other entries, each checksum right, and with the heads of the true one as far as they cover
/// nothing that changed (`first` is the first entry that did), or with all of them.
fn forged(victim: &Victim, entries: &[Vec<u8>], first: usize, all_heads: bool, random: &mut Choices) -> Sim {
    let disk = Sim::default();
    let mut log = Log::create_on(Arc::new(disk.clone()), dir(), ID, &SMALL).unwrap();
    let mut at = 0;
    while at < entries.len() {
        let end = entries.len().min(at + 1 + usize::try_from(random.next() % 3).unwrap());
        // A head stands where the true log has one.
        let heads = heads(&victim.disk);
        let end = heads
            .iter()
            .map(|head| usize::try_from(head.head().size).unwrap())
            .filter(|size| (at + 1..=end).contains(size))
            .min()
            .unwrap_or(end);
        log.append(&entries[at..end]).unwrap();
        at = end;
        if let Some(true_head) = heads.iter().find(|head| head.head().size == at as u64 && at <= first)
            && !all_heads
        {
            log.head(ORIGIN, Vec::new());
            log.store_head(true_head).unwrap();
        }
    }
    drop(log);
    if all_heads {
        take_heads(&victim.disk, &disk);
    }
    disk
}

/// Stores other heads than those that are there, as if there had never been others.
pub(super) fn forge_heads(disk: &Sim, change: &mut dyn FnMut(&mut Vec<SignedHead>)) {
    let mut left = heads(disk);
    change(&mut left);
    // Somewhere else, and then in their place.
    let other = Sim::default();
    let mut log = Log::create_on(Arc::new(other.clone()), dir(), ID, &SMALL).unwrap();
    left.iter().for_each(|head| log.keep_head(head).unwrap());
    drop(log);
    take_heads(&other, disk);
}

/// The heads that a log has stored.
fn heads(disk: &Sim) -> Vec<SignedHead> {
    let mut cursor = Cursor::new(Arc::new(disk.clone()), dir(), Kind::Heads, 0, false).unwrap();
    let mut heads = Vec::new();
    while let Step::Batch(batch) = cursor.step().unwrap() {
        let texts = batch.entries().map(|entry| std::str::from_utf8(entry.bytes).unwrap().to_owned());
        heads.extend(texts.map(|text| SignedHead::parse(&text).unwrap()));
    }
    heads
}

fn index(victim: &Victim, random: &mut Choices) -> usize {
    usize::try_from(random.next()).unwrap() % victim.entries.len()
}

fn flip(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let disk = victim.disk.copy();
    let entry = &victim.entries[index(victim, random)];
    let bit = random.next();
    if entry.is_empty() {
        return None;
    }
    let (path, at) = place(&disk, entry)?;
    let byte = usize::try_from(bit >> 3).unwrap() % entry.len();
    disk.tamper(&path, |bytes| bytes[at + byte] ^= 1 << (bit & 7));
    Some(disk)
}

fn edit(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let (mut entries, at) = (victim.entries.clone(), index(victim, random));
    entries[at] = entry(random);
    (entries[at] != victim.entries[at]).then(|| forged(victim, &entries, at, random.next() & 1 == 0, random))
}

fn delete(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let (mut entries, at) = (victim.entries.clone(), index(victim, random));
    let end = entries.len().min(at + 1 + usize::try_from(random.next() % 3).unwrap());
    entries.drain(at..end);
    Some(forged(victim, &entries, at, random.next() & 1 == 0, random))
}

fn truncate(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let at = index(victim, random);
    Some(forged(victim, &victim.entries[..at], at, random.next() & 1 == 0, random))
}

fn reorder(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let mut entries = victim.entries.clone();
    let (one, other) = (index(victim, random), index(victim, random));
    entries.swap(one, other);
    let first = one.min(other);
    (entries != victim.entries).then(|| forged(victim, &entries, first, random.next() & 1 == 0, random))
}

/// A piece of the same log, or of another one of the same machine, in the place of a piece.
fn splice(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let (mut entries, at) = (victim.entries.clone(), index(victim, random));
    let from = index(victim, random);
    let length = (1 + usize::try_from(random.next() % 5).unwrap()).min(entries.len() - at.max(from));
    let piece: Vec<_> = if random.next() & 1 == 0 {
        victim.entries[from..from + length].to_vec()
    } else {
        (0..length).map(|_| entry(random)).collect()
    };
    entries.splice(at..at + length, piece);
    (entries != victim.entries).then(|| forged(victim, &entries, at, random.next() & 1 == 0, random))
}

/// The older copy, taken on as the machine would: another history from there.
fn fork(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let disk = victim.older.copy();
    let mut log = Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| ()).ok()?;
    let more = 1 + random.next() % 40;
    for _ in 0..more {
        log.append(&[entry(random)]).unwrap();
    }
    drop(log);
    Some(disk)
}

fn replay(victim: &Victim, _: &mut Choices) -> Option<Sim> {
    Some(victim.older.copy())
}

/// The whole log signed anew by another key.
fn swap_key(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let disk = Sim::default();
    let mut log = Log::create_on(Arc::new(disk.clone()), dir(), ID, &SMALL).unwrap();
    for entries in victim.entries.chunks(1 + usize::try_from(random.next() % 9).unwrap()) {
        log.append(entries).unwrap();
        let head = log.head(ORIGIN, Vec::new());
        log.store_head(&KEYS.other.sign(head)).unwrap();
    }
    Some(disk)
}

/// A head that the key never signed: another root or size under a signature of the log's own.
fn forge_head(victim: &Victim, random: &mut Choices) -> Option<Sim> {
    let disk = victim.disk.copy();
    let mut log = Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| ()).ok()?;
    log.append(&[entry(random)]).unwrap();
    let head = log.head(ORIGIN, Vec::new());
    let stored = heads(&victim.disk);
    let signed = stored.get(usize::try_from(random.next()).unwrap() % stored.len())?.text().unwrap();
    let signature = signed.split_once("\n\n")?.1;
    let text = format!("{}\n{signature}", head.text().unwrap());
    log.store_head(&SignedHead::parse(&text).unwrap()).unwrap();
    Some(disk)
}

/// Detected by the offline check, or the daemon's start refuses it.
fn is_detected(disk: &Sim, victim: &Victim) -> bool {
    matches!(check(disk, Some(&victim.kept)), Err(Error::Damaged(_) | Error::Absent { .. }))
}

/// A tile that was forged makes no wrong proof: it is made again, or the proof is refused.
fn tile_lies(victim: &Victim, random: &mut Choices) -> Option<bool> {
    let disk = victim.disk.copy();
    let tiles: Vec<_> =
        disk.files("").into_iter().filter(|path| path.starts_with(dir().join("tile"))).collect();
    let tile = tiles.get(usize::try_from(random.next()).unwrap() % tiles.len().max(1))?;
    let hash = usize::try_from(random.next()).unwrap();
    disk.tamper(tile, |bytes| {
        let at = hash % (bytes.len() / 32).max(1) * 32;
        bytes[at..].iter_mut().take(32).for_each(|byte| *byte ^= 0x5a);
    });
    let mut prover = Prover::open_on(Arc::new(disk), dir()).ok()?;
    let size = prover.newest().head().size;
    Some((0..size).any(|index| match prover.inclusion(index, size) {
        Ok(proof) => {
            let entry = &victim.entries[usize::try_from(index).unwrap()];
            !proof.verify() || proof.root != victim.kept.root || proof.leaf != leaf_hash(entry)
        }
        Err(_) => false,
    }))
}

type Attack = fn(&Victim, &mut Choices) -> Option<Sim>;

const ATTACKS: [(&str, Attack); 10] = [
    ("a bit of an entry is flipped", flip),
    ("an entry is edited", edit),
    ("entries are deleted", delete),
    ("the log is truncated", truncate),
    ("entries are reordered", reorder),
    ("a piece is spliced in", splice),
    ("the log is forked", fork),
    ("an older disk is put back", replay),
    ("the key is swapped", swap_key),
    ("a head is forged", forge_head),
];

#[test]
fn no_tampering_goes_undetected_and_nothing_else_is_taken_for_it() {
    let each = times(SAMPLE * 100) / 100;
    let mut random = Choices(seed() << 24);
    let (mut tried, mut unseen, mut alarms, mut sound) = (0, Vec::new(), Vec::new(), 0);
    for (name, attack) in ATTACKS {
        let mut done = 0;
        while done < each {
            let victim = victim(&mut random);
            if let Some(disk) = attack(&victim, &mut random) {
                done += 1;
                if !is_detected(&disk, &victim) {
                    unseen.push(format!("{name}, try {done}"));
                }
            }
            // Untouched, and grown on since the head was kept.
            let disk = victim.disk.copy();
            let mut log = Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| ()).unwrap();
            let more = 1 + random.next() % 4;
            grow(&mut log, &mut victim.entries.clone(), more, &mut random);
            drop(log);
            sound += 1;
            for untouched in [&victim.disk, &disk] {
                alarms.extend(
                    check(untouched, Some(&victim.kept)).err().map(|error| format!("{name}: {error}")),
                );
                let mut seen = Vec::new();
                let copy = untouched.copy();
                let opened =
                    Log::open_on(Arc::new(copy), dir(), &SMALL, &mut |_, bytes| seen.push(bytes.to_vec()));
                alarms.extend(opened.err().map(|error| format!("{name}: not opened: {error}")));
                if !seen.starts_with(&victim.entries) {
                    alarms.push(format!("{name}: opened as another"));
                }
            }
        }
        tried += done;
    }
    let mut tiles = 0;
    while tiles < each {
        let victim = victim(&mut random);
        if let Some(lies) = tile_lies(&victim, &mut random) {
            tiles += 1;
            if lies {
                unseen.push("a tile is forged".to_owned());
            }
        }
    }
    tell("tampering undetected", unseen.len(), tried + tiles, &format!(",\"seed\":{}", seed()));
    tell("sound logs taken for damaged", alarms.len(), 2 * sound, "");
    assert!(unseen.is_empty() && alarms.is_empty(), "{unseen:#?}\n{alarms:#?}");
}
