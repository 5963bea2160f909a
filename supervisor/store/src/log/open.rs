//! From files to an open log.
//!
//! Whole: every entry is read, hashed, compared with every head, and replayed. Quick: from a [`Start`], whose edge counts
//! once the tree that grows from it has the root of a stored head; nothing before is read.

use std::collections::VecDeque;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use types::hash::Hash;

use super::appender::Appender;
use super::audit::{Audit, Begin, Watch, audit};
use super::cursor::Cursor;
use super::meter::{Meter, bytes_before};
use super::segment::{self, Kind};
use super::{Config, Log, Start};
use super::{archive, archived};
use crate::blob;
use crate::bytes::length;
use crate::disk::{Disk, Lock};
use crate::error::{Error, Place};
use crate::head::{NOTE_BYTES_MAX, SignedHead};
use crate::tiles::Edge;
use crate::tiles::files::{self, Writer};

/// How many tiles that are missing or wrong a start makes again, 8 KiB each in memory: what a crash leaves is a few. More
/// are left to the scrub.
const REPAIRS_MAX: usize = 4096;

impl Log {
    pub(crate) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &Config,
        replay: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Self, Error> {
        require(&*disk, dir)?;
        let lock = lock(&*disk, dir)?;
        if let Some(archived) = archived::read_on(&*disk, dir)? {
            return Err(Error::Archived { path: dir.into(), until: archived.until() });
        }
        let entries = Cursor::new(Arc::clone(&disk), dir, Kind::Entries, 0, false)?;
        let heads = Cursor::new(Arc::clone(&disk), dir, Kind::Heads, 0, false)?;
        same_log(&entries, &heads)?;
        go_on(disk, dir, config, (entries, heads, Edge::default()), lock, replay)
    }

    pub(crate) fn open_at_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: &Config,
        start: &Start,
        replay: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<Self, Error> {
        let unproven = |why| Error::Unproven { path: dir.into(), entries: start.entries(), why };
        require(&*disk, dir)?;
        let lock = lock(&*disk, dir)?;
        let archived = archived::read_on(&*disk, dir)?.map_or(0, |archived| archived.until());
        let open = || {
            if archived > start.entries() {
                return Err(unproven(format!("the entries up to {archived} are archived")));
            }
            let at = |kind, spot| Cursor::at(Arc::clone(&disk), dir, kind, spot, false);
            let entries = at(Kind::Entries, start.entries)?;
            let heads = match start.heads {
                Some(spot) => at(Kind::Heads, spot)?,
                None => Cursor::new(Arc::clone(&disk), dir, Kind::Heads, 0, false)?,
            };
            if same_log(&entries, &heads)? != start.id {
                return Err(unproven("it is another log".into()));
            }
            go_on(Arc::clone(&disk), dir, config, (entries, heads, start.edge.clone()), lock, replay)
        };
        match open() {
            Ok(log) if log.head.is_none() => Err(unproven("no stored head covers it".into())),
            // What a crash left of archiving.
            Ok(log) => archive::remove_archived(&*log.disk, dir, archived).map(|()| log),
            Err(Error::Damaged(damage)) => Err(unproven(damage.to_string())),
            opened => opened,
        }
    }
}

/// Audits from the cursors on, then takes up writing where they end.
fn go_on(
    disk: Arc<dyn Disk>,
    dir: &Path,
    config: &Config,
    (mut entries, mut heads, edge): (Cursor, Cursor, Edge),
    lock: Lock,
    replay: &mut dyn FnMut(u64, &[u8]),
) -> Result<Log, Error> {
    let is_whole = edge.size() == 0;
    let mut wrong = Vec::new();
    let mut made = |level, index, hashes: &[Hash]| {
        let is_right = || files::read(&*disk, dir, (level, index), hashes.len()).as_deref() == Some(hashes);
        if wrong.len() < REPAIRS_MAX && !is_right() {
            wrong.push((level, index, hashes.to_vec()));
        }
    };
    let mut watch =
        Watch { each: replay, check: &mut |_| Ok(()), stop: None, tree: &mut |_| (), made: &mut made };
    let begin = Begin { edge, ..Begin::default() };
    let Audit { tree, entries_tail, heads_tail, head, .. } =
        audit(&mut entries, &mut heads, begin, &mut watch)?;
    if head.is_none() && !is_whole {
        let why = "no stored head covers what is before";
        return Err(Error::damaged(entries.path(), entries.offset(), Place::File, why));
    }
    check_newest(&*disk, dir, head.as_ref(), &tree)?;
    remove_unfinished(&*disk, dir)?;
    let mut tiles = Writer::new(Arc::clone(&disk), dir);
    wrong.into_iter().for_each(|(level, index, hashes)| tiles.take(level, index, &hashes));
    tiles.mend_last(&tree);
    if let Some(head) = &head {
        tiles.write_last(&tree, head.head().size);
    }
    let id = entries.id().unwrap_or_default();
    let (growth, what) = (config.growth(), (Kind::Entries, id));
    let appender = Appender::resume(Arc::clone(&disk), dir.into(), what, growth, &entries, entries_tail)?;
    let heads = match heads.first() {
        None => None,
        Some(_) => {
            let (what, growth) = ((Kind::Heads, id), config.growth_of_heads());
            Some(Appender::resume(Arc::clone(&disk), dir.into(), what, growth, &heads, heads_tail)?)
        }
    };
    let log = Log {
        disk,
        dir: dir.into(),
        config: config.clone(),
        id,
        entries: appender,
        heads,
        tree,
        tiles,
        head,
        pending: VecDeque::new(),
        _lock: lock,
    };
    // A crash between storing a head and replacing the file leaves the one before in it.
    log.copy_newest()?;
    Ok(log)
}

