//! Runs of survival: somebody who can write the disk changes the repository, and repairs every checksum; what he lacks is the keys.
//!
//! Each trial attacks a copy of a repository with several checkpoints, and then asks the code that verifies and restores: what it calls whole must
//! come back exactly, what it calls damaged must be refused without a change, and what it says can be restored all the same must be so.
//! `cargo test` runs a sample, `make survive WHAT=tampering` the whole.

mod attacks;
mod trial;
mod victim;

use std::path::Path;

use attacks::ATTACKS;
use trial::{Count, Hands};
use victim::Victim;

use super::random::{Random, seed};
use super::tree::is_root;

/// Tries of each attack in a sample.
const SAMPLE: usize = 4;
/// Attacks on one victim, before there is a new one.
const OF_ONE: usize = 3;

/// How much is done: `SURVIVE_TAMPERING` is the number of attacks.
fn times() -> usize {
    let wanted = std::env::var("SURVIVE_TAMPERING").ok().and_then(|text| text.parse().ok());
    wanted.map_or(SAMPLE, |wanted: usize| wanted.div_ceil(ATTACKS.len()))
}

#[test]
fn no_tampering_with_a_repository_brings_back_anything_else_as_root() {
    if !is_root() {
        return;
    }
    let (each, mut random) = (times(), Random(seed() << 32));
    let (mut count, mut victim) = (Count::default(), Victim::new(random.next()));
    for round in 0..each {
        if round % OF_ONE == OF_ONE - 1 {
            victim = Victim::new(random.next());
        }
        for (name, attack) in ATTACKS {
            let copy = victim.copy();
            attack(&victim, copy.path(), &mut random);
            let changed = victim.differs(copy.path());
            Hands { victim: &mut victim, random: &mut random, count: &mut count, what: (name, round) }
                .judge(copy.path(), changed);
        }
        // Nobody has touched this one.
        let copy = victim.copy();
        Hands { victim: &mut victim, random: &mut random, count: &mut count, what: ("nothing", round) }
            .judge(copy.path(), false);
    }
    count.tell(seed());
    assert!(count.wrong().is_empty(), "{:#?}", count.wrong());
}

/// The files of a folder, sorted.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files
}
