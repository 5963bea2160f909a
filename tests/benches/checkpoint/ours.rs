//! The crates `recovery` and `store` as the daemon uses them, without its log and its TPM: a checkpoint costs one signature of that.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use recovery::files::known::Known;
use recovery::files::root::Root;
use recovery::manifest::Manifest;
use recovery::manifest::stored::Stored;
use recovery::remembered::Remembered;
use recovery::restore::{self, Machine, Restore};
use recovery::worker::Worker;
use recovery::worker::effect::Way;
use store::chunk::Chunks;
use types::time::{BootId, Time};

use crate::Keeper;

const KEY: [u8; 32] = [7; 32];

pub struct Ours;

fn now() -> anyhow::Result<Time> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    let boottime_ns = u64::try_from(boot.tv_sec())? * 1_000_000_000 + u64::try_from(boot.tv_nsec())?;
    Ok(Time { boot: BootId([1; 16]), boottime_ns, wall_ns: wall.as_nanos().try_into()? })
}

fn newest(repository: &Path, chunks: &Chunks) -> anyhow::Result<Option<Manifest>> {
    let dir = repository.join("checkpoints");
    let Some(number) = store::manifest::list(&dir)?.into_iter().max() else { return Ok(None) };
    let stored = Stored::decode(number, &store::manifest::get(&dir, number)?)?;
    Ok(Some(stored.manifest(chunks)?))
}

impl Keeper for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn version(&self) -> anyhow::Result<String> {
        Ok(String::new())
    }

    fn create(&self, repository: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(repository.join("checkpoints"))?;
        Chunks::open(&repository.join("chunks"), &KEY)?;
        Ok(())
    }

    fn store(&self, repository: &Path, tree: &Path) -> anyhow::Result<()> {
        let mut chunks = Chunks::open(&repository.join("chunks"), &KEY)?;
        let before = newest(repository, &chunks)?;
        let remembered = Remembered::kept(&repository.join("checkpoints"), &chunks);
        let (roots, time) = ([Root::open(tree)?], now()?);
        let known = Known::at(time, &before).and(time, before.as_ref().zip(remembered.as_ref()));
        let machine = Machine { roots: &roots, known, ..Machine::default() };
        let number = before.as_ref().map_or(1, |manifest| manifest.number + 1);
        let manifest = restore::capture(machine, &mut chunks, number, "bench", time)?.manifest;
        let stored = manifest.store(&mut chunks)?.sign(Vec::new(), Vec::new());
        Ok(store::manifest::put(&repository.join("checkpoints"), number, &stored.encode()?)?)
    }

    /// A root is brought back where it was, so the tree steps aside for it.
    fn restore(&self, repository: &Path, tree: &Path, to: &Path) -> anyhow::Result<()> {
        let aside = tree.with_extension("aside");
        std::fs::rename(tree, &aside)?;
        std::fs::create_dir(tree)?;
        let done = back(repository, tree, Way::InPlace, Trust::Metadata);
        std::fs::rename(tree, to)?;
        std::fs::rename(&aside, tree)?;
        done
    }
}

/// What a restore relies on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// What the file system says of a file.
    Metadata,
    /// Every byte is read.
    Nothing,
}

/// Brings the newest checkpoint back to where it was.
pub fn back(repository: &Path, tree: &Path, way: Way, trust: Trust) -> anyhow::Result<()> {
    let chunks = Chunks::open_read_only(&repository.join("chunks"), &KEY)?;
    let manifest = newest(repository, &chunks)?.context("there is no checkpoint")?;
    let roots = [Root::open(tree)?];
    let paths: [PathBuf; 1] = [tree.to_owned()];
    let mut worker = Worker::new(&paths)?;
    let known = manifest.clone();
    let machine = Machine {
        roots: &roots,
        executor: Some(&mut worker),
        known: match trust {
            Trust::Metadata => Known::at(now()?, [&known]),
            Trust::Nothing => Known::default(),
        },
        way,
        checks_late: true,
        ..Machine::default()
    };
    let mut restore = Restore::begin(machine, manifest, &chunks, false)?;
    restore.prepare()?;
    restore.execute()?;
    restore.verify()?;
    restore.clean_up()?;
    restore.remember(now()?)?.keep(&repository.join("checkpoints"), &chunks)?;
    Ok(())
}
