//! Somebody who can write the disk, at what stands beside the entries: the mark of what was archived, the archive itself, snapshots,
//! stored heads.
//!
//! The verifier has the key and the newest head, and knows how much was archived. Who starts has the hash of each snapshot as an entry,
//! as the daemon has it as a fact.

use super::super::archive::archive_on;
use super::super::archived::{self, Archived};
use super::super::export::export_on;
use super::super::meter::Meter;
use super::super::tests::Choices;
use super::tampering::{forge_heads, read};
use super::*;
use crate::disk::Mode;
use crate::snapshot;

/// Tries of each attack in a sample.
const SAMPLE: usize = 6;

/// A log with snapshots, a part of which was archived.
struct Victim {
    disk: Sim,
    /// A copy from before the last archiving.
    older: Sim,
    entries: Vec<Vec<u8>>,
    kept: Head,
    archived: u64,
    /// The snapshots, which the entries name: how many entries are before each.
    snapshots: Vec<u64>,
}

fn shared(disk: &Sim) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

fn to() -> &'static Path {
    Path::new("/archive")
}

fn state(entries: u64) -> Vec<u8> {
    format!("the state after {entries} entries").into_bytes()
}

fn named(hash: &Hash) -> Vec<u8> {
    format!("snapshot {hash}").into_bytes()
}

/// Small entries, so that whole tiles of hashes are archived; now and then a snapshot, and its hash as an entry.
fn grow(log: &mut Log, victim: &mut Victim, batches: u64, random: &mut Choices) {
    for round in 0..batches {
        let size = |random: &mut Choices| 20 + random.next() % 40;
        let batch: Vec<Vec<u8>> = (0..8 + random.next() % 16)
            .map(|_| (0..size(random)).map(|_| random.next().to_le_bytes()[0] | 1).collect())
            .collect();
        log.append(&batch).unwrap();
        victim.entries.extend(batch);
        if round.is_multiple_of(5) {
            let start = log.start().unwrap();
            let hash = snapshot::write_on(&victim.disk, dir(), &start, &state(start.entries())).unwrap();
            log.append(&[named(&hash)]).unwrap();
            victim.entries.push(named(&hash));
            victim.snapshots.push(start.entries());
        }
        if random.next().is_multiple_of(3) {
            KEYS.store(log).unwrap();
        }
    }
    KEYS.store(log).unwrap();
}

fn archive(disk: &Sim, before: u64) -> u64 {
    archive_on(&shared(disk), (dir(), to()), before, false, &mut Meter::new(&mut |_| ())).unwrap();
    archived::read_on(disk, dir()).unwrap().map_or(0, |mark| mark.until())
}

fn victim(random: &mut Choices) -> Victim {
    let disk = Sim::default();
    let mut log = Log::create_on(shared(&disk), dir(), ID, &SMALL).unwrap();
    let kept = log.head(ORIGIN, Vec::new());
    let (entries, snapshots) = (Vec::new(), Vec::new());
    let older = disk.clone();
    let mut victim = Victim { disk, older, entries, kept, archived: 0, snapshots };
    let batches = 25 + random.next() % 15;
    grow(&mut log, &mut victim, batches, random);
    archive(&victim.disk, log.size() / 3);
    grow(&mut log, &mut victim, 6, random);
    victim.older = victim.disk.copy();
    // All before the second newest snapshot may go.
    let before = victim.snapshots[victim.snapshots.len() - 2];
    victim.archived = archive(&victim.disk, before);
    grow(&mut log, &mut victim, 6, random);
    victim.kept = log.newest_head().unwrap().head().clone();
    victim
}

/// The check says that something is wrong, or other than the verifier knows.
fn is_told(disk: &Sim, victim: &Victim) -> bool {
    match check(disk, Some(&victim.kept)) {
        Ok(report) => {
            report.archived != victim.archived || report.covered < victim.kept.size || !report.signed
        }
        Err(error) => matches!(error, Error::Damaged(_) | Error::Absent { .. }),
    }
}

/// The state of a snapshot, if one was taken; how many entries are before what follows; what follows.
type Started = (Option<Vec<u8>>, u64, Vec<Vec<u8>>);

