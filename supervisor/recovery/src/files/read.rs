//! Reading one entry: its metadata, attributes and contents.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;
use store::chunk::Chunks;

use super::entry::{Entry, Kind, Piece, XATTR_BYTES_MAX, Xattr, is_kept};
use super::scan::ENTRIES_MAX;
use crate::Error;
use crate::error::length;
use crate::limit::Limit;

/// The longest list of names or the longest value that the kernel gives, in bytes.
const XATTR_CALL_BYTES_MAX: usize = 64 << 10;
/// What is tried first: most entries have no attribute, or a short one.
const XATTR_CALL_BYTES: usize = 256;

/// What becomes of contents that are read.
pub(crate) trait Contents {
    /// Cuts a file into chunks and names them.
    fn take(&mut self, file: &File, path: &Path) -> Result<Vec<Piece>, Error>;

    /// Whether contents that are known to be these need not be read.
    fn has(&self, pieces: &[Piece]) -> bool;
}

/// Stores them.
pub(crate) struct Keep<'a>(pub(crate) &'a mut Chunks);

impl Contents for Keep<'_> {
    fn take(&mut self, file: &File, path: &Path) -> Result<Vec<Piece>, Error> {
        Ok(self.0.put_stream(file, path)?.into_iter().map(|(id, bytes)| Piece::new(id, bytes)).collect())
    }

    /// A chunk that was lost is stored again.
    fn has(&self, pieces: &[Piece]) -> bool {
        pieces.iter().all(|piece| self.0.contains(&piece.id()))
    }
}

/// Names them only, for comparing.
pub(crate) struct Name<'a>(pub(crate) &'a Chunks);

impl Contents for Name<'_> {
    fn take(&mut self, file: &File, path: &Path) -> Result<Vec<Piece>, Error> {
        use std::os::unix::ffi::OsStrExt;
        let mut pieces = Vec::new();
        let mut split = self.0.split(file);
        let failed = |e: io::Error| Error::io("read", path.as_os_str().as_bytes(), e);
        while let Some(chunk) = split.next_chunk().map_err(failed)? {
            pieces.push(Piece::new(self.0.id(chunk), u32::try_from(chunk.len()).unwrap_or(u32::MAX)));
        }
        Ok(pieces)
    }

    fn has(&self, _: &[Piece]) -> bool {
        true
    }
}

/// Names them, where a checkpoint says what they most likely are: then nothing need be cut.
pub(crate) struct Likely<'a> {
    name: Name<'a>,
    /// The contents of regular files by their path in the root.
    pieces: HashMap<&'a [u8], &'a [Piece]>,
    limit: &'a Limit,
}

impl<'a> Likely<'a> {
    pub(crate) fn new(chunks: &'a Chunks, entries: &'a [Entry], limit: &'a Limit) -> Self {
        let pieces = entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Regular { pieces, .. } => Some((entry.path.as_slice(), pieces.as_slice())),
            _ => None,
        });
        Self { name: Name(chunks), pieces: pieces.collect(), limit }
    }

    /// Whether a file, read from its beginning, holds just this.
    fn holds(&self, mut file: &File, pieces: &[Piece]) -> io::Result<bool> {
        let mut buffer = Vec::new();
        for piece in pieces {
            let bytes = u64::from(piece.bytes);
            buffer.clear();
            let read = length(file.take(bytes).read_to_end(&mut buffer)?);
            if read != bytes || self.name.0.id(&buffer) != piece.id() {
                return Ok(false);
            }
        }
        Ok(file.read(&mut [0])? == 0)
    }
}

impl Contents for Likely<'_> {
    fn take(&mut self, mut file: &File, path: &Path) -> Result<Vec<Piece>, Error> {
        use std::os::unix::ffi::OsStrExt;
        self.limit.check()?;
        let path_bytes = path.as_os_str().as_bytes();
        let failed = |e: io::Error| Error::io("read", path_bytes, e);
        if let Some(pieces) = self.pieces.get(path_bytes) {
            if self.holds(file, pieces).map_err(failed)? {
                return Ok(pieces.to_vec());
            }
            file.rewind().map_err(failed)?;
        }
        self.name.take(file, path)
    }

    fn has(&self, _: &[Piece]) -> bool {
        true
    }
}

