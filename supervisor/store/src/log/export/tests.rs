//! What is exported is read by a reader that follows the specification alone: no code of this crate but the exporter.

use std::collections::HashMap;

use base64::Engine as _;
use sha2::{Digest, Sha256};

use super::*;
use crate::log::tests::Signer;
use crate::log::{Config, Log, archive};

const SMALL: Config = Config { segment_bytes: 64 << 10, step_bytes: 16 << 10, reserve_bytes: 256 };

type Digest32 = [u8; 32];

fn node(left: &Digest32, right: &Digest32) -> Digest32 {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// MTH of RFC 6962.
fn tree(hashes: &[Digest32]) -> Digest32 {
    match hashes {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            node(&tree(left), &tree(right))
        }
    }
}

/// A client of c2sp.org/tlog-tiles over a folder instead of HTTP.
struct Client<'a> {
    folder: &'a Path,
    size: u64,
    root: Digest32,
}

impl<'a> Client<'a> {
    fn new(folder: &'a Path) -> Self {
        let checkpoint = std::fs::read_to_string(folder.join("checkpoint")).unwrap();
        let mut lines = checkpoint.lines();
        assert_eq!(lines.next(), Some("dsmil.test/log"));
        let size = lines.next().unwrap().parse().unwrap();
        let root = base64::engine::general_purpose::STANDARD.decode(lines.next().unwrap()).unwrap();
        assert!(lines.any(|line| line.starts_with("— dsmil.test/log ")));
        Self { folder, size, root: root.try_into().unwrap() }
    }

    /// A resource of the specification: whole, or partial where the tree has no more.
    fn fetch(&self, kind: &str, level: u32, index: u64) -> (u64, Option<Vec<u8>>) {
        let at_level = self.size >> (8 * level);
        let width = 256.min(at_level - index * 256);
        let digits = format!("{index:03}");
        let padded = format!("{digits:0>width$}", width = digits.len().div_ceil(3) * 3);
        let groups: Vec<&str> =
            padded.as_bytes().chunks(3).map(|group| std::str::from_utf8(group).unwrap()).collect();
        let (last, first) = groups.split_last().unwrap();
        let mut path: String = first.iter().map(|group| format!("x{group}/")).collect();
        path.push_str(last);
        if width < 256 {
            path.push_str(&format!(".p/{width}"));
        }
        (width, std::fs::read(self.folder.join("tile").join(kind).join(path)).ok())
    }

    fn tile(&self, level: u32, index: u64) -> Vec<Digest32> {
        let (width, bytes) = self.fetch(&level.to_string(), level, index);
        let hashes = bytes.unwrap_or_else(|| panic!("no tile {level}/{index}")).as_chunks().0.to_vec();
        assert_eq!(hashes.len() as u64, width);
        hashes
    }

    fn entries(&self, index: u64) -> Option<Vec<Vec<u8>>> {
        let (width, bytes) = self.fetch("entries", 0, index);
        let (bytes, mut rest, mut entries) = (bytes?, 0, Vec::new());
        while rest < bytes.len() {
            let count = usize::from(u16::from_be_bytes([bytes[rest], bytes[rest + 1]]));
            entries.push(bytes[rest + 2..rest + 2 + count].to_vec());
            rest += 2 + count;
        }
        assert_eq!(entries.len() as u64, width);
        Some(entries)
    }

    /// Reads everything there must be; returns which entries there are.
    fn check(&self) -> HashMap<u64, Vec<u8>> {
        let mut leaves = Vec::new();
        let mut below: Vec<Digest32> = Vec::new();
        for level in 0.. {
            let count = self.size >> (8 * level);
            if count == 0 {
                break;
            }
            let tiles: Vec<Vec<Digest32>> =
                (0..count.div_ceil(256)).map(|index| self.tile(level, index)).collect();
            if level == 0 {
                leaves = tiles.concat();
            } else {
                assert_eq!(tiles.concat(), below, "level {level}");
            }
            below = tiles.iter().filter(|tile| tile.len() == 256).map(|tile| tree(tile)).collect();
        }
        assert_eq!(tree(&leaves), self.root);
        let mut found = HashMap::new();
        for index in 0..self.size.div_ceil(256) {
            for (place, entry) in self.entries(index).into_iter().flatten().enumerate() {
                let number = size(index) * 256 + place;
                let leaf: Digest32 = Sha256::new().chain_update([0]).chain_update(&entry).finalize().into();
                assert_eq!(leaf, leaves[number]);
                found.insert(number as u64, entry);
            }
        }
        found
    }
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").repeat(size(index % 5)).into_bytes()
}

fn sample(folder: &Path, size: u64) -> Log {
    let mut log = Log::create(&folder.join("log"), [1; 16], &SMALL).unwrap();
    while log.size() < size {
        log.append(&(log.size()..size.min(log.size() + 500)).map(entry).collect::<Vec<_>>()).unwrap();
    }
    let signer = Signer::new();
    signer.store(&mut log).unwrap();
    // What no head covers is not exported.
    log.append(&[b"later"; 300]).unwrap();
    log
}

#[test]
fn others_read_what_is_exported_beside_a_writer() {
    for size in [1, 255, 256, 257, 70_000] {
        let folder = tempfile::tempdir().unwrap();
        let _log = sample(folder.path(), size);
        let out = folder.path().join("out");
        let exported = export(&folder.path().join("log"), None, &out, &mut |_| ()).unwrap();
        assert_eq!(exported, Exported { size, first: 0 });
        let client = Client::new(&out);
        assert_eq!(client.size, size);
        let found = client.check();
        assert!((0..size).all(|index| found[&index] == entry(index)));
        assert!(matches!(
            export(&folder.path().join("log"), None, &out, &mut |_| ()),
            Err(Error::Exists { .. })
        ));
    }
}

#[test]
fn archived_entries_are_exported_from_the_archive_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [log, elsewhere, out, pruned] =
        ["log", "archive", "out", "pruned"].map(|name| folder.path().join(name));
    drop(sample(folder.path(), 20_000));
    let until = archive(&log, &elsewhere, 15_000, &mut |_| ()).unwrap().entries.end;
    assert!(until > 5000);
    assert_eq!(
        export(&log, Some(&elsewhere), &out, &mut |_| ()).unwrap(),
        Exported { size: 20_000, first: 0 }
    );
    assert_eq!(Client::new(&out).check().len(), 20_000);
    let exported = export(&log, None, &pruned, &mut |_| ()).unwrap();
    assert_eq!(exported.first, until.next_multiple_of(256));
    let found = Client::new(&pruned).check();
    assert!((exported.first..20_000).all(|index| found[&index] == entry(index)));
    assert_eq!(found.len() as u64, 20_000 - exported.first);
}

#[test]
fn a_damaged_log_or_archive_is_not_exported() {
    let folder = tempfile::tempdir().unwrap();
    let [log, elsewhere, out] = ["log", "archive", "out"].map(|name| folder.path().join(name));
    drop(sample(folder.path(), 20_000));
    let done = archive(&log, &elsewhere, 15_000, &mut |_| ()).unwrap();
    let file = &done.files[1];
    let mut bytes = std::fs::read(file).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(file, &bytes).unwrap();
    assert!(matches!(export(&log, Some(&elsewhere), &out, &mut |_| ()), Err(Error::Damaged(_))));
    assert!(!out.join("checkpoint").exists());
    std::fs::remove_file(file).unwrap();
    let again = folder.path().join("again");
    assert!(matches!(export(&log, Some(&elsewhere), &again, &mut |_| ()), Err(Error::Damaged(_))));
}
