// SPDX-License-Identifier: GPL-2.0-only

//! Who asks, and whether they are still there.

use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    sync::rcu,
    task::Task, //
};

/// Whose doing something is, as events tell it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Who {
    /// Thread group, in the initial namespace; 0: nobody's.
    pub(crate) pid: u32,
    /// Real user, in the initial namespace.
    pub(crate) uid: u32,
}

impl Who {
    /// The running task.
    pub(crate) fn current() -> Self {
        // SAFETY: The running task is there, and the number of its thread group does not change.
        let pid = unsafe { (*Task::current_raw()).tgid };
        Self {
            pid: pid.unsigned_abs(),
            uid: kernel::current!().uid().into_raw().val,
        }
    }
}

/// A process that no other can be taken for while this is kept.
///
/// # Invariants
///
/// Holds a reference to the `pid`, which was that of a thread group.
pub(crate) struct Process(NonNull<bindings::pid>);

// SAFETY: The count is atomic, and the rest is read under RCU.
unsafe impl Send for Process {}

impl Process {
    /// The process of the running task.
    ///
    /// # Errors
    ///
    /// `ESRCH`: it is coming to its end.
    pub(crate) fn current() -> Result<Self> {
        // SAFETY: The running task is there. A reference is taken, unless there is no `pid` any more.
        let pid =
            unsafe { bindings::get_task_pid(Task::current_raw(), bindings::pid_type_PIDTYPE_TGID) };
        NonNull::new(pid).map(Self).ok_or(ESRCH)
    }

    /// What it is known by while this is kept.
    pub(crate) fn key(&self) -> usize {
        self.0.as_ptr().addr()
    }

    /// A thread of it still runs. Not so once its last one has begun to exit, also while the process waits to
    /// be reaped.
    pub(crate) fn is_alive(&self) -> bool {
        let _guard = rcu::read_lock();
        // SAFETY: By the type's invariants the `pid` is there. What it leads to is freed no sooner than
        // the guard ends; a task keeps its `signal` until then.
        unsafe {
            let task = bindings::pid_task(self.0.as_ptr(), bindings::pid_type_PIDTYPE_TGID);
            if task.is_null() {
                return false;
            }
            let live = &raw const (*(*task).signal).live.counter;
            live.read_volatile() > 0
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants the reference is ours.
        unsafe { bindings::put_pid(self.0.as_ptr()) };
    }
}

/// What the process of the running task is known by; 0 if it has come to its end.
pub(crate) fn current_key() -> usize {
    // SAFETY: The running task is there, and so is its `signal`; the entry changes only when it is taken
    // out of the table at its end, after its files are closed.
    unsafe {
        let signal = (*Task::current_raw()).signal;
        let pids = &raw const (*signal).pids;
        (*pids)[bindings::pid_type_PIDTYPE_TGID as usize].addr()
    }
}
