//! What can be proven of a damaged log, in a new folder.
//!
//! Two passes over the damaged log, which is only read. The first finds how far it is good:
//!
//! - *proven*: up to the last stored head whose root the entries have
//! - *unproven*: whole batches with good CRCs behind it, up to the first thing that is bad, as in any log behind its newest
//!   head; but not if a head says that they are others
//!
//! The second copies these, and the heads of the proven part. What is behind the first damage stays where it is: it cannot
//! keep its place in a log in which entries are missing.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::flush_tiles;
use super::archived::{self, Archived};
use super::audit::Heads;
use super::cursor::{Cursor, Step};
use super::meter::{Meter, Position, bytes_before};
use super::open::{read_newest, same_log};
use super::segment::{self, Kind};
use super::{Config, Log};
use crate::blob;
use crate::bytes::length;
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::{Error, Place};
use crate::merkle::leaf_hash;
use crate::tiles::{Edge, WIDTH, files};

/// How much is appended at once, in bytes.
const BATCH_BYTES: usize = 1 << 20;
/// How many tiles are written before their folders are flushed, 8 KiB each.
const TILES_AT_ONCE: usize = 1024;

/// What was salvaged, and what was not.
#[derive(Debug)]
pub struct Salvaged {
    /// The log's random identity, which the new one has, too.
    pub id: [u8; 16],
    /// How many entries a stored head proves. Whose head that is, is for [`crate::verify`] to say, with the key.
    pub proven: u64,
    /// How many entries were copied: behind the proven ones are those that nothing speaks against.
    pub copied: u64,
    /// The entries that are known to have been there and were not copied; there may have been more.
    pub lost: Range<u64>,
    /// What is wrong, and where.
    pub found: Vec<Error>,
    /// Files behind the first damage, which were not read.
    pub unread: Vec<PathBuf>,
    /// Whether every entry and every head that is known to have been there is in the new log.
    pub is_whole: bool,
}

/// Copies what can be proven of the damaged log in the folder `dir` to the folder `out`, which must not have a log, with the
/// same identity. `dir` is not changed. Entries that were archived are copied from the folder `archive`; without it the new log has
/// their hashes alone, and as snapshots are not copied, because their places are others, nobody can start from it.
/// `watcher` is told how far it has come.
///
/// # Errors
///
/// - [`Error::Absent`], [`Error::Damaged`]: what was archived is not in `archive`, or is not what was archived
///
/// - [`Error::Absent`]: there is no log at `dir`
/// - [`Error::Exists`]: there is a log at `out`
/// - [`Error::Damaged`], [`Error::Version`]: not even the beginning can be read
/// - [`Error::Full`], [`Error::Flush`], [`Error::Io`], [`Error::Locked`]: writing to `out` failed
pub fn salvage(
    dir: &Path,
    out: &Path,
    archive: Option<&Path>,
    watcher: &mut dyn FnMut(Position),
) -> Result<Salvaged, Error> {
    let disk = Arc::new(Real) as Arc<dyn Disk>;
    salvage_on(&disk, (dir, archive), out, &Config::default(), &mut Meter::new(watcher))
}

pub(crate) fn salvage_on(
    disk: &Arc<dyn Disk>,
    (dir, archive): (&Path, Option<&Path>),
    out: &Path,
    config: &Config,
    meter: &mut Meter<'_>,
) -> Result<Salvaged, Error> {
    let mut found = Vec::new();
    // Read to find how far it is good, and to copy that.
    let bytes = bytes_before(&**disk, dir, u64::MAX)?;
    meter.expect(2 * bytes);
    let mark = archived::read_on(&**disk, dir).unwrap_or_else(|error| {
        found.push(error);
        None
    });
    let edge = mark.as_ref().map_or_else(Edge::default, |mark| mark.edge().clone());
    let first = edge.size();
    let good = survey(disk, dir, edge.clone(), (&mut found, meter))?;
    meter.reach(bytes);
    let mut log = match (&mark, archive) {
        (Some(mark), Some(archive)) => bring_back(disk, archive, out, (mark, config), meter)?,
        (Some(mark), None) => {
            let log = Log::create_from(Arc::clone(disk), out, good.id, config, edge)?;
            copy_archived(&**disk, dir, out, mark, &mut found)?;
            log
        }
        (None, _) => Log::create_from(Arc::clone(disk), out, good.id, config, edge)?,
    };
    copy_entries(disk, dir, first..good.end, &mut log, meter)?;
    copy_heads(disk, dir, good.proven, &mut log)?;
    let is_sound = found.is_empty();
    // Only a copy of a stored head: itself it is no loss.
    let newest = read_newest(&**disk, dir).unwrap_or_else(|error| {
        found.push(error);
        None
    });
    let newest = newest.map_or(0, |newest| newest.head().size);
    let known = newest.max(good.known).max(found.iter().filter_map(end_of).max().unwrap_or(0));
    let unread: Vec<u64> =
        segment::list(&**disk, dir, Kind::Entries)?.into_iter().filter(|file| *file > good.file).collect();
    let known = unread.last().copied().unwrap_or(0).max(known);
    let lost = good.end..known.max(good.end);
    let is_whole = is_sound && lost.is_empty() && newest <= good.proven;
    let unread = unread.into_iter().map(|file| Kind::Entries.path(dir, file)).collect();
    let salvaged =
        Salvaged { id: good.id, proven: good.proven, copied: good.end, lost, found, unread, is_whole };
    blob::replace_on(&**disk, &out.join("salvage"), salvaged.text().as_bytes())?;
    Ok(salvaged)
}

