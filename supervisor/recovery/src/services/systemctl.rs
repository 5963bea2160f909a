//! systemd's own command: the way to process 1.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::error::shown;

/// How long a question may take.
const ASKED: Duration = Duration::from_secs(30);
/// How long a start, a stop or another change may take: more than the 90 s after which systemd gives a unit up by default.
const CHANGED: Duration = Duration::from_secs(180);
/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// The most bytes of a complaint that are passed on.
const COMPLAINT_BYTES_MAX: usize = 400;

/// The command, by its absolute path, with words that are fixed but for units' names.
#[derive(Clone, Debug)]
pub(super) struct Systemctl {
    program: PathBuf,
    /// There where systemd is process 1, see `sd_booted(3)`.
    booted: PathBuf,
}

impl Default for Systemctl {
    fn default() -> Self {
        Self { program: "/usr/bin/systemctl".into(), booted: "/run/systemd/system".into() }
    }
}

impl Systemctl {
    /// Another program in its place.
    #[cfg(test)]
    pub(super) fn pretended(program: PathBuf, booted: PathBuf) -> Self {
        Self { program, booted }
    }

    /// Whether systemd runs here.
    pub(super) fn is_there(&self) -> bool {
        self.booted.is_dir()
    }

    /// Asks for something about units.
    pub(super) fn ask(&self, words: &[&str], units: &[String]) -> Result<String, Error> {
        self.run(words, units, ASKED)
    }

    /// Changes something about a unit, or all of them where none is named.
    pub(super) fn change(&self, words: &[&str], unit: Option<&str>) -> Result<(), Error> {
        let units: Vec<_> = unit.iter().map(|unit| (*unit).to_owned()).collect();
        self.run(words, &units, CHANGED).map(drop)
    }

    fn run(&self, words: &[&str], units: &[String], limit: Duration) -> Result<String, Error> {
        let program = self.program.as_os_str().as_encoded_bytes();
        let failed = |error: std::io::Error| Error::io("run", program, error);
        let mut child = Command::new(&self.program)
            .args(["--system", "--no-pager", "--no-ask-password"])
            .args(words)
            .arg("--")
            .args(units)
            .env_clear()
            // As systemd gives it to its own; enabling a script of SysV runs another program.
            .envs([("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"), ("LC_ALL", "C.UTF-8")])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (answer, complaint) = (collect(child.stdout.take()), collect(child.stderr.take()));
        let end = Instant::now() + limit;
        let left = || end.saturating_duration_since(Instant::now());
        let said = [answer, complaint].map(|stream| stream.recv_timeout(left()).ok());
        let [Some(answer), Some(complaint)] = said else {
            // Both may fail only because it has ended by now.
            drop((child.kill(), child.wait()));
            let (seconds, what) = (limit.as_secs(), told(words, units));
            return Err(Error::Failed(format!("{what} did not end within {seconds} s")));
        };
        let status = child.wait().map_err(failed)?;
        // A pattern that no file's name matches is told by the status alone.
        let is_nothing = words.first() == Some(&"list-unit-files")
            && answer.trim_ascii().is_empty()
            && complaint.trim_ascii().is_empty();
        if status.success() || is_nothing {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
        let why = complaint.trim_ascii();
        let why = shown(why.get(..COMPLAINT_BYTES_MAX).unwrap_or(why));
        Err(Error::Failed(format!("{} failed: {}", told(words, units), why.replace("\\n", " "))))
    }
}

/// What was asked for, for people.
fn told(words: &[&str], units: &[String]) -> String {
    let words = words.iter().filter(|word| !word.starts_with("--prop")).copied();
    let units = units.iter().take(3).map(String::as_str);
    let all: Vec<_> = std::iter::once("systemctl").chain(words).chain(units).collect();
    format!("“{}”", all.join(" "))
}

/// Reads to the end beside the caller, so that a pipe that is full stops nobody.
fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            // What cannot be read is not there.
            drop(stream.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes));
        }
        drop(sender.send(bytes));
    });
    receiver
}
