//! The files that a log consists of: their names, their headers, and how one is made.
//!
//! ```text
//! 00000000000000000000.log     entries from 0 on
//! 00000000000000012345.log     entries from 12345 on
//! 00000000000000000000.heads   signed heads, in the same format
//!
//! header  4096  magic "DSMILLOG" or "DSMILHDS", version u32, reserved u32, log id [16], index of the first entry u64,
//!               zeros, CRC32C u32
//! batches       each at a multiple of 8; behind them zeros
//! ```

use std::path::{Path, PathBuf};

use super::spare::Spare;
use crate::bytes::{Fields, length};
use crate::disk::blocks::Zeros;
use crate::disk::{Disk, File, Mode};
use crate::error::{Error, Place};

/// A block of its own, so that no write of a batch ever touches it.
pub(super) const HEADER_BYTES: u64 = 4096;
const VERSION: u32 = 1;
/// How many zeros are written at once, in bytes.
const ZEROS_BYTES: usize = 1 << 20;

/// What the entries of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Entries,
    Heads,
}

impl Kind {
    pub(super) fn magic(self) -> [u8; 8] {
        match self {
            Self::Entries => *b"DSMILLOG",
            Self::Heads => *b"DSMILHDS",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Entries => "log",
            Self::Heads => "heads",
        }
    }

    pub(super) fn path(self, dir: &Path, first: u64) -> PathBuf {
        dir.join(format!("{first:020}.{}", self.extension()))
    }
}

/// The first indices of the files of one kind, ascending.
pub(super) fn list(disk: &dyn Disk, dir: &Path, kind: Kind) -> Result<Vec<u64>, Error> {
    let names = match disk.list(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        names => names.map_err(|e| Error::io("list", dir, e))?,
    };
    let first = |name: &String| {
        let (number, extension) = name.split_once('.')?;
        let digits = number.len() == 20 && number.bytes().all(|byte| byte.is_ascii_digit());
        (digits && extension == kind.extension()).then(|| number.parse().ok())?
    };
    let mut firsts: Vec<u64> = names.iter().filter_map(first).collect();
    firsts.sort_unstable();
    Ok(firsts)
}

/// Reads the header of a file and returns the log's id.
pub(super) fn read_header(file: &dyn File, path: &Path, kind: Kind, first: u64) -> Result<[u8; 16], Error> {
    let damaged = |why| Error::damaged(path, 0, Place::File, why);
    let mut header = vec![0; crate::bytes::size(HEADER_BYTES)];
    let count = file.read_at(0, &mut header).map_err(|e| Error::io("read", path, e))?;
    let (covered, crc) = header.split_last_chunk::<4>().ok_or_else(|| damaged("it has no header"))?;
    if count < header.len() {
        return Err(damaged("it ends within its header"));
    }
    let mut fields = Fields(covered);
    if fields.take() != Some(kind.magic()) {
        return Err(damaged("its magic number is wrong"));
    }
    // The CRC has this place in every version, so that damage is not taken for a newer one.
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(damaged("the checksum of its header does not match"));
    }
    let short = || damaged("it has no header");
    let version = fields.u32().ok_or_else(short)?;
    if version != VERSION {
        return Err(Error::Version { path: path.into(), found: version, known: VERSION });
    }
    fields.u32().ok_or_else(short)?;
    let id = fields.take().ok_or_else(short)?;
    if fields.u64() != Some(first) {
        return Err(damaged("its name is not the index of its first entry"));
    }
    Ok(id)
}

/// Makes a file with `zeros` bytes of room, durably: it gets its name when header and zeros are flushed.
pub(super) fn create(
    disk: &dyn Disk,
    dir: &Path,
    (kind, first): (Kind, u64),
    id: &[u8; 16],
    zeros: u64,
) -> Result<(Box<dyn File>, PathBuf), Error> {
    let path = kind.path(dir, first);
    let temporary = crate::blob::temporary_name(&path);
    let make = || {
        let file = disk.open(&temporary, Mode::CreateAppend).map_err(|e| Error::io("create", &path, e))?;
        zero(&*file, &path, 0, HEADER_BYTES + zeros, Some(&header(kind, first, id)))?;
        Ok(file)
    };
    give_name(disk, make, &temporary, &path)
}

/// The same of a file that has its zeros already.
pub(super) fn adopt(
    disk: &dyn Disk,
    dir: &Path,
    (kind, first): (Kind, u64),
    id: &[u8; 16],
    spare: Spare,
) -> Result<(Box<dyn File>, PathBuf), Error> {
    let path = kind.path(dir, first);
    let Spare { file, temporary, .. } = spare;
    let make = || {
        file.write_at(0, &header(kind, first, id)).map_err(|e| Error::io("create", &path, e))?;
        file.sync().map_err(|e| Error::flush(&path, e))?;
        Ok(file)
    };
    give_name(disk, make, &temporary, &path)
}

fn give_name(
    disk: &dyn Disk,
    make: impl FnOnce() -> Result<Box<dyn File>, Error>,
    temporary: &Path,
    path: &Path,
) -> Result<(Box<dyn File>, PathBuf), Error> {
    let file = make().inspect_err(|_| {
        // Its space is what is missing; should this fail, the next start removes it.
        let _ = disk.remove(temporary);
    })?;
    disk.rename_new(temporary, path).map_err(|e| match e.kind() {
        // Somebody removed it, and nothing was done.
        std::io::ErrorKind::NotFound => Error::io("name", path, e),
        _ => Error::flush(path, e),
    })?;
    disk.sync_dir(path.parent().unwrap_or(path)).map_err(|e| Error::flush(path, e))?;
    Ok((file, path.to_owned()))
}

/// Writes zeros from `start` to `end` and flushes, so that later writes there change neither length nor extents of the
/// file. At the start of it goes `header`.
pub(super) fn zero(
    file: &dyn File,
    path: &Path,
    start: u64,
    end: u64,
    header: Option<&[u8]>,
) -> Result<(), Error> {
    let fail = |e| Error::io("extend", path, e);
    file.allocate(start, end.saturating_sub(start)).map_err(fail)?;
    let zeros = Zeros::new(ZEROS_BYTES);
    let zeros = zeros.get();
    let mut at = start;
    while at < end {
        let left = crate::bytes::size(end - at);
        let part = zeros.get(..left).unwrap_or(zeros);
        file.write_at(at, part).map_err(fail)?;
        at += length(part.len());
    }
    if let Some(header) = header {
        file.write_at(0, header).map_err(fail)?;
    }
    // A full disk found only now hits no byte that was acknowledged: these are all zeros.
    file.sync().map_err(|e| match Error::io("flush", path, e) {
        Error::Io { cause, .. } => Error::flush(path, cause),
        full => full,
    })
}

fn header(kind: Kind, first: u64, id: &[u8; 16]) -> Vec<u8> {
    let mut header = Vec::with_capacity(crate::bytes::size(HEADER_BYTES));
    header.extend(kind.magic());
    header.extend(VERSION.to_le_bytes());
    header.extend([0; 4]);
    header.extend(id);
    header.extend(first.to_le_bytes());
    header.resize(crate::bytes::size(HEADER_BYTES) - 4, 0);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    header
}
