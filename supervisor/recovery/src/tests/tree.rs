//! What a folder really holds, read with other code than the code under test; and folders to test on.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Mode, OFlags, RawDir, Timespec, Timestamps, XattrFlags, mkfifoat, utimensat};
use store::chunk::Chunks;
use types::time::{BootId, Time};

use crate::Error;
use crate::files::known::Known;
use crate::files::root::Root;
use crate::manifest::Manifest;
use crate::restore::{self, Machine, Restore, Scope};
use crate::worker::Worker;
use crate::worker::effect::{Executor, Way};

/// Processes that are started, and tests that must not have a file of theirs open in one.
static CHILDREN: RwLock<()> = RwLock::new(());

/// No other test starts a process meanwhile: until its exec that would have all files open that are being written now.
pub(crate) fn without_children() -> RwLockReadGuard<'static, ()> {
    CHILDREN.read().unwrap_or_else(PoisonError::into_inner)
}

/// For whoever starts one, until it runs.
pub(crate) fn children() -> RwLockWriteGuard<'static, ()> {
    CHILDREN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Everything about an entry that a restore promises.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) what: String,
    pub(crate) content: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    pub(crate) atime: (i64, i64),
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The first path of the same file.
    pub(crate) first: Vec<u8>,
}

impl Seen {
    pub(crate) fn is_fifo(&self) -> bool {
        self.what == "fifo"
    }
}

pub(crate) type Picture = BTreeMap<Vec<u8>, Seen>;

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, content, mode, owner, mtime, atime, xattrs, first } = self;
        let start = content[..content.len().min(24)].escape_ascii();
        write!(f, "{what} {start}({}) {mode:o} {owner:?} m{mtime:?} a{atime:?}", content.len())?;
        write!(f, " x{} first {}", xattrs.len(), first.escape_ascii())
    }
}

/// Where two pictures differ.
pub(crate) fn unlike(now: &Picture, want: &Picture) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = now.keys().chain(want.keys()).collect();
    let differing = paths.into_iter().filter(|path| now.get(*path) != want.get(*path));
    differing
        .map(|path| format!("{}: is {:?}, was {:?}", path.escape_ascii(), now.get(path), want.get(path)))
        .collect()
}

#[track_caller]
pub(crate) fn assert_same(now: &Picture, want: &Picture, when: &str) {
    let unlike = unlike(now, want);
    assert!(unlike.is_empty(), "{when}: {unlike:#?}");
}

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root to set owners, and to leave access times alone");
    }
    root
}

/// Looks at everything without disturbing access times.
pub(crate) fn picture(root: &Path) -> Picture {
    let mut found = Vec::new();
    walk(root, &mut found);
    found.sort();
    let mut firsts = BTreeMap::new();
    let mut picture = Picture::new();
    for path in found {
        let relative = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let stat = path.symlink_metadata().unwrap();
        let kind = stat.file_type();
        let first = firsts.entry(stat.ino()).or_insert_with(|| relative.clone()).clone();
        let (what, content) = if kind.is_symlink() {
            ("symlink", fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            let mut content = Vec::new();
            noatime(&path).read_to_end(&mut content).unwrap();
            ("file", content)
        } else if kind.is_dir() {
            ("folder", Vec::new())
        } else if kind.is_fifo() {
            ("fifo", Vec::new())
        } else {
            ("other", Vec::new())
        };
        let seen = Seen {
            what: what.into(),
            content,
            mode: stat.mode(),
            owner: (stat.uid(), stat.gid()),
            mtime: (stat.mtime(), stat.mtime_nsec()),
            // Reading a link is an access, which nothing but a mount without access times prevents.
            atime: if kind.is_symlink() { (0, 0) } else { (stat.atime(), stat.atime_nsec()) },
            xattrs: xattrs(&path),
            first,
        };
        picture.insert(relative, seen);
    }
    picture
}

fn noatime(path: &Path) -> File {
    let flags = OFlags::NOATIME | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(i32::try_from(flags.bits()).unwrap()).open(path).unwrap()
}

fn walk(path: &Path, found: &mut Vec<PathBuf>) {
    found.push(path.into());
    if !path.symlink_metadata().unwrap().is_dir() {
        return;
    }
    let dir = noatime(path);
    let mut buffer = Vec::with_capacity(8192);
    let mut names = Vec::new();
    let mut entries = RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        names.push(entry.unwrap().file_name().to_owned());
    }
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        walk(&path.join(OsStr::from_bytes(name.to_bytes())), found);
    }
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let count = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut found = BTreeMap::new();
    for name in names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let count = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        found.insert(name.to_vec(), value[..count].to_vec());
    }
    found
}

