//! System calls that no crate has.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{self, c_ulong};

#[path = "../../../../include/uapi/dsmil.rs"]
#[rustfmt::skip]
#[expect(non_camel_case_types, dead_code, reason = "generated")]
#[expect(clippy::allow_attributes, clippy::allow_attributes_without_reason, clippy::indexing_slicing, reason = "generated")]
mod uapi;

nix::ioctl_readwrite_bad!(dsmil_confirm, c_ulong::from(uapi::DSMIL_IOC_CONFIRM), uapi::dsmil_settle);

/// Tries to keep a change; for who is not its owner.
pub(crate) fn confirm(fd: BorrowedFd<'_>, transaction: u64) -> Result<(), Errno> {
    let mut settle = uapi::dsmil_settle { transaction, ..Default::default() };
    // SAFETY: The module reads and fills in one `dsmil_settle`.
    unsafe { dsmil_confirm(fd.as_raw_fd(), &raw mut settle) }.map(drop)
}

/// Ends the calling thread alone, the first one of a process too.
pub(crate) fn end_thread() -> ! {
    // SAFETY: No argument is a pointer. What the thread has on its stack stays there, borrowed or not, because
    // nothing unmaps it.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    // A thread that has ended does not come here.
    end_process(2)
}

/// Ends the process without running what belongs to the one that it was forked from.
pub(crate) fn end_process(status: i32) -> ! {
    // SAFETY: Nothing of this process is used afterwards.
    unsafe { libc::_exit(status) }
}