/// What the kernel says of a name, which is not followed.
pub(crate) fn stat(dir: impl AsFd, name: &CStr) -> Result<Statx, Errno> {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
}

/// What the kernel says of an open file.
pub(crate) fn stat_open(file: impl AsFd) -> Result<Statx, Errno> {
    statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
}

/// Opens a name for reading without following it, without waiting for a pipe and, where that is permitted, without
/// touching its access time.
pub(crate) fn open(dir: impl AsFd, name: &CStr, extra: OFlags) -> Result<OwnedFd, Errno> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | extra;
    match openat(dir.as_fd(), name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner and CAP_FOWNER may leave the time alone.
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        result => result,
    }
}

/// Attributes that a checkpoint keeps, by name; `None` where they are more than [`XATTR_BYTES_MAX`].
pub(crate) fn xattrs(file: impl AsFd) -> Result<Option<Vec<Xattr>>, Errno> {
    let file = file.as_fd();
    gather(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |name, buffer| rustix::fs::fgetxattr(file, name, buffer),
    )
}

/// The same of a name that cannot be opened for reading, such as a symbolic link.
pub(crate) fn xattrs_at(dir: impl AsFd, name: &CStr) -> Result<Option<Vec<Xattr>>, Errno> {
    let path = through_proc(dir, name);
    gather(
        |buffer| rustix::fs::llistxattr(path.as_slice(), buffer),
        |name, buffer| rustix::fs::lgetxattr(path.as_slice(), name, buffer),
    )
}

/// A path that leads to a name in an open folder whatever its parents are called by now.
pub(crate) fn through_proc(dir: impl AsFd, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend(name.to_bytes());
    path
}

fn gather(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Option<Vec<Xattr>>, Errno> {
    let names = match whole(&list) {
        Ok(names) => names,
        Err(Errno::OPNOTSUPP) => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    let mut sum = 0;
    for name in names.split(|byte| *byte == 0).filter(|name| is_kept(name)) {
        let value = match whole(&|buffer: &mut [u8]| get(name, buffer)) {
            Ok(value) => value,
            // It was removed since the names were listed.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error),
        };
        sum += name.len() + value.len();
        found.push(Xattr { name: name.to_vec(), value });
    }
    found.sort_unstable();
    Ok((sum <= XATTR_BYTES_MAX).then_some(found))
}

/// What a call gives, with a larger buffer where the first is too small.
fn whole(call: &dyn Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut small = [0; XATTR_CALL_BYTES];
    match call(&mut small) {
        Ok(count) => Ok(small.get(..count).unwrap_or_default().to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; XATTR_CALL_BYTES_MAX];
            let count = call(&mut large)?;
            large.truncate(count);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}

/// The sum of the chunks' sizes.
pub(crate) fn size(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| u64::from(piece.bytes)).fold(length(0), u64::saturating_add)
}

/// The path of a name in a folder, both relative to the root.
pub(crate) fn join(folder: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = folder.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend(name.to_bytes());
    path
}

/// What stands in an open folder, ascending by bytes.
pub(crate) fn names(dir: &OwnedFd, path: &[u8]) -> Result<Vec<CString>, Error> {
    let failed = |e: std::io::Error| Error::io("list the folder", path, e);
    let handle = dir.as_fd().try_clone_to_owned().map_err(failed)?;
    let mut names = Vec::new();
    for entry in Dir::new(handle).map_err(|e| failed(e.into()))? {
        let name = entry.map_err(|e| failed(e.into()))?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
        if names.len() > ENTRIES_MAX {
            let limit = length(ENTRIES_MAX);
            return Err(Error::Limit { what: "names in a folder", found: limit + 1, limit });
        }
    }
    names.sort_unstable();
    Ok(names)
}
