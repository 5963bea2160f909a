//! Mounting, and ending.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::JoinHandle;

use fuser::{Config, MountOption, Session, SessionACL};

use crate::bridge::Bridge;
use crate::guard::Guard;
use crate::point::{Point, empty_folder};
use crate::tree::Tree;

/// The most requests of the kernel that are answered at once.
const THREADS_MAX: usize = 8;

/// A tree that is mounted. It has to be ended by [`Mounted::end`]; the guard does it where the process dies instead.
#[derive(Debug)]
pub struct Mounted {
    point: Point,
    session: JoinHandle<io::Result<()>>,
    /// Is hung up when the session ends.
    ended: OwnedFd,
    _guard: Guard,
}

/// Mounts a tree on an empty folder, for who calls alone, or for everybody.
///
/// As root it is the kernel who mounts; for others the helper `fusermount3` does.
///
/// # Errors
///
/// - `NotFound`: there is no such folder, no `/dev/fuse`, or no helper
/// - `DirectoryNotEmpty`
/// - else what kernel or helper say
pub fn mount(tree: impl Tree, folder: &Path, everybody: bool, guard: &[&str]) -> io::Result<Mounted> {
    let point = Point {
        folder: empty_folder(folder)?,
        // A process has one mount, and a dead one of an earlier process of this number stays where it was.
        source: format!("dsmil-{}", std::process::id()),
    };
    // Before there is anything to guard, so that there is no moment without.
    let guard = Guard::start(&point, guard)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
        MountOption::DefaultPermissions,
        MountOption::FSName(point.source.clone()),
    ];
    config.acl = if everybody { SessionACL::All } else { SessionACL::Owner };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    config.n_threads = Some(threads.clamp(2, THREADS_MAX));
    config.clone_fd = true;
    let session = Session::new(Bridge(tree), &point.folder, &config)?.spawn()?;
    let (ended, ends) = nix::unistd::pipe().map_err(io::Error::from)?;
    let session = std::thread::Builder::new().name("mount".to_owned()).spawn(move || {
        let result = session.join();
        drop(ends);
        result
    })?;
    Ok(Mounted { point, session, ended, _guard: guard })
}

impl Mounted {
    /// The folder, without links in its path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.point.folder
    }

    /// A descriptor that is hung up when somebody has unmounted it.
    #[must_use]
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Ends it: where it is still mounted it goes at once, also if files are open. Their readers get an error when this process
    /// ends, which it should do soon.
    ///
    /// # Errors
    ///
    /// It is still mounted, or had ended by itself with this error.
    pub fn end(self) -> io::Result<()> {
        self.point.detach()?;
        // With open files it goes on until they are closed, and nobody waits for that.
        if self.session.is_finished() {
            return self.session.join().map_err(|_| io::Error::other("the mount's thread panicked"))?;
        }
        Ok(())
    }
}
