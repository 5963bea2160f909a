//! A server in a temporary folder, and a client that is no code of the product's.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

use crate::databases::postgresql::Address;

pub(super) const PORT: u16 = 5499;

pub(super) struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    user: User,
    running: Option<Child>,
}

/// The newest release here.
fn programs() -> Option<PathBuf> {
    let listed = fs::read_dir("/usr/lib/postgresql").ok()?;
    let majors = listed.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let bin = PathBuf::from(format!("/usr/lib/postgresql/{}/bin", majors.max()?));
    bin.join("initdb").is_file().then_some(bin)
}

/// Who runs the server, which refuses root.
fn user() -> Option<User> {
    if !Uid::effective().is_root() {
        return User::from_uid(Uid::effective()).unwrap();
    }
    User::from_name("postgres").unwrap()
}

impl Server {
    /// None where PostgreSQL is missing, which is told.
    pub(super) fn start() -> Option<Self> {
        let (Some(bin), Some(user)) = (programs(), user()) else {
            eprintln!("skipped: needs PostgreSQL");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { dir, bin, user, running: None };
        let at = server.at();
        fs::create_dir(&at).unwrap();
        if Uid::effective().is_root() {
            chown(&at, Some(server.user.uid.as_raw()), Some(server.user.gid.as_raw())).unwrap();
        }
        let mut initdb = server.command("initdb");
        initdb.args(["--no-sync", "--auth=peer", "--encoding=UTF8", "--locale=C.UTF-8", "-D"]);
        let made = initdb.arg(at.join("data")).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.run();
        Some(server)
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    pub(super) fn socket(&self) -> String {
        self.at().to_str().unwrap().to_owned()
    }

    pub(super) fn user(&self) -> &str {
        &self.user.name
    }

    pub(super) fn address(&self, database: &str) -> Address {
        Address::new(database, (&self.socket(), PORT), &self.user.name, None).unwrap()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        if Uid::effective().is_root() {
            command.uid(self.user.uid.as_raw()).gid(self.user.gid.as_raw());
        }
        command
    }

    pub(super) fn run(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = self.command("postgres");
        command
            .arg("-D")
            .arg(self.at().join("data"))
            .arg("-k")
            .arg(self.at())
            .args(["-p", &PORT.to_string()]);
        for option in ["listen_addresses=", "fsync=off", "shared_buffers=16MB", "max_prepared_transactions=2"]
        {
            command.args(["-c", option]);
        }
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.running = Some(child);
        for _ in 0..200 {
            if self.client("postgres").arg("-c").arg("SELECT 1").output().unwrap().status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{}", fs::read_to_string(self.dir.path().join("log")).unwrap());
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGQUIT).unwrap();
            child.wait().unwrap();
        }
    }

    /// psql, with the name quoted as libpq's documentation says.
    fn client(&self, database: &str) -> Command {
        let mut client = self.command("psql");
        let name = database.replace('\\', "\\\\").replace('\'', "\\'");
        let whole = format!("host={} port={PORT} user={} dbname='{name}'", self.socket(), self.user.name);
        client.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &whole]);
        client
    }

    /// What statements give.
    pub(super) fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements).unwrap_or_else(|error| panic!("{statements}: {error}"))
    }

    pub(super) fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut client = self.client(database);
        let mut child = client
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(statements.as_bytes()).unwrap();
        let said = child.wait_with_output().unwrap();
        if said.status.success() {
            return Ok(String::from_utf8(said.stdout).unwrap().trim_end().to_owned());
        }
        Err(String::from_utf8_lossy(&said.stderr).into_owned())
    }

    /// A program that has said this, and stays connected until it is ended.
    pub(super) fn program(&self, database: &str, statements: &str) -> Program {
        let mut client = self.client(database);
        let mut child = client
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(statements.as_bytes()).unwrap();
        stdin.flush().unwrap();
        let program = Program { child, stdin: Some(stdin) };
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(30));
            let state = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND state LIKE 'idle%'";
            if self.sql("postgres", state) != "0" {
                return program;
            }
        }
        panic!("the program does not connect");
    }

    pub(super) fn databases(&self) -> Vec<String> {
        let names = self
            .sql("postgres", "SELECT datname FROM pg_database WHERE datname NOT LIKE 'template_' ORDER BY 1");
        names.lines().map(str::to_owned).collect()
    }

    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A connected program.
pub(super) struct Program {
    child: Child,
    stdin: Option<std::process::ChildStdin>,
}

impl Program {
    /// Whether it ends in order, when it has said this too.
    pub(super) fn ends_well(mut self, statements: &str) -> bool {
        let mut stdin = self.stdin.take().unwrap();
        let said = stdin.write_all(statements.as_bytes());
        drop(stdin);
        self.child.wait().unwrap().success() && said.is_ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}
