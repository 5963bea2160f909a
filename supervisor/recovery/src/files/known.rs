//! Knowing without reading it that an entry is as it was when a checkpoint read it.
//!
//! The kernel sets an entry's ctime at each change of content or metadata, and nobody can set it to a value of choice. So an
//! entry that has the inode, the ctime and the size that a capture noted is as that capture found it. That holds if
//!
//! - the capture could see every change: it had the file system write everything first (`syncfs`), after which a write through a
//!   mapping sets the ctime again. File systems of which this is not known are not trusted at all;
//! - the ctime was old when the capture began: a change within the clock's grain leaves the same ctime;
//! - nobody had the file open for writing when it was read: a write sets the ctime first and brings its bytes then, so what was read in
//!   between would be known by the new ctime ([`store::writers`]);
//! - the clock was not set back since, or an old ctime could come again;
//! - it is the same file system, and not another one mounted there.
//!
//! A restore of ours that exchanges a root gives what stays a second name and takes the first away, which sets its ctime too. What
//! was recognised before, and has its inode, size, mtime, owner, mode and attributes afterwards, is taken for unchanged by that
//! restore: [`Before`]. Who writes into a file just then and sets its mtime back is seen by a look that reads everything.

use std::collections::HashMap;
use std::os::fd::AsFd;

use minicbor::{Decode, Encode};
use rustix::fs::{AtFlags, FsWord, Statx, StatxFlags, fstatfs, fstatvfs, statx};
use rustix::io::Errno;
use types::time::Time;

use super::entry::{Entry, Kind, Meta, Stamp};
use super::scan::{Found, Scan};
use crate::manifest::{Manifest, Tree};
use crate::remembered::Remembered;

/// What changed this short before a capture began is read by the next one again, seconds.
const GRAIN_S: i64 = 2;
/// The clock may lose this much against CLOCK_BOOTTIME before it counts as set back, nanoseconds: it is slewed, too.
const SLEW_NS: i64 = 500_000_000;
/// An encoded mark: inode u64, ctime i64 and u32, big-endian.
const MARK_BYTES: usize = 20;
/// Two changes of a file this far apart have different ctimes, nanoseconds: some grains of the clock, of which the slowest has ten
/// milliseconds.
const TICK_NS: i128 = 20_000_000;
/// ext2 to ext4, XFS, btrfs and F2FS, by `statfs(2)`: they write-protect pages that are written back, so that the next write
/// through a mapping is seen and sets the ctime.
const TRUSTED: [FsWord; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];

/// How the entries of a tree looked to the kernel when they were read.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Marks {
    /// Which file system it was, in this program's words; only compared for equality.
    #[cbor(n(0), with = "minicbor::bytes")]
    filesystem: Vec<u8>,
    /// One mark for each entry, in their order.
    #[cbor(n(1), with = "minicbor::bytes")]
    marks: Vec<u8>,
}

/// How one entry looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    inode: u64,
    ctime: Stamp,
}

impl Mark {
    /// Of something that is not as it should be, or was being written: no inode has this number.
    pub(crate) const UNKNOWN: Self = Self { inode: 0, ctime: Stamp { secs: 0, nanos: 0 } };

    /// Whether a change would show in the ctime of an entry that is looked at from this moment on.
    pub(crate) fn is_before(&self, moment: Stamp) -> bool {
        let ns = |stamp: Stamp| i128::from(stamp.secs) * 1_000_000_000 + i128::from(stamp.nanos);
        ns(self.ctime) + TICK_NS < ns(moment)
    }

    pub(crate) fn of(stat: &Statx) -> Self {
        Self { inode: stat.stx_ino, ctime: stat.stx_ctime.into() }
    }

    fn to_bytes(self) -> [u8; MARK_BYTES] {
        let mut bytes = [0; MARK_BYTES];
        let fields = self.inode.to_be_bytes().into_iter().chain(self.ctime.secs.to_be_bytes());
        let fields = fields.chain(self.ctime.nanos.to_be_bytes());
        bytes.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        bytes
    }