/// Where the entries end that an error speaks of: they were there.
fn end_of(error: &Error) -> Option<u64> {
    match error {
        Error::Damaged(damage) => match &damage.place {
            Place::Entry(index) => Some(index.saturating_add(1)),
            Place::Entries(range) => Some(range.end),
            Place::Head(_) | Place::File => None,
        },
        _ => None,
    }
}

impl Salvaged {
    /// What the file `salvage` in the new folder says.
    fn text(&self) -> String {
        let Self { proven, copied, lost, found, unread, .. } = self;
        let mut text =
            format!("proven by a head: entries before {proven}\ncopied: entries before {copied}\n");
        if !lost.is_empty() {
            text.push_str(&format!("not copied: entries from {} to {} at least\n", lost.start, lost.end - 1));
        }
        for error in found {
            match error {
                Error::Damaged(damage) => text.push_str(&format!("found: {damage}\n")),
                other => text.push_str(&format!("found: {other}\n")),
            }
        }
        unread.iter().for_each(|file| text.push_str(&format!("not read: {}\n", file.display())));
        text
    }
}

/// How far a log is good.
struct Good {
    id: [u8; 16],
    proven: u64,
    end: u64,
    /// The most entries that a head speaks of.
    known: u64,
    /// The file in which the good entries end.
    file: u64,
}

fn survey(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    mut tree: Edge,
    (found, meter): (&mut Vec<Error>, &mut Meter<'_>),
) -> Result<Good, Error> {
    if segment::list(&**disk, dir, Kind::Entries)?.is_empty() {
        return Err(Error::Absent { what: "log", path: dir.into() });
    }
    let first = tree.size();
    let mut entries = Cursor::new(Arc::clone(disk), dir, Kind::Entries, first, false)?;
    let id = entries.id().unwrap_or_default();
    if entries.next() != first {
        let range = first.min(entries.next())..first.max(entries.next());
        return Err(Error::damaged(
            entries.path(),
            0,
            Place::Entries(range),
            "the first entries are missing",
        ));
    }
    let mut cursor = Cursor::new(Arc::clone(disk), dir, Kind::Heads, 0, false);
    if let Ok(heads) = &cursor
        && let Err(error) = same_log(&entries, heads)
    {
        cursor = Err(error);
    }
    let mut heads = Witness { heads: cursor.as_mut().ok().map(Heads::new), next: None, known: 0, found };
    heads.advance(first);
    let (mut proven, mut is_refuted) = (0, false);
    let mut check = |tree: &Edge, heads: &mut Witness<'_>| {
        let root = heads.next.filter(|(size, _)| *size == tree.size()).map(|(_, root)| root);
        let is_right = root.is_none_or(|root| root == tree.root());
        if root.is_some() && is_right {
            proven = tree.size();
        }
        is_right
    };
    check(&tree, &mut heads);
    let failed = 'read: loop {
        match entries.step() {
            Ok(Step::Batch(batch)) => {
                meter.advance(batch.bytes());
                for entry in batch.entries() {
                    heads.advance(tree.size() + 1);
                    tree.append(leaf_hash(entry.bytes), &mut |_, _, _| ());
                    if !check(&tree, &mut heads) {
                        is_refuted = true;
                        break 'read None;
                    }
                }
            }
            Ok(Step::End(_)) => break None,
            Err(error) => break Some(error),
        }
    };
    let end = if is_refuted { proven } else { tree.size() };
    let refuted = tree.size();
    heads.advance(u64::MAX);
    let known = heads.known;
    found.extend(cursor.err());
    let is_explained = failed.is_some();
    found.extend(failed);
    if is_refuted {
        let why = "the root of the entries is not the one of the head over them";
        found.push(Error::damaged(entries.path(), 0, Place::Entries(proven..refuted), why));
    } else if known > end && !is_explained {
        let why = "a stored head covers them, but they are not there, or cannot be read";
        found.push(Error::damaged(entries.path(), entries.offset(), Place::Entries(end..known), why));
    }
    Ok(Good { id, proven, end, known, file: entries.first().unwrap_or_default() })
}

