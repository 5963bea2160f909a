//! `dsmil checkpoint mount`
//!
//! - this file: the command, and when it ends
//! - [`one`]: a checkpoint as a tree; [`all`]: all of them, each as a folder

mod all;
mod one;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use recovery::browse::contents::Contents;
use serde::Serialize;
use view::mount::{Mounted, mount};

use super::offline::{Offline, Signers, fault};
use crate::fault::Fault;
use crate::output;
use crate::session::Context;

/// Shows the files of a checkpoint in a folder, read-only, until it is unmounted or this command is ended.
///
/// It reads the daemon's state folder, also beside a running daemon, or a copy of it, and needs the repository's key: “dsmil tpm
/// recover --offline” opens it with the recovery key. Without a name or number all checkpoints are there, each in a folder
/// NUMBER-NAME, and “latest” leads to the newest. Files are below their absolute paths, with owners, modes, times and attributes as they were; the
/// kernel enforces these. What is damaged gives an I/O error, and a line here that says what it is. With --key only checkpoints that the TPM signed are shown.
///
/// It runs until “umount FOLDER”, Ctrl-C or SIGTERM. Root needs nothing else; other users need fusermount3 (package fuse3) and a copy that they may read.
#[derive(Debug, Args)]
#[command(
    override_usage = "dsmil checkpoint mount [NAME|NUMBER] <FOLDER> --repository-key <FILE> [OPTIONS]",
    after_help = "Examples:
  dsmil tpm recover --offline --dir /var/lib/dsmil --out /run/repository.key
  dsmil checkpoint mount before /mnt --repository-key /run/repository.key
  dsmil checkpoint mount /mnt --repository-key /run/repository.key --key machine.pem"
)]
pub struct Mount {
    /// A name or number, and all checkpoints where it is left out; then an empty folder.
    #[arg(value_name = "NAME|NUMBER> <FOLDER", required = true, num_args = 1..=2)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    offline: Offline,
    /// Also for other users, each as far as the modes that are shown allow; what folders above the captured ones kept from them is not known here.
    #[arg(long)]
    allow_other: bool,
}

/// What is mounted, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "checkpoint_mounted")]
struct Shown {
    folder: String,
    number: Option<u64>,
    name: Option<String>,
    signed: bool,
}

impl Mount {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let signers = self.offline.signers()?;
        let key = self.offline.repository_key()?;
        let contents = || Contents::open(self.offline.chunks(), key.clone()).map_err(fault);
        // Before there are other threads: they take over what is blocked.
        let ends = Ends::new().map_err(|error| Fault::Failed(format!("cannot wait for signals: {error}")))?;
        let (mounted, shown) = if let Some(which) = self.which() {
            let stored = self.offline.find(&which)?;
            let signed = signers.check(&stored)?;
            let contents = contents()?;
            let manifest = contents.with(|chunks| stored.manifest(chunks)).map_err(fault)?;
            let tree = one::One::new(manifest, contents).map_err(fault)?;
            let statement = stored.statement;
            (self.mount(tree)?, (Some(statement.number), Some(statement.name), signed))
        } else {
            let is_checked = signers.is_any();
            let tree = all::All::new(self.offline.checkpoints(), signers, contents()?)?;
            (self.mount(tree)?, (None, None, is_checked))
        };
        drop(key);
        let (number, name, signed) = shown;
        let shown = Shown { folder: mounted.folder().display().to_string(), number, name, signed };
        let said = if context.json { output::document(&shown, None) } else { output::print(&text(&shown)) };
        let waited = said.and_then(|()| {
            ends.wait(&mounted).map_err(|error| Fault::Failed(format!("cannot wait for its end: {error}")))
        });
        let folder = mounted.folder().display().to_string();
        let ended = mounted.end();
        waited.and(ended.map_err(|error| Fault::Failed(format!("the mount at {folder}: {error}"))))
    }

    /// The name or number, if one was given.
    fn which(&self) -> Option<String> {
        match self.places.as_slice() {
            [which, _] => Some(which.to_string_lossy().into_owned()),
            _ => None,
        }
    }

    fn folder(&self) -> &Path {
        self.places.last().map_or(Path::new(""), PathBuf::as_path)
    }

    fn mount(&self, tree: impl view::tree::Tree) -> Result<Mounted, Fault> {
        mount(tree, self.folder(), self.allow_other, &["checkpoint", "guard"]).map_err(|error| {
            let folder = self.folder().display();
            let more = match error.kind() {
                io::ErrorKind::NotFound if self.folder().exists() => {
                    ": is the kernel's module fuse there (“modprobe fuse”), and for other users than root fusermount3?"
                }
                _ => "",
            };
            Fault::Failed(format!("cannot mount on {folder}: {error}{more}"))
        })
    }
}

/// What ends the command.
struct Ends(SignalFd);

impl Ends {
    fn new() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        signals.thread_block()?;
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Until a signal, or until somebody has unmounted it.
    fn wait(&self, mounted: &Mounted) -> io::Result<()> {
        loop {
            let mut waited = [
                PollFd::new(self.0.as_fd(), PollFlags::POLLIN),
                PollFd::new(mounted.ended(), PollFlags::POLLIN),
            ];
            match poll(&mut waited, PollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn text(shown: &Shown) -> String {
    let what = match (shown.number, &shown.name) {
        (Some(number), Some(name)) => format!("checkpoint {number} “{name}”"),
        _ => "all checkpoints".to_owned(),
    };
    let signed = match (shown.number, shown.signed) {
        (None, true) => "those whose signature does not hold are left out",
        (_, signed) => Signers::said(signed),
    };
    let text = format!("{}: {what}, read-only; {signed}. End it with Ctrl-C or umount.", shown.folder);
    output::clean(&text) + "\n"
}