    fn from_bytes(bytes: &[u8; MARK_BYTES]) -> Option<Self> {
        let (inode, rest) = bytes.split_first_chunk()?;
        let (secs, rest) = rest.split_first_chunk()?;
        let (nanos, _) = rest.split_first_chunk()?;
        let ctime = Stamp { secs: i64::from_be_bytes(*secs), nanos: u32::from_be_bytes(*nanos) };
        Some(Self { inode: u64::from_be_bytes(*inode), ctime })
    }
}

impl Marks {
    /// Of a walk; none where the file system is not one that is trusted.
    pub(crate) fn new(filesystem: Option<Vec<u8>>, marks: impl Iterator<Item = Mark>) -> Option<Self> {
        let marks = marks.flat_map(Mark::to_bytes).collect();
        filesystem.map(|filesystem| Self { filesystem, marks })
    }
}

/// Which file system a folder, the top of a root, lies on; none where what the kernel says of it is not relied upon.
pub(crate) fn filesystem(top: impl AsFd) -> Result<Option<Vec<u8>>, Errno> {
    if !TRUSTED.contains(&fstatfs(top.as_fd())?.f_type) {
        return Ok(None);
    }
    let id = fstatvfs(top.as_fd())?.f_fsid;
    // XFS's id is that of the device. When the folder was made tells file systems on the same device apart.
    let stat = statx(top, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let btime = Stamp::from(stat.stx_btime);
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(stat.stx_ino.to_be_bytes());
    bytes.extend(btime.secs.to_be_bytes());
    bytes.extend(btime.nanos.to_be_bytes());
    Ok(Some(bytes))
}

/// What earlier checkpoints know.
#[derive(Debug, Default)]
pub struct Known<'a> {
    manifests: Vec<&'a Manifest>,
    remembered: Option<(&'a Manifest, &'a Remembered)>,
}

impl<'a> Known<'a> {
    /// What these checkpoints know, which must be authentic, at this time. One that was taken before the clock was set back knows
    /// nothing.
    pub fn at(now: Time, manifests: impl IntoIterator<Item = &'a Manifest>) -> Self {
        let manifests =
            manifests.into_iter().filter(|manifest| is_sound(manifest.created.into(), now)).collect();
        Self { manifests, remembered: None }
    }

    /// And what was found after a restore of that checkpoint.
    #[must_use]
    pub fn and(self, now: Time, remembered: Option<(&'a Manifest, &'a Remembered)>) -> Self {
        let remembered = remembered.filter(|(manifest, remembered)| {
            remembered.is_of(manifest) && is_sound(remembered.created(), now)
        });
        Self { remembered, ..self }
    }

    /// Whether everything is to be read.
    pub(crate) const fn is_nothing(&self) -> bool {
        self.manifests.is_empty() && self.remembered.is_none()
    }

    /// What they know of a root on this file system.
    pub(crate) fn root(&self, path: &[u8], filesystem: Option<&[u8]>) -> KnownRoot<'a> {
        let mut root = KnownRoot::default();
        for manifest in &self.manifests {
            let began_s = Time::from(manifest.created).wall_ns.div_euclid(1_000_000_000);
            let trees = manifest.roots().iter().filter(|tree| tree.path == path);
            for (tree, marks) in trees.filter_map(|tree| Some((tree, tree.marks.as_ref()?))) {
                if Some(marks.filesystem.as_slice()) == filesystem {
                    root.add(tree, marks, |_, mark| mark.ctime.secs < began_s - GRAIN_S);
                }
            }
        }
        if let Some((manifest, remembered)) = self.remembered {
            let tree = manifest.roots().iter().find(|tree| tree.path == path);
            let marks =
                remembered.marks(path).filter(|marks| Some(marks.filesystem.as_slice()) == filesystem);
            if let Some((tree, marks)) = tree.zip(marks) {
                root.add(tree, marks, |entry, mark| is_older(entry, mark.ctime));
            }
        }
        root
    }
}

/// Whether a clock that showed one time can show the other later without having been set back.
fn is_sound(then: Time, now: Time) -> bool {
    let moved = |time: Time| time.wall_ns.saturating_sub_unsigned(time.boottime_ns);
    let slewed = then.boot == now.boot && moved(now) < moved(then).saturating_sub(SLEW_NS);
    now.wall_ns >= then.wall_ns && !slewed
}

