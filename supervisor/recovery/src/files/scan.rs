//! Walking a root: every entry in a stable order, always relative to open folders.
//!
//! An agent may rename folders and swap links while we walk. So no path is ever resolved from the top: each name is
//! looked up in its folder's descriptor, without following it.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fmt;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use minicbor::{Decode, Encode};
use rustix::fs::{FileType, OFlags, Statx, StatxAttributes};
use rustix::io::Errno;

use super::ahead::{self, Forerun};
use super::entry::{DEPTH_MAX, Entry, Kind, Meta, PATH_BYTES_MAX, STAGING, Stamp};
use super::known::{self, Before, Known, KnownRoot, Mark, Marks};
use super::read::{self, Contents};
use super::root::Root;
use super::rules::Rules;
use crate::Error;
use crate::error::length;

/// How often a file is read again that changed while it was read.
const READS_MAX: u32 = 3;
/// The most entries of one root.
pub const ENTRIES_MAX: usize = 4 << 20;

/// What the walk could not take as it is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Note {
    /// Relative to the root.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Why.
    #[n(1)]
    pub why: Why,
}

/// Why something is not in a checkpoint, or not surely as it was at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(index_only)]
pub enum Why {
    /// A socket: it means nothing without the process that made it. Left alone.
    #[n(0)]
    Socket,
    /// A device node. Left alone.
    #[n(1)]
    Device,
    /// Another file system begins here. Left alone; make it a root of its own.
    #[n(2)]
    MountPoint,
    /// The path or its depth is over the limit. Left alone.
    #[n(3)]
    TooLong,
    /// The extended attributes are over the limit. Left alone.
    #[n(4)]
    Attributes,
    /// It changed each time that it was read: what the checkpoint holds may never have been there at one moment.
    #[n(5)]
    Changing,
    /// Something else stood there each time that it was looked at. Left alone.
    #[n(6)]
    Replaced,
    /// The rules leave it out. Left alone.
    #[n(7)]
    Rules,
}

impl Why {
    /// Whether the entry is missing from the checkpoint, so that a restore must not touch it.
    #[must_use]
    pub const fn leaves_out(self) -> bool {
        !matches!(self, Self::Changing)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "a socket",
            Self::Device => "a device node",
            Self::MountPoint => "a mount point",
            Self::TooLong => "too long or too deep a path",
            Self::Attributes => "too large extended attributes",
            Self::Changing => "changing while it was read",
            Self::Replaced => "replaced again and again",
            Self::Rules => "left out by the rules",
        })
    }
}

/// An entry as it is now.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) nlink: u32,
    /// By which it is known later; unknown where somebody was writing it.
    pub(crate) mark: Mark,
}

impl Found {
    fn new(entry: Entry, stat: &Statx) -> Self {
        Self { entry, nlink: stat.stx_nlink, mark: Mark::of(stat) }
    }
}

/// A root as it is now.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Folders before what they hold, names ascending by bytes.
    pub(crate) entries: Vec<Found>,
    pub(crate) notes: Vec<Note>,
    filesystem: Option<Vec<u8>>,
    /// Files that were not read because they are known.
    pub(crate) known: u64,
    /// When the walk began, by the clock that sets ctimes.
    began: Stamp,
}

impl Scan {
    /// Whether what the kernel says of ctimes there is relied upon.
    pub(crate) const fn is_trusted(&self) -> bool {
        self.filesystem.is_some()
    }

    /// What makes its entries known to later walks.
    pub(crate) fn marks(&self) -> Option<Marks> {
        Marks::new(self.filesystem.clone(), self.entries.iter().map(|found| found.mark))
    }

    /// What makes the entries of a checkpoint known to later walks, as far as they are found here.
    pub(crate) fn marks_of(&self, want: &[Entry]) -> Option<Marks> {
        let here: HashMap<&[u8], &Found> =
            self.entries.iter().map(|found| (found.entry.path.as_slice(), found)).collect();
        let mark = |entry: &Entry| {
            let found = here.get(entry.path.as_slice());
            let found = found.filter(|found| {
                !super::plan::compare(entry, &found.entry).any() && found.mark.is_before(self.began)
            });
            found.map_or(Mark::UNKNOWN, |found| found.mark)
        };
        Marks::new(self.filesystem.clone(), want.iter().map(mark))
    }
}

