//! Servers that do the same: each is started once, with its data in the scratch folder, and asked by clients of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::unistd::User;
use tests::bench::{Scratch, output, quantile_of};

use super::Round;
use crate::sinks::ENTRY_BYTES;

/// How long a start may take; only a failure gets there.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below the kernel's ephemeral ports.
const UMADB: &str = "127.0.0.1:19650";
const POSTGRES_PORT: &str = "19652";

/// A server and its clients.
pub trait Server {
    /// Its release, and the settings that matter.
    fn version(&self) -> String;

    /// One round of so many clients, each with one append under way.
    ///
    /// # Errors
    ///
    /// An append failed.
    fn round(&mut self, clients: usize, time: Duration) -> anyhow::Result<Round>;
}

/// UmaDB as it ships: every append is flushed before it is acknowledged.
pub struct Umadb {
    server: Child,
    version: String,
    writers: PathBuf,
}

impl Umadb {
    /// Starts it; `UMADB` and `UMADB_WRITERS` name the programs.
    ///
    /// # Errors
    ///
    /// A program is missing or does not listen.
    pub fn start(scratch: &Scratch) -> anyhow::Result<Self> {
        let named =
            |name| std::env::var(name).with_context(|| format!("{name} names no program: use “make bench”"));
        let (program, writers) = (named("UMADB")?, named("UMADB_WRITERS")?);
        let version = output(&program, &["--version"])?;
        let server = Command::new(&program)
            .args(["--listen", UMADB, "--db-path"])
            .arg(scratch.path().join("uma.db"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let began = Instant::now();
        while std::net::TcpStream::connect(UMADB).is_err() {
            ensure!(began.elapsed() < PATIENCE, "UmaDB does not listen at {UMADB}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { server, version, writers: writers.into() })
    }
}

impl Server for Umadb {
    fn version(&self) -> String {
        format!("{}, default settings, a gRPC connection for each client", self.version)
    }

    fn round(&mut self, clients: usize, time: Duration) -> anyhow::Result<Round> {
        let (url, clients) = (format!("http://{UMADB}"), clients.to_string());
        let said = output(&self.writers.to_string_lossy(), &[&url, &clients, &time.as_millis().to_string()])?;
        let (rate, p99_ms) = said.split_once(' ').context("the clients of UmaDB say no figures")?;
        Ok(Round { rate: rate.parse()?, p99_ms: p99_ms.parse()?, places: Vec::new() })
    }
}

impl Drop for Umadb {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

/// PostgreSQL with its defaults for durability (`fsync` and `synchronous_commit` on) and pgbench as its clients.
pub struct Postgres {
    server: Child,
    bin: PathBuf,
    folder: PathBuf,
    user: Option<String>,
}

impl Postgres {
    /// Makes a cluster and starts it; `POSTGRES_BIN` names the folder of its programs. It refuses root, so a user named
    /// `postgres` runs it then.
    ///
    /// # Errors
    ///
    /// A program is missing or fails.
    pub fn start(scratch: &Scratch) -> anyhow::Result<Self> {
        let bin = PathBuf::from(
            std::env::var("POSTGRES_BIN").context("POSTGRES_BIN is not set: use “make bench”")?,
        );
        let folder = scratch.path().join("postgres");
        fs::create_dir_all(&folder)?;
        let folder = folder.canonicalize()?;
        let user = if nix::unistd::geteuid().is_root() {
            let user = User::from_name("postgres")?.context("there is no user postgres")?;
            chown(&folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            Some(user.name)
        } else {
            None
        };
        let data = folder.join("data");
        let made = command(&bin, "initdb", user.as_deref(), &folder)
            .args(["--auth=trust", "--username=bench", "-D"])
            .arg(&data)
            .output()?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let log = fs::File::create(scratch.path().join("postgres.log"))?;
        let server = command(&bin, "postgres", user.as_deref(), &folder)
            .arg("-D")
            .arg(&data)
            .args(["-p", POSTGRES_PORT, "-c", "listen_addresses=", "-c", "max_connections=120", "-k"])
            .arg(&folder)
            // Its guide: a quarter of the memory at most, and checkpoints far apart, for what only appends.
            .args(["-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB", "-c", "wal_init_zero=on"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let postgres = Self { server, bin, folder, user };
        postgres.prepare()?;
        Ok(postgres)
    }

    fn prepare(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let table =
                "CREATE TABLE log (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, entry bytea NOT NULL)";
            let made = self.client("psql").args(["-q", "-c", table, "postgres"]).output()?;
            if made.status.success() {
                break;
            }
            if began.elapsed() > PATIENCE {
                bail!("PostgreSQL does not serve: {}", String::from_utf8_lossy(&made.stderr));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let script = "INSERT INTO log (entry) VALUES (:entry);\n";
        Ok(fs::write(self.folder.join("insert.sql"), script)?)
    }

    fn client(&self, program: &str) -> Command {
        let mut command = command(&self.bin, program, self.user.as_deref(), &self.folder);
        command.arg("-h").arg(&self.folder).args(["-p", POSTGRES_PORT, "-U", "bench"]);
        command
    }
}

fn command(bin: &Path, program: &str, user: Option<&str>, folder: &Path) -> Command {
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", user, "--init-groups", "--"]).arg(bin.join(program));
            command
        }
        None => Command::new(bin.join(program)),
    };
    command.current_dir(folder);
    command
}

impl Server for Postgres {
    fn version(&self) -> String {
        let version =
            output(&self.bin.join("postgres").to_string_lossy(), &["--version"]).unwrap_or_default();
        format!("{version}, synchronous_commit=on, prepared INSERT, pgbench over a Unix socket")
    }

    fn round(&mut self, clients: usize, time: Duration) -> anyhow::Result<Round> {
        let seconds = time.as_secs().max(1).to_string();
        let said = self
            .client("pgbench")
            .args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", "2", "-T", &seconds, "-l"])
            .args(["--log-prefix=waits", "-f", "insert.sql", "-D"])
            .arg(format!("entry={}", ".".repeat(ENTRY_BYTES)))
            .arg("postgres")
            .output()?;
        let text = String::from_utf8_lossy(&said.stdout);
        ensure!(said.status.success(), "pgbench: {text}{}", String::from_utf8_lossy(&said.stderr));
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        let rate = rate.with_context(|| format!("pgbench says no rate: {text}"))?;
        Ok(Round { rate, p99_ms: self.p99_ms()?, places: Vec::new() })
    }
}

impl Postgres {
    /// From pgbench's logs, which are removed: the third field of a line is a wait in microseconds.
    fn p99_ms(&self) -> anyhow::Result<f64> {
        let mut waits_ms: Vec<f64> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("waits")) {
                let text = fs::read_to_string(&path)?;
                let wait =
                    |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok().map(|wait_us| wait_us / 1e3);
                waits_ms.extend(text.lines().filter_map(wait));
                fs::remove_file(path)?;
            }
        }
        waits_ms.sort_by(f64::total_cmp);
        quantile_of(&waits_ms, 0.99).context("pgbench logged nothing")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGKILL of the first process leaves the others to find out; an immediate stop does not.
        let stop = command(&self.bin, "pg_ctl", self.user.as_deref(), &self.folder)
            .args(["-D", "data", "-m", "immediate", "-s", "stop"])
            .status();
        if !stop.is_ok_and(|status| status.success()) {
            self.server.kill().ok();
        }
        self.server.wait().ok();
    }
}
