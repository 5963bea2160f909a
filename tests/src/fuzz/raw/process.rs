//! Processes, threads, signals, capabilities.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use nix::libc;

use super::{Answer, answer, checked, ioctl_compat};

/// Takes CAP_SYS_ADMIN from what this thread is doing, or gives it back.
pub(crate) fn strong(yes: bool) -> Answer {
    #[repr(C)]
    struct Head {
        version: u32,
        pid: i32,
    }
    const ADMIN: u32 = 1 << 21;
    let mut head = Head { version: 0x2008_0522, pid: 0 };
    // Effective, permitted, inheritable; low words, then high words.
    let mut sets = [0_u32; 6];
    // SAFETY: Version 3 of the interface takes a head and two times three words.
    unsafe {
        let got = answer(libc::syscall(libc::SYS_capget, &raw mut head, sets.as_mut_ptr()));
        if got < 0 {
            return got;
        }
        let [effective, ..] = &mut sets;
        if yes {
            *effective |= ADMIN
        } else {
            *effective &= !ADMIN
        }
        answer(libc::syscall(libc::SYS_capset, &raw mut head, sets.as_ptr()))
    }
}

/// A new process that runs `child` and ends; it dies with this one. `shares` keeps one table of descriptors for both.
///
/// Nobody else in this process may be between two system calls: a lock that is held now is held in the child for ever.
///
/// # Errors
///
/// What the kernel said.
pub(crate) fn spawn(shares: bool, child: impl FnOnce()) -> io::Result<i32> {
    // SAFETY: As fork(). The C library's own notes about threads are not needed by what the child does: it allocates (no
    // lock is held, see above), makes system calls, and ends with _exit.
    let pid = unsafe {
        if shares {
            libc::syscall(libc::SYS_clone, libc::CLONE_FILES | libc::SIGCHLD, 0, 0, 0, 0)
        } else {
            i64::from(libc::fork())
        }
    };
    let pid = i32::try_from(checked(pid)?).map_err(io::Error::other)?;
    if pid == 0 {
        // SAFETY: No memory is passed; _exit does not return.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        child();
        leave();
    }
    Ok(pid)
}

/// Ends this process without running anything more.
pub(crate) fn leave() -> ! {
    // SAFETY: _exit has no conditions.
    unsafe { libc::_exit(0) }
}

/// SIGKILL for a child, and waits until it is gone.
pub(crate) fn end(pid: i32) {
    let mut status = 0;
    // SAFETY: The pid is that of a child that was not waited for yet.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        while libc::waitpid(pid, &raw mut status, 0) < 0
            && io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
        {}
    }
}

/// Waits until a child has ended by itself.
pub(crate) fn wait(pid: i32) {
    let mut status = 0;
    // SAFETY: The pid is that of a child that was not waited for yet.
    unsafe {
        while libc::waitpid(pid, &raw mut status, 0) < 0
            && io::Error::last_os_error().raw_os_error() == Some(libc::EINTR)
        {}
    }
}

/// The number of this thread.
pub(crate) fn thread() -> i32 {
    // SAFETY: No memory is passed.
    unsafe { libc::gettid() }
}

/// Sends the handled signal to a thread of a process.
pub(crate) fn signal(process: i32, thread: i32) {
    // SAFETY: No memory is passed; tgkill refuses what does not exist.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
}

/// Runs what may wait for ever and interrupts it, again and again: the first signal may come just before it begins to
/// wait. For the first thread alone.
pub(crate) fn interrupted<T>(wait: impl FnOnce() -> T) -> T {
    let every = |microseconds| {
        let time = libc::timeval { tv_sec: 0, tv_usec: microseconds };
        let timer = libc::itimerval { it_interval: time, it_value: time };
        // SAFETY: The timer is read in the call; none is given back.
        unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, ptr::null_mut()) };
    };
    every(100_000);
    let done = wait();
    every(0);
    done
}

extern "C" fn nothing(_signal: i32) {}

/// Makes SIGUSR1 and SIGALRM interrupt system calls and do nothing else.
pub(crate) fn handle_signal() {
    // SAFETY: The handler does nothing; without SA_RESTART system calls end with EINTR.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let handler: extern "C" fn(i32) = nothing;
        action.sa_sigaction = handler as libc::sighandler_t;
        libc::sigaction(libc::SIGUSR1, &raw const action, ptr::null_mut());
        libc::sigaction(libc::SIGALRM, &raw const action, ptr::null_mut());
    }
}

/// True if the kernel takes the system calls of 32-bit programs: tried in a process that may die of it.
pub(crate) fn has_compat() -> bool {
    let Ok(pid) = spawn(false, || {
        ioctl_compat(0, 0, 0);
    }) else {
        return false;
    };
    let mut status = 0;
    // SAFETY: The pid is that of a child that was not waited for yet.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    libc::WIFEXITED(status)
}