pub(crate) fn set_times(path: &Path, mtime: (i64, i64), atime: (i64, i64)) {
    let spec = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: spec(atime), last_modification: spec(mtime) };
    utimensat(CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    match rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("skipped: no attribute {name} on this file system ({error})");
            false
        }
    }
}

pub(crate) fn fifo(path: &Path) {
    mkfifoat(CWD, path, Mode::from_raw_mode(0o640)).unwrap();
}

/// Bytes that do not compress or repeat.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u8::try_from(state >> 56).unwrap()
        })
        .collect()
}

/// A folder with one of everything.
pub(crate) fn one_of_everything(root: &Path) {
    fs::create_dir_all(root.join("sub/deep/empty")).unwrap();
    fs::write(root.join("plain"), "hello").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join("sub/large"), noise(3_000_000, 7)).unwrap();
    fs::write(root.join("sub/setuid"), "#!/bin/sh\n").unwrap();
    fs::write(root.join("sub/deep/linked"), "three names").unwrap();
    fs::hard_link(root.join("sub/deep/linked"), root.join("another")).unwrap();
    fs::hard_link(root.join("sub/deep/linked"), root.join("sub/zlast")).unwrap();
    symlink("plain", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("sub/dangling")).unwrap();
    fifo(&root.join("sub/pipe"));
    fs::hard_link(root.join("sub/dangling"), root.join("sub/dangling too")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"new\nline and \xFF\xFE")), "odd").unwrap();
    fs::write(root.join("n".repeat(255)), "long").unwrap();
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"in the middle", 4 << 20).unwrap();
    set_xattr(&root.join("plain"), "user.comment", b"a remark\0with NUL");
    set_xattr(&root.join("sub"), "user.empty", b"");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(root.join("sub/setuid"), Some(1000), Some(1001)).unwrap();
        std::os::unix::fs::lchown(root.join("link"), Some(12), Some(34)).unwrap();
        std::os::unix::fs::chown(root.join("sub/deep"), Some(77), Some(78)).unwrap();
        // cap_net_raw=ep, revision 2.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        set_xattr(&root.join("empty"), "security.capability", &capability);
        // user::rw- user:1000:r-- group::r-- mask::r-- other::---
        let mut acl = vec![2, 0, 0, 0];
        for (tag, perm, id) in
            [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
        {
            acl.extend(tag.to_le_bytes());
            acl.extend(perm.to_le_bytes());
            acl.extend(id.to_le_bytes());
        }
        set_xattr(&root.join("sparse"), "system.posix_acl_access", &acl);
        set_xattr(&root.join("sub/deep"), "system.posix_acl_default", &acl);
    }
    set_mode(&root.join("sub/setuid"), 0o6755);
    set_mode(&root.join("sub/deep"), 0o2750);
    set_mode(&root.join("sub/deep/empty"), 0o1777);
    set_mode(&root.join("plain"), 0o400);
    set_old_times(root);
}

/// Gives everything times of its own, what is in a folder before the folder.
pub(crate) fn set_old_times(root: &Path) {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    for (number, path) in paths.iter().rev().enumerate() {
        let number = i64::try_from(number).unwrap();
        set_times(
            path,
            (1_000_000_000 + number, 123_456_789 + number),
            (1_100_000_000 + number, 987_654_321),
        );
    }
}

/// A chunk store, a folder, and who changes it.
pub(crate) struct Bench {
    _dir: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) store: PathBuf,
}

pub(crate) const KEY: [u8; 32] = [7; 32];

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root, store) = (dir.path().join("root"), dir.path().join("store"));
        fs::create_dir(&root).unwrap();
        Self { _dir: dir, root, store }
    }

    pub(crate) fn chunks(&self) -> Chunks {
        Chunks::open(&self.store, &KEY).unwrap()
    }

    pub(crate) fn capture(&self, chunks: &mut Chunks) -> Manifest {
        capture(std::slice::from_ref(&self.root), chunks)
    }

    pub(crate) fn restore(&self, manifest: &Manifest, chunks: &Chunks) -> Result<(), Error> {
        let mut worker = Worker::new(std::slice::from_ref(&self.root)).unwrap();
        restore(std::slice::from_ref(&self.root), manifest, chunks, &mut worker)
    }
}

