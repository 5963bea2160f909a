//! Probes that are in the kernel for as long as a value lives.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use libbpf_rs::query::LinkInfoIter;
use libbpf_rs::{Link, Object, ObjectBuilder};
use telemetry::Telemetry;

/// How long runqlat may take to attach.
const PATIENCE: Duration = Duration::from_secs(20);
/// Programs that each of them attaches for the scheduler.
const SCHEDULER_PROGRAMS: usize = 3;

/// What is in the kernel.
pub enum Loaded {
    /// Nothing.
    Nothing,
    /// The programs that do nothing; the links keep them attached, the object holds them.
    Empty(#[expect(dead_code, reason = "held, not read")] (Vec<Link>, Object)),
    /// Ours, as the daemon loads them.
    Ours(Telemetry),
    /// The process of runqlat, which prints nothing in this time.
    Runqlat(Child),
}

impl Loaded {
    /// Loads the programs that do nothing from the file that [`compile`] made.
    pub fn empty(object: &Path) -> anyhow::Result<Self> {
        let object = ObjectBuilder::default().open_file(object)?.load()?;
        let links = object.progs_mut().map(|program| program.attach()).collect::<Result<Vec<_>, _>>()?;
        ensure!(links.len() == SCHEDULER_PROGRAMS, "{} empty programs", links.len());
        Ok(Self::Empty((links, object)))
    }

    pub fn ours() -> anyhow::Result<Self> {
        let telemetry = Telemetry::open()?;
        // A lost scheduler probe would cost nothing and so win.
        telemetry.scheduler().context("our probe does not measure")?;
        Ok(Self::Ours(telemetry))
    }

    pub fn runqlat() -> anyhow::Result<Self> {
        let before = attached()?;
        let child = Command::new("runqlat")
            .arg("86400")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting runqlat (package libbpf-tools)")?;
        let mut held = Self::Runqlat(child);
        let began = Instant::now();
        while attached()? < before + SCHEDULER_PROGRAMS {
            held.check()?;
            ensure!(began.elapsed() < PATIENCE, "runqlat has not attached in {PATIENCE:?}");
            sleep(Duration::from_millis(10));
        }
        Ok(held)
    }

    fn check(&mut self) -> anyhow::Result<()> {
        if let Self::Runqlat(child) = self
            && let Some(status) = child.try_wait()?
        {
            anyhow::bail!("runqlat ended by itself: {status}");
        }
        Ok(())
    }

    /// Takes it out of the kernel, after a look at whether it was there all the time.
    pub fn unload(mut self) -> anyhow::Result<()> {
        self.check()?;
        if let Self::Ours(telemetry) = &self {
            let waits: u64 =
                telemetry.scheduler()?.cpus.iter().map(|cpu| cpu.slots.iter().sum::<u64>()).sum();
            let lost = telemetry.lost()?.scheduler_waits;
            ensure!(waits > 0 && lost == 0, "{waits} waits measured, {lost} lost");
        }
        Ok(())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        if let Self::Runqlat(child) = self {
            // It may have ended by itself, which is what is wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Programs that are attached to the kernel, anybody's.
pub fn attached() -> anyhow::Result<usize> {
    Ok(LinkInfoIter::default().count())
}

/// Compiles the programs that do nothing.
pub fn compile(folder: &Path) -> anyhow::Result<PathBuf> {
    let object = folder.join("empty.o");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let status = Command::new(&clang)
        .args([
            "-O2",
            "-g",
            "-target",
            "bpf",
            "-c",
            concat!(env!("CARGO_MANIFEST_DIR"), "/benches/telemetry/empty.bpf.c"),
            "-o",
        ])
        .arg(&object)
        .status()
        .with_context(|| format!("starting {clang}"))?;
    ensure!(status.success(), "{clang} does not compile the empty probes");
    Ok(object)
}
