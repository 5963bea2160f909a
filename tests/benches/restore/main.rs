//! restore: a folder in which one file in a hundred has changed brought back, against rsync, restic, rustic and b3sum
//!
//! The page cache is dropped before each round, and the folder is hashed after it. Two classes that are never mixed: *trusting* programs take a
//! file for unchanged by what the file system says of it, *verifying* ones read every byte. `TREE` and `VARIANT` are as for the
//! benchmark of checkpoints.

#[path = "../checkpoint/ours.rs"]
mod ours;
#[expect(dead_code, reason = "the other benchmark needs the rest")]
#[path = "../checkpoint/peers.rs"]
mod peers;
#[path = "../checkpoint/tree.rs"]
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use ours::{Ours, Trust};
use peers::{Over, Peer as Program, Restic, Rustic};
use recovery::worker::effect::Way;
use serde_json::{Map, json};
use tests::bench::{Bench, Better, Figure, Peer, Scratch, output};
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
    let mut bench = Bench::begin("restore")?;
    let scratch = bench.scratch()?;
    bench.note(format!("file system: {}", scratch.file_system()));
    let shape = Shape::named(&std::env::var("TREE").unwrap_or_default())?;
    let mut tree = Tree::make(&scratch.path().join("tree"), shape)?;
    bench.note(format!("tree: {} files, {} bytes, half of them compressible", tree.files(), tree.bytes()));
    let place = Place::make(&scratch, &tree)?;
    let wanted = std::env::var("VARIANT").unwrap_or_default();
    let mut figures = Vec::new();
    for variant in VARIANTS.iter().filter(|variant| wanted.is_empty() || wanted == variant.name) {
        figures.push(variant.measure(&place, &mut tree)?);
    }
    bench.finish(&figures)
}

/// A program that keeps a folder in a repository.
#[expect(dead_code, reason = "the other benchmark needs the rest")]
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

fn fresh(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Everything that a round needs.
struct Place {
    tree: PathBuf,
    ours: PathBuf,
    /// What rsync copies from.
    copy: PathBuf,
    restic: Option<(Program<Restic>, PathBuf)>,
    rustic: Option<(Program<Rustic>, PathBuf)>,
    hash: [u8; 32],
}

impl Place {
    fn make(scratch: &Scratch, tree: &Tree) -> anyhow::Result<Self> {
        let at = |name: &str| scratch.path().join(name);
        tree.settle();
        let (path, ours, copy) = (tree.path().to_owned(), at("ours"), at("copy"));
        Ours.create(&ours)?;
        Ours.store(&ours, &path)?;
        program("cp", &["-a"], &[&path, &copy])?;
        let restic = Restic::found().map(|peer| (Program(peer), at("restic")));
        let rustic = Rustic::found().map(|peer| (Program(peer), at("rustic")));
        let peers = [
            restic.as_ref().map(|(peer, at)| (peer as &dyn Keeper, at)),
            rustic.as_ref().map(|(peer, at)| (peer as &dyn Keeper, at)),
        ];
        for (peer, at) in peers.into_iter().flatten() {
            peer.create(at)?;
            peer.store(at, &path)?;
        }
        Ok(Self { hash: tree.hash()?, tree: path, ours, copy, restic, rustic })
    }
}

fn program(name: &str, words: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
    let done =
        Command::new(name).args(words).args(paths).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    ensure!(done.success(), "{name} failed: {done}");
    Ok(())
}

/// One program in one class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Contender {
    Ours(Way, Trust),
    Rsync,
    RsyncChecksum,
    Restic(Over),
    Rustic(Over),
    B3sum,
}

impl Contender {
    const fn name(self) -> &'static str {
        match self {
            Self::Ours(Way::InPlace, _) => "ours",
            Self::Ours(Way::Exchange, _) => "ours, at once",
            Self::Rsync => "rsync",
            Self::RsyncChecksum => "rsync --checksum",
            Self::Restic(_) => "restic",
            Self::Rustic(_) => "rustic",
            Self::B3sum => "b3sum",
        }
    }

    fn version(self, place: &Place) -> String {
        let version = match self {
            Self::Ours(..) => Ok(String::new()),
            Self::Rsync | Self::RsyncChecksum => output("rsync", &["--version"]),
            Self::B3sum => output("b3sum", &["--version"]),
            Self::Restic(_) => place.restic.as_ref().map_or(Ok(String::new()), |(peer, _)| peer.version()),
            Self::Rustic(_) => place.rustic.as_ref().map_or(Ok(String::new()), |(peer, _)| peer.version()),
        };
        version.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
    }

    /// Brings the tree back; `false` where the program is not there.
    fn restore(self, place: &Place) -> anyhow::Result<bool> {
        let tree = place.tree.as_path();
        let source = place.copy.join("");
        match self {
            Self::Ours(way, trust) => ours::back(&place.ours, tree, way, trust)?,
            Self::Rsync => program("rsync", &["-a", "--delete"], &[&source, tree])?,
            Self::RsyncChecksum => program("rsync", &["-a", "--delete", "--checksum"], &[&source, tree])?,
            Self::Restic(over) => match &place.restic {
                Some((peer, at)) => peer.restore_over(at, tree, over)?,
                None => return Ok(false),
            },
            Self::Rustic(over) => match &place.rustic {
                Some((peer, at)) => peer.restore_over(at, tree, over)?,
                None => return Ok(false),
            },
            Self::B3sum => {
                let files = format!("find {} -type f -print0 | xargs -0 b3sum", tree.display());
                program("sh", &["-c", &files], &[])?;
            }
        }
        Ok(true)
    }
}