/// The stored heads as long as they can be read.
struct Witness<'a> {
    heads: Option<Heads<'a>>,
    /// Size and root of the one that is next.
    next: Option<(u64, types::hash::Hash)>,
    known: u64,
    found: &'a mut Vec<Error>,
}

impl Witness<'_> {
    /// Goes on to the first head that covers this many entries.
    fn advance(&mut self, size: u64) {
        while self.next.is_none_or(|(next, _)| next < size) {
            let Some(heads) = &mut self.heads else { return };
            match heads.next() {
                Ok(Some(stored)) => {
                    let head = stored.head();
                    self.known = self.known.max(head.size);
                    self.next = Some((head.size, head.root));
                }
                Ok(None) => self.heads = None,
                Err(error) => {
                    self.found.push(error);
                    self.heads = None;
                }
            }
            if self.heads.is_none() {
                self.next = self.next.filter(|(next, _)| *next >= size);
                return;
            }
        }
    }
}

/// Copies the mark and the hashes of archived entries.
fn copy_archived(
    disk: &dyn Disk,
    dir: &Path,
    out: &Path,
    mark: &Archived,
    found: &mut Vec<Error>,
) -> Result<(), Error> {
    let mut made = Vec::new();
    let mut tree = Edge::default();
    for index in 0..mark.until() / length(WIDTH) {
        let Some(hashes) = files::read(disk, dir, (0, index), WIDTH) else {
            let path = dir.join(crate::tiles::path(0, index, WIDTH));
            let range = index * length(WIDTH)..(index + 1) * length(WIDTH);
            let why = "the tile over these archived entries is missing or torn";
            found.push(Error::damaged(&path, 0, Place::Entries(range), why));
            break;
        };
        tree.extend(&hashes, &mut |level, index, hashes| made.push((level, index, hashes.to_vec())));
        if made.len() >= TILES_AT_ONCE {
            flush_tiles(disk, out, &made)?;
            made.clear();
        }
    }
    flush_tiles(disk, out, &made)?;
    blob::replace_on(disk, &out.join(archived::NAME), &mark.encode())
}

/// A new log of all archived entries.
fn bring_back(
    disk: &Arc<dyn Disk>,
    archive: &Path,
    out: &Path,
    (mark, config): (&Archived, &Config),
    meter: &mut Meter<'_>,
) -> Result<Log, Error> {
    // Looked at before anything is written: the folder may be the wrong one.
    let cursor = Cursor::new(Arc::clone(disk), archive, Kind::Entries, 0, false)?;
    let path = cursor.path();
    if cursor.id() != Some(mark.id()) {
        return Err(Error::damaged(path, 0, Place::File, "it is of another log, so this is not its archive"));
    }
    let mut log = Log::create_from(Arc::clone(disk), out, mark.id(), config, Edge::default())?;
    meter.expect(bytes_before(&**disk, archive, mark.until())?);
    copy_entries(disk, archive, 0..mark.until(), &mut log, meter)?;
    if log.size() != mark.until() || log.root() != mark.edge().root() {
        let range = Place::Entries(0..mark.until());
        return Err(Error::damaged(path, 0, range, "the archive has not the entries that were archived"));
    }
    Ok(log)
}

fn copy_entries(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    range: Range<u64>,
    log: &mut Log,
    meter: &mut Meter<'_>,
) -> Result<(), Error> {
    if range.is_empty() {
        return Ok(());
    }
    let mut cursor = Cursor::new(Arc::clone(disk), dir, Kind::Entries, range.start, false)?;
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while cursor.next() < range.end {
        let Step::Batch(found) = cursor.step()? else { break };
        meter.advance(found.bytes());
        for entry in found.entries().filter(|entry| range.contains(&entry.index)) {
            bytes += entry.bytes.len();
            batch.push(entry.bytes.to_vec());
            if bytes >= BATCH_BYTES {
                log.append(&batch)?;
                batch.clear();
                bytes = 0;
            }
        }
    }
    if batch.is_empty() { Ok(()) } else { log.append(&batch).map(drop) }
}

fn copy_heads(disk: &Arc<dyn Disk>, dir: &Path, proven: u64, log: &mut Log) -> Result<(), Error> {
    if proven == 0 {
        return Ok(());
    }
    let mut cursor = Cursor::new(Arc::clone(disk), dir, Kind::Heads, 0, false)?;
    let (mut heads, mut last) = (Heads::new(&mut cursor), None);
    while let Ok(Some(stored)) = heads.next() {
        let size = stored.head().size;
        if size > proven {
            break;
        }
        // Those that were compared: the first of each size, in their order.
        if last.is_none_or(|last| size > last) {
            log.keep_head(stored.signed())?;
            last = Some(size);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
