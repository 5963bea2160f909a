//! A static tree of tiles and entries (c2sp.org/tlog-tiles) for tools of others.
//!
//! ```text
//! OUT/checkpoint          the newest head, written last
//! OUT/tile/L/N[.p/W]      hashes
//! OUT/tile/entries/N[.p/W]  entries, each after its length as a big-endian u16
//! ```

use std::path::Path;
use std::sync::Arc;

use super::audit::{Begin, Watch, audit};
use super::cursor::{Cursor, Step};
use super::leaves::ArchivedLeaves;
use super::meter::{Meter, Position, bytes_before};
use super::open::{read_newest, require, same_log};
use super::segment::Kind;
use crate::blob;
use crate::bytes::{length, size};
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};
use crate::merkle::leaf_hash;
use crate::tiles::{self, Edge, WIDTH, files};

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many entries the exported head covers; all hashes are there.
    pub size: u64,
    /// The first entry that is there; not 0 where the first ones were archived and the archive was not given. The
    /// specification calls it the minimum index.
    pub first: u64,
}

/// Writes the log in the folder `dir` up to its newest head to the folder `out`, which must not exist or be empty (its
/// parent must be), as tools that follow the C2SP specification read it. Entries that were archived are taken from
/// `archive`. Only `checkpoint`, which is written last, is flushed. `watcher` is told how far it has come.
///
/// # Errors
///
/// - [`Error::Exists`]: `out` is not empty
/// - [`Error::Invalid`]: no head is stored yet
/// - [`Error::Damaged`]: the log or the archive is not what was written
/// - [`Error::Absent`], [`Error::Version`], [`Error::Full`], [`Error::Flush`], [`Error::Io`]
pub fn export(
    dir: &Path,
    archive: Option<&Path>,
    out: &Path,
    watcher: &mut dyn FnMut(Position),
) -> Result<Exported, Error> {
    let disk = Arc::new(Real) as Arc<dyn Disk>;
    export_on(&disk, (dir, archive), out, true, &mut Meter::new(watcher))
}

pub(crate) fn export_on(
    disk: &Arc<dyn Disk>,
    (dir, archive): (&Path, Option<&Path>),
    out: &Path,
    live: bool,
    meter: &mut Meter<'_>,
) -> Result<Exported, Error> {
    require(&**disk, dir)?;
    disk.create_dir(out).map_err(|e| Error::io("make", out, e))?;
    if !disk.list(out).map_err(|e| Error::io("list", out, e))?.is_empty() {
        return Err(Error::Exists { path: out.into() });
    }
    let newest = read_newest(&**disk, dir)?;
    let newest =
        newest.ok_or_else(|| Error::Invalid("no head is stored yet: nothing can be exported".into()))?;
    let covered = newest.head().size;
    let mut begin = Begin::of_log(disk, dir)?;
    let archived = begin.first();
    let in_archive = archive.filter(|_| archived > 0);
    meter.expect(bytes_before(&**disk, dir, covered)?);
    if let Some(archive) = in_archive {
        meter.expect(bytes_before(&**disk, archive, archived)?);
    }
    let mut bundles = Bundles { disk: &**disk, out, first: 0, next: 0, bytes: Vec::new() };
    match in_archive {
        Some(archive) => from_archive(disk, dir, archive, &mut bundles, meter)?,
        // The first bundle that is whole without an archived entry.
        _ => bundles.next = archived.next_multiple_of(length(WIDTH)),
    }
    bundles.first = if archive.is_some() { 0 } else { bundles.next.min(covered) };
    let mut entries = Cursor::new(Arc::clone(disk), dir, Kind::Entries, archived, live)?;
    let mut heads = Cursor::new(Arc::clone(disk), dir, Kind::Heads, 0, live)?;
    same_log(&entries, &heads)?;
    begin.goal = Some(covered);
    let mut advance = |bytes| {
        meter.advance(bytes);
        true
    };
    begin.goes_on = Some(&mut advance);
    let (mut tree, mut failed, mut failed_tile) = (None, None, None);
    let mut watch = Watch {
        each: &mut |index, entry| {
            if index < covered && failed.is_none() {
                failed = bundles.add(index, entry).err();
            }
        },
        check: &mut |_| Ok(()),
        stop: Some(covered),
        tree: &mut |edge| {
            if edge.size() == covered {
                tree = Some(edge.clone());
            }
        },
        made: &mut |level, index, hashes| {
            if tiles::end(level, index) <= covered && failed_tile.is_none() {
                let written = files::write(&**disk, out, (level, index), hashes);
                failed_tile = written.err().map(|e| Error::io("write a tile to", out, e));
            }
        },
    };
    audit(&mut entries, &mut heads, begin, &mut watch)?;
    failed.or(failed_tile).map_or(Ok(()), Err)?;
    let tree = tree.filter(|tree: &Edge| tree.root() == newest.head().root).ok_or_else(|| {
        let why = "the root of the entries is not the one of the newest head";
        Error::damaged(dir, 0, Place::Entries(0..covered), why)
    })?;
    bundles.finish(covered)?;
    for level in 0..tiles::LEVELS {
        let hashes = tree.hashes(level);
        if !hashes.is_empty() {
            let place = (level, tiles::last_at(covered, level));
            files::write(&**disk, out, place, hashes).map_err(|e| Error::io("write a tile to", out, e))?;
        }
    }
    blob::replace_on(&**disk, &out.join("checkpoint"), newest.text()?.as_bytes())?;
    Ok(Exported { size: covered, first: bundles.first })
}