pub(crate) fn open(roots: &[PathBuf]) -> Vec<Root> {
    roots.iter().map(|path| Root::open(path).unwrap()).collect()
}

/// So long after now that everything which is there counts as old, and restores trust it.
fn hours(hours: i64) -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let ahead = hours * 3_600_000_000_000;
    let boottime_ns = (1_u64 << 50).saturating_add_signed(ahead);
    Time { boot: BootId([1; 16]), boottime_ns, wall_ns: i64::try_from(now.as_nanos()).unwrap() + ahead }
}

pub(crate) fn capture(roots: &[PathBuf], chunks: &mut Chunks) -> Manifest {
    let roots = open(roots);
    let machine = Machine { roots: &roots, ..Machine::default() };
    let manifest = restore::capture(machine, chunks, 1, "before", hours(1)).unwrap().manifest;
    chunks.sync().unwrap();
    // The grain of the clock on kernels before 6.13, for which a real capture waits two seconds.
    std::thread::sleep(Duration::from_millis(10));
    manifest
}

std::thread_local! {
    /// How the restores of this thread bring roots back.
    static WAY: std::cell::Cell<Way> = const { std::cell::Cell::new(Way::InPlace) };
}

/// From here on this thread restores so.
pub(super) fn set_way(way: Way) {
    WAY.set(way);
}

/// All phases.
pub(crate) fn restore(
    roots: &[PathBuf],
    manifest: &Manifest,
    chunks: &Chunks,
    executor: &mut dyn Executor,
) -> Result<(), Error> {
    restore_scope(roots, manifest, chunks, (executor, Scope::default()))
}

/// All phases, of a part.
pub(crate) fn restore_scope(
    roots: &[PathBuf],
    manifest: &Manifest,
    chunks: &Chunks,
    (executor, scope): (&mut dyn Executor, Scope),
) -> Result<(), Error> {
    let roots = open(roots);
    let known = Known::at(hours(2), [manifest]);
    let way = WAY.get();
    let machine =
        Machine { roots: &roots, executor: Some(executor), known, scope, way, ..Machine::default() };
    let mut restore = Restore::begin(machine, manifest.clone(), chunks, false)?;
    restore.prepare()?;
    restore.execute()?;
    restore.verify()?;
    restore.clean_up()
}

pub(crate) fn differences(roots: &[PathBuf], manifest: &Manifest, chunks: &Chunks) -> Vec<String> {
    let roots = open(roots);
    let machine = Machine { roots: &roots, ..Machine::default() };
    let plan = restore::plan(machine, manifest.clone(), chunks).unwrap();
    plan.differences.iter().map(ToString::to_string).collect()
}

/// Changes, adds, removes and swaps one of everything.
pub(crate) fn spoil(root: &Path) {
    fs::remove_file(root.join("plain")).unwrap();
    fs::create_dir(root.join("plain")).unwrap();
    fs::write(root.join("plain/inside"), "a file became a folder").unwrap();
    let mut large = fs::read(root.join("sub/large")).unwrap();
    large[1_500_000] ^= 1;
    fs::write(root.join("sub/large"), large).unwrap();
    fs::remove_dir(root.join("sub/deep/empty")).unwrap();
    fs::write(root.join("sub/deep/empty"), "a folder became a file").unwrap();
    fs::remove_file(root.join("another")).unwrap();
    fs::write(root.join("another"), "three names").unwrap();
    fs::remove_file(root.join("sub/pipe")).unwrap();
    symlink("large", root.join("sub/pipe")).unwrap();
    fs::remove_file(root.join("link")).unwrap();
    fs::create_dir_all(root.join("extra/tree")).unwrap();
    fs::write(root.join("extra/tree/file"), "extra").unwrap();
    set_mode(&root.join("sub/setuid"), 0o777);
    set_mode(&root.join("empty"), 0o666);
    fs::write(root.join("sparse"), "short now").unwrap();
    fs::remove_file(root.join("n".repeat(255))).unwrap();
    set_xattr(&root.join("sub"), "user.empty", b"no longer");
    set_xattr(&root.join("sub"), "user.more", b"more");
    fs::rename(root.join("sub/deep"), root.join("sub/moved")).unwrap();
}

pub(crate) fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).unwrap()
}