/// What an audit for [`crate::verify`] gives.
pub(crate) struct Unlocked {
    pub(crate) audit: Audit,
    pub(crate) id: [u8; 16],
    pub(crate) torn_bytes: u64,
    /// How many entries were archived.
    pub(crate) archived: u64,
}

/// Audits a folder without its lock.
pub(crate) fn audit_unlocked(
    disk: Arc<dyn Disk>,
    dir: &Path,
    live: bool,
    watch: &mut Watch<'_>,
    meter: &mut Meter<'_>,
) -> Result<Unlocked, Error> {
    require(&*disk, dir)?;
    meter.expect(bytes_before(&*disk, dir, u64::MAX)?);
    let mut begin = Begin::of_log(&disk, dir)?;
    let mut advance = |bytes| {
        meter.advance(bytes);
        true
    };
    begin.goes_on = Some(&mut advance);
    let archived = begin.first();
    let mut entries = Cursor::new(Arc::clone(&disk), dir, Kind::Entries, archived, live)?;
    let mut heads = Cursor::new(Arc::clone(&disk), dir, Kind::Heads, 0, live)?;
    let newest = read_newest(&*disk, dir)?;
    let audit = audit(&mut entries, &mut heads, begin, watch)?;
    let id = same_log(&entries, &heads)?;
    let torn_bytes = audit.entries_tail.torn_bytes + audit.heads_tail.torn_bytes;
    if let Some(newest) = newest {
        (watch.check)(&newest).map_err(|why| Error::damaged(&dir.join("checkpoint"), 0, Place::File, why))?;
        compare_newest(dir, &newest, audit.head.as_ref(), &audit.tree)?;
    }
    Ok(Unlocked { audit, id, torn_bytes, archived })
}

pub(super) fn lock(disk: &dyn Disk, dir: &Path) -> Result<Lock, Error> {
    let lock = disk.lock(&dir.join("lock")).map_err(|e| Error::io("lock", dir, e))?;
    lock.ok_or_else(|| Error::Locked { path: dir.into() })
}

/// Keeps every process from opening a log for writing until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Held(#[expect(dead_code, reason = "held for its drop")] Option<File>);

/// Makes sure that no process writes the log in the folder `dir`, now or while what is returned lives. It changes nothing
/// there, so the folder may be read-only.
///
/// # Errors
///
/// - [`Error::Locked`]: a process has it open for writing
/// - [`Error::Io`]
pub fn hold(dir: &Path) -> Result<Held, Error> {
    let failed = |e| Error::io("lock", dir, e);
    let file = match File::open(dir.join("lock")) {
        // Nobody ever wrote here: a copy.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Held(None)),
        file => file.map_err(failed)?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(Held(Some(file))),
        Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.into() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Refuses a folder without entries. Where heads are left without them, they are what is missing.
pub(crate) fn require(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    if !segment::list(disk, dir, Kind::Entries)?.is_empty() {
        return Ok(());
    }
    if segment::list(disk, dir, Kind::Heads)?.is_empty() {
        return Err(Error::Absent { what: "log", path: dir.into() });
    }
    Err(Error::damaged(dir, 0, Place::File, "the folder has heads of a log but no entries"))
}

pub(super) fn same_log(entries: &Cursor, heads: &Cursor) -> Result<[u8; 16], Error> {
    let id = entries.id().unwrap_or_default();
    if heads.id().is_some_and(|other| other != id) {
        return Err(Error::damaged(heads.path(), 0, Place::File, "it belongs to another log"));
    }
    Ok(id)
}

pub(crate) fn read_newest(disk: &dyn Disk, dir: &Path) -> Result<Option<SignedHead>, Error> {
    let path = dir.join("checkpoint");
    let bytes = match blob::read_on(disk, &path, length(NOTE_BYTES_MAX)) {
        Err(Error::Absent { .. }) => return Ok(None),
        bytes => bytes?,
    };
    let head = std::str::from_utf8(&bytes).ok().and_then(|text| SignedHead::parse(text).ok());
    let damaged = || Error::damaged(&path, 0, Place::File, "it is no signed checkpoint");
    head.ok_or_else(damaged).map(Some)
}

/// The file `checkpoint` is written after the stored heads, so it is never ahead of them.
fn check_newest(disk: &dyn Disk, dir: &Path, stored: Option<&SignedHead>, tree: &Edge) -> Result<(), Error> {
    let Some(newest) = read_newest(disk, dir)? else { return Ok(()) };
    compare_newest(dir, &newest, stored, tree)
}

fn compare_newest(
    dir: &Path,
    newest: &SignedHead,
    stored: Option<&SignedHead>,
    tree: &Edge,
) -> Result<(), Error> {
    let path = dir.join("checkpoint");
    let (head, size) = (newest.head(), stored.map_or(0, |stored| stored.head().size));
    if head.size > tree.size() {
        let why = "this head covers them, but they are not there";
        return Err(Error::damaged(&path, 0, Place::Entries(tree.size()..head.size), why));
    }
    if stored.is_none() || head.size > size {
        return Err(Error::damaged(&path, 0, Place::File, "it is newer than the newest stored head"));
    }
    if stored.is_some_and(|stored| head.size == size && stored.head().root != head.root) {
        return Err(Error::damaged(&path, 0, Place::File, "it is not the newest stored head"));
    }
    Ok(())
}

/// Removes files that a crash left before they had their names.
fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for name in disk.list(dir).map_err(|e| Error::io("list", dir, e))? {
        if name.ends_with(".tmp") {
            let path = dir.join(name);
            disk.remove(&path).map_err(|e| Error::io("remove the unfinished", &path, e))?;
        }
    }
    Ok(())
}
