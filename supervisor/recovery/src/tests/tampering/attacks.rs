//! What somebody can do who can write the disk and knows the formats.

use std::fs;
use std::path::{Path, PathBuf};

use minicbor::{Decode, Encode};

use super::victim::{Signer, Victim, copy};
use super::{Random, files};

/// Changes a copy of the repository.
type Attack = fn(&Victim, &Path, &mut Random);

pub(super) const ATTACKS: [(&str, Attack); 24] = [
    ("a bit is flipped", |_, dir, random| {
        change(&any(dir, random), random, |bytes, random| {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << (random.next() & 7);
        });
    }),
    ("a bit of a pack is flipped", |_, dir, random| {
        change(&pack(dir, random), random, |bytes, random| {
            let at = random.below(bytes.len());
            bytes[at] ^= 1 << (random.next() & 7);
        });
    }),
    ("several packs have a bit flipped", |_, dir, random| {
        for path in files(&packs(dir)) {
            change(&path, random, |bytes, random| {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << (random.next() & 7);
            });
        }
    }),
    ("a file is truncated", |_, dir, random| {
        change(&any(dir, random), random, |bytes, random| bytes.truncate(random.below(bytes.len())));
    }),
    ("a piece is zeroed", |_, dir, random| {
        change(&any(dir, random), random, |bytes, random| {
            let from = random.below(bytes.len());
            bytes[from..].iter_mut().take(512).for_each(|byte| *byte = 0);
        });
    }),
    ("a file grows", |_, dir, random| {
        change(&any(dir, random), random, |bytes, random| bytes.extend(random.next().to_le_bytes()));
    }),
    ("a file is deleted", |_, dir, random| fs::remove_file(any(dir, random)).unwrap()),
    ("a pack is deleted", |_, dir, random| fs::remove_file(pack(dir, random)).unwrap()),
    ("two files are swapped", |_, dir, random| {
        let one = any(dir, random);
        let other = random.pick(&files(one.parent().unwrap())).clone();
        swap(&one, &other);
    }),
    ("two packs are swapped", |_, dir, random| swap(&pack(dir, random), &pack(dir, random))),
    ("a pack is there twice", |_, dir, random| {
        let copy = packs(dir).join(format!("{:032x}.pack", random.next()));
        fs::copy(pack(dir, random), &copy).unwrap();
        if random.below(2) == 0 {
            change(&copy, random, |bytes, random| {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << (random.next() & 7);
            });
        }
    }),
    ("numbered files are renamed", |_, dir, random| {
        let of: Vec<_> = numbers(dir).into_iter().map(|number| (number, payload(dir, number))).collect();
        for (place, (number, _)) in of.iter().enumerate() {
            put(dir, *number, &of[(place + 1 + random.below(2)) % of.len()].1);
        }
    }),
    ("a checkpoint is put again under another number", |_, dir, random| {
        let (from, to) = (number(dir, random), 1 + random.below(9) as u64);
        put(dir, to, &payload(dir, from));
    }),
    ("a statement is changed", |_, dir, random| {
        edit(dir, random, |envelope, random| envelope.statement = restated(&envelope.statement, random));
    }),
    ("a statement is changed and signed by another key", |_, dir, random| {
        edit(dir, random, |envelope, random| {
            envelope.statement = restated(&envelope.statement, random);
            resign(envelope, random);
        });
    }),
    ("a checkpoint is signed by another key", |_, dir, random| edit(dir, random, resign)),
    ("a checkpoint has the signature of another", |_, dir, random| {
        let other = envelope(&payload(dir, number(dir, random)));
        edit(dir, random, |envelope, _| envelope.signature = other.signature);
    }),
    ("a checkpoint has the manifest of another", |_, dir, random| {
        let other = envelope(&payload(dir, number(dir, random)));
        edit(dir, random, |envelope, _| envelope.manifest = other.manifest);
    }),
    ("an older repository is put back", |victim, dir, _| {
        ["checkpoints", "chunks"].iter().for_each(|folder| replace(&victim.older(), dir, folder));
    }),
    ("a part of an older repository is put back", |victim, dir, random| {
        replace(&victim.older(), dir, if random.below(2) == 0 { "checkpoints" } else { "chunks" });
    }),
    ("a file of an older repository is put back", |victim, dir, random| {
        foist(&victim.older(), dir, random);
    }),
    ("a checkpoint of another life is put there, with its packs", |victim, dir, random| {
        for path in files(&packs(&victim.other_life())) {
            fs::copy(&path, packs(dir).join(path.file_name().unwrap())).unwrap();
        }
        let number = number(dir, random);
        put(dir, number, &payload(&victim.other_life(), number));
        if random.below(4) == 0 {
            replace(&victim.other_life(), dir, "checkpoints");
            replace(&victim.other_life(), dir, "chunks");
        }
    }),
    ("a file of another repository is put there", |victim, dir, random| {
        foist(&victim.foreign(), dir, random);
    }),
    ("the index of a pack is that of another", |_, dir, random| {
        let from = fs::read(pack(dir, random)).unwrap();
        change(&pack(dir, random), random, |bytes, _| {
            let index = |bytes: &[u8]| {
                let start = bytes.len() - TRAILER;
                usize::try_from(u64::from_le_bytes(bytes[start..start + 8].try_into().unwrap())).unwrap()
            };
            bytes.truncate(index(bytes));
            bytes.extend(&from[index(&from)..]);
        });
    }),
];