/// Walks a root. What `known` knows is not read.
///
/// # Errors
///
/// - [`Error::Io`]: something cannot be read
/// - [`Error::Limit`]: more than [`ENTRIES_MAX`] entries
/// - [`Error::Store`]: the contents could not be stored
pub(crate) fn scan(root: &Root, contents: &mut dyn Contents, known: &Known<'_>) -> Result<Scan, Error> {
    scan_after(root, contents, known, None)
}

/// Walks a root as [`scan`] does, once more in one restore.
///
/// # Errors
///
/// As [`scan`].
pub(crate) fn scan_after(
    root: &Root,
    contents: &mut dyn Contents,
    known: &Known<'_>,
    before: Option<&Before<'_>>,
) -> Result<Scan, Error> {
    let root = &root.again()?;
    let dir = read::open(root, c".", OFlags::DIRECTORY)
        .map_err(|e| Error::io("open the folder", root.path().as_os_str().as_bytes(), e))?;
    let failed = |action| move |e: Errno| Error::io(action, root.path().as_os_str().as_bytes(), e);
    // A write through a mapping shows in the ctime only once the page was written back before.
    rustix::fs::syncfs(&dir).map_err(failed("flush the file system of"))?;
    let filesystem = known::filesystem(&dir).map_err(failed("ask for the file system of"))?;
    let known = known.root(root.path().as_os_str().as_bytes(), filesystem.as_deref());
    let scan = Scan { filesystem, began: now(), ..Scan::default() };
    let rules = root.rules();
    let forerun = Forerun::default();
    let mut walk = Walk {
        contents,
        scan,
        known: &known,
        before,
        rules,
        links: HashMap::new(),
        is_reading: true,
        forerun: &forerun,
    };
    let stat = read::stat_open(&dir).map_err(|e| Error::io("look at", b"", e))?;
    let mut meta = Meta::of(&stat);
    meta.xattrs = read::xattrs(&dir)
        .map_err(|e| Error::io("read the attributes of", b"", e))?
        .ok_or(Error::Limit { what: "extended attributes of a root", found: 0, limit: 0 })?;
    walk.found(Found::new(Entry { path: Vec::new(), meta, kind: Kind::Directory }, &stat))?;
    std::thread::scope(|scope| {
        // A second look finds everything in memory.
        if before.is_none() {
            forerun.begin(scope, &dir, (&known, rules));
        }
        let walked = walk.folder(&dir, &[], 1);
        forerun.tell(None);
        walked
    })?;
    Ok(walk.scan)
}

/// The time by the clock that sets ctimes.
pub(crate) fn now() -> Stamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    Stamp { secs: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or_default() }
}

struct Walk<'a> {
    contents: &'a mut dyn Contents,
    scan: Scan,
    known: &'a KnownRoot<'a>,
    before: Option<&'a Before<'a>>,
    rules: &'a Rules,
    /// The first path of each file that has several.
    links: HashMap<(u32, u32, u64), Vec<u8>>,
    /// Whether the last file was read.
    is_reading: bool,
    forerun: &'a Forerun,
}

/// What came of one look at one name.
enum Look {
    Entry { found: Box<Found>, folder: Option<OwnedFd> },
    Left(Why),
    Gone,
    Again,
}

impl Look {
    fn entry(found: Found) -> Self {
        Self::Entry { found: Box::new(found), folder: None }
    }

    fn folder(found: Found, folder: OwnedFd) -> Self {
        Self::Entry { found: Box::new(found), folder: Some(folder) }
    }
}

