//! The folders that checkpoints cover, held open.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, StatxAttributes, openat};
use rustix::io::Errno;

use super::read;
use super::rules::Rules;
use crate::Error;

/// The most roots of one machine.
pub const ROOTS_MAX: usize = 64;
/// The longest name of a folder that can be exchanged, bytes: the folder of its restore stands beside it under a longer one.
const NAME_BYTES_MAX: usize = 240;
/// Nothing is followed, and nothing read.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder that checkpoints cover.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
    beside: Beside,
    rules: Arc<Rules>,
}

/// Where a root stands, or why it cannot be exchanged for another folder there.
#[derive(Debug)]
enum Beside {
    Place(Place),
    Never(&'static str),
}

/// The folder that holds a root, and the root's name in it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: OwnedFd,
    pub(crate) name: CString,
}

impl Root {
    /// Opens a folder by its absolute path. From then on that path no longer matters; if another folder takes its place in the
    /// folder that holds it, [`Root::again`] opens that.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the path is not absolute
    /// - [`Error::Io`]: there is no such folder, or it is a symbolic link
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_absolute() {
            return Err(Error::Invalid(format!("{} is not an absolute path", path.display())));
        }
        let failed = |e: Errno| Error::io("open the folder", path.as_os_str().as_bytes(), e);
        let dir = openat(CWD, path, PLACE, Mode::empty()).map_err(failed)?;
        let beside = Beside::find(path, &dir).map_err(failed)?;
        Ok(Self { path: path.into(), dir, beside, rules: Arc::default() })
    }

    /// Leaves out what these rules say.
    #[must_use]
    pub fn without(self, rules: &Arc<Rules>) -> Self {
        Self { rules: Arc::clone(rules), ..self }
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Opens what stands in this root's place now.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: there is no folder any more
    pub fn again(&self) -> Result<Self, Error> {
        let failed = |e: Errno| Error::io("open the folder", self.path.as_os_str().as_bytes(), e);
        let copy =
            |fd: &OwnedFd| fd.try_clone().map_err(|e| failed(Errno::from_io_error(&e).unwrap_or(Errno::IO)));
        let (dir, beside) = match &self.beside {
            Beside::Never(why) => (copy(&self.dir)?, Beside::Never(why)),
            Beside::Place(Place { folder, name }) => {
                let dir = openat(folder, name, PLACE, Mode::empty()).map_err(failed)?;
                (dir, Beside::Place(Place { folder: copy(folder)?, name: name.clone() }))
            }
        };
        Ok(Self { path: self.path.clone(), dir, beside, rules: Arc::clone(&self.rules) })
    }

    /// Where it stands, so that another folder can be put there.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub(crate) const fn place(&self) -> Result<&Place, &'static str> {
        match &self.beside {
            Beside::Place(place) => Ok(place),
            Beside::Never(why) => Err(why),
        }
    }

    /// Opens folders for reading alone, through mounts of their own that are read-only and leave access times as
    /// they are. A process that later gives up its privileges can then capture without disturbing what it captures:
    /// without this, reading a file of another owner changes its access time.
    ///
    /// The mounts are in no namespace and end with the descriptors. Needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    ///
    /// As [`Root::open`]; [`Error::Io`] also where the privilege is missing.
    pub fn open_quiet(paths: &[PathBuf]) -> Result<Vec<Self>, Error> {
        // Namespaces are per thread: a short-lived one keeps the mounts away from the rest of the process.
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let fault = |path: &Path, cause: nix::Error| {
                        Error::io("mount a quiet view of", path.as_os_str().as_bytes(), cause)
                    };
                    let slash = Path::new("/");
                    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| fault(slash, e))?;
                    let nothing: Option<&Path> = None;
                    mount(nothing, slash, nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
                        .map_err(|e| fault(slash, e))?;
                    paths.iter().map(|path| Self::open_quiet_one(path, &fault)).collect()
                })
                .join()
                .unwrap_or_else(|_| Err(Error::Invalid("opening the folders ended early".into())))
        })
    }

    fn open_quiet_one(path: &Path, fault: &dyn Fn(&Path, nix::Error) -> Error) -> Result<Self, Error> {
        // Not through a symbolic link: the real folder first, then its view at the same place.
        let mut root = Self::open(path)?;
        let failed = |e: Errno| Error::io("open the folder", path.as_os_str().as_bytes(), e);
        match &mut root.beside {
            // A view of the folder above: whatever stands in it under the root's name can be seen.
            Beside::Place(place) => {
                let above = path.parent().unwrap_or(path);
                place.folder = view(above, &place.folder, fault)?;
                root.dir = openat(&place.folder, &place.name, PLACE, Mode::empty()).map_err(failed)?;
            }
            Beside::Never(_) => root.dir = view(path, &root.dir, fault)?,
        }
        Ok(root)
    }

    /// The path under which it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// A read-only view of a folder, mounted over it and without access times.
fn view(path: &Path, real: &OwnedFd, fault: &dyn Fn(&Path, nix::Error) -> Error) -> Result<OwnedFd, Error> {
    let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(real));
    let place = Path::new(&place);
    let nothing: Option<&Path> = None;
    mount(Some(place), place, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
        .map_err(|e| fault(path, e))?;
    let view = openat(CWD, path, PLACE & !OFlags::NOFOLLOW, Mode::empty())
        .map_err(|e| Error::io("open the folder", path.as_os_str().as_bytes(), e))?;
    let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&view));
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOATIME
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(nothing, Path::new(&place), nothing, flags, nothing).map_err(|e| fault(path, e))?;
    Ok(view)
}

impl Beside {
    fn find(path: &Path, dir: &OwnedFd) -> Result<Self, Errno> {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Self::Never("it is the top of all folders"));
        };
        let Ok(name) = CString::new(name.as_bytes()) else { return Err(Errno::INVAL) };
        if name.as_bytes().len() > NAME_BYTES_MAX {
            return Ok(Self::Never("its name is too long"));
        }
        let root = read::stat_open(dir)?;
        if root.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(Self::Never("it is a mount point"));
        }
        let folder = openat(CWD, above, PLACE & !OFlags::NOFOLLOW, Mode::empty())?;
        let own = rustix::process::geteuid().as_raw();
        let stat = read::stat_open(&folder)?;
        // Whoever else may write there could put something else in its place at any moment.
        if stat.stx_mode & 0o022 != 0 || (stat.stx_uid != 0 && stat.stx_uid != own) {
            return Ok(Self::Never("the folder that holds it can be written by others than root"));
        }
        let found = read::stat(&folder, &name)?;
        if (found.stx_ino, found.stx_dev_major, found.stx_dev_minor)
            != (root.stx_ino, root.stx_dev_major, root.stx_dev_minor)
        {
            return Ok(Self::Never("it does not stand where its path says"));
        }
        Ok(Self::Place(Place { folder, name }))
    }
}
