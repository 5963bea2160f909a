//! The root helper that restores files, started before the drop.
//!
//! It is this program again, with a socket to the daemon as standard input. It reads the configuration itself, so
//! that the daemon cannot tell it where it may write.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use clap::ValueEnum;

use crate::config::Config;

/// Which helper.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// Restores files: contents, owners, modes, times, attributes.
    Restore,
}

/// What restoring needs: any owner, any mode, any place below the configured roots, file capabilities.
const RESTORE: [Capability; 6] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
];

/// Starts a helper and returns our end of its socket. It ends when that is closed.
pub fn start(kind: Kind, config: &Path) -> anyhow::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair().context("making a socket for the helper")?;
    let program = std::env::current_exe().context("finding our own program")?;
    Command::new(program)
        .arg("--config")
        .arg(config)
        .arg("helper")
        .arg(kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()))
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .spawn()
        .context("starting the restore helper")?;
    Ok(ours)
}

/// Serves as a helper until the daemon is gone.
pub fn serve(kind: Kind, config: &Config) -> anyhow::Result<()> {
    match kind {
        Kind::Restore => {
            confine(&RESTORE)?;
            let stream = std::io::stdin().as_fd().try_clone_to_owned().context("taking the socket over")?;
            recovery::helper::serve(&UnixStream::from(stream), &config.checkpoint.roots)
                .context("the restore helper")
        }
    }
}

/// Keeps these capabilities and no others, also over exec.
fn confine(kept: &[Capability]) -> anyhow::Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    let kept: CapsHashSet = kept.iter().copied().collect();
    for capability in caps::all().difference(&kept) {
        if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false) {
            caps::drop(None, CapSet::Bounding, *capability).context("dropping the bounding set")?;
        }
    }
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).context("dropping capabilities")?;
    }
    nix::sys::prctl::set_no_new_privs().context("giving up new privileges")
}
