//! Old files go elsewhere, their hashes stay.
//!
//! In this order, each step durable before the next, so that a crash in between loses nothing and the next call goes on:
//!
//! 1. what is to be archived is proven: read up to a head that covers it
//! 2. the tiles over it are flushed: from now on they do not follow from anything
//! 3. its files are copied, flushed, and compared
//! 4. the mark `archived` is written: how many entries, and the tree's edge there
//! 5. its files are removed

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use types::hash::Hash;

use super::archived::{self, Archived};
use super::audit::{Begin, Watch, audit};
use super::cursor::Cursor;
use super::meter::{Meter, Position, bytes_before};
use super::open::{read_newest, require, same_log};
use super::segment::{self, Kind};
use crate::blob;
use crate::bytes::{length, size};
use crate::disk::real::Real;
use crate::disk::{Disk, Mode};
use crate::error::{Error, Place};
use crate::tiles::{self, Edge, files};

/// How much is copied at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The entries that this call archived; empty where no file is wholly before the limit.
    pub entries: Range<u64>,
    /// Their files in the archive.
    pub files: Vec<PathBuf>,
}

/// Moves the files of the log in the folder `dir` that hold nothing but entries before index `before` to the folder `to`,
/// which is made if it is not there (its parent must be). They must be covered by a stored head. It runs beside the process
/// that writes. The log opens then from snapshots at or behind the archived entries alone; proofs stay.
/// `watcher` is told how far it has come.
///
/// # Errors
///
/// - [`Error::Damaged`]: what is to be archived is not what was written; nothing was changed
/// - [`Error::Exists`]: the archive has another file of the same name
/// - [`Error::Locked`]: another process is archiving
/// - [`Error::Absent`], [`Error::Version`]: there is no log that can be read
/// - [`Error::Full`], [`Error::Flush`], [`Error::Io`]: no file was removed that is not in the archive; try again
pub fn archive(
    dir: &Path,
    to: &Path,
    before: u64,
    watcher: &mut dyn FnMut(Position),
) -> Result<Archive, Error> {
    let disk = Arc::new(Real) as Arc<dyn Disk>;
    archive_on(&disk, (dir, to), before, true, &mut Meter::new(watcher))
}

/// The entries that [`archive`] would archive: from the first that is there to the end of the last file that is wholly
/// before index `before` and covered by a stored head.
///
/// # Errors
///
/// - [`Error::Damaged`]: the mark of what was archived, or the newest head, is none
/// - [`Error::Absent`], [`Error::Version`], [`Error::Io`]
pub fn archivable(dir: &Path, before: u64) -> Result<Range<u64>, Error> {
    require(&Real, dir)?;
    let from = archived(dir)?;
    let covered = read_newest(&Real, dir)?.map_or(0, |newest| newest.head().size);
    let firsts = segment::list(&Real, dir, Kind::Entries)?;
    Ok(from..wholly_before(&firsts, from, before.min(covered)).1)
}

/// How many entries of the log in the folder `dir`, the first ones, were archived.
///
/// # Errors
///
/// - [`Error::Damaged`], [`Error::Version`], [`Error::Io`]: the mark that says so cannot be read
pub fn archived(dir: &Path) -> Result<u64, Error> {
    Ok(archived::read_on(&Real, dir)?.map_or(0, |mark| mark.until()))
}

