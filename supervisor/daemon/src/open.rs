//! Everything that needs root, opened first and handed down as values.

use std::fs;
use std::os::unix::fs::{
    FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use device::{Device, Patience};
use nix::fcntl::OFlag;
use nix::unistd::{Uid, User};
use recovery::files::root::Root;
use recovery::files::rules::Rules;
use telemetry::Telemetry;
use telemetry::zone::Zones;
use types::token::Token;

use crate::config::Config;
use crate::{helpers, privileges, seal};

/// What was opened.
pub struct Opened {
    /// The configuration.
    pub config: Config,
    /// The user to become.
    pub user: User,
    /// The helper that starts agents, and what stops them all.
    pub agents: Option<helpers::Agents>,
    /// The kernel device, opened by root, and the firmware's table.
    pub device: Option<(Device, Vec<Token>)>,
    /// The TPM.
    pub tpm: tpm::Handle,
    /// The keys of TPMs that were there before, where the owner goes on with another one.
    pub retired: Vec<tpm::Retired>,
    /// The kernel probes.
    pub probes: Option<Telemetry>,
    /// The thermal zones.
    pub zones: Zones,
    /// The folders of checkpoints, seen through mounts of our own that leave access times alone.
    pub roots: Vec<Root>,
    /// The restore helper.
    pub restore: UnixStream,
    /// The socket.
    pub listener: UnixListener,
    /// Guarantees that this start lacks.
    pub missing: Vec<String>,
}

/// Opens everything; what is missing is an error unless the configuration accepts it.
pub fn open(config: Config, path: &Path, is_new_machine: bool) -> anyhow::Result<Opened> {
    let user = user(&config)?;
    alone(&config)?;
    let mut missing = Vec::new();
    // First of all, while there is no descriptor that they could inherit and no thread that the limits would miss.
    let agents = or_lack(&config, "agents", helpers::start_spawn(path, &config), &mut missing)?;
    let restore = helpers::start_restore(path, &config)?;
    privileges::limit()?;
    state_folder(&config, &user)?;
    let device = or_lack(&config, "device", device(&config), &mut missing)?;
    let probes = or_lack(&config, "probes", probes(&mut missing), &mut missing)?;
    let zones = Zones::new(telemetry::zone::ROOT);
    if zones.read().map_or(true, |zones| zones.is_empty()) {
        let none: anyhow::Result<()> = Err(anyhow::anyhow!("the machine shows no thermal zone"));
        or_lack(&config, "zones", none, &mut missing)?;
    }
    let (tpm, retired) = keys(&config, is_new_machine, &mut missing)?;
    if config.may_lack("anchor") || tpm.is_without_chip() {
        missing
            .push("anchor: a log that was cut back or an older copy of the disk is not noticed".to_owned());
    }
    let roots =
        Root::open_quiet(&config.checkpoint.roots).context("opening the folders of checkpoint.roots")?;
    let rules = Arc::new(Rules::new(&config.checkpoint.exclude).context("checkpoint.exclude")?);
    let roots = roots.into_iter().map(|root| root.without(&rules)).collect();
    let listener = listen(&config, &user)?;
    Ok(Opened {
        config,
        user,
        agents,
        device,
        tpm,
        retired,
        probes,
        zones,
        roots,
        restore,
        listener,
        missing,
    })
}

/// Where a key in software lies, which takes the TPM's place.
const SOFTWARE: &str = "software-key";

/// The keys of the log: the TPM's, or where the configuration says so, and there is no TPM, one in software. What signed the log once goes
/// on signing it: a TPM that fails for a while, or appears one day, does not change hands.
fn keys(
    config: &Config,
    is_new_machine: bool,
    missing: &mut Vec<String>,
) -> anyhow::Result<(tpm::Handle, Vec<tpm::Retired>)> {
    let mut chip = tpm::Config::new(config.state.join("tpm"));
    chip.tcti.clone_from(&config.tpm.tcti);
    let software = tpm::Config::new(config.state.join(SOFTWARE));
    if !config.may_lack("tpm") {
        anyhow::ensure!(
            !software.has_keys(),
            "the log was signed by the key in {}: say without = [\"tpm\"], or move the whole state folder away and begin anew",
            software.key_dir.display()
        );
        return chip_of(&chip, is_new_machine);
    }
    let why = if software.has_keys() {
        "the log goes on with the key that it began with".to_owned()
    } else if chip.has_keys() {
        return chip_of(&chip, is_new_machine);
    } else {
        match chip_of(&chip, is_new_machine) {
            Err(error) if matches!(error.downcast_ref(), Some(tpm::Error::Unavailable { .. })) => {
                format!("{error:#}")
            }
            opened => return opened,
        }
    };
    tracing::warn!("going on without a TPM: {why}");
    missing.push("tpm: a key in software signs the log: who can read the disk can sign, too".to_owned());
    let handle = tpm::start_software(&software).context("opening the key that takes the TPM's place")?;
    Ok((handle, Vec::new()))
}

/// The TPM. On a new machine the keys of the old one are put aside first.
fn chip_of(config: &tpm::Config, is_new_machine: bool) -> anyhow::Result<(tpm::Handle, Vec<tpm::Retired>)> {
    let started = match tpm::start(config) {
        Err(tpm::Error::ForeignKeyDir { path }) if is_new_machine => {
            tracing::warn!("putting aside the keys of another TPM, {}", path.display());
            tpm::retire(&config.key_dir).context("putting aside the keys of the old TPM")?;
            tpm::start(config)
        }
        Err(error @ tpm::Error::ForeignKeyDir { .. }) => {
            return Err(error).context(
                "this is another TPM than that of the log: after a new mainboard, “dsmild run --new-machine 'WHY'” goes on with it and \
                 records the reason",
            );
        }
        started => started,
    };
    let tpm = started.with_context(|| {
        format!(
            "the TPM at {}: the log must be signed, so dsmild does not start without unless the configuration says without = [\"tpm\"]",
            config.tcti
        )
    })?;
    let retired = if is_new_machine { tpm::retired(&config.key_dir)? } else { Vec::new() };
    Ok((tpm, retired))
}

fn or_lack<T>(
    config: &Config,
    part: &str,
    result: anyhow::Result<T>,
    missing: &mut Vec<String>,
) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if config.may_lack(part) => {
            tracing::warn!("going on without {part}: {error:#}");
            missing.push(format!("{part}: {error:#}"));
            Ok(None)
        }
        Err(error) => Err(error.context(format!(
            "dsmild does not start without {part} unless the configuration says without = [\"{part}\"]"
        ))),
    }
}

