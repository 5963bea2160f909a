//! What must not be shown or left behind: keys that are typed, files that only their owner reads.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use recovery::vault::offline::{self, Key};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::output;

/// The most that is read at once, bytes: keys and secrets are shorter.
pub const READ_MAX: usize = 64 << 10;
/// The longest line that is typed, bytes.
const LINE_MAX: u64 = 1024;
/// Stands for the standard input or output.
const STREAM: &str = "-";

/// Whether the path stands for the standard input or output.
pub fn is_stream(path: &Path) -> bool {
    path.as_os_str() == STREAM
}

/// Reads a file, or the standard input for “-”; `most` bytes.
pub fn read(path: &Path, what: &str, most: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let failed = |error: io::Error| Fault::Failed(format!("cannot read {what} {}: {error}", path.display()));
    // Room for all of it: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most.saturating_add(1)));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    if is_stream(path) {
        io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    }
    if bytes.len() > most {
        return Err(Fault::Usage(format!("{what} {} has more than {most} bytes", path.display())));
    }
    Ok(bytes)
}

/// Writes a new file that only its owner reads, flushed.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .map_err(|error| Fault::Failed(format!("cannot write {}: {error}", path.display())))
}

/// Writes to a new file, or to the standard output where that was asked for or is no terminal.
pub fn put(out: Option<&Path>, what: &str, bytes: &[u8]) -> Result<(), Fault> {
    match out {
        Some(path) if !is_stream(path) => write_new(path, bytes),
        None if io::stdout().is_terminal() => Err(Fault::Usage(format!(
            "{what} is not written to a terminal: name a file with --out, or ask for it with --out -"
        ))),
        _ => output::raw(bytes),
    }
}

/// The recovery key: from a file, from the standard input, or typed unseen.
pub fn recovery_key(path: Option<&Path>) -> Result<Key, Fault> {
    let text = match path {
        Some(path) => {
            let bytes = read(path, "the recovery key", READ_MAX)?;
            let text = std::str::from_utf8(&bytes);
            Zeroizing::new(
                text.map_err(|_| Fault::Failed("the recovery key is no text".to_owned()))?.to_owned(),
            )
        }
        None => typed("Recovery key (not shown): ")?,
    };
    offline::recovery_key(text).map_err(|error| Fault::Failed(error.to_string()))
}

/// A line from the terminal that is not shown while it is typed.
fn typed(prompt: &str) -> Result<Zeroizing<String>, Fault> {
    if !crate::question::is_possible() {
        return Err(Fault::Usage(
            "the recovery key is asked for on a terminal: else name its file with --recovery-key".to_owned(),
        ));
    }
    let failed = |error: io::Error| Fault::Failed(format!("cannot ask: {error}"));
    let stdin = io::stdin();
    let _unseen = Unseen::begin(&stdin).map_err(failed)?;
    let mut err = io::stderr().lock();
    err.write_all(prompt.as_bytes()).and_then(|()| err.flush()).map_err(failed)?;
    let mut line = Zeroizing::new(String::with_capacity(usize::try_from(LINE_MAX).unwrap_or_default()));
    stdin.lock().take(LINE_MAX).read_line(&mut line).map_err(failed)?;
    // The newline was not shown either.
    err.write_all(b"\n").map_err(failed)?;
    Ok(line)
}

/// The terminal shows nothing of what is typed, until this is dropped.
struct Unseen<'a>(&'a io::Stdin, Termios);

impl<'a> Unseen<'a> {
    fn begin(stdin: &'a io::Stdin) -> io::Result<Self> {
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut unseen = before.clone();
        unseen.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &unseen)?;
        Ok(Self(stdin, before))
    }
}

impl Drop for Unseen<'_> {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(self.0.as_fd(), SetArg::TCSAFLUSH, &self.1);
    }
}
