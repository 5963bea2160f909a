//! tpm: TPM commands per protected record, against tpm2-tools and a signature per record
//!
//! A proxy in front of the software TPM counts what passes. Commands carry over to other chips; the times of a software
//! TPM do not, and stand beside them only as a second look at the same work.

#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of the crate's own tests, where a failure is a finding; not all are needed here"
)]
#[path = "../../../supervisor/tpm/tests/tpm/common.rs"]
mod common;

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use common::{Machine, Swtpm, Wire};
use sha2::{Digest as _, Sha256};
use tests::bench::{Arm, Bench, Better, Figure, Peer, ROUNDS, alternate, output};
use tpm::{AnchorHandles, HeadDigest, LogPoint};
use types::hash::Hash;

/// What one head covers: the records of a second.
const RECORDS: u64 = 1_000;
/// Records of a round where each one is signed; and where each one costs four processes.
const RECORDS_RESIDENT: u64 = 100;
const RECORDS_TOOLS: u64 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What has passed the proxy.
#[derive(Default)]
struct Seen {
    commands: AtomicU64,
    /// In the chip, nanoseconds.
    time: AtomicU64,
}

/// Commands, and microseconds in the chip, for each record.
#[derive(Clone, Copy)]
struct Cost {
    commands: f64,
    us: f64,
}