pub(crate) fn archive_on(
    disk: &Arc<dyn Disk>,
    (dir, to): (&Path, &Path),
    before: u64,
    live: bool,
    meter: &mut Meter<'_>,
) -> Result<Archive, Error> {
    require(&**disk, dir)?;
    let lock = disk.lock(&dir.join("archive.lock")).map_err(|e| Error::io("lock", dir, e))?;
    let _lock = lock.ok_or_else(|| Error::Locked { path: dir.into() })?;
    let mark = archived::read_on(&**disk, dir)?;
    let edge = mark.map_or_else(Edge::default, |mark| mark.edge().clone());
    let from = edge.size();
    let covered = read_newest(&**disk, dir)?.map_or(0, |newest| newest.head().size);
    let firsts = segment::list(&**disk, dir, Kind::Entries)?;
    let (firsts, until) = wholly_before(&firsts, from, before.min(covered));
    let copies: Vec<PathBuf> = firsts.iter().map(|first| Kind::Entries.path(to, *first)).collect();
    if !firsts.is_empty() {
        // They are read to prove them, to copy them, and to compare the copies.
        let bytes = bytes_before(&**disk, dir, until)?;
        meter.expect(3 * bytes);
        let proven = prove(disk, dir, edge, until, (live, meter))?;
        meter.reach(bytes);
        flush_tiles(&**disk, dir, &proven.made)?;
        disk.create_dir(to).map_err(|e| Error::io("make", to, e))?;
        for (first, copy) in firsts.iter().zip(&copies) {
            copy_file(&**disk, &Kind::Entries.path(dir, *first), copy, meter)?;
        }
        disk.sync_dir(to).map_err(|e| Error::flush(to, e))?;
        let mark = Archived::new(proven.id, proven.edge);
        blob::replace_on(&**disk, &dir.join(archived::NAME), &mark.encode())?;
    }
    remove_archived(&**disk, dir, until)?;
    Ok(Archive { entries: from..until, files: copies })
}

/// The files, by their first entries, of `from..until` for the largest `until` at the end of a file that is not over
/// `limit`. The last file is never among them: it is being written.
fn wholly_before(firsts: &[u64], from: u64, limit: u64) -> (Vec<u64>, u64) {
    let there = firsts.iter().copied().filter(|first| *first >= from);
    let until = there.clone().take_while(|first| *first <= limit).last().unwrap_or(from);
    (there.take_while(|first| *first < until).collect(), until)
}

struct Proven {
    id: [u8; 16],
    /// The tree of the entries up to the limit.
    edge: Edge,
    /// The tiles that became whole on the way there.
    made: Vec<(u32, u64, Vec<Hash>)>,
}