impl Walk<'_> {
    fn folder(&mut self, dir: &OwnedFd, path: &[u8], depth: usize) -> Result<(), Error> {
        let names = read::names(dir, path)?;
        let mut fetched = 0;
        for (place, name) in names.iter().enumerate() {
            if depth == 1 && name.to_bytes() == STAGING {
                continue;
            }
            // Where the last file was known, the next ones most likely are.
            if self.is_reading {
                let until = names.len().min(place + 1 + ahead::NAMES);
                let next = names.get(fetched.max(place + 1)..until).unwrap_or_default();
                next.iter().for_each(|next| self.fetch(dir, next, path));
                fetched = until;
            }
            let child = read::join(path, name);
            if place % ahead::TELL_EVERY == 0 {
                self.forerun.tell(Some(&child));
            }
            if child.len() > PATH_BYTES_MAX || depth > DEPTH_MAX {
                self.scan.notes.push(Note { path: child, why: Why::TooLong });
                continue;
            }
            if let Some(folder) = self.name(dir, name, &child)? {
                self.folder(&folder, &child, depth + 1)?;
            }
        }
        Ok(())
    }

    fn fetch(&self, dir: &OwnedFd, name: &CStr, path: &[u8]) {
        ahead::fetch(dir, name, |stat| {
            let path = read::join(path, name);
            let before = self.before.and_then(|before| before.unchanged(&path, stat));
            self.known.unchanged(&path, stat).or(before).is_none()
        });
    }

    /// Takes one name; gives the folder to walk next if it is one.
    fn name(&mut self, dir: &OwnedFd, name: &CStr, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        for _ in 0..READS_MAX {
            match self.look(dir, name, path, false)? {
                Look::Again => {}
                other => return self.settle(other, path),
            }
        }
        let last = match self.look(dir, name, path, true)? {
            Look::Again => Look::Left(Why::Replaced),
            other => other,
        };
        if matches!(last, Look::Entry { .. }) {
            self.scan.notes.push(Note { path: path.to_vec(), why: Why::Changing });
        }
        self.settle(last, path)
    }

    fn settle(&mut self, look: Look, path: &[u8]) -> Result<Option<OwnedFd>, Error> {
        match look {
            Look::Entry { found, folder } => {
                self.found(*found)?;
                Ok(folder)
            }
            Look::Left(why) => {
                self.scan.notes.push(Note { path: path.to_vec(), why });
                Ok(None)
            }
            // Deleted while we walked, so it is not there.
            Look::Gone | Look::Again => Ok(None),
        }
    }

    fn look(&mut self, dir: &OwnedFd, name: &CStr, path: &[u8], unsteady: bool) -> Result<Look, Error> {
        let failed = |action| move |e: Errno| Error::io(action, path, e);
        let stat = match read::stat(dir, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Look::Gone),
            Err(e) => return Err(failed("look at")(e)),
        };
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(Look::Left(Why::MountPoint));
        }
        let is_folder = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory;
        if self.rules.leave_out(Path::new(OsStr::from_bytes(path)), is_folder) {
            return Ok(Look::Left(Why::Rules));
        }
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => return self.file(dir, name, path, &stat, unsteady),
            FileType::Directory => return self.directory(dir, name, path, &stat),
            FileType::Symlink
                if stat.stx_nlink == 1
                    && let Some(entry) = self.known_link(dir, name, path, &stat) =>
            {
                return Ok(Look::entry(Found::new(entry, &stat)));
            }
            FileType::Symlink => match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Ok(target) => Kind::Symlink { target: target.into_bytes() },
                Err(Errno::NOENT | Errno::INVAL) => return Ok(Look::Again),
                Err(e) => return Err(failed("read the link")(e)),
            },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => return Ok(Look::Left(Why::Socket)),
            _ => return Ok(Look::Left(Why::Device)),
        };
        let key = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        let kind = match self.links.get(&key) {
            Some(to) => Kind::HardLink { to: to.clone() },
            None => kind,
        };
        if stat.stx_nlink > 1 && !matches!(kind, Kind::HardLink { .. }) {
            self.links.insert(key, path.to_vec());
        }
        let xattrs = match read::xattrs_at(dir, name) {
            Ok(Some(xattrs)) => xattrs,
            Ok(None) => return Ok(Look::Left(Why::Attributes)),
            Err(Errno::NOENT) => return Ok(Look::Again),
            Err(e) => return Err(failed("read the attributes of")(e)),
        };
        let meta = Meta { xattrs, ..Meta::of(&stat) };
        let entry = Entry { path: path.to_vec(), meta, kind };
        Ok(Look::entry(Found::new(entry, &stat)))
    }

    fn directory(&self, dir: &OwnedFd, name: &CStr, path: &[u8], stat: &Statx) -> Result<Look, Error> {
        let folder = match read::open(dir, name, OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Look::Again),
            Err(e) => return Err(Error::io("open the folder", path, e)),
        };
        let now = read::stat_open(&folder).map_err(|e| Error::io("look at", path, e))?;
        if same_file(stat) != same_file(&now) {
            return Ok(Look::Again);
        }
        if let Some(entry) = self.known.unchanged(path, &now).filter(|entry| entry.kind == Kind::Directory) {
            return Ok(Look::folder(Found::new(entry, &now), folder));
        }
        let Some(xattrs) = read::xattrs(&folder).map_err(|e| Error::io("read the attributes of", path, e))?
        else {
            return Ok(Look::Left(Why::Attributes));
        };
        let meta = Meta { xattrs, ..Meta::of(&now) };
        let entry = Entry { path: path.to_vec(), meta, kind: Kind::Directory };
        Ok(Look::folder(Found::new(entry, &now), folder))
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        path: &[u8],
        stat: &Statx,
        unsteady: bool,
    ) -> Result<Look, Error> {
        let unread = self.unread(dir, name, path, stat);
        self.is_reading = unread.is_none();
        if let Some(entry) = unread {
            return Ok(Look::entry(Found::new(entry, stat)));
        }
        let failed = |action| move |e: Errno| Error::io(action, path, e);
        let open = match read::open(dir, name, OFlags::empty()) {
            Ok(open) => open,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(Look::Again),
            Err(e) => return Err(failed("open")(e)),
        };
        let before = read::stat_open(&open).map_err(failed("look at"))?;
        if same_file(stat) != same_file(&before) {
            return Ok(Look::Again);
        }
        let Some(xattrs) = read::xattrs(&open).map_err(failed("read the attributes of"))? else {
            return Ok(Look::Left(Why::Attributes));
        };
        // Asked after the look at it and before it is read: who writes from here on sets its ctime anew.
        let is_steady = self.scan.is_trusted() && store::writers::has_none(&open);
        let mark = if is_steady { Mark::of(&before) } else { Mark::UNKNOWN };
        let meta = Meta { xattrs, ..Meta::of(&before) };
        let key = (before.stx_dev_major, before.stx_dev_minor, before.stx_ino);
        if let Some(to) = self.links.get(&key) {
            let kind = Kind::HardLink { to: to.clone() };
            let entry = Entry { path: path.to_vec(), meta, kind };
            return Ok(Look::entry(Found { mark, ..Found::new(entry, &before) }));
        }
        let open = File::from(open);
        let pieces = self.contents.take(&open, Path::new(OsStr::from_bytes(path)))?;
        let size = read::size(&pieces);
        let after = read::stat_open(&open).map_err(failed("look at"))?;
        if !unsteady && (content_stamp(&before) != content_stamp(&after) || size != after.stx_size) {
            return Ok(Look::Again);
        }
        if before.stx_nlink > 1 {
            self.links.insert(key, path.to_vec());
        }
        let entry = Entry { path: path.to_vec(), meta, kind: Kind::Regular { size, pieces } };
        Ok(Look::entry(Found { mark, ..Found::new(entry, &before) }))
    }

    fn known_link(&self, dir: &OwnedFd, name: &CStr, path: &[u8], stat: &Statx) -> Option<Entry> {
        self.recognised(dir, name, path, stat).filter(|entry| matches!(entry.kind, Kind::Symlink { .. }))
    }

    /// The entry that is known to stand here unchanged.
    fn recognised(&self, dir: &OwnedFd, name: &CStr, path: &[u8], stat: &Statx) -> Option<Entry> {
        self.known.unchanged(path, stat).or_else(|| {
            let entry = self.before?.unchanged(path, stat)?;
            let xattrs = read::xattrs_at(dir, name).ok()??;
            (xattrs == entry.meta.xattrs).then_some(entry)
        })
    }

    /// A file that need not be read.
    fn unread(&mut self, dir: &OwnedFd, name: &CStr, path: &[u8], stat: &Statx) -> Option<Entry> {
        let key = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        if stat.stx_nlink > 1 && self.links.contains_key(&key) {
            return None;
        }
        let entry = self.recognised(dir, name, path, stat).filter(|entry| match &entry.kind {
            Kind::Regular { pieces, .. } => self.contents.has(pieces),
            _ => false,
        })?;
        if stat.stx_nlink > 1 {
            self.links.insert(key, path.to_vec());
        }
        self.scan.known += 1;
        Some(entry)
    }

    fn found(&mut self, found: Found) -> Result<(), Error> {
        if self.scan.entries.len() >= ENTRIES_MAX {
            let limit = length(ENTRIES_MAX);
            return Err(Error::Limit { what: "entries of a root", found: limit + 1, limit });
        }
        self.scan.entries.push(found);
        Ok(())
    }
}

fn same_file(stat: &Statx) -> (u32, u32, u64, u16) {
    (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino, stat.stx_mode & 0o170_000)
}

/// What changes when a content or its metadata does.
fn content_stamp(stat: &Statx) -> (u64, [i64; 2], [u32; 2]) {
    let (m, c) = (stat.stx_mtime, stat.stx_ctime);
    (stat.stx_size, [m.tv_sec, c.tv_sec], [m.tv_nsec, c.tv_nsec])
}
