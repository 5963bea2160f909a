//! The laptop's folder and its process.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Bytes of the disk, as `scripts/laptop.sh` makes it.
pub(super) const DISK_BYTES: u64 = 512 << 20;

/// A laptop that is off.
#[derive(Debug)]
pub(super) struct Machine {
    script: PathBuf,
    name: String,
    folder: PathBuf,
}

/// A laptop that is on.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// What it says, and how long the log of writes was when it was heard.
    pub(super) lines: Receiver<(String, u64)>,
    pid: PathBuf,
}

impl Machine {
    /// A new one, with an empty disk, a TPM of its own and the firmware's defaults.
    pub(super) fn new(script: &Path, laptops: &Path) -> anyhow::Result<Self> {
        let name = format!("power.{}", std::process::id());
        let folder = laptops.join(format!("{name}.laptop"));
        let machine = Self { script: script.to_owned(), name, folder };
        machine.renew()?;
        Ok(machine)
    }

    /// Makes a new one of it.
    pub(super) fn renew(&self) -> anyhow::Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder).with_context(|| format!("making {}", self.folder.display()))?;
        File::create(self.disk())?.set_len(DISK_BYTES)?;
        command("mke2fs", &["-q", "-t", "ext4", "-L", "persist"], &[self.disk()])
    }

    /// The disk without power: what the next boot begins with.
    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("durable.img")
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log of what is written to the disk in a boot.
    pub(super) fn writes(&self) -> PathBuf {
        self.folder.join("writes")
    }

    /// The TPM's memory that needs no power.
    pub(super) fn nv(&self) -> PathBuf {
        self.folder.join("tpm/tpm2-00.permall")
    }

    /// The firmware's writes.
    pub(super) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// What it said besides its answer: why it did not come up, if so.
    pub(super) fn said(&self) -> String {
        let said = fs::read(self.folder.join("said")).unwrap_or_default();
        String::from_utf8_lossy(&said).trim().to_owned()
    }

    /// Boots it; it does what `words` say, and finds these lines in a file of the name `facts`.
    pub(super) fn boot(&self, words: &str, facts: &str) -> anyhow::Result<Running> {
        let (pid, writes, lines_file) =
            (self.folder.join("qemu.pid"), self.writes(), self.folder.join("facts"));
        for old in [&pid, &writes] {
            if old.exists() {
                fs::remove_file(old)?;
            }
        }
        fs::write(&lines_file, facts)?;
        // What runs writes to a copy: what of it lasts is known once the power has gone.
        command("cp", &["--sparse=always", "--reflink=auto"], &[self.disk(), self.folder.join("disk.img")])?;
        let mut child = Command::new(&self.script)
            .args([
                "command",
                &format!("laptop-survive power --facts /usr/lib/laptop/job/files/facts {words}"),
            ])
            .env("LAPTOP", &self.name)
            .env("WRITES", &writes)
            .env("FILES", &lines_file)
            .env_remove("BARE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.folder.join("said"))?)
            .spawn()
            .with_context(|| format!("starting {}", self.script.display()))?;
        let mut out = BufReader::new(child.stdout.take().context("no standard output")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            // A last line without its end is of a write that the cut interrupted.
            while out.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
                // Read later than it was said, so the place is behind what the line tells of.
                let place = writes.metadata().map_or(0, |meta| meta.len());
                if sender.send((line.trim_end().to_owned(), place)).is_err() {
                    break;
                }
                line.clear();
            }
        });
        Ok(Running { child, lines, pid })
    }
}

impl Running {
    /// How it ended, if it has by itself.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The power goes: QEMU is killed, and the TPM with it.
    pub(super) fn cut(&mut self) -> anyhow::Result<()> {
        let pid = fs::read_to_string(&self.pid).context("QEMU has not said which process it is")?;
        kill(Pid::from_raw(pid.trim().parse()?), Signal::SIGKILL).context("killing QEMU")?;
        // The script waits for the software TPM.
        self.child.wait()?;
        Ok(())
    }

    /// Waits for an end in order.
    pub(super) fn wait(mut self) -> anyhow::Result<(ExitStatus, Vec<String>)> {
        let lines = self.lines.iter().map(|(line, _)| line).collect();
        Ok((self.child.wait()?, lines))
    }
}

/// Runs a program to its end.
pub(super) fn command(program: &str, words: &[&str], files: &[PathBuf]) -> anyhow::Result<()> {
    let output = Command::new(program).args(words).args(files).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program}: {}: {}", output.status, said.trim());
    Ok(())
}
