//! Variant `verify`: the offline check of a log against hashing the same bytes in memory.

use anyhow::ensure;
use serde_json::Map;
use store::head::Head;
use store::log::{Config, Log};
use store::merkle::leaf_hashes;
use store::verify::verify;
use tests::bench::{Arm, Better, Figure, Peer, ROUNDS, Scratch, alternate};

use crate::{cpu_time, hash_plainly};

/// How many entries the log has.
const ENTRIES: usize = 1_000_000;
/// The size of an entry, in bytes.
const ENTRY_BYTES: usize = 512;
/// How many come in a batch: as many as agents are promised to run at once.
const BATCH: usize = 80;

/// CPU seconds of verifying, and of hashing the leaves alone.
pub fn figure(scratch: &Scratch) -> anyhow::Result<Figure> {
    let mut bytes = vec![0; ENTRIES * ENTRY_BYTES];
    for (number, entry) in bytes.chunks_exact_mut(ENTRY_BYTES).enumerate() {
        let marks = number.to_le_bytes().into_iter().cycle();
        entry.iter_mut().zip(marks).for_each(|(byte, mark)| *byte = mark);
    }
    let entries: Vec<&[u8]> = bytes.chunks_exact(ENTRY_BYTES).collect();
    let entries = entries.as_slice();
    let dir = scratch.path().join("log");
    let head = fill(&dir, entries)?;
    let (dir, head) = (&dir, &head);
    let mut arms: Vec<Arm<'_, f64>> = vec![
        (
            "ours",
            Box::new(move || {
                let began = cpu_time()?;
                let report = verify(dir, None, Some(head))?;
                let spent = cpu_time()?.saturating_sub(began);
                ensure!(report.entries == head.size && report.trusted, "not what was appended: {report:?}");
                Ok(spent.as_secs_f64())
            }),
        ),
        ("sha2", Box::new(move || seconds(|out| hash_plainly(entries.iter().copied(), out)))),
        ("leaf-hashes", Box::new(move || seconds(|out| leaf_hashes(entries, out)))),
    ];
    let mut results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let mut peer = |name, version: &str, goal| Peer {
        name,
        version: version.into(),
        samples: results.remove(name).unwrap_or_default(),
        goal,
    };
    let peers = vec![
        peer("sha2", "0.11, the leaves alone, in memory", Some(0.5)),
        peer("leaf-hashes", "ours, the leaves alone, in memory", None),
    ];
    Ok(Figure {
        variant: "verify",
        metric: "CPU s to verify 1,000,000 entries of 512 B in batches of 80, under a trusted head",
        better: Better::Lower,
        ours: results.remove("ours").unwrap_or_default(),
        peers,
        notes: vec![
            "ours reads the files out of the page cache, checks both CRCs, hashes leaves and tree, compares the root"
                .into(),
        ],
        more: Map::new(),
    })
}

fn fill(dir: &std::path::Path, entries: &[&[u8]]) -> anyhow::Result<Head> {
    let mut log = Log::create(dir, [7; 16], &Config::default())?;
    for batch in entries.chunks(BATCH) {
        log.append(batch)?;
    }
    Ok(log.head("dsmil.bench/log", vec![]))
}

fn seconds(hash: impl FnOnce(&mut Vec<types::hash::Hash>)) -> anyhow::Result<f64> {
    let mut out = Vec::with_capacity(ENTRIES);
    let began = cpu_time()?;
    hash(&mut out);
    let spent = cpu_time()?.saturating_sub(began);
    std::hint::black_box(&mut out);
    Ok(spent.as_secs_f64())
}
