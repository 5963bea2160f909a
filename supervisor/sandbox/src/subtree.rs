//! The part of the cgroup v2 tree that holds all agents.
//!
//! The emergency stop is here: [`Subtree::freeze`] and [`Subtree::kill`] are one write each to a descriptor that has been
//! open since the start, and need neither memory nor another descriptor.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use types::agent::Limits;

use crate::error::Error;
use crate::folder::{Folder, write};
use crate::leaf::{Leaf, Place};

/// `statfs` type of a cgroup v2 tree (include/uapi/linux/magic.h).
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// Controllers that limits need, in the order in which they are turned on.
const CONTROLLERS: [&str; 4] = ["memory", "pids", "cpu", "cpuset"];
/// Most rounds of killing one by one: each round kills all that there were, and a frozen cgroup gets no more.
const ROUNDS_MAX: u32 = 100;

/// Who holds a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The agent's cgroup: all its processes together.
    Cgroup,
    /// A resource limit of each process, or of each user.
    Process,
    /// Nobody.
    Nobody,
}

/// What the tree can do on this machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Stop all processes of a cgroup (Linux 5.2).
    pub freeze: bool,
    /// Kill all processes of a cgroup at once (5.14); without it they are killed one by one.
    pub kill: bool,
    /// Limit memory.
    pub memory: bool,
    /// Limit processes.
    pub pids: bool,
    /// Limit and weigh processor time.
    pub cpu: bool,
    /// Bind to processors, such that the agent cannot undo it.
    pub cpuset: bool,
    /// Why a controller is missing, in the kernel's words.
    pub missing: Vec<String>,
}

impl Capabilities {
    /// Who holds the limit of memory: without a controller the data of each process is limited, not of all together.
    #[must_use]
    pub const fn memory_by(&self) -> By {
        if self.memory { By::Cgroup } else { By::Process }
    }

    /// Who holds the limit of processes: without a controller the processes of the user are, by [`crate::User`].
    #[must_use]
    pub const fn pids_by(&self) -> By {
        if self.pids { By::Cgroup } else { By::Process }
    }

    /// Who holds the limit of processor time.
    #[must_use]
    pub const fn cpu_by(&self) -> By {
        if self.cpu { By::Cgroup } else { By::Nobody }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("freeze", self.freeze),
            ("kill", self.kill),
            ("memory", self.memory),
            ("pids", self.pids),
            ("cpu", self.cpu),
            ("cpuset", self.cpuset),
        ];
        for (index, (name, has)) in all.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{}{name}", if has { "" } else { "no " })?;
        }
        Ok(())
    }
}

/// The cgroup above all agents' cgroups.
#[derive(Debug)]
pub struct Subtree {
    folder: Arc<Folder>,
    freeze: Option<OwnedFd>,
    kill: Option<OwnedFd>,
    capabilities: Capabilities,
}

impl Subtree {
    /// Makes the subtree `name` below a cgroup that was delegated to us, with the controllers that there are.
    ///
    /// Controllers can only be turned on if no process is in `delegated` itself: [`step_aside`] before, if we are.
    ///
    /// # Errors
    ///
    /// The folder is not of cgroup v2, or not ours to change. Controllers that cannot be had are no error:
    /// [`capabilities`](Self::capabilities) says so.
    pub fn prepare(delegated: &Path, name: &str) -> Result<Self, Error> {
        let above = open_cgroup2(delegated)?;
        check_name(name)?;
        let mut missing: Vec<String> = turn_on(&above)?.into_iter().map(|(_, why)| why).collect();
        let folder = Arc::new(above.make(name)?);
        // What is missing above is missing below: the reason is above.
        let is_new = |found: &str, controller: &str| !found.starts_with(&format!("{controller}:"));
        for (controller, why) in turn_on(&folder)? {
            if missing.iter().all(|found| is_new(found, controller)) {
                missing.push(why);
            }
        }
        let on = folder.read("cgroup.subtree_control")?;
        let has = |controller: &str| on.split_whitespace().any(|found| found == controller);
        let (freeze, kill) = (folder.writable("cgroup.freeze")?, folder.writable("cgroup.kill")?);
        let capabilities = Capabilities {
            freeze: freeze.is_some(),
            kill: kill.is_some(),
            memory: has("memory"),
            pids: has("pids"),
            cpu: has("cpu"),
            cpuset: has("cpuset"),
            missing,
        };
        Ok(Self { folder, freeze, kill, capabilities })
    }