/// Takes the archived entries, each of which must have the hash that stayed in the log.
fn from_archive(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    archive: &Path,
    bundles: &mut Bundles<'_>,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    let mut leaves = ArchivedLeaves::of_log(Arc::clone(disk), dir)?;
    let until = leaves.until();
    let mut cursor = Cursor::new(Arc::clone(disk), archive, Kind::Entries, 0, false)?;
    while cursor.next() < until {
        let next = cursor.next();
        let (file, offset) = (cursor.path().to_owned(), cursor.offset());
        let Step::Batch(batch) = cursor.step()? else {
            let why = "the archive ends before them";
            return Err(Error::damaged(archive, 0, Place::Entries(next..until), why));
        };
        meter.advance(batch.bytes());
        for entry in batch.entries() {
            if leaves.next().transpose()? != Some(leaf_hash(entry.bytes)) {
                let why = "the archive does not have what the log has the hash of";
                return Err(Error::damaged(&file, offset, Place::Entry(entry.index), why));
            }
            bundles.add(entry.index, entry.bytes)?;
        }
    }
    Ok(())
}

/// Writes entries by the [`WIDTH`].
struct Bundles<'a> {
    disk: &'a dyn Disk,
    out: &'a Path,
    /// The first entry that there is.
    first: u64,
    /// The entry that is next; those before are left out.
    next: u64,
    bytes: Vec<u8>,
}

impl Bundles<'_> {
    fn add(&mut self, index: u64, entry: &[u8]) -> Result<(), Error> {
        if index != self.next {
            return Ok(());
        }
        let bytes = u16::try_from(entry.len()).map_err(|_| Error::Limit {
            what: "an entry",
            found: length(entry.len()),
            limit: length(super::ENTRY_BYTES_MAX),
        })?;
        self.bytes.extend(bytes.to_be_bytes());
        self.bytes.extend(entry);
        self.next += 1;
        if self.next.is_multiple_of(length(WIDTH)) {
            self.write(self.next / length(WIDTH) - 1, WIDTH)
        } else {
            Ok(())
        }
    }

    /// Writes the last bundle, which is not whole.
    fn finish(&mut self, covered: u64) -> Result<(), Error> {
        let width = size(covered % length(WIDTH));
        if self.next == covered && width > 0 { self.write(covered / length(WIDTH), width) } else { Ok(()) }
    }

    fn write(&mut self, index: u64, width: usize) -> Result<(), Error> {
        let path = self.out.join(tiles::entries_path(index, width));
        let bytes = std::mem::take(&mut self.bytes);
        files::write_file(self.disk, &path, &bytes).map_err(|e| Error::io("write", &path, e))
    }
}

#[cfg(test)]
mod tests;
