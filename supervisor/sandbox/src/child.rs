//! What a new process does before the agent's program takes over.
//!
//! It is the copy of one thread of ours: locks that others held stay locked in it. So it neither allocates nor takes a lock:
//! it makes system calls on what was prepared. `setgroups`, `setresgid` and `setresuid` are made without libc, whose
//! versions take locks and signal all threads, which the copy has not.

#![expect(unsafe_code, reason = "between clone and exec there are only system calls")]

use std::ffi::{c_char, c_int, c_long, c_ulong};
use std::io;
use std::mem;
use std::ptr;

use nix::libc;

use crate::error::{Error, Step};
use crate::leaf::Leaf;
use crate::spec::Spec;
use crate::subtree::By;

/// Files of an agent are its own unless it says otherwise.
const UMASK: libc::mode_t = 0o077;
/// Where memory is short on the machine, agents die before what supervises them (−1000 to 1000).
const OOM_SCORE: &[u8] = b"500";
/// More capabilities than any kernel has.
const CAPABILITIES_MAX: c_ulong = 64;
/// The signal that nothing survives.
const SIGKILL: c_ulong = 9;
/// Version 3 of the structures of capset (linux/capability.h).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// All that the new process needs, ready made.
pub struct Plan<'p> {
    pub program: *const c_char,
    pub words: *const *const c_char,
    pub environment: *const *const c_char,
    pub folder: *const c_char,
    /// What becomes 0, 1 and 2; all of them above.
    pub stdio: [i32; 3],
    /// Where a failure is told; the program's start closes it.
    pub told: i32,
    /// `cgroup.procs` of its cgroup.
    pub procs: i32,
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
    pub processors: Option<libc::cpu_set_t>,
    pub uid: u32,
    pub gid: u32,
    pub groups: &'p [u32],
    /// We are root.
    pub is_privileged: bool,
    /// Our own number.
    pub parent: i32,
}

/// The resource limits of each process of an agent.
pub fn limits(leaf: &Leaf, spec: &Spec) -> Vec<(libc::__rlimit_resource_t, u64)> {
    let mut limits = vec![
        (libc::RLIMIT_NOFILE, u64::from(leaf.limits().open_files)),
        (libc::RLIMIT_NPROC, u64::from(spec.user.processes_max)),
        // A core would be written where nobody asked for it, and hold what the agent was given.
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_RTPRIO, 0),
    ];
    if leaf.capabilities().memory_by() == By::Process {
        limits.push((libc::RLIMIT_DATA, leaf.limits().memory.0));
    }
    limits
}

/// A set of processors as the kernel takes it; none means all.
pub fn processors(list: &[u16]) -> Result<Option<libc::cpu_set_t>, Error> {
    if list.is_empty() {
        return Ok(None);
    }
    // SAFETY: the set is an array of integers, for which zeros are valid: no processor.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for processor in list {
        let processor = usize::from(*processor);
        if processor >= usize::try_from(libc::CPU_SETSIZE).unwrap_or_default() {
            return Err(Error::Unfit("there is no such processor"));
        }
        // SAFETY: it is below the size of the set.
        unsafe { libc::CPU_SET(processor, &mut set) };
    }
    Ok(Some(set))
}

/// Becomes the agent's program, or tells why not and ends.
pub fn run(plan: &Plan<'_>, must_enter: bool) -> ! {
    let step = turn_into(plan, must_enter);
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    let ([a, b, c, d], [e, f, g, h]) = ((step as i32).to_ne_bytes(), errno.to_ne_bytes());
    let message = [a, b, c, d, e, f, g, h];
    // SAFETY: the message is valid for its length, and _exit runs nothing of ours.
    unsafe {
        libc::write(plan.told, message.as_ptr().cast(), message.len());
        libc::_exit(127)
    }
}

/// Does it step by step; the one that failed, for otherwise it does not return.
fn turn_into(plan: &Plan<'_>, must_enter: bool) -> Step {
    if must_enter && !write(plan.procs, b"0") {
        return Step::Cgroup;
    }
    // SAFETY: takes nothing.
    if unsafe { libc::setsid() } == -1 {
        return Step::Session;
    }
    let prepared = stdio(plan)
        .and_then(|()| limit(plan))
        .and_then(|()| drop_bounding(plan))
        .and_then(|()| become_user(plan))
        .and_then(|()| drop_capabilities())
        .and_then(|()| bind_to_parent(plan))
        .and_then(|()| enter_folder(plan));
    if let Err(step) = prepared {
        return step;
    }
    reset_signals();
    // SAFETY: program, words and environment are texts that end in NUL, in lists that end in null; they outlive the call.
    unsafe { libc::execve(plan.program, plan.words, plan.environment) };
    Step::Program
}

fn stdio(plan: &Plan<'_>) -> Result<(), Step> {
    for (fd, as_fd) in plan.stdio.into_iter().zip(0..) {
        // SAFETY: concerns numbers only; the sources are above 2, so none is overwritten before its turn.
        if unsafe { libc::dup2(fd, as_fd) } == -1 {
            return Err(Step::Stdio);
        }
    }
    // The start of the program closes them all at once, also those that another thread of ours opened without O_CLOEXEC.
    // SAFETY: concerns numbers only.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if closed == -1 { Err(Step::Descriptors) } else { Ok(()) }
}

