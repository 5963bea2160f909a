//! PostgreSQL's own programs, run as the user whose login it is, and nothing else of that user's.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, User};

use crate::Error;
use crate::databases::postgresql::Address;
use crate::error::shown;

/// Where Debian has the programs of each major version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Where others have them.
const USUAL: &str = "/usr/bin";
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

/// The programs of one release.
#[derive(Clone, Debug)]
struct Release {
    folder: PathBuf,
    major: u32,
}

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

/// The releases that are here, the newest first.
fn releases() -> Vec<Release> {
    let listed = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let majors = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let versions = majors
        .map(|major| Release { folder: Path::new(VERSIONS).join(major.to_string()).join("bin"), major });
    let mut found: Vec<_> = versions.filter(|release| is_whole(&release.folder)).collect();
    if is_whole(Path::new(USUAL))
        && let Some(major) = usual()
    {
        found.push(Release { folder: USUAL.into(), major });
    }
    found.sort_by_key(|release| std::cmp::Reverse(release.major));
    found
}

/// Which release the usual place has.
fn usual() -> Option<u32> {
    let mut command = Command::new(Path::new(USUAL).join("pg_dump"));
    command.arg("--version").env_clear().current_dir("/").stdin(Stdio::null()).stderr(Stdio::null());
    let said = command.output().ok()?.stdout;
    let word = String::from_utf8(said).ok()?;
    let version = word.split_ascii_whitespace().nth(2)?.split(['.', 'b', 'r', 'd']).next()?.to_owned();
    version.parse().ok()
}

/// Whether a folder has both programs, and only root can have put them there.
fn is_whole(folder: &Path) -> bool {
    let is_roots = |meta: &fs::Metadata| meta.uid() == 0 && meta.mode() & 0o022 == 0;
    let is_closed = folder
        .ancestors()
        .all(|place| fs::symlink_metadata(place).is_ok_and(|meta| meta.is_dir() && is_roots(&meta)));
    let is_program = |name: &str| {
        fs::symlink_metadata(folder.join(name))
            .is_ok_and(|meta| meta.is_file() && is_roots(&meta) && meta.mode() & 0o111 == 0o111)
    };
    is_closed && is_program("psql") && is_program("pg_dump")
}

/// That nobody but root and the folder's owner can have put another server's socket there.
fn check_socket(folder: &Path) -> Result<(), Error> {
    let bytes = folder.as_os_str().as_encoded_bytes();
    let real = match fs::canonicalize(folder) {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Refused(format!("no server runs there: there is no folder {}", shown(bytes))));
        }
        Err(error) => return Err(Error::io("look at", bytes, error)),
    };
    let owner = fs::symlink_metadata(&real).map_err(|error| Error::io("look at", bytes, error))?.uid();
    for (depth, place) in real.ancestors().enumerate() {
        let meta = fs::symlink_metadata(place).map_err(|error| Error::io("look at", bytes, error))?;
        let is_closed = meta.mode() & 0o002 == 0 || (depth > 0 && meta.mode() & 0o1000 != 0);
        if !meta.is_dir() || !is_closed || ![0, owner].contains(&meta.uid()) {
            return Err(Error::Refused(format!(
                "anybody could put another server's socket into {}, because of {}: that should be a folder of root's or the \
                 server's that others may not write",
                shown(bytes),
                shown(place.as_os_str().as_encoded_bytes())
            )));
        }
    }
    Ok(())
}