fn user(config: &Config) -> anyhow::Result<User> {
    if !Uid::effective().is_root() {
        return User::from_uid(Uid::effective())?.context("the user that runs dsmild has no entry in passwd");
    }
    match User::from_name(&config.user)? {
        Some(user) if user.uid.is_root() => {
            bail!("user: dsmild does not run as root; name a user of its own")
        }
        Some(user) => Ok(user),
        None => bail!("user: there is no user “{0}”: “useradd --system {0}” makes it", config.user),
    }
}

/// The folder belongs to the daemon's user and nobody else looks in. A folder that is somebody else's is not taken:
/// it may be a slip of the pen, such as “/etc”.
fn state_folder(config: &Config, user: &User) -> anyhow::Result<()> {
    let state = &config.state;
    fs::create_dir_all(state).with_context(|| format!("making the state folder {}", state.display()))?;
    // Looked at and changed as one and the same: its name may be put elsewhere in between.
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    let folder =
        fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(state).with_context(|| {
            format!("opening the state folder {}, which must not be a link", state.display())
        })?;
    let owner =
        folder.metadata().with_context(|| format!("looking at the state folder {}", state.display()))?;
    let is_ours = owner.uid() == user.uid.as_raw();
    let is_empty = fs::read_dir(state).is_ok_and(|mut entries| entries.next().is_none());
    if !(is_ours || is_empty) {
        bail!(
            "the state folder {0} is not {1}'s: if it really is DSMIL's, “chown -R {1} {0}”, else name another",
            state.display(),
            user.name
        );
    }
    folder
        .set_permissions(fs::Permissions::from_mode(0o700))
        .with_context(|| format!("closing the state folder {} to others", state.display()))?;
    fchown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
        .with_context(|| format!("giving the state folder {} to {}", state.display(), user.name))
}

fn device(config: &Config) -> anyhow::Result<(Device, Vec<Token>)> {
    // Effects run on threads of their own, where waiting for the firmware's turn is better than failing a workflow.
    let device = Device::open(&config.device)?.with_patience(Patience::USUAL);
    let tokens = seal::check(&device, &config.allowed()?)?;
    Ok((device, tokens))
}

fn probes(missing: &mut Vec<String>) -> anyhow::Result<Telemetry> {
    let probes = Telemetry::open()?;
    missing.extend(probes.missing());
    Ok(probes)
}

/// There is no other daemon. Two that start in the same moment meet again at the lock of the log.
fn alone(config: &Config) -> anyhow::Result<()> {
    if UnixStream::connect(&config.socket).is_ok() {
        bail!("another dsmild answers at {}: stop it first", config.socket.display());
    }
    Ok(())
}

/// The socket: root and the daemon's group may connect.
fn listen(config: &Config, user: &User) -> anyhow::Result<UnixListener> {
    let path = &config.socket;
    let shown = path.display();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    }
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            bail!("socket: there is something at {shown} that is no socket; name another place")
        }
        Ok(_) => fs::remove_file(path).with_context(|| format!("removing the old socket {shown}"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("looking at {shown}")),
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listening at {shown}"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .and_then(|()| chown(path, None, Some(user.gid.as_raw())))
        .with_context(|| format!("giving the socket {shown} to the group of {}", user.name))?;
    listener.set_nonblocking(true).context("making the socket non-blocking")?;
    Ok(listener)
}
