//! Outside the laptop: boots it, takes what the program inside measured, adds the module's size.

use std::collections::BTreeMap;
use std::env;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, json};
use tests::bench::{Bench, Better, Figure, Peer, output};

/// The ioctl may cost 1.02 times what the C driver's does; as a ratio, rounded up.
const IOCTL: f64 = 0.9804;
/// The mapped page must be so many times cheaper than the ioctl.
const MAPPED: f64 = 30.0;
/// A snapshot may cost 1.1 times its calls; as a ratio, rounded up.
const SNAPSHOT: f64 = 0.9091;
/// Bytes of the module's sections that are loaded.
const SIZE: f64 = 128.0 * 1024.0;

/// What the program in the laptop said.
#[derive(Deserialize)]
struct Said {
    /// Instructions by case and arm, one for each round.
    cases: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    /// The laptop's kernel.
    kernel: String,
    /// By how much a loop of known length was counted too high: median and most.
    surplus: [f64; 2],
    /// Tokens that can be read.
    tokens: u32,
    /// Reads that reached the firmware, by kind of snapshot and arm.
    calls: BTreeMap<String, BTreeMap<String, u32>>,
}

/// Measures and writes the figures.
pub fn run() -> anyhow::Result<()> {
    let mut bench = Bench::begin("ioctl")?;
    let said = boot()?;
    let [median, most] = said.surplus;
    bench.note(format!(
        "instructions counted by QEMU's -icount in a laptop with one CPU; a loop of 200,000 is counted {median} too high, \
         {most} if the timer hits it; cost of the call alone, loop and preparation taken off"
    ));
    bench.note(format!("kernel in the laptop: {}", said.kernel));
    let mut figures = Vec::new();
    for (case, variant, metric) in [
        ("read-1", "cached-ioctl", "instructions of READ, 1 entry, from the cache"),
        ("read-16", "cached-ioctl", "instructions of READ, 16 entries, from the cache"),
        ("info", "ioctl", "instructions of INFO"),
        ("version", "ioctl", "instructions of VERSION"),
        ("list", "ioctl", "instructions of LIST, 64 tokens"),
        ("unknown", "ioctl", "instructions of an unknown command (ENOTTY)"),
    ] {
        figures.push(said.figure(case, variant, metric, &[("c-driver", Some(IOCTL))])?);
    }
    figures.push(said.figure(
        "mapped",
        "mapped",
        "instructions to read a cached value through the mapped page",
        &[("ioctl", Some(MAPPED)), ("hot-load", None)],
    )?);
    figures.push(said.snapshot(
        "fresh",
        "instructions of a snapshot, each location from the firmware",
        &[("bare", Some(SNAPSHOT)), ("c-driver", None)],
    )?);
    figures.push(said.snapshot(
        "cached",
        "instructions of a snapshot from the cache",
        &[("c-driver", None)],
    )?);
    figures.push(said.cached_calls()?);
    figures.push(size()?);
    bench.finish(&figures)
}

/// Boots the laptop with both drivers and this program in it.
fn boot() -> anyhow::Result<Said> {
    let program = env::current_exe()?;
    let name = program.file_name().and_then(|name| name.to_str()).context("the program has no name")?;
    let driver = env::var("DSMIL_C_KO").context("DSMIL_C_KO: scripts/bench.sh sets it to the C driver")?;
    let files = "/usr/lib/laptop/job/files";
    let command = format!(
        "insmod /usr/lib/modules/dsmil.ko read_rate=0 && insmod {files}/dsmil_c.ko read_rate=0 && {files}/{name} guest"
    );
    let laptop = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/laptop.sh"))
        .args(["command", &command])
        .envs([("ICOUNT", "1"), ("BARE", "1"), ("TIMEOUT", "1800")])
        .env("FILES", format!("{} {driver}", program.display()))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting scripts/laptop.sh")?;
    ensure!(laptop.status.success(), "the laptop gave {}", laptop.status);
    serde_json::from_slice(&laptop.stdout).context("what the program in the laptop said")
}