/// How long a pack's trailer is, which begins with the place of the index.
const TRAILER: usize = 40;

/// A numbered file, as `docs/checkpoints.md` describes it.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Envelope {
    #[n(0)]
    version: u32,
    #[n(1)]
    statement: String,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    key: Vec<u8>,
    #[n(4)]
    manifest: Vec<crate::files::entry::Piece>,
}

fn packs(dir: &Path) -> PathBuf {
    dir.join("chunks/packs")
}

fn pack(dir: &Path, random: &mut Random) -> PathBuf {
    random.pick(&files(&packs(dir))).clone()
}

/// Any file of the repository that says something.
fn any(dir: &Path, random: &mut Random) -> PathBuf {
    let folders = ["checkpoints", "chunks", "chunks/packs"];
    let all = folders.iter().flat_map(|folder| files(&dir.join(folder)));
    let all: Vec<_> = all.filter(|path| fs::metadata(path).unwrap().len() > 0).collect();
    random.pick(&all).clone()
}

fn change(path: &Path, random: &mut Random, change: impl FnOnce(&mut Vec<u8>, &mut Random)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes, random);
    fs::write(path, bytes).unwrap();
}

fn swap(one: &Path, other: &Path) {
    let (first, second) = (fs::read(one).unwrap(), fs::read(other).unwrap());
    fs::write(one, second).unwrap();
    fs::write(other, first).unwrap();
}

fn replace(from: &Path, dir: &Path, folder: &str) {
    fs::remove_dir_all(dir.join(folder)).unwrap();
    copy(&from.join(folder), &dir.join(folder));
}

/// A file of another repository in the place of one of this, or beside them.
fn foist(from: &Path, dir: &Path, random: &mut Random) {
    let file = any(from, random);
    let place = dir.join(file.strip_prefix(from).unwrap());
    if random.below(2) == 0 {
        fs::copy(&file, place).unwrap();
    } else {
        fs::copy(&file, random.pick(&files(place.parent().unwrap()))).unwrap();
    }
}

fn numbers(dir: &Path) -> Vec<u64> {
    store::manifest::list(&dir.join("checkpoints")).unwrap()
}

fn number(dir: &Path, random: &mut Random) -> u64 {
    *random.pick(&numbers(dir))
}

fn payload(dir: &Path, number: u64) -> Vec<u8> {
    store::manifest::get(&dir.join("checkpoints"), number).unwrap()
}

/// Writes a numbered file whose header and checksum are right.
fn put(dir: &Path, number: u64, payload: &[u8]) {
    let dir = dir.join("checkpoints");
    store::manifest::remove(&dir, number).ok();
    store::manifest::put(&dir, number, payload).unwrap();
}

fn envelope(payload: &[u8]) -> Envelope {
    minicbor::decode(payload).unwrap()
}

fn edit(dir: &Path, random: &mut Random, change: impl FnOnce(&mut Envelope, &mut Random)) {
    let number = number(dir, random);
    let mut envelope = envelope(&payload(dir, number));
    change(&mut envelope, random);
    put(dir, number, &minicbor::to_vec(envelope).unwrap());
}

/// A statement that says something else in one line.
fn restated(statement: &str, random: &mut Random) -> String {
    let mut lines: Vec<String> = statement.lines().map(str::to_owned).collect();
    let place = 1 + random.below(lines.len() - 1);
    let line = &mut lines[place];
    match line.rfind(|c: char| c.is_ascii_hexdigit()) {
        Some(at) => {
            let other = if line.as_bytes()[at] == b'1' { "2" } else { "1" };
            line.replace_range(at..=at, other);
        }
        None => line.push('1'),
    }
    lines.join("\n") + "\n"
}

/// Another key signs, which says that it is itself, or the right one.
fn resign(envelope: &mut Envelope, random: &mut Random) {
    let signer = Signer::new();
    envelope.signature = signer.sign(&envelope.statement);
    match random.below(3) {
        0 => envelope.key = signer.public.key_id().to_vec(),
        1 => {}
        // As where a machine has no key.
        _ => (envelope.key, envelope.signature) = Default::default(),
    }
}
