//! The configuration: one TOML file that belongs to root, one struct for each part, an explicit default for each
//! field.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use engine::command::NOTE_BYTES_MAX;
use engine::retention::Keep;
use engine::schedule::Schedule;
use nix::fcntl::OFlag;
use nix::unistd::User;
use recovery::databases::DATABASES_MAX;
use recovery::databases::postgresql::{self, Address};
use recovery::services::WITNESS_FOLDER;
use recovery::services::units::Units;
use recovery::settings::knobs::Knobs;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use types::hash::Hash;
use types::token::TokenId;

mod agents;

pub use self::agents::Agents;

/// A configuration that is longer is none.
const LENGTH_MAX: u64 = 1 << 20;
/// Shortest time between checkpoints that nobody asks for, seconds: each looks at every file.
const INTERVAL_S_MIN: u64 = 60;
/// Actions that can be risky.
const WRITE_TOKENS: &str = "write-tokens";
const RESTORE: &str = "restore";
/// Where the administrator's units and drop-ins are.
const UNITS: &str = "/etc/systemd/system";
/// Where dsmild may lack something, and what.
const LACKS: [&str; 6] = ["agents", "anchor", "device", "probes", "tpm", "zones"];

/// Everything that can be configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder of log, chunks, checkpoints and sealed keys.
    pub state: PathBuf,
    /// The socket.
    pub socket: PathBuf,
    /// The user that the daemon runs as; its primary group may connect to the socket.
    pub user: String,
    /// The kernel module's node.
    pub device: PathBuf,
    /// What the daemon may start without: of `agents`, `anchor`, `device`, `probes`, `tpm`, `zones`. Every reply then says so.
    pub without: Vec<String>,
    /// Who may do what.
    pub people: People,
    /// Tokens.
    pub tokens: Tokens,
    /// Checkpoints.
    pub checkpoint: Checkpoint,
    /// The TPM.
    pub tpm: Tpm,
    /// The log.
    pub log: Log,
    /// Agents.
    pub agents: Agents,
    /// SHA-256 of the file.
    #[serde(skip)]
    pub hash: Hash,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state: "/var/lib/dsmil".into(),
            socket: api::SOCKET.into(),
            user: "dsmil".to_owned(),
            device: "/dev/dsmil".into(),
            without: Vec::new(),
            people: People::default(),
            tokens: Tokens::default(),
            checkpoint: Checkpoint::default(),
            tpm: Tpm::default(),
            log: Log::default(),
            agents: Agents::default(),
            hash: Hash::default(),
        }
    }
}

/// Who may do what, besides root.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct People {
    /// May take checkpoints.
    pub operators: Vec<String>,
    /// May do everything.
    pub owners: Vec<String>,
}

/// Tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// Ids that may be written; sealed in the kernel module by `dsmild seal`.
    pub allow: Vec<String>,
    /// Most changes in one request.
    pub changes_max: usize,
    /// How long the kernel waits for a confirmation before it undoes a change, seconds (1 to 600).
    pub confirm_s: u64,
    /// Names for people, by id, over those of the default map (devices.toml).
    pub names: BTreeMap<String, String>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { allow: Vec::new(), changes_max: 64, confirm_s: 30, names: BTreeMap::new() }
    }
}

/// Checkpoints.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Folders whose content is part of every checkpoint.
    pub roots: Vec<PathBuf>,
    /// What is left out of them, in the patterns of a `.gitignore` at the top of each.
    pub exclude: Vec<String>,
    /// Which checkpoints are kept.
    pub retention: Retention,
    /// A checkpoint is taken so long after the last one: a number with s, m, h or d; empty: never by time.
    pub interval: String,
    /// A checkpoint is taken before each risky action.
    pub before_risky: bool,
    /// Which actions are risky: of `write-tokens`, `restore`.
    pub risky: Vec<String>,
    /// Settings of the kernel that are part of every checkpoint: keys of sysctl, or paths below `/proc/sys` and `/sys`; `*` and `?`
    /// stand for other characters in a name.
    pub settings: Vec<String>,
    /// SQLite databases that are part of every checkpoint; in none of the folders.
    pub databases: Vec<PathBuf>,
    /// Units of systemd that are part of every checkpoint: names ending in `.service`, `.socket`, `.timer` or `.path`; `*` and `?` stand
    /// for other characters.
    pub services: Vec<String>,
    /// How long each phase of a restore may take, 10 to 86,400 seconds; it goes back then.
    pub phase_s: u32,
    /// Databases of PostgreSQL servers on this machine that are part of every checkpoint.
    pub postgresql: Vec<Postgresql>,
}

