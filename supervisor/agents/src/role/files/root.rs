//! Opens what lies below a folder, and nothing else: no `..`, no link, no way out. The kernel holds this (openat2), not we.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, statat};
use rustix::io::Errno;
use serde_json::{Map, Value, json};

use crate::fault::Fault;
use crate::task::Task;

/// How deep folders are walked.
pub const DEPTH_MAX: usize = 64;
/// Most entries of one walk.
const ENTRIES_MAX: u64 = 100_000;
/// Most bytes of their paths together, which bounds what the longest of them hold.
const PATHS_BYTES_MAX: usize = 16 << 20;

/// A folder whose inside can be looked at.
pub struct Root {
    path: PathBuf,
    folder: OwnedFd,
}

/// Something below a folder.
pub struct Entry {
    /// Where, from the root.
    pub path: PathBuf,
    /// What.
    pub kind: FileType,
    /// Of a file.
    pub bytes: u64,
    /// Seconds since 1970.
    pub modified_s: i64,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// A folder in which nothing is.
    pub is_empty_folder: bool,
}

/// What a walk came to.
#[derive(Default)]
pub struct Walked {
    files: u64,
    folders: u64,
    links: u64,
    others: u64,
    unreadable: u64,
    is_cut: bool,
    path_bytes: usize,
}

