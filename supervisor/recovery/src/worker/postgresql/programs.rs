//! PostgreSQL's own programs, run as the user whose login it is, and nothing else of that user's.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User};

use super::releases::{Release, USUAL, VERSIONS, check_socket, releases};
use crate::Error;
use crate::databases::postgresql::Address;
use crate::error::shown;

/// How long a question may take, besides waiting for locks.
const ASKED: Duration = Duration::from_secs(60);
/// How long making or dropping a database may take: the server writes all that is in its memory to the disk meanwhile.
const ORDERED: Duration = Duration::from_secs(900);
/// How long a dump waits for a lock that another program holds.
const LOCKED: &str = if cfg!(test) { "--lock-wait-timeout=500" } else { "--lock-wait-timeout=10000" };
/// How long a dump may say nothing.
const SILENT: Duration = Duration::from_secs(300);
/// The most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// The most bytes of a complaint that are read, and of these passed on.
const COMPLAINT_BYTES_MAX: u64 = 64 << 10;
const COMPLAINT_TOLD_MAX: usize = 400;
/// How much of a dump is read at once, and how many of these may wait, bytes.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_MAX: usize = 2;
/// For a question: waits for nobody longer than a few seconds, and looks functions up where the server has them alone.
const QUESTION: &str = "-c search_path=pg_catalog -c client_encoding=UTF8 -c lock_timeout=10s -c statement_timeout=50s -c synchronous_commit=on \
                        -c default_transaction_read_only=off -c idle_in_transaction_session_timeout=60s";
/// For what makes and drops databases.
const ORDER: &str = "-c search_path=pg_catalog -c client_encoding=UTF8 -c lock_timeout=10s -c synchronous_commit=on -c default_transaction_read_only=off";
/// For what fills a new database: durable with the next statement that is, and not read-only whatever the database says of itself.
const FILLING: &str = "-c lock_timeout=10s -c synchronous_commit=off -c default_transaction_read_only=off";

/// A login: an address whose user there is.
#[derive(Clone, Debug)]
pub(super) struct Login<'a> {
    address: &'a Address,
    uid: Uid,
    gid: Gid,
    /// The newest first; never empty.
    releases: Vec<Release>,
}

/// What a program said, and how it ended.
struct Said {
    status: ExitStatus,
    answer: Vec<u8>,
    complaint: String,
}

impl Said {
    fn answer(self) -> Result<String, Error> {
        match self.status.success() {
            true => Ok(String::from_utf8_lossy(&self.answer).into_owned()),
            false => Err(Error::Failed(self.complaint)),
        }
    }
}

impl<'a> Login<'a> {
    /// Finds user, programs and a socket that only the server can have made.
    pub(super) fn new(address: &'a Address) -> Result<Self, Error> {
        let refused = |why: String| Err(Error::Refused(why));
        let name = address.user();
        let user = match User::from_name(name) {
            Ok(Some(user)) => user,
            Ok(None) => {
                return refused(format!("there is no user “{}” on this machine", name.escape_debug()));
            }
            Err(error) => return Err(Error::io("look up the user", name.as_bytes(), error)),
        };
        if user.uid.is_root() {
            return refused(format!("user “{}” is root", name.escape_debug()));
        }
        let us = Uid::effective();
        if us != user.uid && !us.is_root() {
            return refused(format!(
                "this process is not root and cannot become user “{}”",
                name.escape_debug()
            ));
        }
        check_socket(Path::new(address.socket()))?;
        let releases = releases();
        if releases.is_empty() {
            return refused(format!(
                "there is no pg_dump and psql in {VERSIONS}/*/bin or {USUAL} that only root can have put there: install \
                 PostgreSQL's client programs"
            ));
        }
        Ok(Self { address, uid: user.uid, gid: user.gid, releases })
    }

    /// Asks a database for something; `names` are variables for the statements.
    pub(super) fn ask(
        &self,
        database: &str,
        statements: &str,
        names: &[(&str, &str)],
    ) -> Result<String, Error> {
        self.psql(database, QUESTION, (Input::Text(statements), names), ASKED)?.answer()
    }

    /// Has databases made or dropped.
    pub(super) fn order(
        &self,
        database: &str,
        statements: &str,
        names: &[(&str, &str)],
    ) -> Result<(), Error> {
        self.psql(database, ORDER, (Input::Text(statements), names), ORDERED)?.answer().map(drop)
    }

    /// Has a database filled with what a file holds from where it stands.
    pub(super) fn fill(
        &self,
        database: &str,
        from: File,
        version: u32,
        limit: Duration,
    ) -> Result<(), Error> {
        self.with(version).psql(database, FILLING, (Input::File(from), &[]), limit)?.answer().map(drop)
    }

