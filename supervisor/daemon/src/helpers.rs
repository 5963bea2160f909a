//! The root helpers that restore files and start agents, started before the drop.
//!
//! Each is this program again, with a socket to the daemon as standard input. It reads the configuration itself, so
//! that the daemon cannot tell it where it may write, or what it may run.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use caps::{CapSet, Capability, CapsHashSet};
use clap::ValueEnum;
use nix::sys::signal::{SigSet, Signal};
use recovery::services::{Changer, Witness};
use recovery::worker::{Keeping, Worker};
use sandbox::Brake;
use sandbox::folders::Folders;
use sandbox::helper::{Client, Rules};
use types::agent::Definition;
use types::hash::Hash;

use crate::config::Config;
use crate::privileges;

/// Which helper.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kind {
    /// Restores files: contents, owners, modes, times, attributes; writes settings of the kernel; copies databases; has
    /// PostgreSQL's programs dump and replace those of servers; has systemd change services.
    Restore,
    /// Starts agents from the definitions in the configured folders; freezes and kills them.
    Spawn,
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

/// And of databases: their owners' rights on files, in whose name they are opened.
const DATABASES: [Capability; 2] = [Capability::CAP_SETGID, Capability::CAP_SETUID];

/// And of databases of servers: becoming the user whose login it is, and ending what runs as that user.
const POSTGRESQL: [Capability; 3] = [Capability::CAP_KILL, Capability::CAP_SETGID, Capability::CAP_SETUID];

/// What starting agents needs: becoming their users, taking rights away for ever, limits above our own, killing where the kernel cannot
/// kill a cgroup, and reading definitions that are for their owner's eyes only.
const SPAWN: [Capability; 6] = [
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_KILL,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_RESOURCE,
];

/// How long the helper that starts agents may take to be ready: it ends what an earlier run has left.
const SPAWN_READY: Duration = Duration::from_secs(10);

/// Agents, as the daemon gets at them.
pub struct Agents {
    /// Asks the helper.
    pub client: Client,
    /// Stops them all without it.
    pub brake: Brake,
    /// What the cgroup tree can do.
    pub capabilities: sandbox::Capabilities,
    /// Where they are defined.
    pub folders: Folders,
}

/// Starts the restore helper and returns our end of its socket. It ends when that is closed.
pub fn start_restore(path: &Path, config: &Config) -> anyhow::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair().context("making a socket for the helper")?;
    start(Kind::Restore, theirs.into(), path, config)?;
    Ok(ours)
}

/// Starts the helper that starts agents, and takes over what stops them all.
///
/// To be called before any other helper is started: it moves this process out of the cgroup that is divided.
pub fn start_spawn(path: &Path, config: &Config) -> anyhow::Result<Agents> {
    anyhow::ensure!(nix::unistd::Uid::effective().is_root(), "agents are started by root's helper alone");
    let folders = config.agents.places(&config.user)?;
    sandbox::delegated::take(config.agents.cgroup())?;
    let (ours, theirs) = sandbox::helper::pair()?;
    start(Kind::Spawn, theirs, path, config)?;
    let (client, brake, capabilities) = Client::open(ours, SPAWN_READY)?;
    Ok(Agents { client, brake, capabilities, folders })
}

/// Starts a helper with its end of the socket.
///
/// It must read the same configuration as we did: effects name its folders by their place in the list.
fn start(kind: Kind, theirs: OwnedFd, path: &Path, config: &Config) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("finding our own program")?;
    Command::new(program)
        .arg("--config")
        .arg(path)
        .arg("helper")
        .arg(kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()))
        .arg(config.hash.to_string())
        .current_dir("/")
        // Ctrl-C in a terminal is for the daemon.
        .process_group(0)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("starting the helper {kind:?}"))?;
    Ok(())
}

/// Serves as a helper until the daemon is gone.
pub fn serve(kind: Kind, config: &Config, expected: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        config.hash == expected.parse::<Hash>().unwrap_or_default(),
        "the configuration was changed while dsmild started: start it again"
    );
    // A signal to the whole group asks the daemon to end what is under way, and for that it needs us.
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP])
        .thread_block()
        .context("blocking signals")?;
    match kind {
        Kind::Restore => {
            let files = if config.checkpoint.databases.is_empty() { &[][..] } else { &DATABASES };
            let servers = if config.checkpoint.postgresql.is_empty() { &[][..] } else { &POSTGRESQL };
            confine(&[&RESTORE, files, servers].concat())?;
            let stream = std::io::stdin().as_fd().try_clone_to_owned().context("taking the socket over")?;
            let worker = Worker::new(&config.checkpoint.roots).context("the restore helper")?;
            let worker = worker.with_settings(config.checkpoint.knobs()?);
            let worker = worker.with_services(Changer::new(config.checkpoint.units()?, Witness::default()));
            let worker = worker.with_databases(&config.checkpoint.databases).context("the restore helper")?;
            let addresses = config.checkpoint.addresses()?;
            let worker =
                worker.with_postgresql(&addresses, &Keeping::default()).context("the restore helper")?;
            recovery::helper::serve(&UnixStream::from(stream), worker).context("the restore helper")
        }
        Kind::Spawn => {
            let folders = config.agents.places(&config.user)?;
            let cgroup = sandbox::delegated::find(config.agents.cgroup())?;
            // A container may lack the right to limits above our own. Agents that ask for such then fail to start, and say so.
            let is_had = |one: &Capability| {
                *one != Capability::CAP_SYS_RESOURCE
                    || caps::has_cap(None, CapSet::Permitted, *one).unwrap_or(false)
            };
            confine(&SPAWN.into_iter().filter(is_had).collect::<Vec<_>>())?;
            let socket = std::io::stdin().as_fd().try_clone_to_owned().context("taking the socket over")?;
            let rules = Rules { cgroup, folders, instances_max: config.agents.instances_max };
            sandbox::helper::serve(socket, &rules, &definition).context("the helper of agents")
        }
    }
}

/// A definition, or its first mistake.
fn definition(bytes: &[u8]) -> Result<Definition, String> {
    api::agent::definition::read(bytes).map_err(|mistakes| {
        mistakes.first().map_or_else(|| "it is no definition".to_owned(), ToString::to_string)
    })
}

/// Keeps these capabilities and no others, also over exec.
fn confine(kept: &[Capability]) -> anyhow::Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    privileges::bound(kept)?;
    nix::unistd::setgroups(&[]).context("leaving root's groups")?;
    let kept: CapsHashSet = kept.iter().copied().collect();
    for set in [CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &kept).context("dropping capabilities")?;
    }
    nix::sys::prctl::set_no_new_privs().context("giving up new privileges")
}