    /// What the tree can do.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// What stops all agents, in descriptors that can be handed to another process: the folder, its events, and `cgroup.freeze` and
    /// `cgroup.kill` where the kernel has them.
    pub(crate) fn brake(&self) -> Result<Vec<OwnedFd>, Error> {
        let copy = |fd: BorrowedFd<'_>| {
            fd.try_clone_to_owned().map_err(|source| Error::Tree { path: self.path().to_owned(), source })
        };
        let orders = [&self.freeze, &self.kill];
        let mut fds = vec![copy(self.folder.fd())?, self.folder.events()?];
        for fd in orders.into_iter().flatten() {
            fds.push(copy(fd.as_fd())?);
        }
        Ok(fds)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a cgroup for one agent and sets its limits, before there is a process in it.
    ///
    /// # Errors
    ///
    /// There is one of that name, the name cannot be a folder's, or a limit is refused.
    pub fn leaf(&self, name: &str, limits: &Limits, place: &Place) -> Result<Leaf, Error> {
        check_name(name)?;
        Leaf::make(&self.folder, name, &self.capabilities, limits, place)
    }

    /// Stops all agents: one write. They stand still when [`wait_frozen`](Self::wait_frozen) says so.
    ///
    /// # Errors
    ///
    /// The kernel refused, or has no freezer.
    pub fn freeze(&self) -> Result<(), Error> {
        self.order(self.freeze.as_ref(), "cgroup.freeze", "1")
    }

    /// Lets all agents go on that were stopped by [`freeze`](Self::freeze).
    ///
    /// # Errors
    ///
    /// As [`freeze`](Self::freeze).
    pub fn thaw(&self) -> Result<(), Error> {
        self.order(self.freeze.as_ref(), "cgroup.freeze", "0")
    }

    /// Kills all agents: one write, where the kernel has `cgroup.kill`; else one by one.
    ///
    /// # Errors
    ///
    /// The kernel refused.
    pub fn kill(&self) -> Result<(), Error> {
        match &self.kill {
            Some(fd) => self.order(Some(fd), "cgroup.kill", "1"),
            None => kill_each(&self.folder),
        }
    }

    /// Waits until all agents stand still; false if they do not in time.
    ///
    /// # Errors
    ///
    /// The kernel does not say.
    pub fn wait_frozen(&self, within: Duration) -> Result<bool, Error> {
        self.folder.wait_event("frozen", true, within)
    }

    /// Waits until there is no process of any agent.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`] with those that there still are.
    pub fn wait_empty(&self, within: Duration) -> Result<(), Error> {
        wait_empty(&self.folder, within)
    }

    /// All processes of all agents.
    ///
    /// # Errors
    ///
    /// The tree cannot be read.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        processes(&self.folder)
    }

    /// Kills all agents and removes their cgroups, also those that an earlier run of ours left.
    ///
    /// # Errors
    ///
    /// [`Error::Stuck`]; the kernel refused.
    pub fn clear(&self, within: Duration) -> Result<(), Error> {
        self.kill()?;
        self.wait_empty(within)?;
        if self.capabilities.freeze {
            self.thaw()?;
        }
        clear(&self.folder, 0)
    }

    fn order(&self, fd: Option<&OwnedFd>, name: &str, text: &str) -> Result<(), Error> {
        let result = match fd {
            Some(fd) => write(fd, text),
            None => Err(rustix::io::Errno::OPNOTSUPP),
        };
        result.map_err(|error| Error::Tree { path: self.folder.path().join(name), source: error.into() })
    }
}

/// Moves this process from a delegated cgroup into a leaf of it, so that controllers can be turned on below.
///
/// # Errors
///
/// The folder is not of cgroup v2, or not ours to change.
pub fn step_aside(delegated: &Path, name: &str) -> Result<(), Error> {
    check_name(name)?;
    open_cgroup2(delegated)?.make(name)?.write("cgroup.procs", "0")
}

