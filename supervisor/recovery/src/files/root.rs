//! The folders that checkpoints cover, held open.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;

/// The most roots of one machine.
pub const ROOTS_MAX: usize = 64;

/// A folder that checkpoints cover.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    dir: OwnedFd,
}

impl Root {
    /// Opens a folder by its absolute path. From then on its name no longer matters.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the path is not absolute
    /// - [`Error::Io`]: there is no such folder, or it is a symbolic link
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_absolute() {
            return Err(Error::Invalid(format!("{} is not an absolute path", path.display())));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, path, flags, Mode::empty())
            .map_err(|e| Error::io("open the folder", path.as_os_str().as_bytes(), e))?;
        Ok(Self { path: path.into(), dir })
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
        let real = Self::open(path)?;
        let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&real.dir));
        let place = Path::new(&place);
        let nothing: Option<&Path> = None;
        mount(Some(place), place, nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)
            .map_err(|e| fault(path, e))?;
        let view = Self::open(path)?;
        let place = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&view.dir));
        let flags = MsFlags::MS_BIND
            | MsFlags::MS_REMOUNT
            | MsFlags::MS_RDONLY
            | MsFlags::MS_NOATIME
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV;
        mount(nothing, Path::new(&place), nothing, flags, nothing).map_err(|e| fault(path, e))?;
        Ok(view)
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