/// One figure.
struct Variant {
    name: &'static str,
    metric: &'static str,
    ours: Contender,
    /// Each with how much longer it is to take.
    peers: &'static [(Contender, f64)],
}

const VARIANTS: [Variant; 3] = [
    Variant {
        name: "trusting",
        metric: "s to restore over existing data, in place, trusting metadata",
        ours: Contender::Ours(Way::InPlace, Trust::Metadata),
        peers: &[
            (Contender::Rsync, 1.2),
            (Contender::Rustic(Over::Trusting), 2.5),
            (Contender::Restic(Over::Trusting), 6.0),
        ],
    },
    Variant {
        name: "at-once",
        metric: "s to restore over existing data, at once for readers, trusting metadata",
        ours: Contender::Ours(Way::Exchange, Trust::Metadata),
        peers: &[(Contender::Rsync, 0.5)],
    },
    Variant {
        name: "verifying",
        metric: "s to restore over existing data, in place, reading every byte",
        ours: Contender::Ours(Way::InPlace, Trust::Nothing),
        peers: &[
            (Contender::Restic(Over::Verifying), 1.6),
            (Contender::Rustic(Over::Verifying), 1.6),
            (Contender::RsyncChecksum, 1.6),
            (Contender::B3sum, 0.85),
        ],
    },
];

impl Variant {
    fn measure(&self, place: &Place, tree: &mut Tree) -> anyhow::Result<Figure> {
        let all: Vec<Contender> =
            [self.ours].into_iter().chain(self.peers.iter().map(|(peer, _)| *peer)).collect();
        let mut seconds: BTreeMap<Contender, Vec<f64>> = BTreeMap::new();
        let mut memory = 0;
        for round in 0..=ROUNDS {
            for step in 0..all.len() {
                let Some(contender) = all.get((round + step) % all.len()) else { continue };
                let taken = one(*contender, place, tree)?;
                if matches!(contender, Contender::Ours(..)) {
                    memory = memory.max(peak()?);
                }
                // The round 0 warms up.
                if let Some(taken) = taken.filter(|_| round > 0) {
                    seconds.entry(*contender).or_default().push(taken);
                }
            }
            tests::bench::progress(round, ROUNDS);
        }
        let of = |contender| seconds.get(&contender).cloned().unwrap_or_default();
        let there = self.peers.iter().filter(|(peer, _)| !of(*peer).is_empty());
        let peer = |(peer, factor): &(Contender, f64)| Peer {
            name: peer.name(),
            version: peer.version(place),
            samples: of(*peer),
            goal: Some(*factor),
        };
        Ok(Figure {
            variant: self.name,
            metric: self.metric,
            better: Better::Lower,
            ours: of(self.ours),
            peers: there.map(peer).collect(),
            notes: vec![
                "neither rsync nor restic nor rustic flushes what it writes; ours does, twice".to_owned(),
            ],
            more: Map::from_iter([("peak_memory_bytes".to_owned(), json!(memory))]),
        })
    }
}

/// Changes the tree and has it brought back.
fn one(contender: Contender, place: &Place, tree: &mut Tree) -> anyhow::Result<Option<f64>> {
    tree.change()?;
    nix::unistd::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping the page cache, which only root may")?;
    let began = Instant::now();
    let is_there = contender.restore(place)?;
    let taken = began.elapsed().as_secs_f64();
    if contender == Contender::B3sum || !is_there {
        // It reads and brings nothing back.
        Contender::Rsync.restore(place)?;
    }
    ensure!(tree.hash()? == place.hash, "{} did not bring back what was there", contender.name());
    // What others have put there is new to us, and known after one look, as it is after a restore of ours.
    tree.settle();
    Ours.store(&place.ours, &place.tree)?;
    Ok(is_there.then_some(taken))
}

/// The most memory that this process has had at once, bytes.
fn peak() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}