/// A database of a PostgreSQL server.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgresql {
    /// Its name.
    pub database: String,
    /// The folder of the server's socket.
    pub socket: String,
    /// The server's port, a part of the socket's name.
    pub port: u16,
    /// The user of the system that logs in, by its name alone (peer authentication).
    pub user: String,
    /// As which role of the server; as one of the user's name where it is not said.
    pub role: Option<String>,
}

impl Default for Postgresql {
    fn default() -> Self {
        Self {
            database: String::new(),
            socket: postgresql::SOCKET.to_owned(),
            port: postgresql::PORT,
            user: postgresql::USER.to_owned(),
            role: None,
        }
    }
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            exclude: Vec::new(),
            retention: Retention::default(),
            interval: String::new(),
            before_risky: false,
            risky: vec![WRITE_TOKENS.to_owned()],
            settings: Vec::new(),
            databases: Vec::new(),
            services: Vec::new(),
            phase_s: 3600,
            postgresql: Vec::new(),
        }
    }
}

impl Checkpoint {
    /// When checkpoints are taken that nobody asks for.
    pub fn schedule(&self) -> anyhow::Result<Schedule> {
        let interval_ns = if self.interval.is_empty() {
            None
        } else {
            let seconds = seconds(&self.interval).filter(|seconds| *seconds >= INTERVAL_S_MIN);
            let seconds = seconds.with_context(|| {
                format!(
                    "checkpoint.interval: “{}” is not {INTERVAL_S_MIN} seconds or more: write a number with s, m, h or d, such as 6h",
                    self.interval
                )
            })?;
            Some(seconds.saturating_mul(1_000_000_000))
        };
        Ok(Schedule { interval_ns, before_risky: self.before_risky, keep: self.retention.keep() })
    }

    fn risky(&self) -> anyhow::Result<policy::Risky> {
        if let Some(other) = self.risky.iter().find(|name| ![WRITE_TOKENS, RESTORE].contains(&name.as_str()))
        {
            bail!("checkpoint.risky: “{other}” is none of {WRITE_TOKENS}, {RESTORE}");
        }
        let has = |wanted: &str| self.risky.iter().any(|name| name == wanted);
        Ok(policy::Risky { writes: has(WRITE_TOKENS), restores: has(RESTORE) })
    }
}

/// A time of so many seconds, minutes, hours or days.
fn seconds(text: &str) -> Option<u64> {
    let (at, unit) = text.char_indices().last()?;
    let unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    text.get(..at)?.parse::<u64>().ok()?.checked_mul(unit)
}

/// Which checkpoints are kept; all where no field says otherwise. The newest, one that is in use and one named “emergency-base”
/// always are.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// So many of the newest; 0: no such rule.
    pub keep_last: u32,
    /// The newest one of so many hours in which there are any; 0: no such rule.
    pub keep_hourly: u32,
    /// The newest one of so many days; 0: no such rule.
    pub keep_daily: u32,
    /// The newest one of so many weeks; 0: no such rule.
    pub keep_weekly: u32,
    /// The oldest go until the others need at most so much on the disk, MiB; 0: any size.
    pub max_mib: u64,
    /// The rules are about checkpoints that somebody asked for, too, and not about automatic ones alone.
    pub manual: bool,
}

impl Retention {
    /// In the engine's words.
    pub fn keep(&self) -> Keep {
        Keep {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            max_bytes: (self.max_mib > 0).then(|| self.max_mib.saturating_mul(1 << 20)),
            manual: self.manual,
        }
    }
}

/// The TPM.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tpm {
    /// Where it is, in libtss2's notation.
    pub tcti: String,
}

impl Default for Tpm {
    fn default() -> Self {
        Self { tcti: tpm::TCTI_DEVICE.to_owned() }
    }
}

/// The log.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A head is signed at latest this long after a fact, milliseconds.
    pub head_ms: u64,
    /// How long a granted order may wait for its effects, seconds.
    pub grant_s: u32,
    /// Most bytes of a note (0 to 32768); 0 takes none.
    pub note_bytes: usize,
    /// How much the notes of one user who is not root may take in an hour, MiB.
    pub notes_hour_mib: u32,
    /// Notes are refused while the log's disk has less free than this, MiB: the rest is for orders.
    pub notes_free_mib: u32,
    /// The log is anchored in the TPM's memory, which wears, at latest this long after the last time, seconds (at least 3600).
    pub anchor_s: u32,
    /// The size at which the log begins another file, MiB (1 to 1024): what can be archived at once.
    pub file_mib: u32,
    /// How fast a start from a snapshot reads the rest of the log beside its work, MiB a second; 0 as fast as it goes.
    pub scrub_mib: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            head_ms: 1_000,
            grant_s: 300,
            note_bytes: 8 << 10,
            notes_hour_mib: 16,
            notes_free_mib: 1_024,
            anchor_s: 7_200,
            file_mib: 64,
            scrub_mib: 32,
        }
    }
}