fn limit(plan: &Plan<'_>) -> Result<(), Step> {
    for (resource, value) in &plan.limits {
        let limit = libc::rlimit { rlim_cur: *value, rlim_max: *value };
        // SAFETY: the limit is valid for reading.
        if unsafe { libc::setrlimit(*resource, &raw const limit) } == -1 {
            return Err(Step::Limits);
        }
    }
    if let Some(set) = &plan.processors {
        // SAFETY: the set is valid for its size.
        if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) } == -1 {
            return Err(Step::Processors);
        }
    }
    // Without /proc, or where it is not writable, agents are killed in the usual order.
    // SAFETY: the path ends in NUL; a number that is no descriptor is refused by the kernel.
    unsafe {
        let fd = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        write(fd, OOM_SCORE);
        libc::close(fd);
        libc::umask(UMASK);
    }
    Ok(())
}

/// Gives up for ever what an executed file could bring, as long as we are allowed to.
fn drop_bounding(plan: &Plan<'_>) -> Result<(), Step> {
    for capability in 0..CAPABILITIES_MAX {
        match prctl(libc::PR_CAPBSET_READ, capability) {
            // The kernel has no more of them.
            -1 => break,
            0 => continue,
            _ => {}
        }
        let dropped = prctl(libc::PR_CAPBSET_DROP, capability);
        // Who is not root has none to give up, and no_new_privs keeps files from bringing any.
        if dropped == -1 && plan.is_privileged {
            return Err(Step::Capabilities);
        }
    }
    Ok(())
}

fn become_user(plan: &Plan<'_>) -> Result<(), Step> {
    // SAFETY: take nothing and cannot fail.
    let is_already = unsafe { libc::getuid() == plan.uid && libc::getgid() == plan.gid };
    if is_already && !plan.is_privileged {
        return Ok(());
    }
    let (uid, gid) = (c_long::from(plan.uid), c_long::from(plan.gid));
    let groups = plan.groups.as_ptr();
    // SAFETY: the groups are valid for their number; the others take numbers only.
    let failed = unsafe {
        libc::syscall(libc::SYS_setgroups, plan.groups.len(), groups) == -1
            || libc::syscall(libc::SYS_setresgid, gid, gid, gid) == -1
            || libc::syscall(libc::SYS_setresuid, uid, uid, uid) == -1
    };
    if failed { Err(Step::User) } else { Ok(()) }
}

/// Gives up what is left of capabilities, and that any executed file brings some.
fn drop_capabilities() -> Result<(), Step> {
    // Version and process (this one); then effective, permitted, inheritable for each half of the capabilities.
    let header: [u32; 2] = [CAPABILITY_VERSION, 0];
    let none: [u32; 6] = [0; 6];
    // SAFETY: header and data have the size and layout of version 3.
    let is_set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) } != -1;
    // PR_CAP_AMBIENT_CLEAR_ALL
    let is_clear = prctl(libc::PR_CAP_AMBIENT, 4) != -1;
    let is_bound = prctl(libc::PR_SET_NO_NEW_PRIVS, 1) != -1;
    if is_set && is_clear && is_bound { Ok(()) } else { Err(Step::Capabilities) }
}

/// Dies with its parent. This comes after the change of user, which would undo it.
fn bind_to_parent(plan: &Plan<'_>) -> Result<(), Step> {
    let is_bound = prctl(libc::PR_SET_PDEATHSIG, SIGKILL) != -1;
    // SAFETY: takes nothing. It may have died before.
    let is_alive = unsafe { libc::getppid() } == plan.parent;
    if is_bound && is_alive { Ok(()) } else { Err(Step::Parent) }
}

fn enter_folder(plan: &Plan<'_>) -> Result<(), Step> {
    // SAFETY: the path ends in NUL.
    if unsafe { libc::chdir(plan.folder) } == -1 { Err(Step::Folder) } else { Ok(()) }
}

/// No signal is ignored or held back: programs take that for granted, and ours ignores SIGPIPE.
///
/// Libc keeps two signals (32 and 33) for itself and refuses to change them, though whoever started us may have had them
/// ignored; so it is not asked.
fn reset_signals() {
    // The kernel's sigaction: handler (SIG_DFL is 0), flags, restorer, mask; and an empty set.
    let action: [u64; 4] = [0; 4];
    let none: u64 = 0;
    let size = size_of::<u64>();
    let null = ptr::null_mut::<u64>();
    // SAFETY: action and set are valid for reading and have the kernel's size on 64-bit machines. Signals that cannot be
    // changed are refused without harm: they are as they should be.
    unsafe {
        for signal in 1..=64_u64 {
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), null, size);
        }
        libc::syscall(libc::SYS_rt_sigprocmask, c_long::from(libc::SIG_SETMASK), &raw const none, null, size);
    }
}

fn write(fd: i32, text: &[u8]) -> bool {
    // SAFETY: the text is valid for its length; a number that is no descriptor is refused.
    unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) != -1 }
}

/// Those of its uses here take one number.
fn prctl(option: c_int, argument: c_ulong) -> c_int {
    let none: c_ulong = 0;
    // SAFETY: takes numbers only, each as wide as the kernel reads it.
    unsafe { libc::prctl(option, argument, none, none, none) }
}
