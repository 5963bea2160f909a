//! How far a restore of a database is, where only the helper writes.
//!
//! Names in the folder, behind the first 32 digits of SHA-256 of the database's label: `.staged` what comes back, as a dump;
//! `.journal` the numbers of the old database and the new one, once this is whole; `.done` the same, once it is final.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;
use crate::error::{length, shown};
use crate::services::{WITNESS_FOLDER, Witness};

/// The first line of a journal.
const FORMAT: &str = "dsmil postgresql 1";
/// What a staged dump leaves free on the disk, bytes.
const LEFT_BYTES: u64 = 64 << 20;

/// Where the helper keeps what it needs for restores of databases that have no place beside them.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Root's alone.
    pub folder: PathBuf,
    /// Which dumps may be brought back.
    pub witness: Witness,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { folder: WITNESS_FOLDER.into(), witness: Witness::default() }
    }
}

/// The numbers that the server has given two databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pair {
    /// What stood there before, if there was one.
    pub(super) old: Option<u32>,
    /// What comes back.
    pub(super) new: u32,
}

/// The part of the folder that is about one database.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    stem: String,
    label: String,
    witness: Witness,
}

/// A dump that is being staged.
#[derive(Debug)]
pub(super) struct Staged {
    file: File,
    path: PathBuf,
    left: u64,
    hash: Option<Sha256>,
}

impl Folder {
    pub(super) fn new(Keeping { folder, witness }: &Keeping, label: &str) -> Self {
        let stem = hex(&Sha256::digest(label)).chars().take(32).collect();
        Self { path: folder.clone(), stem, label: label.to_owned(), witness: witness.clone() }
    }

    fn at(&self, what: &str) -> PathBuf {
        self.path.join(format!("{}{what}", self.stem))
    }

    fn dump_name(&self, digest: &[u8; 32]) -> String {
        let mut hash = Sha256::new_with_prefix(b"dsmil database dump 1\n");
        for field in [self.label.as_bytes(), digest] {
            hash.update(length(field.len()).to_le_bytes());
            hash.update(field);
        }
        hex(&hash.finalize())
    }

    /// Notes durably that this dump was taken.
    pub(super) fn note(&self, digest: &[u8; 32]) -> Result<(), Error> {
        self.witness.note_names(&[self.dump_name(digest)])
    }

    /// Whether it was.
    pub(super) fn knows(&self, digest: &[u8; 32]) -> Result<bool, Error> {
        self.witness.knows(&self.dump_name(digest))
    }

    pub(super) fn is_staged(&self) -> Result<bool, Error> {
        let path = self.at(".staged");
        path.try_exists().map_err(|error| io("look at", &path, error))
    }

    pub(super) fn committed(&self) -> Result<Option<Pair>, Error> {
        self.read(".journal")
    }

    pub(super) fn finished(&self) -> Result<Option<Pair>, Error> {
        self.read(".done")
    }

    fn read(&self, what: &str) -> Result<Option<Pair>, Error> {
        let found = read(&self.at(what))?;
        if found.is_some() {
            crate::services::check_own_folder(&self.path)?;
        }
        Ok(found)
    }

    /// From here on something may be there that is to be cleaned.
    pub(super) fn open(&self) -> Result<(), Error> {
        crate::services::own_folder(&self.path)?;
        remove(&self.at(".staged"))?;
        make(&self.at(".staged")).map(drop)
    }

    pub(super) fn stage(&self, size: u64) -> Result<Staged, Error> {
        let disk = rustix::fs::statvfs(&self.path);
        let disk = disk.map_err(|error| io("ask for the space of", &self.path, error.into()))?;
        let (needed, free) = (size.saturating_add(LEFT_BYTES), disk.f_bavail.saturating_mul(disk.f_frsize));
        if needed > free {
            return Err(Error::Full { path: shown(self.path.as_os_str().as_encoded_bytes()), needed, free });
        }
        let path = self.at(".staged");
        remove(&path)?;
        let file = make(&path)?;
        Ok(Staged { file, path, left: size, hash: Some(Sha256::new()) })
    }

    pub(super) fn commit(&self, pair: Pair) -> Result<(), Error> {
        let old = pair.old.map_or_else(|| "none".to_owned(), |old| old.to_string());
        let (aside, path) = (self.at(".tmp"), self.at(".journal"));
        remove(&aside)?;
        let mut file = make(&aside)?;
        let text = format!("{FORMAT}\nold {old}\nnew {}\n", pair.new);
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.map_err(|error| io("write", &aside, error))?;
        rename(&aside, &path)?;
        self.flush()?;
        // It is in the new database by now.
        remove(&self.at(".staged"))
    }

    pub(super) fn finish(&self) -> Result<(), Error> {
        rename(&self.at(".journal"), &self.at(".done"))?;
        self.flush()
    }

    pub(super) fn undone(&self) -> Result<(), Error> {
        remove(&self.at(".journal"))?;
        self.flush()
    }

    pub(super) fn clean(&self) -> Result<(), Error> {
        [".staged", ".tmp", ".done"].iter().try_for_each(|what| remove(&self.at(what)))
    }

    fn flush(&self) -> Result<(), Error> {
        let flushed = File::open(&self.path).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| io("flush", &self.path, error))
    }
}

impl Staged {
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let refused = || Error::Refused("more is staged than was announced, or behind its end".into());
        let hash = self.hash.as_mut().ok_or_else(refused)?;
        self.left = self.left.checked_sub(length(bytes.len())).ok_or_else(refused)?;
        hash.update(bytes);
        self.file.write_all(bytes).map_err(|error| io("write", &self.path, error))
    }

    /// Ends it, and gives its digest.
    pub(super) fn seal(&mut self) -> Result<[u8; 32], Error> {
        match self.hash.take() {
            Some(hash) if self.left == 0 => Ok(hash.finalize().into()),
            _ => Err(Error::Refused("not all of it is staged".into())),
        }
    }

    pub(super) const fn is_sealed(&self) -> bool {
        self.hash.is_none() && self.left == 0
    }

    pub(super) fn file(self) -> File {
        self.file
    }
}

fn read(path: &Path) -> Result<Option<Pair>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", path, error)),
    };
    let pair = || {
        let (old, new) = text.strip_prefix(FORMAT)?.strip_prefix("\nold ")?.split_once("\nnew ")?;
        let old = if old == "none" { None } else { Some(old.parse().ok()?) };
        Some(Pair { old, new: new.strip_suffix('\n')?.parse().ok()? })
    };
    let none = || Error::Failed(format!("{} is no journal of this release", path.display()));
    pair().map(Some).ok_or_else(none)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io(action: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::io(action, path.as_os_str().as_encoded_bytes(), error)
}

fn make(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| io("make", path, error))
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path, error)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|error| io("rename", from, error))
}