    /// A question that is answered while others are asked.
    pub(super) fn start(
        &self,
        database: &str,
        statements: &str,
        names: &[(&str, &str)],
    ) -> Result<Asked, Error> {
        self.spawn(database, QUESTION, (Input::Text(statements), names))
    }

    /// The same with the programs of this version first, else of the next newer one, else the newest.
    fn with(&self, version: u32) -> Self {
        let mut releases = self.releases.clone();
        // Of a newer release psql speaks to older servers; its pg_dump writes what they may not understand.
        releases.sort_by_key(|release| (release.major < version, release.major.abs_diff(version)));
        Self { releases, ..self.clone() }
    }

    fn release(&self) -> Result<&Release, Error> {
        self.releases.first().ok_or_else(|| Error::Refused("there is no pg_dump".into()))
    }

    fn psql(
        &self,
        database: &str,
        options: &str,
        input: (Input<'_>, &[(&str, &str)]),
        limit: Duration,
    ) -> Result<Said, Error> {
        self.spawn(database, options, input)?.end(limit)
    }

    fn spawn(
        &self,
        database: &str,
        options: &str,
        (input, names): (Input<'_>, &[(&str, &str)]),
    ) -> Result<Asked, Error> {
        let mut command = self.command("psql", database, options)?;
        command.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--no-password"]);
        command.args(["--set=ON_ERROR_STOP=1", "--file=-"]);
        // An argument of its own that begins as we say: whatever the name is, it stays a value.
        command.args(names.iter().map(|(name, value)| OsString::from(format!("--set={name}={value}"))));
        let text = match input {
            Input::Text(text) => {
                command.stdin(Stdio::piped()).stdout(Stdio::piped());
                Some(text)
            }
            Input::File(file) => {
                // What filling says is of no use: values of sequences.
                command.stdin(file).stdout(Stdio::null());
                None
            }
        };
        let mut child = command.spawn().map_err(|error| Error::io("run", b"psql", error))?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), text) {
            // Who ended before reading it says why by itself. It fits into a pipe.
            drop(stdin.write_all(text.as_bytes()));
        }
        let answer = collect(child.stdout.take(), ANSWER_BYTES_MAX);
        let complaint = collect(child.stderr.take(), COMPLAINT_BYTES_MAX);
        Ok(Asked { child: Running(child), answer, complaint })
    }

    /// Begins a dump by the release that a server of this version needs.
    pub(super) fn dump(&self, version: u32) -> Result<Dumping, Error> {
        let login = self.with(version);
        let release = login.release()?;
        if release.major < version {
            return Err(Error::Refused(format!(
                "the server is of version {version}, and the newest pg_dump here of {}: install PostgreSQL's client programs of \
                 version {version}",
                release.major
            )));
        }
        let mut command = login.command("pg_dump", login.address.database(), "")?;
        command.args(["--format=plain", "--no-password", LOCKED]);
        if login.fixes_key()? {
            // Else each dump has a random one.
            command.arg("--restrict-key=dsmil");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Error::io("run", b"pg_dump", error))?;
        let pieces = pour(child.stdout.take());
        let complaint = collect(child.stderr.take(), COMPLAINT_BYTES_MAX);
        Ok(Dumping { child: Running(child), pieces, complaint })
    }

    /// Whether this pg_dump can be given the key of its `\restrict`. Those before August 2025 have none at all.
    fn fixes_key(&self) -> Result<bool, Error> {
        let mut command = self.command("pg_dump", "", "")?;
        command.arg("--help").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| Error::io("run", b"pg_dump", error))?;
        let answer = collect(child.stdout.take(), ANSWER_BYTES_MAX);
        let complaint = collect(child.stderr.take(), COMPLAINT_BYTES_MAX);
        let said = Asked { child: Running(child), answer, complaint }.end(ASKED)?;
        Ok(said.answer.windows(14).any(|words| words == b"--restrict-key"))
    }

    /// A program by its absolute path, with this user's rights and an environment that names server and database, which nothing here reads
    /// as a list of options: libpq takes only an argument apart.
    fn command(&self, program: &str, database: &str, options: &str) -> Result<Command, Error> {
        // Of this thread, and of what it starts: nothing gets more rights again. The helper has said so for good already.
        nix::sys::prctl::set_no_new_privs()
            .map_err(|error| Error::io("give up new privileges of", b"psql", error))?;
        let mut command = Command::new(self.release()?.folder.join(program));
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("HOME", "/nonexistent")
            .env("PGHOST", self.address.socket())
            .env("PGPORT", self.address.port().to_string())
            .env("PGUSER", self.address.role())
            .env("PGDATABASE", database)
            .env("PGOPTIONS", options)
            .env("PGAPPNAME", super::sql::APPLICATION)
            .env("PGCONNECT_TIMEOUT", "10")
            .envs([
                ("PGPASSFILE", "/nonexistent/password"),
                ("PGSERVICEFILE", "/nonexistent/service"),
                ("PGSYSCONFDIR", "/nonexistent"),
            ])
            .envs([("PGSSLMODE", "disable"), ("PGGSSENCMODE", "disable")])
            .current_dir("/")
            // Ctrl-C in a terminal is not for it: what is under way is ended in order.
            .process_group(0)
            .stderr(Stdio::piped());
        if Uid::effective() != self.uid {
            // Takes root's supplementary groups away, too, and with the user id every capability.
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        Ok(command)
    }
}

