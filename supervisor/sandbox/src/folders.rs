//! The folders in which definitions of agents lie, and what must hold of a file before an agent is started from it.
//!
//! Root lists the folders. Of one that lies among root's own, all is root's; one that is a user's own may also be that user's. Nobody
//! else may write a file, its folder, or any folder above, so that no agent changes what it, or another one, is. The one exception is
//! wanted: agents of a user run as that user, and so can write in the user's own folder; what they change there is another hash, which
//! nobody has approved.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use sha2::{Digest as _, Sha256};
use types::hash::Hash;

use crate::spec::User;

/// Largest definition, bytes.
pub const FILE_MAX: u64 = 256 << 10;
/// How files of definitions end.
pub const ENDING: &str = ".md";
/// Most folders.
pub const FOLDERS_MAX: usize = 64;

const NO_LINKS: ResolveFlags =
    ResolveFlags::NO_SYMLINKS.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::BENEATH);
/// Writable by the group, or by everybody. What an access control list lets others write shows in the group's bits, too.
const OTHERS_WRITE: u32 = 0o022;
/// In such a folder nobody renames or removes what is another's.
const STICKY: u32 = 0o1000;

/// A folder of definitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folder {
    /// Where it is: an absolute path without links.
    pub path: PathBuf,
    /// Whose own it is; none: root's.
    pub owner: Option<User>,
}

/// All of them, in the order in which their definitions count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Folders {
    list: Vec<Folder>,
    user: User,
}

/// A definition that passed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Of its content.
    pub hash: Hash,
    /// Its owner.
    pub uid: u32,
    /// As whom its agent runs.
    pub user: User,
}

/// Why no agent is started from a file.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The path is not that of a definition in one of the folders.
    #[error("{0} is no file “*.md” in a folder of agents.folders or agents.users")]
    Outside(PathBuf),
    /// It cannot be opened, or a part of its path is a link.
    #[error("{path} cannot be opened (links are not followed): {source}")]
    Open {
        /// Which part.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// A folder or the file belongs to somebody who has no say in it.
    #[error("{path} belongs to user {uid}: “chown” it to root, or to whom its folder is configured for")]
    Owner {
        /// Which part.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// Others may write a folder or the file.
    #[error("{0} can be written by others than its owner, perhaps by agents: “chmod go-w” it")]
    Writable(PathBuf),
    /// It is not a regular file.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// It has more than [`FILE_MAX`] bytes.
    #[error("{0} is longer than {FILE_MAX} bytes")]
    TooLong(PathBuf),
}

/// What was configured cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unusable {
    /// Not an absolute path without “.” and “..”.
    #[error("{0} is not a plain absolute path")]
    Path(PathBuf),
    /// A folder stands twice.
    #[error("{0} is there twice")]
    Twice(PathBuf),
    /// Agents would run as root, or in root's group.
    #[error("agents never run as root, nor in root's group: “{0}” cannot be their user")]
    Root(String),
    /// The user of root's agents has a folder: they could write it.
    #[error("“{0}” runs the agents that root defines, and so has no folder of its own")]
    Shared(String),
    /// Too many.
    #[error("there are more than {FOLDERS_MAX}")]
    TooMany,
}

impl Folders {
    /// These folders; agents of files that root owns run as `user`.
    ///
    /// # Errors
    ///
    /// See [`Unusable`].
    pub fn new(list: Vec<Folder>, user: User) -> Result<Self, Unusable> {
        let is_root = |user: &User| user.uid == 0 || user.gid == 0 || user.groups.contains(&0);
        let owners = list.iter().filter_map(|folder| folder.owner.as_ref());
        if let Some(root) = owners.clone().chain([&user]).find(|user| is_root(user)) {
            return Err(Unusable::Root(root.name.clone()));
        }
        if owners.clone().any(|owner| owner.uid == user.uid) {
            return Err(Unusable::Shared(user.name));
        }
        if list.len() > FOLDERS_MAX {
            return Err(Unusable::TooMany);
        }
        for (place, Folder { path, .. }) in list.iter().enumerate() {
            // Paths that differ in such parts alone are equal, so it is the text that counts.
            let plain = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
                && path.is_absolute()
                && !path.components().any(|part| part == Component::ParentDir);
            if !plain {
                return Err(Unusable::Path(path.clone()));
            }
            if list.iter().take(place).any(|other| other.path == *path) {
                return Err(Unusable::Twice(path.clone()));
            }
        }
        Ok(Self { list, user })
    }

