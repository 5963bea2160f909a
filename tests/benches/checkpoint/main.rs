//! checkpoint: a folder stored, stored again, and brought back, against restic, rustic and tar with zstd
//!
//! - [`tree`]: the folder, from a seed
//! - [`ours`]: the crates `recovery` and `store` as the daemon uses them
//! - [`peers`]: the others
//!
//! The page cache is dropped before each round. `TREE=10g` takes 100,000 files of 10 GB instead of 20,000 of 2 GB, `TREE=small` a hundredth, to
//! try the program; `VARIANT` picks one figure.

#[expect(dead_code, reason = "the other benchmark needs the rest")]
mod ours;
#[expect(dead_code, reason = "the other benchmark needs the rest")]
mod peers;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use ours::Ours;
use peers::{Peer as Program, Restic, Rustic, Tar};
use serde_json::Map;
use tests::bench::{Arm, Bench, Better, Figure, Peer, Scratch, alternate};
use tree::{Shape, Tree};

/// Rounds: each is seconds long.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut bench = Bench::begin("checkpoint")?;
    let scratch = bench.scratch()?;
    bench.note(format!("file system: {}", scratch.file_system()));
    let shape = Shape::named(&std::env::var("TREE").unwrap_or_default())?;
    let mut tree = Tree::make(&scratch.path().join("tree"), shape)?;
    bench.note(format!("tree: {} files, {} bytes, half of them compressible", tree.files(), tree.bytes()));
    let wanted = std::env::var("VARIANT").unwrap_or_default();
    let mut figures = Vec::new();
    for (name, measure) in [
        ("first", first as fn(&Scratch, &mut Tree) -> anyhow::Result<Vec<Figure>>),
        ("unchanged", unchanged),
        ("incremental", incremental),
        ("empty-restore", empty_restore),
    ] {
        if wanted.is_empty() || wanted == name {
            figures.extend(measure(&scratch, &mut tree)?);
        }
    }
    bench.finish(&figures)
}

/// A program that keeps a folder in a repository.
trait Keeper {
    fn name(&self) -> &'static str;
    fn version(&self) -> anyhow::Result<String>;
    /// An empty repository in a folder that is not there.
    fn create(&self, repository: &Path) -> anyhow::Result<()>;
    /// Stores the tree.
    fn store(&self, repository: &Path, tree: &Path) -> anyhow::Result<()>;
    /// Brings the newest state back to an empty folder.
    fn restore(&self, repository: &Path, tree: &Path, to: &Path) -> anyhow::Result<()>;
}

fn keepers() -> Vec<Box<dyn Keeper>> {
    let mut keepers: Vec<Box<dyn Keeper>> = vec![Box::new(Ours)];
    keepers.extend(Restic::found().map(|peer| Box::new(Program(peer)) as Box<dyn Keeper>));
    keepers.extend(Rustic::found().map(|peer| Box::new(Program(peer)) as Box<dyn Keeper>));
    keepers
}

/// Seconds with nothing of the disk in memory.
fn cold(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    nix::unistd::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the page cache, which only root may")?;
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64())
}

fn fresh(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

fn size(path: &Path) -> anyhow::Result<u64> {
    let meta = path.symlink_metadata()?;
    if !meta.is_dir() {
        return Ok(meta.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += size(&entry?.path())?;
    }
    Ok(sum)
}

/// What a variant is called, and what reaching its goal takes.
struct Goal {
    variant: &'static str,
    metric: &'static str,
    factor: f64,
}

fn figure(
    goal: &Goal,
    keepers: &[Box<dyn Keeper>],
    samples: impl Fn(&str) -> Vec<f64>,
) -> anyhow::Result<Figure> {
    let peer = |keeper: &dyn Keeper| -> anyhow::Result<Peer> {
        Ok(Peer {
            name: keeper.name(),
            version: keeper.version()?,
            samples: samples(keeper.name()),
            goal: Some(goal.factor),
        })
    };
    Ok(Figure {
        variant: goal.variant,
        metric: goal.metric,
        better: Better::Lower,
        ours: samples("ours"),
        peers: keepers.iter().skip(1).map(|keeper| peer(keeper.as_ref())).collect::<Result<_, _>>()?,
        notes: Vec::new(),
        more: Map::new(),
    })
}

fn repository(scratch: &Scratch, keeper: &dyn Keeper) -> PathBuf {
    scratch.path().join(keeper.name())
}

/// The first checkpoint of a folder, and what it takes on the disk.
fn first(scratch: &Scratch, tree: &mut Tree) -> anyhow::Result<Vec<Figure>> {
    let keepers = keepers();
    let (path, tar) = (tree.path(), Tar::new(&scratch.path().join("tar")));
    let mut arms: Vec<Arm<'_, (f64, f64)>> = Vec::new();
    for keeper in &keepers {
        let keeper = keeper.as_ref();
        let round = move || {
            let at = repository(scratch, keeper);
            fresh(&at)?;
            keeper.create(&at)?;
            let seconds = cold(|| keeper.store(&at, path))?;
            Ok((seconds, size(&at)? as f64))
        };
        arms.push((keeper.name(), Box::new(round)));
    }
    arms.push(("tar-zstd", Box::new(|| Ok((cold(|| tar.store(path))?, tar.bytes()? as f64)))));
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let of = |name: &str, value: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        results.get(name).map(|rounds| rounds.iter().map(value).collect()).unwrap_or_default()
    };
    let seconds = Goal { variant: "first", metric: "s for the first checkpoint", factor: 1.8 };
    let bytes = Goal { variant: "first", metric: "bytes of the repository with one checkpoint", factor: 1.0 };
    let mut seconds = figure(&seconds, &keepers, |name| of(name, |round| round.0))?;
    let mut bytes = figure(&bytes, &keepers, |name| of(name, |round| round.1))?;
    let tar_peer = |samples| Peer { name: "tar-zstd", version: tar.version(), samples, goal: None };
    seconds.peers.push(tar_peer(of("tar-zstd", |round| round.0)));
    bytes.peers.push(tar_peer(of("tar-zstd", |round| round.1)));
    seconds
        .notes
        .push("tar-zstd neither encrypts nor finds what it has stored before, and does not flush".to_owned());
    Ok(vec![seconds, bytes])
}

/// Repositories that hold the tree as it is.
fn filled(scratch: &Scratch, tree: &Tree, keepers: &[Box<dyn Keeper>]) -> anyhow::Result<()> {
    for keeper in keepers {
        let at = repository(scratch, keeper.as_ref());
        fresh(&at)?;
        keeper.create(&at)?;
        keeper.store(&at, tree.path())?;
    }
    Ok(())
}

/// A checkpoint of what has not changed, against looking at each entry.
fn unchanged(scratch: &Scratch, tree: &mut Tree) -> anyhow::Result<Vec<Figure>> {
    let keepers = keepers();
    tree.settle();
    filled(scratch, tree, &keepers)?;
    let path = tree.path();
    let mut arms: Vec<Arm<'_, f64>> = Vec::new();
    for keeper in &keepers {
        let at = repository(scratch, keeper.as_ref());
        arms.push((keeper.name(), Box::new(move || cold(|| keeper.store(&at, path)))));
    }
    arms.push(("stat-walk", Box::new(|| cold(|| walk(path).map(drop)))));
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    let goal = Goal { variant: "unchanged", metric: "s for a checkpoint with nothing changed", factor: 4.0 };
    let of = |name: &str| results.get(name).cloned().unwrap_or_default();
    let mut figure = figure(&goal, &keepers, of)?;
    // The walk is the limit: the goal is to take at most 1.5 times as long.
    figure.peers.push(Peer {
        name: "stat-walk",
        version: "fstatat of each entry".into(),
        samples: of("stat-walk"),
        goal: Some(1.0 / 1.5),
    });
    Ok(vec![figure])
}

/// The least that anybody who looks for changes must do. Gives the number of entries.
fn walk(path: &Path) -> anyhow::Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        count += 1;
        if meta.is_dir() {
            count += walk(&entry.path())?;
        }
    }
    Ok(count)
}