impl Seen {
    /// What this work costs for each of its records.
    fn cost(&self, records: u64, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Cost> {
        let before = (self.commands.load(Relaxed), self.time.load(Relaxed));
        work()?;
        let count = |now: &AtomicU64, before: u64| -> anyhow::Result<f64> {
            let count = u32::try_from(now.load(Relaxed) - before).context("too much for a round")?;
            Ok(f64::from(count) / f64::from(u32::try_from(records)?))
        };
        let commands = count(&self.commands, before.0)?;
        Ok(Cost { commands, us: count(&self.time, before.1)? / 1000.0 })
    }
}

fn run() -> anyhow::Result<()> {
    let bench = Bench::begin("tpm")?;
    let scratch = bench.scratch()?;
    let machine = Machine::new();
    let swtpm = machine.power_on();
    let (wire, seen) = tap(&swtpm);
    // Its slots are freed between the programs: a chip of its own.
    let tools_machine = Machine::new();
    let tools_swtpm = tools_machine.power_on();
    let (tools_wire, tools_seen) = tap(&tools_swtpm);
    let mut config = machine.config(&swtpm);
    config.tcti = wire.tcti();
    let tpm = tpm::start(&config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let sign = |digest: Hash| -> anyhow::Result<()> {
        let signature = runtime.block_on(tpm.sign_head(HeadDigest(digest)))?;
        ensure!(tpm::verify(tpm.head_key(), digest, signature.der()), "a signature is wrong");
        Ok(())
    };
    // The log is anchored, and as the daemon does it each head is counted, too.
    let anchor = AnchorHandles::default();
    let point = LogPoint { log_id: [1; 16], size: 0, root: root(0) };
    runtime.block_on(tpm.define_anchor(anchor, point))?;
    let head = || -> anyhow::Result<()> {
        sign(root(RECORDS))?;
        Ok(runtime.block_on(tpm.increment_orderly(anchor))?)
    };
    let mut arms: [Arm<'_, Cost>; 3] = [
        ("ours", Box::new(|| seen.cost(RECORDS, head))),
        (
            "resident-sign",
            Box::new(|| {
                seen.cost(RECORDS_RESIDENT, || (0..RECORDS_RESIDENT).try_for_each(|n| sign(leaf(n))))
            }),
        ),
        (
            "tpm2-tools",
            Box::new(|| tools(scratch.path(), &tools_wire.tcti(), &tools_swtpm.tcti(), &tools_seen)),
        ),
    ];
    let mut costs = alternate(ROUNDS, &mut arms)?;
    let version = output("tpm2_sign", &["--version"])?;
    let version =
        version.split('"').find(|word| word.starts_with(|c: char| c.is_ascii_digit())).unwrap_or("?");
    let mut take = |name| costs.remove(name).with_context(|| format!("no rounds of {name}"));
    let all = [
        (take("ours")?, String::new()),
        (
            take("resident-sign")?,
            "a signature per record by the same code, its key kept in the chip".to_owned(),
        ),
        (take("tpm2-tools")?, format!("{version}; createprimary, create, load, sign")),
    ];
    bench.finish(&[
        figure("TPM commands per 1,000 protected records, at 1,000 records/s", &all, |cost| {
            cost.commands * 1000.0
        }),
        figure("time in the software TPM per protected record, µs", &all, |cost| cost.us),
    ])
}

/// A proxy in front of a chip, and what it counts.
fn tap(swtpm: &Swtpm) -> (Wire, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let counter = seen.clone();
    let wire = Wire::tap(
        swtpm,
        Box::new(move |command, chip| {
            let start = Instant::now();
            let response = chip(command);
            counter.commands.fetch_add(1, Relaxed);
            counter.time.fetch_add(u64::try_from(start.elapsed().as_nanos()).unwrap_or(0), Relaxed);
            response
        }),
    );
    (wire, seen)
}

fn figure(metric: &'static str, all: &[(Vec<Cost>, String); 3], of: fn(&Cost) -> f64) -> Figure {
    let [(ours, _), (resident, kept), (tools, version)] = all;
    let samples = |costs: &[Cost]| costs.iter().map(of).collect::<Vec<_>>();
    let peer = |name, version: &str, costs: &[Cost], goal| Peer {
        name,
        version: version.to_owned(),
        samples: samples(costs),
        goal: Some(goal),
    };
    Figure {
        variant: "in-process",
        metric,
        better: Better::Lower,
        ours: samples(ours),
        peers: vec![peer("tpm2-tools", version, tools, 100.0), peer("resident-sign", kept, resident, 20.0)],
        notes: vec![
            "one head, signed by the resident key and counted in the anchor, covers the 1,000 records of a second; an anchoring, each two hours, \
             is not in it"
                .to_owned(),
            "tpm2-tools: freeing the slots between its programs is not counted".to_owned(),
            "swtpm; a real chip takes tens to hundreds of milliseconds a command".to_owned(),
        ],
        more: serde_json::Map::new(),
    }
}

fn leaf(n: u64) -> Hash {
    Hash(
        Sha256::new()
            .chain_update([0])
            .chain_update(n.to_be_bytes())
            .chain_update([7; 504])
            .finalize()
            .into(),
    )
}

/// One hash over the records, each of 512 bytes.
fn root(records: u64) -> Hash {
    let all = (0..records).fold(Sha256::new(), |all, n| all.chain_update(leaf(n).0));
    Hash(all.finalize().into())
}

/// Each record signed as tpm2-tools' own manual does it: from nothing, four programs.
fn tools(folder: &Path, wire: &str, chip: &str, seen: &Seen) -> anyhow::Result<Cost> {
    let run = |tcti: &str, program: &str, words: &[&str]| -> anyhow::Result<()> {
        let output = Command::new(program)
            .args(words)
            .current_dir(folder)
            .env("TPM2TOOLS_TCTI", tcti)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} {}: {}", words.join(" "), said.trim());
        Ok(())
    };
    // Past the proxy, so not counted: the kernel's resource manager does it on a machine.
    let free = || run(chip, "tpm2_flushcontext", &["-t"]);
    free()?;
    seen.cost(RECORDS_TOOLS, || {
        for n in 0..RECORDS_TOOLS {
            std::fs::write(folder.join("digest"), leaf(n).0)?;
            run(wire, "tpm2_createprimary", &["-Q", "-C", "o", "-G", "ecc", "-c", "primary.ctx"])?;
            free()?;
            let create =
                ["-Q", "-C", "primary.ctx", "-G", "ecc:ecdsa-sha256", "-u", "key.pub", "-r", "key.priv"];
            run(wire, "tpm2_create", &create)?;
            free()?;
            run(
                wire,
                "tpm2_load",
                &["-Q", "-C", "primary.ctx", "-u", "key.pub", "-r", "key.priv", "-c", "key.ctx"],
            )?;
            free()?;
            run(
                wire,
                "tpm2_sign",
                &["-Q", "-c", "key.ctx", "-g", "sha256", "-d", "-o", "signature", "digest"],
            )?;
            free()?;
        }
        Ok(())
    })
}