    /// The folders.
    #[must_use]
    pub fn list(&self) -> &[Folder] {
        &self.list
    }

    /// Reads a definition from which an agent may be started, if somebody has approved its hash.
    ///
    /// What is looked at is what is read: every part is opened once, from the last one.
    ///
    /// # Errors
    ///
    /// See [`Refusal`].
    pub fn open(&self, path: &Path) -> Result<File, Refusal> {
        let outside = || Refusal::Outside(path.to_owned());
        let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(outside)?;
        let is_plain = is_definition(path)
            // A slash at the end, or two of them, would be the same path to the library and not to the kernel.
            && parent.join(name).as_os_str() == path.as_os_str();
        let folder = self.list.iter().find(|folder| folder.path.as_os_str() == parent.as_os_str());
        let folder = folder.filter(|_| is_plain).ok_or_else(outside)?;
        let opened = open_folder(folder)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let wrong = |error: rustix::io::Errno| cannot(path, error);
        let file = openat2(&opened, name, flags, Mode::empty(), NO_LINKS).map_err(wrong)?;
        let stat = fstat(&file).map_err(wrong)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refusal::NotAFile(path.to_owned()));
        }
        check(path, folder, &stat, false)?;
        let user = match (&folder.owner, stat.st_uid) {
            (Some(owner), uid) if uid == owner.uid => owner,
            _ => &self.user,
        };
        let mut bytes = Vec::new();
        let mut limited = std::fs::File::from(file).take(FILE_MAX + 1);
        limited.read_to_end(&mut bytes).map_err(|source| Refusal::Open { path: path.to_owned(), source })?;
        if limited.limit() == 0 {
            return Err(Refusal::TooLong(path.to_owned()));
        }
        let hash = Hash(Sha256::digest(&bytes).into());
        Ok(File { bytes, hash, uid: stat.st_uid, user: user.clone() })
    }
}

/// Whether a path is named like a definition.
#[must_use]
pub fn is_definition(path: &Path) -> bool {
    path.file_name().is_some_and(|name| {
        let name = name.as_bytes();
        name.ends_with(ENDING.as_bytes()) && !name.starts_with(b".")
    })
}

/// Opens a folder part by part, none of them a link, none of them writable by who has no say in it.
fn open_folder(folder: &Folder) -> Result<OwnedFd, Refusal> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut path = PathBuf::from("/");
    let mut here = rustix::fs::openat(CWD, &path, flags, Mode::empty()).map_err(|e| cannot(&path, e))?;
    let depth = folder.path.components().count();
    for (place, part) in folder.path.components().enumerate() {
        if let Component::Normal(name) = part {
            path.push(name);
            here = openat2(&here, name, flags, Mode::empty(), NO_LINKS).map_err(|e| cannot(&path, e))?;
        }
        let stat = fstat(&here).map_err(|e| cannot(&path, e))?;
        check(&path, folder, &stat, place + 1 < depth)?;
    }
    Ok(here)
}

/// Who owns it, and who may write it. `is_above`: it is a folder above that of the definitions.
fn check(path: &Path, folder: &Folder, stat: &Stat, is_above: bool) -> Result<(), Refusal> {
    let is_owner = |owner: &User| owner.uid == stat.st_uid;
    if stat.st_uid != 0 && !folder.owner.as_ref().is_some_and(is_owner) {
        return Err(Refusal::Owner { path: path.to_owned(), uid: stat.st_uid });
    }
    // Above, others may make what is new, as in /tmp, if they cannot touch what is there.
    let is_harmless = is_above && stat.st_mode & STICKY != 0;
    if stat.st_mode & OTHERS_WRITE != 0 && !is_harmless {
        return Err(Refusal::Writable(path.to_owned()));
    }
    Ok(())
}

fn cannot(path: &Path, error: rustix::io::Errno) -> Refusal {
    Refusal::Open { path: path.to_owned(), source: error.into() }
}