/// Reads from the edge on to the first head that covers `until` entries.
fn prove(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    edge: Edge,
    until: u64,
    (live, meter): (bool, &mut Meter<'_>),
) -> Result<Proven, Error> {
    let mut entries = Cursor::new(Arc::clone(disk), dir, Kind::Entries, edge.size(), live)?;
    let mut heads = Cursor::new(Arc::clone(disk), dir, Kind::Heads, 0, live)?;
    let id = same_log(&entries, &heads)?;
    let (mut reached, mut made) = (None, Vec::new());
    let mut watch = Watch {
        each: &mut |_, _| (),
        check: &mut |_| Ok(()),
        stop: Some(until),
        tree: &mut |tree| {
            if tree.size() == until {
                reached = Some(tree.clone());
            }
        },
        made: &mut |level, index, hashes| {
            if tiles::end(level, index) <= until {
                made.push((level, index, hashes.to_vec()));
            }
        },
    };
    let mut advance = |bytes| {
        meter.advance(bytes);
        true
    };
    let begin = Begin { edge, goal: Some(until), goes_on: Some(&mut advance), ..Begin::default() };
    let audit = audit(&mut entries, &mut heads, begin, &mut watch)?;
    let is_covered = audit.head.is_some_and(|head| head.head().size >= until);
    let edge = reached.filter(|_| is_covered).ok_or_else(|| {
        Error::damaged(dir, 0, Place::Entries(0..until), "no stored head covers what is to be archived")
    })?;
    Ok(Proven { id, edge, made })
}

/// Makes tiles durable, with the folders on the way to them.
pub(super) fn flush_tiles(disk: &dyn Disk, dir: &Path, made: &[(u32, u64, Vec<Hash>)]) -> Result<(), Error> {
    let mut folders = BTreeSet::new();
    for (level, index, hashes) in made {
        let tile = (*level, *index);
        let path = dir.join(tiles::path(*level, *index, hashes.len()));
        if files::read(disk, dir, tile, hashes.len()).as_deref() != Some(hashes) {
            files::write(disk, dir, tile, hashes).map_err(|e| Error::io("write", &path, e))?;
        }
        let file = disk.open(&path, Mode::Write).map_err(|e| Error::io("open", &path, e))?;
        file.sync().map_err(|e| Error::flush(&path, e))?;
        folders.extend(
            path.ancestors().skip(1).take_while(|folder| folder.starts_with(dir)).map(Path::to_owned),
        );
    }
    // The deepest first, so that no name is durable before what it names.
    folders.iter().rev().try_for_each(|folder| disk.sync_dir(folder).map_err(|e| Error::flush(folder, e)))
}

/// Copies a file durably, but for its name; one that is there already must be the same.
fn copy_file(disk: &dyn Disk, from: &Path, to: &Path, meter: &mut Meter<'_>) -> Result<(), Error> {
    if disk.open(to, Mode::Read).is_ok() {
        return match is_same(disk, from, to, meter)? {
            true => Ok(()),
            false => Err(Error::Exists { path: to.into() }),
        };
    }
    let temporary = blob::temporary_name(to);
    let mut copy = || {
        let source = disk.open(from, Mode::Read).map_err(|e| Error::io("open", from, e))?;
        let target = disk.open(&temporary, Mode::Create).map_err(|e| Error::io("create", to, e))?;
        let total = source.len().map_err(|e| Error::io("read", from, e))?;
        target.allocate(0, total).map_err(|e| Error::io("write", to, e))?;
        let (mut at, mut piece) = (0, vec![0; PIECE_BYTES]);
        while at < total {
            let count = source.read_at(at, &mut piece).map_err(|e| Error::io("read", from, e))?;
            let part = piece.get(..count).filter(|part| !part.is_empty()).ok_or_else(|| {
                Error::damaged(from, at, Place::File, "it became shorter while it was copied")
            })?;
            target.write_at(at, part).map_err(|e| Error::io("write", to, e))?;
            at += length(count);
            meter.advance(length(count));
        }
        target.sync().map_err(|e| Error::io("flush", to, e))?;
        match is_same(disk, from, &temporary, meter)? {
            true => Ok(()),
            false => Err(Error::damaged(to, 0, Place::File, "the copy is not what was copied")),
        }
    };
    copy().inspect_err(|_| {
        // Its space may be what is missing; the next call makes it anew.
        let _ = disk.remove(&temporary);
    })?;
    disk.rename_new(&temporary, to).map_err(|e| Error::io("create", to, e))
}

fn is_same(disk: &dyn Disk, one: &Path, other: &Path, meter: &mut Meter<'_>) -> Result<bool, Error> {
    let open = |path: &Path| disk.open(path, Mode::Read).map_err(|e| Error::io("open", path, e));
    let (first, second) = (open(one)?, open(other)?);
    let total = first.len().map_err(|e| Error::io("read", one, e))?;
    if second.len().map_err(|e| Error::io("read", other, e))? != total {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
    let mut at = 0;
    while at < total {
        let wanted = size(total - at).min(PIECE_BYTES);
        a.truncate(wanted);
        b.truncate(wanted);
        let counts = (
            first.read_at(at, &mut a).map_err(|e| Error::io("read", one, e))?,
            second.read_at(at, &mut b).map_err(|e| Error::io("read", other, e))?,
        );
        if counts != (wanted, wanted) || a != b {
            return Ok(false);
        }
        at += length(wanted);
        meter.advance(length(wanted));
    }
    Ok(true)
}

/// Removes files of entries before `until`, all of which are in the archive since the mark says so.
pub(super) fn remove_archived(disk: &dyn Disk, dir: &Path, until: u64) -> Result<(), Error> {
    let mut is_changed = false;
    for first in segment::list(disk, dir, Kind::Entries)?.into_iter().take_while(|first| *first < until) {
        let path = Kind::Entries.path(dir, first);
        disk.remove(&path).map_err(|e| Error::io("remove the archived", &path, e))?;
        is_changed = true;
    }
    if is_changed {
        disk.sync_dir(dir).map_err(|e| Error::flush(dir, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