fn open_cgroup2(path: &Path) -> Result<Folder, Error> {
    let folder = Folder::open(path)?;
    let stat = rustix::fs::fstatfs(folder.fd())
        .map_err(|error| Error::Tree { path: path.to_owned(), source: error.into() })?;
    if stat.f_type != CGROUP2_MAGIC {
        return Err(Error::NotCgroup2(path.to_owned()));
    }
    Ok(folder)
}

/// A name that is a plain folder and no file of the kernel's, which have a dot after their controller.
fn check_name(name: &str) -> Result<(), Error> {
    let is_sign =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'@';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_sign) {
        return Err(Error::Unfit("a cgroup's name is 1 to 128 of a–z, 0–9, “-” and “@”"));
    }
    Ok(())
}

/// Turns on for the folders below what the kernel has; what it has not, and why.
pub fn turn_on(folder: &Folder) -> Result<Vec<(&'static str, String)>, Error> {
    let there = folder.read("cgroup.controllers")?;
    let on = folder.read("cgroup.subtree_control")?;
    // Some could be turned on beside processes in the folder itself, and would then make what is below unfit for any. The topmost folder,
    // which alone has no type, is exempt.
    let is_crowded = folder.read("cgroup.type").is_ok() && !folder.read("cgroup.procs")?.trim().is_empty();
    let mut missing = Vec::new();
    for controller in CONTROLLERS {
        if on.split_whitespace().any(|found| found == controller) {
            continue;
        }
        if !there.split_whitespace().any(|found| found == controller) {
            missing.push((controller, format!("{controller}: not in this tree")));
        } else if is_crowded {
            missing.push((controller, format!("{controller}: processes are in the folder above themselves")));
        } else if let Err(error) = folder.write("cgroup.subtree_control", &format!("+{controller}")) {
            missing.push((controller, format!("{controller}: {error}")));
        }
    }
    Ok(missing)
}

/// Waits until a cgroup holds no process.
pub fn wait_empty(folder: &Folder, within: Duration) -> Result<(), Error> {
    if folder.wait_event("populated", false, within)? {
        return Ok(());
    }
    match processes(folder)? {
        left if left.is_empty() => Ok(()),
        left => Err(Error::Stuck(left)),
    }
}

/// All processes of a cgroup and of those below.
pub fn processes(folder: &Folder) -> Result<Vec<i32>, Error> {
    let mut all = Vec::new();
    collect(folder, 0, &mut all)?;
    Ok(all)
}

/// Deepest cgroups that are looked at: agents have none below their own, and cannot make any.
const DEPTH_MAX: usize = 8;

fn collect(folder: &Folder, depth: usize, all: &mut Vec<i32>) -> Result<(), Error> {
    let text = folder.read_if_there("cgroup.procs")?.unwrap_or_default();
    all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    if depth < DEPTH_MAX {
        for name in folder.folders()? {
            match folder.child(&name) {
                Ok(child) => collect(&child, depth + 1, all)?,
                // It was removed meanwhile.
                Err(Error::Tree { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn clear(folder: &Folder, depth: usize) -> Result<(), Error> {
    for name in folder.folders()? {
        if depth < DEPTH_MAX {
            clear(&folder.child(&name)?, depth + 1)?;
        }
        folder.remove(&name)?;
    }
    Ok(())
}

/// Kills all processes of a cgroup one by one, for kernels without `cgroup.kill`.
///
/// Frozen, they fork no more; a number is only used if the process that was opened by it is still in the cgroup then.
pub fn kill_each(folder: &Folder) -> Result<(), Error> {
    // Without a freezer forking goes on, and rounds are repeated until it loses.
    let is_frozen = folder.writable("cgroup.freeze")?.is_some_and(|fd| write(&fd, "1").is_ok());
    let end = Instant::now() + Duration::from_secs(1);
    for _ in 0..ROUNDS_MAX {
        let listed = processes(folder)?;
        if listed.is_empty() || Instant::now() > end {
            break;
        }
        let opened: Vec<(i32, OwnedFd)> = listed
            .into_iter()
            .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            .collect();
        let still = processes(folder)?;
        for (pid, fd) in opened {
            if still.contains(&pid) {
                // It may have died by itself.
                _ = pidfd_send_signal(&fd, Signal::KILL);
            }
        }
        if folder.wait_event("populated", false, Duration::from_millis(20))? {
            break;
        }
    }
    if is_frozen {
        folder.write("cgroup.freeze", "0")?;
    }
    Ok(())
}