impl Said {
    /// A figure of a case whose arms are ours and these peers.
    fn figure(
        &self,
        case: &str,
        variant: &'static str,
        metric: &'static str,
        peers: &[(&'static str, Option<f64>)],
    ) -> anyhow::Result<Figure> {
        let arms = self.cases.get(case).with_context(|| format!("no case {case}"))?;
        let samples = |arm| arms.get(arm).cloned().with_context(|| format!("{case} without {arm}"));
        let peer = |&(name, goal): &(&'static str, Option<f64>)| {
            Ok(Peer { name, version: version(name).into(), samples: samples(name)?, goal })
        };
        Ok(Figure {
            variant,
            metric,
            better: Better::Lower,
            ours: samples("ours")?,
            peers: peers.iter().map(peer).collect::<anyhow::Result<_>>()?,
            notes: vec![],
            more: Map::new(),
        })
    }

    /// A figure of snapshots, with the calls of each arm.
    fn snapshot(
        &self,
        kind: &str,
        metric: &'static str,
        peers: &[(&'static str, Option<f64>)],
    ) -> anyhow::Result<Figure> {
        let mut figure = self.figure(&format!("snapshot-{kind}"), "snapshot", metric, peers)?;
        let calls = self.calls.get(kind).context("no calls")?;
        let list: Vec<String> = calls.iter().map(|(arm, calls)| format!("{arm} {calls}")).collect();
        figure.notes.push(format!(
            "{} readable tokens; calls to the firmware: {}",
            self.tokens,
            list.join(", ")
        ));
        figure.more.insert("firmware_calls".into(), json!(calls));
        Ok(figure)
    }

    /// How many calls a snapshot from the cache made.
    fn cached_calls(&self) -> anyhow::Result<Figure> {
        let calls = self.calls.get("cached").and_then(|calls| calls.get("ours")).context("no calls")?;
        Ok(Figure {
            variant: "snapshot",
            metric: "calls to the firmware by ten snapshots from the cache",
            better: Better::Lower,
            ours: vec![f64::from(*calls)],
            peers: vec![],
            notes: vec!["goal: none; counted by the firmware, the same in each round".into()],
            more: Map::from_iter([("goal_absolute".to_owned(), json!(0))]),
        })
    }
}

/// What a peer is.
fn version(peer: &str) -> &'static str {
    match peer {
        "c-driver" => "tests/benches/ioctl/driver",
        "ioctl" => "READ of the same value from the cache",
        "bare" => "dell_smbios_call for each location, in a loop in the kernel",
        _ => "one load of a value in the processor's cache",
    }
}

/// The bytes of the module's sections that are loaded.
fn size() -> anyhow::Result<Figure> {
    let module = env::var("DSMIL_KO").context("DSMIL_KO: scripts/bench.sh sets it to the module")?;
    let sections = output("readelf", &["--section-headers", "--wide", &module])?;
    let mut bytes: BTreeMap<&str, u64> = BTreeMap::new();
    for line in sections.lines() {
        // “[ 1] .text PROGBITS address offset size entry flags …”; flags may be missing, and then nothing is loaded.
        let words: Vec<&str> = line.split_once(']').map_or("", |(_, rest)| rest).split_whitespace().collect();
        if let [name, _, _, _, size, _, flags, _, _, _] = words.as_slice()
            && flags.contains('A')
        {
            *bytes.entry(*name).or_default() += u64::from_str_radix(size, 16)?;
        }
    }
    let all: u64 = bytes.values().sum();
    let text = bytes.get(".text").copied().filter(|text| *text > 0).context("the module has no text")?;
    Ok(Figure {
        variant: "size",
        metric: "bytes of the module's loaded sections",
        better: Better::Lower,
        ours: vec![all as f64],
        peers: vec![],
        notes: vec![format!(
            "goal: below {SIZE} bytes; .text alone: {text}; what is freed after loading counts too"
        )],
        more: Map::from_iter([
            ("goal_absolute".to_owned(), json!(SIZE)),
            ("sections".to_owned(), json!(bytes)),
        ]),
    })
}