/// What a start makes of a disk: the state of a snapshot that an entry under a head names and what follows it, or the whole log.
fn start(disk: &Sim) -> Result<Started, Error> {
    for number in snapshot::list_on(disk, dir())?.into_iter().rev() {
        let Ok(snapshot) = snapshot::read_on(disk, dir(), number) else { continue };
        let mut rest = Vec::new();
        let opened = Log::open_at_on(shared(disk), dir(), &SMALL, &snapshot.start, &mut |_, bytes| {
            rest.push(bytes.to_vec());
        });
        match opened {
            Ok(_) if rest.contains(&named(&snapshot.hash)) => {
                return Ok((Some(snapshot.state), number, rest));
            }
            Ok(_) | Err(Error::Unproven { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut whole = Vec::new();
    Log::open_on(shared(disk), dir(), &SMALL, &mut |_, bytes| whole.push(bytes.to_vec()))?;
    Ok((None, 0, whole))
}

/// Whether a start that was not refused came to what was written.
fn starts_right(disk: &Sim, victim: &Victim) -> bool {
    match start(disk) {
        Ok((found, from, rest)) => {
            let from_index = usize::try_from(from).unwrap();
            found.is_none_or(|found| found == state(from))
                && victim.entries.get(from_index..).is_some_and(|right| rest == right)
        }
        Err(_) => true,
    }
}

fn flip(disk: &Sim, path: &Path, random: &mut Choices) {
    let (place, bit) = (usize::try_from(random.next()).unwrap(), random.next() & 7);
    disk.tamper(path, |bytes| {
        let place = place % bytes.len();
        bytes[place] ^= 1 << bit;
    });
}

fn replace(disk: &Sim, path: &Path, bytes: &[u8]) {
    disk.open(path, Mode::Create).unwrap().write_at(0, bytes).unwrap();
}

fn mark(disk: &Sim) -> Archived {
    archived::read_on(disk, dir()).unwrap().unwrap()
}

fn mark_flipped(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    flip(&disk, &dir().join(archived::NAME), random);
    disk
}

fn mark_removed(victim: &Victim, _: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    disk.remove(&dir().join(archived::NAME)).unwrap();
    disk
}

/// Another hash, size or log in it, its checksum right.
fn mark_forged(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let mut bytes = mark(&disk).encode();
    let fields = bytes.len() - 4;
    let place = 16 + usize::try_from(random.next()).unwrap() % (fields - 16);
    bytes[place] ^= 1 << (random.next() & 7);
    let crc = crc32c::crc32c(&bytes[..fields]).to_le_bytes();
    bytes[fields..].copy_from_slice(&crc);
    replace(&disk, &dir().join(archived::NAME), &bytes);
    disk
}

/// The true mark of before.
fn mark_put_back(victim: &Victim, _: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    replace(&disk, &dir().join(archived::NAME), &mark(&victim.older).encode());
    disk
}

/// As the owner would archive, but the archive is thrown away.
fn mark_raised(victim: &Victim, _: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    archive(&disk, victim.kept.size);
    disk
}

/// Hashes of archived entries, which follow from nothing any more.
fn tile_of_archived(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let whole = victim.archived / 256;
    let tile = dir().join(crate::tiles::path(0, random.next() % whole, 256));
    flip(&disk, &tile, random);
    disk
}

fn heads_removed(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let what = random.next() % 3;
    for path in disk.files(".heads") {
        disk.remove(&path).unwrap();
    }
    if what > 0 {
        disk.remove(&dir().join("checkpoint")).unwrap();
    }
    disk
}

/// Without the newest ones, as if they had never been stored.
fn newest_heads_removed(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    forge_heads(&disk, &mut |heads| {
        // The newest may be there twice, of the same entries: the other one says all that it said.
        heads.retain(|head| head.head().size < victim.kept.size);
        let keep = usize::try_from(random.next()).unwrap() % (heads.len() + 1);
        heads.truncate(keep);
    });
    disk
}

type Attack = fn(&Victim, &mut Choices) -> Sim;

const ATTACKS: [(&str, Attack); 8] = [
    ("a bit of the mark is flipped", mark_flipped),
    ("the mark is removed", mark_removed),
    ("the mark is forged", mark_forged),
    ("an older mark is put back", mark_put_back),
    ("more is marked as archived", mark_raised),
    ("a hash of archived entries is changed", tile_of_archived),
    ("the heads are removed", heads_removed),
    ("the newest heads are removed", newest_heads_removed),
];

/// A snapshot of a disk, any of those there.
fn snapshot_path(disk: &Sim, random: &mut Choices) -> PathBuf {
    let files = disk.files(".snap");
    files[usize::try_from(random.next()).unwrap() % files.len()].clone()
}

fn number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

fn snapshot_flipped(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    disk.files(".snap").iter().for_each(|path| flip(&disk, path, random));
    disk
}

/// Another state, its checksum right.
fn snapshot_state_forged(victim: &Victim, _: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    for path in disk.files(".snap") {
        let found = snapshot::read_on(&disk, dir(), number(&path)).unwrap();
        snapshot::write_on(&disk, dir(), &found.start, b"another state").unwrap();
    }
    disk
}

/// The true state, at another place of the log: the tree, the file or the offset is another.
fn snapshot_place_forged(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    for path in disk.files(".snap") {
        let found = snapshot::read_on(&disk, dir(), number(&path)).unwrap();
        let mut start = found.start.clone();
        match random.next() % 4 {
            0 => start.entries.offset += 8,
            1 => start.entries.segment = start.entries.segment.saturating_sub(1 + random.next() % 50),
            2 => start.id[0] ^= 1,
            _ => {
                let mut bytes = start.edge.encode();
                let place = 8 + usize::try_from(random.next()).unwrap() % (bytes.len() - 8);
                bytes[place] ^= 1;
                start.edge = crate::tiles::Edge::decode(&mut crate::bytes::Fields(&bytes)).unwrap();
            }
        }
        snapshot::write_on(&disk, dir(), &start, &found.state).unwrap();
    }
    disk
}

/// One under the name of another.
fn snapshot_renamed(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let (one, other) = (snapshot_path(&disk, random), snapshot_path(&disk, random));
    replace(&disk, &one, &read(&victim.disk, &other));
    disk
}

fn snapshots_removed(victim: &Victim, random: &mut Choices) -> Sim {
    let disk = victim.disk.copy();
    let keep = random.next() & 1 == 1;
    let files = disk.files(".snap");
    files.iter().skip(usize::from(keep)).for_each(|path| disk.remove(path).unwrap());
    disk
}

/// Of another life of this log, which the same key has signed.
fn snapshot_of_another(victim: &Victim, random: &mut Choices) -> Sim {
    let (disk, other) = (victim.disk.copy(), self::victim(random));
    for path in other.disk.files(".snap") {
        replace(&disk, &path, &read(&other.disk, &path));
    }
    disk
}

const SNAPSHOT_ATTACKS: [(&str, Attack); 6] = [
    ("a bit of a snapshot is flipped", snapshot_flipped),
    ("the state of a snapshot is forged", snapshot_state_forged),
    ("the place of a snapshot is forged", snapshot_place_forged),
    ("a snapshot is renamed", snapshot_renamed),
    ("snapshots are removed", snapshots_removed),
    ("a snapshot is of another log", snapshot_of_another),
];

/// An entry of the archive is changed: an export with it, and with it a salvage, are refused.
fn is_archive_refused(victim: &Victim, random: &mut Choices) -> bool {
    let disk = victim.disk.copy();
    let entry = &victim.entries[usize::try_from(random.next() % victim.archived).unwrap()];
    let files: Vec<_> = disk.files(".log").into_iter().filter(|path| path.starts_with(to())).collect();
    let at = |path: &PathBuf| read(&disk, path).windows(entry.len()).position(|window| window == entry);
    let (path, at) = files.iter().find_map(|path| at(path).map(|at| (path, at))).unwrap();
    let place = at + usize::try_from(random.next()).unwrap() % entry.len();
    disk.tamper(path, |bytes| bytes[place] ^= 0x10);
    let (out, mut blind) = (Path::new("/out"), |_| ());
    export_on(&shared(&disk), (dir(), Some(to())), out, false, &mut Meter::new(&mut blind)).is_err()
}

#[test]
fn no_tampering_with_what_is_beside_the_entries_goes_undetected() {
    let each = times(SAMPLE * 100) / 100;
    let mut random = Choices((seed() << 24) ^ 0x77);
    let (mut tried, mut unseen, mut alarms, mut sound) = (0, Vec::new(), Vec::new(), 0);
    let kinds = ATTACKS.len() + SNAPSHOT_ATTACKS.len() + 1;
    for kind in 0..kinds {
        for round in 0..each {
            let victim = victim(&mut random);
            let (name, is_seen) = if let Some((name, attack)) = ATTACKS.get(kind) {
                let disk = attack(&victim, &mut random);
                (*name, is_told(&disk, &victim) && starts_right(&disk, &victim))
            } else if let Some((name, attack)) = SNAPSHOT_ATTACKS.get(kind - ATTACKS.len()) {
                let disk = attack(&victim, &mut random);
                (*name, starts_right(&disk, &victim))
            } else {
                ("an entry of the archive is changed", is_archive_refused(&victim, &mut random))
            };
            tried += 1;
            if !is_seen {
                unseen.push(format!("{name}, try {round}"));
            }
            // Untouched, it verifies, and starts from its newest snapshot.
            sound += 1;
            let untouched = victim.disk.copy();
            if is_told(&untouched, &victim) {
                alarms.push(format!("{name}: {:?}", check(&untouched, Some(&victim.kept))));
            }
            match start(&untouched) {
                Ok((Some(_), from, _)) if Some(&from) == victim.snapshots.last() => {}
                other => alarms.push(format!("{name}: not started: {other:?}")),
            }
            if !starts_right(&untouched, &victim) {
                alarms.push(format!("{name}: started to something else"));
            }
        }
    }
    tell(
        "tampering with marks, snapshots and heads undetected",
        unseen.len(),
        tried,
        &format!(",\"seed\":{}", seed()),
    );
    tell("sound logs with an archive taken for damaged", alarms.len(), sound, "");
    assert!(unseen.is_empty() && alarms.is_empty(), "{unseen:#?}\n{alarms:#?}");
}
