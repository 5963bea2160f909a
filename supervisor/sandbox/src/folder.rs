//! The files of one cgroup, relative to a descriptor of its folder: a path could be moved, a descriptor cannot.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::error::Error;

/// Longest file that is read, bytes: `cgroup.procs` of some ten thousand processes.
const READ_MAX: usize = 256 << 10;

/// The file that tells whether a cgroup is frozen, and whether there is a process.
const EVENTS: &str = "cgroup.events";

/// A cgroup's folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

impl Folder {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| tree(path, e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Makes a folder below, if it is not there, and opens it.
    pub fn make(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(tree(&path, error)),
        }
        self.child(name)
    }

    /// Opens a folder below.
    pub fn child(&self, name: &str) -> Result<Self, Error> {
        let path = self.path.join(name);
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(|e| tree(&path, e))?;
        Ok(Self { fd, path })
    }

    /// Removes a folder below.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).map_err(|e| tree(&self.path.join(name), e))
    }

    /// The names of the folders below.
    pub fn folders(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.fd).map_err(|e| self.wrong(".", e))? {
            let entry = entry.map_err(|e| self.wrong(".", e))?;
            if entry.file_type() == rustix::fs::FileType::Directory
                && let Ok(name) = entry.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens a file for writing, if there is one.
    pub fn writable(&self, name: &str) -> Result<Option<OwnedFd>, Error> {
        match rustix::fs::openat(&self.fd, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(self.wrong(name, error)),
        }
    }

    pub fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let fd = rustix::fs::openat(&self.fd, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| self.wrong(name, e))?;
        write(&fd, text).map_err(|e| self.wrong(name, e))
    }

    pub fn read(&self, name: &str) -> Result<String, Error> {
        self.read_if_there(name)?.ok_or_else(|| self.wrong(name, rustix::io::Errno::NOENT))
    }

    pub fn read_if_there(&self, name: &str) -> Result<Option<String>, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.wrong(name, error)),
        };
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while text.len() < READ_MAX {
            match rustix::io::read(&fd, &mut chunk) {
                Ok(0) => break,
                Ok(count) => text.extend_from_slice(chunk.get(..count).unwrap_or_default()),
                Err(rustix::io::Errno::INTR) => {}
                // A cgroup that is being removed.
                Err(rustix::io::Errno::NODEV) => return Ok(None),
                Err(error) => return Err(self.wrong(name, error)),
            }
        }
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    /// Waits until `cgroup.events` says so; false if it does not in time.
    pub fn wait_event(&self, key: &str, value: bool, within: Duration) -> Result<bool, Error> {
        wait_event(&self.events()?, key, value, within).map_err(|e| self.wrong(EVENTS, e))
    }

    /// Opens what tells of events.
    pub fn events(&self) -> Result<OwnedFd, Error> {
        rustix::fs::openat(&self.fd, EVENTS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| self.wrong(EVENTS, e))
    }

    /// A folder that another process has opened.
    pub const fn from_fd(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    pub fn wrong(&self, name: &str, error: rustix::io::Errno) -> Error {
        tree(&self.path.join(name), error)
    }
}

/// Waits until an open `cgroup.events` says so; false if it does not in time.
pub fn wait_event(fd: &OwnedFd, key: &str, value: bool, within: Duration) -> rustix::io::Result<bool> {
    let end = Instant::now() + within;
    let mut chunk = [0; 256];
    loop {
        // A change after this reading wakes the poll below.
        let count = rustix::io::pread(fd, &mut chunk, 0)?;
        if said(&String::from_utf8_lossy(chunk.get(..count).unwrap_or_default()), key) == Some(value) {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        wait(fd, PollFlags::PRI, left)?;
    }
}

fn said(text: &str, key: &str) -> Option<bool> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(' ')? == "1"))
}

/// Writes all of a text in one call, as the files of a cgroup want it.
pub fn write(fd: &impl AsFd, text: &str) -> rustix::io::Result<()> {
    loop {
        match rustix::io::write(fd, text.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for an event of a descriptor, at most so long; true if there is one.
pub fn wait(fd: &impl AsFd, flags: PollFlags, within: Duration) -> rustix::io::Result<bool> {
    let mut fds = [PollFd::new(fd, flags)];
    // Longer waits than the kernel can count are not asked for.
    let timeout = Timespec::try_from(within).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(count) => Ok(count > 0),
        // The caller looks at its clock and waits again.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}

fn tree(path: &Path, error: rustix::io::Errno) -> Error {
    Error::Tree { path: path.to_owned(), source: io::Error::from(error) }
}
