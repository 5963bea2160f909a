//! Copying a database, and what tells two of them apart.
//!
//! An image is a copy of every page, made by SQLite's backup interface under the source's lock, so of one moment, whatever
//! programs do meanwhile. It lies beside the database, since there its owner may write and a copy finds room.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::shown;

/// A copy of what is there now, to look at.
pub(crate) const IMAGE: &str = ".dsmil-image";
/// What comes back.
pub(crate) const NEW: &str = ".dsmil-new";
/// What stood there before, whole.
pub(crate) const UNDO: &str = ".dsmil-undo";
/// Nothing stood there before.
pub(crate) const NONE: &str = ".dsmil-none";
/// What came back is in place.
pub(crate) const DONE: &str = ".dsmil-done";

/// How long SQLite waits for a lock that another program holds, each time.
const BUSY: Duration = if cfg!(test) { Duration::from_millis(200) } else { Duration::from_secs(2) };
/// How often a copy is begun that found the database locked.
const TRIES: u32 = 5;
/// How much is hashed at once, in bytes.
const BUFFER: usize = 1 << 16;

/// What SQLite's header counts and a copy does not keep: write and read version (which say whether there is a write-ahead log),
/// change counter, schema cookie, and for which change counter and by which release it was written. See "Database File
/// Format", section 1.3.
const COUNTED: [std::ops::Range<usize>; 4] = [18..20, 24..28, 40..44, 92..100];

/// The name of a file that lies beside a database.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(what);
    name.into()
}

/// Opens an image for reading.
pub(crate) fn open(image: &Path) -> Result<File, Error> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits());
    let file = OpenOptions::new().read(true).custom_flags(flags.unwrap_or_default()).open(image);
    file.map_err(|e| Error::io("open", image.as_os_str().as_bytes(), e))
}

/// SHA-256 of an image without what only counts; leaves it at its beginning.
pub(crate) fn digest(mut file: &File) -> io::Result<[u8; 32]> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    file.rewind()?;
    // The header lies in the first piece, which is read whole.
    let filled = fill(file, &mut buffer)?;
    for range in COUNTED {
        if let Some(bytes) = buffer.get_mut(range) {
            bytes.fill(0);
        }
    }
    let mut taken = filled;
    while taken > 0 {
        hash.update(buffer.get(..taken).unwrap_or_default());
        taken = fill(file, &mut buffer)?;
    }
    file.rewind()?;
    Ok(hash.finalize().into())
}

fn fill(mut file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What SQLite's own check finds wrong with an image, which nobody changes meanwhile.
pub(crate) fn damage(image: &Path) -> Result<Option<String>, Error> {
    let first = settled(image).and_then(|connection| {
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    match first {
        Ok(answer) if answer == "ok" => Ok(None),
        Ok(damage) => Ok(Some(damage)),
        Err(rusqlite::Error::SqliteFailure(failure, why))
            if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            Ok(Some(why.unwrap_or_else(|| failure.to_string())))
        }
        Err(error) => Err(failed(image, &error)),
    }
}

/// Opens what nobody changes: without locks, journal and write-ahead log.
fn settled(image: &Path) -> rusqlite::Result<Connection> {
    let mut name = String::from("file:");
    for byte in image.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            name.push(char::from(*byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | COMMON;
    Connection::open_with_flags(name, flags)
}

const COMMON: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX
    .union(OpenFlags::SQLITE_OPEN_NOFOLLOW)
    .union(OpenFlags::SQLITE_OPEN_EXRESCODE);

/// Makes an image of a live database; `image` is there and empty.
pub(crate) fn take(live: &Path, image: &Path) -> Result<(), Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | COMMON;
    let source = Connection::open_with_flags(live, flags).map_err(|e| failed(live, &e))?;
    let mut copy = Connection::open_with_flags(image, flags).map_err(|e| failed(image, &e))?;
    // It is flushed as a whole afterwards.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
        .map_err(|e| failed(image, &e))?;
    transfer((&source, live), &mut copy)
}

/// Puts an image into a live database, in one transaction of its own.
pub(crate) fn put(image: &Path, live: &Path) -> Result<(), Error> {
    let source = settled(image).map_err(|e| failed(image, &e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | COMMON;
    let mut target = Connection::open_with_flags(live, flags).map_err(|e| failed(live, &e))?;
    target.execute_batch("PRAGMA synchronous = FULL;").map_err(|e| failed(live, &e))?;
    transfer((&source, live), &mut target)
}

fn transfer((source, live): (&Connection, &Path), target: &mut Connection) -> Result<(), Error> {
    source.busy_timeout(BUSY).map_err(|e| failed(live, &e))?;
    target.busy_timeout(BUSY).map_err(|e| failed(live, &e))?;
    let backup = Backup::new(source, target).map_err(|e| failed(live, &e))?;
    for _ in 0..TRIES {
        // All pages at once, under one lock: of one moment, and never begun anew because somebody writes.
        match backup.step(-1).map_err(|e| failed(live, &e))? {
            StepResult::Done => return Ok(()),
            // SQLite has waited for the lock already.
            _ => std::thread::yield_now(),
        }
    }
    Err(busy(live))
}

fn busy(path: &Path) -> Error {
    let path = shown(path.as_os_str().as_bytes());
    Error::Busy(format!(
        "the database {path} was locked by another program for too long ({TRIES} times {BUSY:?}): try again when that has \
         ended its work"
    ))
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => busy(path),
        _ => Error::Failed(format!("the database {}: {error}", shown(path.as_os_str().as_bytes()))),
    }
}
