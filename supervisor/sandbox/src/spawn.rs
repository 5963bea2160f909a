//! Makes the process: all that needs memory or can block is done before, all that follows is in `child`.

#![expect(unsafe_code, reason = "clone3 has no safe interface")]

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::child::{self, Plan};
use crate::error::{Error, Step};
use crate::folder::wait;
use crate::leaf::Leaf;
use crate::process::Stdio;
use crate::spec::Spec;

/// Longest time from the making of a process to the start of its program: a folder may be on a slow disk.
const SPAWN_MAX: Duration = Duration::from_secs(5);
/// How long a process that failed, or was killed, may take to be gone.
const REAP_MAX: Duration = Duration::from_secs(1);
/// From linux/sched.h; libc's constant has lost the bit, which is beyond those of a C int.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A process that is becoming the agent. Unless it has, it is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Begun {
    process: Option<(OwnedFd, i32, Stdio)>,
    /// On which it tells of a failure; closed by the program's start.
    told: OwnedFd,
    /// It must have started by then.
    until: Instant,
}

/// How a new process comes into its cgroup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It begins there (Linux 5.7), else it enters.
    Born,
    /// It enters by itself before anything else.
    Enters,
}

/// Makes a process in a cgroup; its program starts by and by.
pub fn begin(leaf: &Leaf, spec: &Spec, entry: Entry) -> Result<Begun, Error> {
    let image = spec.image()?;
    let (words, environment) = (pointers(&image.words), pointers(&image.environment));
    let program = image.words.first().ok_or(Error::Unfit("there is no program"))?;
    let stdin = Pipe::new()?;
    let stdout = Pipe::new()?;
    let stderr = Pipe::new()?;
    let told = Pipe::new()?;
    for fd in [&stdin.write, &stdout.read, &stderr.read] {
        let flags = rustix::fs::fcntl_getfl(fd).map_err(prepare)?;
        rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(prepare)?;
    }
    let procs = leaf.folder().writable("cgroup.procs")?.ok_or_else(|| prepare(rustix::io::Errno::NOENT))?;
    let processors = child::processors(&leaf.place().processors)?;
    let plan = Plan {
        program: program.as_ptr(),
        words: words.as_ptr(),
        environment: environment.as_ptr(),
        folder: image.folder.as_ptr(),
        stdio: [stdin.read.as_raw_fd(), stdout.write.as_raw_fd(), stderr.write.as_raw_fd()],
        told: told.write.as_raw_fd(),
        procs: procs.as_raw_fd(),
        limits: child::limits(leaf, spec),
        processors,
        uid: spec.user.uid,
        gid: spec.user.gid,
        groups: &spec.user.groups,
        is_privileged: nix::unistd::geteuid().is_root(),
        parent: nix::unistd::getpid().as_raw(),
    };
    let (pidfd, pid) = make(leaf, &plan, entry)?;
    drop((stdin.read, stdout.write, stderr.write, told.write));
    let stdio = Stdio { stdin: Some(stdin.write), stdout: Some(stdout.read), stderr: Some(stderr.read) };
    Ok(Begun { process: Some((pidfd, pid, stdio)), told: told.read, until: Instant::now() + SPAWN_MAX })
}

impl Begun {
    /// Waits for the start of the program, at most so long; true once it has. Then [`take`](Self::take) gives the process.
    pub fn wait(&self, within: Duration) -> Result<bool, Error> {
        let left = self.until.saturating_duration_since(Instant::now());
        if !wait(&self.told, PollFlags::IN, left.min(within)).map_err(prepare)? {
            return if left.is_zero() { Err(Error::Late) } else { Ok(false) };
        }
        started(&self.told).map(|()| true)
    }

    /// The process, now its owner's to end; there is none a second time.
    pub fn take(&mut self) -> Option<(OwnedFd, i32, Stdio)> {
        self.process.take()
    }

    /// When it must have started.
    pub const fn until(&self) -> Instant {
        self.until
    }