impl Config {
    /// The ids that may be written.
    pub fn allowed(&self) -> anyhow::Result<BTreeSet<TokenId>> {
        self.tokens
            .allow
            .iter()
            .map(|text| {
                text.parse()
                    .with_context(|| format!("tokens.allow: “{text}” is not a token's id (0x0000 to 0xFFFF)"))
            })
            .collect()
    }

    /// The names of tokens: the default map, and the owner's over it.
    pub fn names(&self) -> anyhow::Result<BTreeMap<TokenId, String>> {
        let default: BTreeMap<String, String> =
            toml::from_str(include_str!("../devices.toml")).context("the default names of devices")?;
        default
            .iter()
            .chain(&self.tokens.names)
            .map(|(id, name)| {
                let id = id.parse().with_context(|| format!("tokens.names: “{id}” is not a token's id"))?;
                Ok((id, name.clone()))
            })
            .collect()
    }

    /// The rules for the gate.
    pub fn rules(&self) -> anyhow::Result<policy::Rules> {
        Ok(policy::Rules {
            version: self.hash,
            operators: users("people.operators", &self.people.operators)?,
            owners: users("people.owners", &self.people.owners)?,
            tokens: self.allowed()?,
            changes_max: self.tokens.changes_max,
            grant_ns: i64::from(self.log.grant_s) * 1_000_000_000,
            notes: policy::Notes {
                bytes_max: self.log.note_bytes,
                hour_bytes_max: u64::from(self.log.notes_hour_mib) << 20,
            },
            risky: self.checkpoint.risky()?,
        })
    }

    /// Whether the daemon may start without a part.
    pub fn may_lack(&self, part: &str) -> bool {
        self.without.iter().any(|lacked| lacked == part)
    }

    /// How long the kernel waits for a confirmation.
    pub fn confirm(&self) -> Duration {
        Duration::from_secs(self.tokens.confirm_s)
    }
}

impl Checkpoint {
    /// The settings, which the daemon reads and the restore helper writes.
    pub fn knobs(&self) -> anyhow::Result<Knobs> {
        Knobs::new(&self.settings).context("checkpoint.settings")
    }

    /// The services, which the daemon looks at and the restore helper changes.
    pub fn units(&self) -> anyhow::Result<Units> {
        Units::new(&self.services).context("checkpoint.services")
    }

    /// The databases of servers, which the restore helper dumps and replaces.
    pub fn addresses(&self) -> anyhow::Result<Vec<Address>> {
        let address = |one: &Postgresql| {
            let Postgresql { database, socket, port, user, role } = one;
            Address::new(database, (socket, *port), user, role.as_deref())
        };
        let addresses = self.postgresql.iter().map(address).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.context("checkpoint.postgresql")?;
        postgresql::check_list(&addresses).context("checkpoint.postgresql")?;
        Ok(addresses)
    }
}

fn users(field: &str, names: &[String]) -> anyhow::Result<BTreeSet<u32>> {
    names
        .iter()
        .map(|name| match User::from_name(name).with_context(|| format!("{field}: looking up “{name}”"))?
        {
            Some(user) => Ok(user.uid.as_raw()),
            None => bail!("{field}: there is no user “{name}” on this machine"),
        })
        .collect()
}

/// Reads and checks the file.
pub fn load(path: &Path) -> anyhow::Result<Config> {
    let shown = path.display();
    // Opened once, so that what is checked is what is read. A FIFO in its place must not stop the start.
    let file = fs::OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = file.with_context(|| {
        format!(
            "the configuration {shown} cannot be opened; --config names another, “dsmild check” tests one"
        )
    })?;
    let meta = file.metadata().with_context(|| format!("looking at {shown}"))?;
    ensure!(meta.is_file(), "{shown} is not a file");
    ensure!(
        meta.uid() == 0 && meta.mode() & 0o022 == 0,
        "{shown} decides what may be written, so it must belong to root and be writable for root alone: \
         “chown root {shown}; chmod go-w {shown}”"
    );
    let mut text = String::new();
    file.take(LENGTH_MAX + 1).read_to_string(&mut text).with_context(|| format!("reading {shown}"))?;
    ensure!(u64::try_from(text.len())? <= LENGTH_MAX, "{shown} is longer than {LENGTH_MAX} bytes");
    let mut config: Config = toml::from_str(&text).with_context(|| format!("{shown} is not understood"))?;
    config.hash = Hash(Sha256::digest(text.as_bytes()).into());
    check(&config).with_context(|| format!("{shown} cannot be used"))?;
    Ok(config)
}