/// A checkpoint after one file in a hundred has changed.
fn incremental(scratch: &Scratch, tree: &mut Tree) -> anyhow::Result<Vec<Figure>> {
    let keepers = keepers();
    tree.settle();
    filled(scratch, tree, &keepers)?;
    let path = tree.path().to_owned();
    let mut results: std::collections::BTreeMap<&str, Vec<f64>> = std::collections::BTreeMap::new();
    for round in 0..=ROUNDS {
        tree.change()?;
        for place in 0..keepers.len() {
            let Some(keeper) = keepers.get((round + place) % keepers.len()) else { continue };
            let at = repository(scratch, keeper.as_ref());
            let seconds = cold(|| keeper.store(&at, &path))?;
            // The round 0 warms up.
            if round > 0 {
                results.entry(keeper.name()).or_default().push(seconds);
            }
        }
        tests::bench::progress(round, ROUNDS);
    }
    let goal = Goal {
        variant: "incremental",
        metric: "s for a checkpoint with 1 % of the files changed",
        factor: 4.0,
    };
    Ok(vec![figure(&goal, &keepers, |name| results.get(name).cloned().unwrap_or_default())?])
}

/// The newest checkpoint into an empty folder, which then must hold the same.
fn empty_restore(scratch: &Scratch, tree: &mut Tree) -> anyhow::Result<Vec<Figure>> {
    let keepers = keepers();
    tree.settle();
    filled(scratch, tree, &keepers)?;
    let (path, hash) = (tree.path(), tree.hash()?);
    let mut arms: Vec<Arm<'_, (f64, f64)>> = Vec::new();
    for keeper in &keepers {
        let (at, to) = (repository(scratch, keeper.as_ref()), scratch.path().join("back"));
        let round = move || {
            fresh(&to)?;
            let mut alone = 0.0;
            let seconds = cold(|| {
                let began = Instant::now();
                keeper.restore(&at, path, &to)?;
                alone = began.elapsed().as_secs_f64();
                Ok(nix::unistd::syncfs(fs::File::open(&to)?)?)
            })?;
            let back = peers::below(&to, path);
            let top = if back.exists() { back } else { to.clone() };
            ensure!(tree::hash(&top)? == hash, "{} did not bring back what was there", keeper.name());
            Ok((seconds, alone))
        };
        arms.push((keeper.name(), Box::new(round)));
    }
    let results = alternate(ROUNDS, &mut arms)?;
    drop(arms);
    fresh(&scratch.path().join("back"))?;
    let of = |name: &str, value: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        results.get(name).map(|rounds| rounds.iter().map(value).collect()).unwrap_or_default()
    };
    let durable = "s to restore to an empty folder, until it is on the disk";
    let durable = Goal { variant: "empty-restore", metric: durable, factor: 1.8 };
    let alone = "s to restore to an empty folder, until the program ends";
    let alone = Goal { variant: "empty-restore", metric: alone, factor: 1.8 };
    let durable = figure(&durable, &keepers, |name| of(name, |round| round.0))?;
    let mut alone = figure(&alone, &keepers, |name| of(name, |round| round.1))?;
    alone
        .notes
        .push("ours has flushed by then, and read all of it again; the others have done neither".to_owned());
    Ok(vec![durable, alone])
}
