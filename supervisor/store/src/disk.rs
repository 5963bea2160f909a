//! The file operations that everything here is built on, so that tests can run on a disk that crashes.

pub(crate) mod blocks;
pub(crate) mod gathered;
pub(crate) mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::fmt;
use std::io;
use std::path::Path;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// For reading alone.
    Read,
    /// For reading and writing; it must exist.
    Write,
    /// For reading and writing; what it held is dropped.
    Create,
    /// As [`Mode::Write`], for what is appended to and flushed at once.
    Append,
    /// As [`Mode::Create`], likewise.
    CreateAppend,
}

/// A folder tree. Names become durable with [`Disk::sync_dir`], contents with [`File::sync`].
pub(crate) trait Disk: Send + Sync + fmt::Debug {
    fn open(&self, path: &Path, mode: Mode) -> io::Result<Box<dyn File>>;
    /// The names in a folder that are UTF-8 (ours all are), unsorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Makes one folder durably; one that exists is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes a folder and those above it, but nothing of them durable; one that exists is fine.
    fn make_dirs(&self, dir: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Replaces `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Fails with `AlreadyExists` where `to` exists.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that a file stands for, or `None` where another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Lock>>;
}

/// An open file.
pub(crate) trait File: Send + Sync + fmt::Debug {
    fn len(&self) -> io::Result<u64>;
    /// Reads until the buffer is full or the file ends; says how much.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Says that this range is read soon, so that the disk may bring it meanwhile.
    fn expect(&self, _offset: u64, _length: u64) {}
    /// Writes all of it.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Writes all of it where nothing but zeros follows, as far as the file reaches.
    fn append_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_at(offset, bytes)
    }
    /// Makes sure that writing to this range needs no new space, growing the file if it must.
    fn allocate(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Makes the contents, and the length that they need, durable.
    fn sync(&self) -> io::Result<()>;
}

/// A lock that lasts until it is dropped.
pub(crate) struct Lock(#[expect(dead_code, reason = "held for its drop")] pub(crate) Box<dyn Send + Sync>);

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}