/// What psql reads.
enum Input<'t> {
    Text(&'t str),
    File(File),
}

/// A child that does not outlive us.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both may fail only because it has ended by now.
        drop((self.0.kill(), self.0.wait()));
    }
}

/// A question under way.
pub(super) struct Asked {
    child: Running,
    answer: Receiver<Vec<u8>>,
    complaint: Receiver<Vec<u8>>,
}

impl Asked {
    /// Whether it has been answered.
    pub(super) fn is_over(&mut self) -> bool {
        !matches!(self.child.0.try_wait(), Ok(None))
    }

    /// What came of it.
    pub(super) fn answer(self) -> Result<String, Error> {
        self.end(ASKED)?.answer()
    }

    fn end(mut self, limit: Duration) -> Result<Said, Error> {
        let end = Instant::now() + limit;
        let left = || end.saturating_duration_since(Instant::now());
        let said = [&self.answer, &self.complaint].map(|stream| stream.recv_timeout(left()).ok());
        let [Some(answer), Some(complaint)] = said else {
            return Err(Error::Failed(format!("psql did not end within {} s", limit.as_secs())));
        };
        let status = self.child.0.wait().map_err(|error| Error::io("wait for", b"psql", error))?;
        Ok(Said { status, answer, complaint: told(&complaint) })
    }
}

/// A dump under way.
#[derive(Debug)]
pub(super) struct Dumping {
    child: Running,
    pieces: Receiver<std::io::Result<Vec<u8>>>,
    complaint: Receiver<Vec<u8>>,
}

impl Dumping {
    /// The next bytes; none at its end, and only if all of it came.
    pub(super) fn next(&mut self) -> Result<Vec<u8>, Error> {
        match self.pieces.recv_timeout(SILENT) {
            Ok(Ok(bytes)) => return Ok(bytes),
            Ok(Err(error)) => return Err(Error::io("read", b"pg_dump", error)),
            Err(RecvTimeoutError::Timeout) => {
                return Err(Error::Failed(format!("pg_dump said nothing for {} s", SILENT.as_secs())));
            }
            Err(RecvTimeoutError::Disconnected) => {}
        }
        let complaint = self.complaint.recv_timeout(ASKED).unwrap_or_default();
        let status = self.child.0.wait().map_err(|error| Error::io("wait for", b"pg_dump", error))?;
        if status.success() { Ok(Vec::new()) } else { Err(Error::Failed(told(&complaint))) }
    }
}

/// A program's complaint for people, in one line.
fn told(complaint: &[u8]) -> String {
    let text = complaint.trim_ascii();
    let text = shown(text.get(..COMPLAINT_TOLD_MAX).unwrap_or(text));
    text.replace("\\n", " ").replace("\\t", " ").replace("\\\"", "\"").replace("\\'", "'")
}

/// Reads to the end beside the caller, so that a pipe that is full stops nobody. What is beyond the limit is read and forgotten.
fn collect(stream: Option<impl Read + Send + 'static>, limit: u64) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // What cannot be read is not there.
            drop((&mut stream).take(limit).read_to_end(&mut bytes));
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
        }
        drop(sender.send(bytes));
    });
    receiver
}

/// Reads beside the caller, a little ahead; whoever stops listening ends it.
fn pour(stream: Option<impl Read + Send + 'static>) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(PIECES_MAX);
    thread::spawn(move || {
        let Some(mut stream) = stream else { return };
        loop {
            let mut bytes = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut stream).take(PIECE_BYTES as u64).read_to_end(&mut bytes);
            let is_over = bytes.is_empty() || read.is_err();
            if !(bytes.is_empty() && read.is_ok()) && sender.send(read.map(|_| bytes)).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}