impl Walked {
    /// As fields of a result.
    pub fn told(&self) -> Map<String, Value> {
        [
            ("files", json!(self.files)),
            ("folders", json!(self.folders)),
            ("links", json!(self.links)),
            ("unreadable", json!(self.unreadable)),
            ("is_cut", json!(self.is_cut)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    const fn seen(&self) -> u64 {
        self.files + self.folders + self.links + self.others
    }
}

impl Entry {
    fn new(path: PathBuf, stat: &Stat) -> Self {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_file = kind == FileType::RegularFile;
        Self {
            path,
            kind,
            bytes: if is_file { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
            modified_s: stat.st_mtime,
            mode: stat.st_mode & 0o7777,
            is_empty_folder: false,
        }
    }

    /// Where, as text.
    pub fn shown(&self) -> String {
        shown(&self.path)
    }

    /// For a result.
    pub fn told(&self) -> Value {
        let kind = match self.kind {
            FileType::RegularFile => "file",
            FileType::Directory => "folder",
            FileType::Symlink => "link",
            _ => "other",
        };
        json!({
            "path": self.shown(), "kind": kind, "bytes": self.bytes, "modified_s": self.modified_s,
            "mode": format!("{:04o}", self.mode),
        })
    }
}

/// A path as text; the root itself is a point.
pub fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.to_string_lossy().into_owned() }
}

fn fault(path: &Path, error: Errno) -> Fault {
    let path = shown(path);
    match error {
        Errno::LOOP => Fault::denied(format!("{path} is a link or lies behind one; links are not followed")),
        Errno::XDEV => Fault::denied(format!("{path} leads out of the folder")),
        Errno::NOTDIR => Fault::input(format!("{path}: a part of it is not a folder")),
        other => Fault::system(path, &other.into()),
    }
}

impl Root {
    /// Opens the folder itself.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(|error| fault(path, error))?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// What an input names: a path from the root, or an absolute one that lies below it.
    pub fn inside(&self, text: &str) -> Result<PathBuf, Fault> {
        let path = Path::new(text);
        let path = match path.strip_prefix(&self.path) {
            Ok(rest) => rest,
            Err(_) if path.is_absolute() => {
                return Err(Fault::denied(format!("{text} does not lie below {}", self.path.display())));
            }
            Err(_) => path,
        };
        let mut inside = PathBuf::new();
        for part in path.components() {
            match part {
                Component::Normal(name) => inside.push(name),
                Component::CurDir => {}
                _ => return Err(Fault::denied(format!("{text} may not go up: “..” is refused"))),
            }
        }
        Ok(inside)
    }

    fn open_inside(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let inside = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let mut flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // Without NONBLOCK, a pipe that nobody writes to would hold us for ever; PATH opens none, and takes no other flag.
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.folder, inside, flags, Mode::empty(), resolve)
    }

    /// Opens a regular file to be read.
    pub fn file(&self, path: &Path) -> Result<(File, u64), Fault> {
        let file = File::from(self.open_inside(path, OFlags::RDONLY).map_err(|error| fault(path, error))?);
        let data = file.metadata().map_err(|error| Fault::system(shown(path), &error))?;
        if !data.is_file() {
            return Err(Fault::input(format!("{} is not a file", shown(path))));
        }
        Ok((file, data.len()))
    }

    /// Sees everything from `start` on, folders before what is in them, names in order, down to `depth` folders.
    pub fn walk(
        &self,
        task: &Task,
        start: &str,
        depth: usize,
        mut see: impl FnMut(&Self, Entry) -> Result<(), Fault>,
    ) -> Result<Walked, Fault> {
        let start = self.inside(start)?;
        let mut walked = Walked::default();
        let from = self.open_inside(&start, OFlags::PATH).map_err(|error| fault(&start, error))?;
        let stat = rustix::fs::fstat(&from).map_err(|error| fault(&start, error))?;
        let first = Entry::new(start.clone(), &stat);
        match first.kind {
            FileType::Directory => {}
            FileType::RegularFile => {
                walked.files = 1;
                see(self, first)?;
                return Ok(walked);
            }
            _ => return Err(Fault::input(format!("{} is neither file nor folder", shown(&start)))),
        }
        let mut waiting = vec![(start, 0_usize)];
        while let Some((folder, level)) = waiting.pop() {
            let mut below = Vec::new();
            for mut entry in self.entries(&folder, &mut walked) {
                task.at(walked.seen(), None, || format!("is at {}", entry.shown()))?;
                walked.path_bytes += entry.path.as_os_str().len();
                if walked.seen() >= ENTRIES_MAX || walked.path_bytes > PATHS_BYTES_MAX {
                    walked.is_cut = true;
                    return Ok(walked);
                }
                match entry.kind {
                    FileType::RegularFile => walked.files += 1,
                    FileType::Symlink => walked.links += 1,
                    FileType::Directory => {
                        walked.folders += 1;
                        entry.is_empty_folder = self.is_empty(&entry.path);
                        if level + 1 < depth {
                            below.push((entry.path.clone(), level + 1));
                        } else if depth == DEPTH_MAX {
                            walked.is_cut = true;
                        }
                    }
                    _ => walked.others += 1,
                }
                see(self, entry)?;
            }
            // The last is taken first.
            below.reverse();
            waiting.append(&mut below);
        }
        Ok(walked)
    }

    fn is_empty(&self, folder: &Path) -> bool {
        let opened = self.open_inside(folder, OFlags::RDONLY | OFlags::DIRECTORY).and_then(Dir::new);
        opened.is_ok_and(|entries| {
            entries.flatten().all(|entry| [&b"."[..], b".."].contains(&entry.file_name().to_bytes()))
        })
    }

    /// What is in a folder, by name. What cannot be read is counted.
    fn entries(&self, folder: &Path, walked: &mut Walked) -> Vec<Entry> {
        use std::os::unix::ffi::OsStrExt as _;
        let opened = self.open_inside(folder, OFlags::RDONLY | OFlags::DIRECTORY);
        let Ok((opened, dir)) =
            opened.and_then(|fd| Ok((Dir::read_from(&fd)?, fd))).map(|(dir, fd)| (fd, dir))
        else {
            walked.unreadable += 1;
            return Vec::new();
        };
        let room = usize::try_from(ENTRIES_MAX - walked.seen().min(ENTRIES_MAX)).unwrap_or(usize::MAX);
        let mut entries = Vec::new();
        for entry in dir.flatten() {
            let name = entry.file_name();
            if [&b"."[..], b".."].contains(&name.to_bytes()) {
                continue;
            }
            // One too many is enough to know that the walk is cut.
            if entries.len() > room {
                break;
            }
            match statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    let path = folder.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                    entries.push(Entry::new(path, &stat));
                }
                Err(_) => walked.unreadable += 1,
            }
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries
    }
}