    /// Readable once it is known whether the program has started.
    pub fn told(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some((pidfd, ..)) = &self.process {
            // It has not run a single instruction of the program.
            _ = pidfd_send_signal(pidfd, Signal::KILL);
            reap(pidfd);
        }
    }
}

/// A pipe whose descriptors are none of 0, 1 and 2, which the new process gives a new meaning.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self, Error> {
        let above = |fd: OwnedFd| {
            if fd.as_raw_fd() > 2 { Ok(fd) } else { rustix::io::fcntl_dupfd_cloexec(&fd, 3) }
        };
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(prepare)?;
        Ok(Self { read: above(read).map_err(prepare)?, write: above(write).map_err(prepare)? })
    }
}

fn prepare(error: rustix::io::Errno) -> Error {
    Error::Prepare(error.into())
}

/// The pointers that execve takes, with the null at their end.
fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// Makes the process; its descriptor and number.
fn make(leaf: &Leaf, plan: &Plan<'_>, entry: Entry) -> Result<(OwnedFd, i32), Error> {
    // No handler of ours runs in the new process: it begins with all signals held back.
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(|error| Error::Prepare(error.into()))?;
    let cgroup = leaf.folder().fd().as_raw_fd();
    let mut made = clone(plan, entry, cgroup);
    // A kernel that does not know the flag, or its place in the arguments.
    let is_unknown = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EINVAL | libc::E2BIG));
    if entry == Entry::Born && made.as_ref().is_err_and(is_unknown) {
        made = clone(plan, Entry::Enters, cgroup);
    }
    let restored = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    let made = made.map_err(Error::Prepare)?;
    restored.map_err(|error| Error::Prepare(error.into()))?;
    Ok(made)
}

/// clone3 in the manner of fork; does not return in the new process.
fn clone(plan: &Plan<'_>, entry: Entry, cgroup: i32) -> io::Result<(OwnedFd, i32)> {
    let mut pidfd: i32 = -1;
    let mut flags = u64::from(libc::CLONE_PIDFD.unsigned_abs());
    if entry == Entry::Born {
        flags |= CLONE_INTO_CGROUP;
    }
    let mut arguments = libc::clone_args {
        flags,
        pidfd: (&raw mut pidfd).addr() as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: if entry == Entry::Born { u64::from(cgroup.unsigned_abs()) } else { 0 },
    };
    // SAFETY: the arguments are valid for their size, `pidfd` for writing. Without CLONE_VM the new process has a copy of
    // all memory, so that both may go on; the copy has this thread alone, and may hold locks of others for ever, so there
    // only `child::run` follows, which takes none and does not return.
    let result =
        unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match result {
        0 => child::run(plan, entry == Entry::Enters),
        -1 => Err(io::Error::last_os_error()),
        pid => {
            // SAFETY: the kernel has just opened it for us, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok((pidfd, i32::try_from(pid).unwrap_or(-1)))
        }
    }
}

/// Whether the program has started: then the descriptor on which the process would tell of a failure is closed.
fn started(told: &OwnedFd) -> Result<(), Error> {
    let mut chunk = [0; 8];
    let count = rustix::io::read(told, &mut chunk).map_err(prepare)?;
    let ([step, errno], []) = chunk.as_chunks::<4>() else {
        return Err(prepare(rustix::io::Errno::IO));
    };
    match Step::from_code(i32::from_ne_bytes(*step)) {
        // Closed by the program's start. If somebody has killed it before, its exit will say so.
        _ if count == 0 => Ok(()),
        Some(step) if count == chunk.len() => {
            Err(Error::Spawn { step, source: io::Error::from_raw_os_error(i32::from_ne_bytes(*errno)) })
        }
        _ => Err(prepare(rustix::io::Errno::IO)),
    }
}

/// Takes the status of a process that is ending, so that its number is free again.
fn reap(pidfd: &OwnedFd) {
    // Beyond the bound it is the kernel that holds it, and process 1 that takes it once we are gone.
    _ = wait(pidfd, PollFlags::IN, REAP_MAX);
    _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
}