fn check(config: &Config) -> anyhow::Result<()> {
    config.rules()?;
    config.names()?;
    config.checkpoint.schedule()?;
    config.checkpoint.knobs()?;
    config.checkpoint.units()?;
    config.checkpoint.addresses()?;
    config.agents.check()?;
    for part in &config.without {
        ensure!(LACKS.contains(&part.as_str()), "without: “{part}” is none of {}", LACKS.join(", "));
    }
    ensure!((1..=600).contains(&config.tokens.confirm_s), "tokens.confirm_s is 1 to 600 seconds");
    ensure!((1..=64).contains(&config.tokens.changes_max), "tokens.changes_max is 1 to 64");
    ensure!((10..=60_000).contains(&config.log.head_ms), "log.head_ms is 10 to 60000 milliseconds");
    ensure!((3_600..=86_400).contains(&config.log.anchor_s), "log.anchor_s is 3600 to 86400 seconds");
    ensure!((1..=1_024).contains(&config.log.file_mib), "log.file_mib is 1 to 1024 MiB");
    ensure!((10..=86_400).contains(&config.log.grant_s), "log.grant_s is 10 to 86400 seconds");
    ensure!((10..=86_400).contains(&config.checkpoint.phase_s), "checkpoint.phase_s is 10 to 86400 seconds");
    ensure!(config.log.note_bytes <= NOTE_BYTES_MAX, "log.note_bytes is 0 to {NOTE_BYTES_MAX} bytes");
    let Checkpoint { roots, databases, .. } = &config.checkpoint;
    for path in roots.iter().chain(databases).chain([&config.state, &config.socket]) {
        ensure!(path.is_absolute(), "{} is not an absolute path", path.display());
    }
    recovery::files::rules::Rules::new(&config.checkpoint.exclude).context("checkpoint.exclude")?;
    if let Some(root) = roots.iter().find(|root| contain(root, Path::new(UNITS))) {
        ensure!(
            config.checkpoint.services.is_empty(),
            "checkpoint.roots: {} and {UNITS} contain each other, and checkpoint.services restores what is there: leave one of them out",
            root.display()
        );
    }
    if let Some(root) = roots.iter().find(|root| contain(root, Path::new(WITNESS_FOLDER))) {
        ensure!(
            config.checkpoint.services.is_empty(),
            "checkpoint.roots: {} and {WITNESS_FOLDER} contain each other, and who could restore what is there could make any file of a \
             service known: leave checkpoint.services out, or this root",
            root.display()
        );
        ensure!(
            config.checkpoint.postgresql.is_empty(),
            "checkpoint.roots: {} and {WITNESS_FOLDER} contain each other, and who could restore what is there could make any dump of a \
             database known: leave checkpoint.postgresql out, or this root",
            root.display()
        );
    }
    for (place, root) in config.checkpoint.roots.iter().enumerate() {
        if let Some(other) = config.checkpoint.roots.iter().skip(place + 1).find(|other| contain(root, other))
        {
            bail!(
                "checkpoint.roots: {} and {} contain each other; what is in both would be restored twice",
                root.display(),
                other.display()
            );
        }
        ensure!(
            !contain(root, &config.state),
            "checkpoint.roots: {} and the state folder {} contain each other; a checkpoint cannot hold itself",
            root.display(),
            config.state.display()
        );
    }
    ensure!(databases.len() <= DATABASES_MAX, "checkpoint.databases names at most {DATABASES_MAX}");
    for (place, database) in databases.iter().enumerate() {
        let shown = database.display();
        // Paths that differ in such parts alone are equal, so it is the text that counts.
        let plain = database.components().as_path().as_os_str() == database.as_os_str()
            && database.file_name().is_some()
            && !database.components().any(|part| part == std::path::Component::ParentDir);
        ensure!(plain, "checkpoint.databases: {shown} is not a plain path: without “.” and “..”");
        ensure!(
            !databases.iter().skip(place + 1).any(|other| other == database),
            "checkpoint.databases: {shown} is there twice"
        );
        if let Some(root) = roots.iter().chain([&config.state]).find(|root| contain(root, database)) {
            bail!(
                "checkpoint.databases: {shown} lies in {}; it would be restored twice, and once behind the back of the \
                 programs that have it open: take another folder or leave it out",
                root.display()
            );
        }
    }
    Ok(())
}

/// Whether one folder lies in the other, or is the other.
fn contain(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

#[cfg(test)]
mod tests;