/// Whether an entry's content is older than a moment, so that a change of it at that moment shows in its mtime. What else can change,
/// and of folders all that can, shows in the ctime alone.
fn is_older(entry: &Entry, moment: Stamp) -> bool {
    matches!(entry.kind, Kind::Regular { .. } | Kind::Symlink { .. })
        && entry.meta.mtime.secs < moment.secs - GRAIN_S
}

/// What the restore that is under way has seen before. It need not be read a second time; and what the restore touches without changing
/// it is recognised.
#[derive(Debug)]
pub(crate) struct Before<'a> {
    began: Stamp,
    touched: bool,
    entries: HashMap<&'a [u8], &'a Found>,
}

impl<'a> Before<'a> {
    /// What a walk found, of a restore that began then. `touched`: the root was exchanged since.
    pub(crate) fn new(began: Stamp, walk: &'a Scan, touched: bool) -> Self {
        let found = walk.entries.iter().filter(|_| walk.is_trusted());
        Self { began, touched, entries: found.map(|found| (found.entry.path.as_slice(), found)).collect() }
    }

    /// The entry as it was before, if all that the kernel says of it without its attributes is as it was.
    pub(crate) fn unchanged(&self, path: &[u8], stat: &Statx) -> Option<Entry> {
        let Found { entry, mark, .. } = self.entries.get(path)?;
        let is_same = *mark == Mark::of(stat) && mark.ctime.secs < self.began.secs - GRAIN_S;
        let now = Meta::of(stat);
        let is_touched = self.touched
            && stat.stx_ino == mark.inode
            && Stamp::from(stat.stx_ctime) >= self.began
            && is_older(entry, self.began)
            && (now.mtime, now.mode, now.uid, now.gid)
                == (entry.meta.mtime, entry.meta.mode, entry.meta.uid, entry.meta.gid);
        ((is_same || is_touched) && has_size(entry, stat.stx_size)).then(|| as_now(entry, path, stat))
    }
}

/// What is known of one root.
#[derive(Debug, Default)]
pub(crate) struct KnownRoot<'a> {
    entries: HashMap<&'a [u8], Vec<(Mark, &'a Entry)>>,
}

impl<'a> KnownRoot<'a> {
    fn add(&mut self, tree: &'a Tree, marks: &'a Marks, is_old: impl Fn(&Entry, &Mark) -> bool) {
        let (marks, rest) = marks.marks.as_chunks();
        // Marks of other entries than these would be worse than none.
        if marks.len() != tree.entries.len() || !rest.is_empty() {
            return;
        }
        let torn = |entry: &Entry| tree.notes.iter().any(|note| note.path == entry.path);
        for (entry, mark) in tree.entries.iter().zip(marks) {
            let Some(mark) = Mark::from_bytes(mark) else { continue };
            if is_old(entry, &mark) && !torn(entry) {
                self.entries.entry(&entry.path).or_default().push((mark, entry));
            }
        }
    }

    /// The entry as a checkpoint has it, if it is one of these and has not changed; its access time is the present one.
    pub(crate) fn unchanged(&self, path: &[u8], stat: &Statx) -> Option<Entry> {
        let mark = Mark::of(stat);
        let known = self.entries.get(path)?;
        let (_, entry) =
            known.iter().find(|(then, entry)| *then == mark && has_size(entry, stat.stx_size))?;
        Some(as_now(entry, path, stat))
    }
}

/// An unchanged entry; its access time is the present one.
fn as_now(entry: &Entry, path: &[u8], stat: &Statx) -> Entry {
    let meta = Meta { atime: stat.stx_atime.into(), ..entry.meta.clone() };
    Entry { path: path.to_vec(), meta, kind: entry.kind.clone() }
}

fn has_size(entry: &Entry, now: u64) -> bool {
    match &entry.kind {
        Kind::Regular { size, .. } => *size == now,
        // Their size is not kept, and changes with their ctime.
        _ => true,
    }
}
