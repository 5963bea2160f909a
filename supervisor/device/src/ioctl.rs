//! The system calls on the node, one function per ioctl.
//!
//! The only unsafe code of this crate. Each function passes structures of the type that the ioctl's number
//! was made from, and slices whose lengths it states itself.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::c_ulong;

use crate::uapi::{
    self, dsmil_allow, dsmil_failure, dsmil_info, dsmil_list, dsmil_read, dsmil_read_entry, dsmil_settle,
    dsmil_token, dsmil_version, dsmil_write, dsmil_write_entry,
};

mod raw {
    use super::*;

    nix::ioctl_read_bad!(version, c_ulong::from(uapi::DSMIL_IOC_VERSION), dsmil_version);
    nix::ioctl_read_bad!(info, c_ulong::from(uapi::DSMIL_IOC_INFO), dsmil_info);
    nix::ioctl_readwrite_bad!(list, c_ulong::from(uapi::DSMIL_IOC_LIST), dsmil_list);
    nix::ioctl_readwrite_bad!(read, c_ulong::from(uapi::DSMIL_IOC_READ), dsmil_read);
    nix::ioctl_readwrite_bad!(allow, c_ulong::from(uapi::DSMIL_IOC_ALLOW), dsmil_allow);
    nix::ioctl_readwrite_bad!(write, c_ulong::from(uapi::DSMIL_IOC_WRITE), dsmil_write);
    nix::ioctl_readwrite_bad!(confirm, c_ulong::from(uapi::DSMIL_IOC_CONFIRM), dsmil_settle);
    nix::ioctl_readwrite_bad!(undo, c_ulong::from(uapi::DSMIL_IOC_UNDO), dsmil_settle);
}

/// Why an ioctl with a failure structure failed; the structure is all zero where the module left it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) errno: Errno,
    pub(crate) failure: dsmil_failure,
    /// `DSMIL_UNDO_*`, for writes.
    pub(crate) undo: u32,
}

pub(crate) fn version(fd: BorrowedFd<'_>) -> Result<dsmil_version, Errno> {
    let mut version = dsmil_version::default();
    // SAFETY: The module fills in one `dsmil_version`.
    unsafe { raw::version(fd.as_raw_fd(), &raw mut version) }?;
    Ok(version)
}

pub(crate) fn info(fd: BorrowedFd<'_>) -> Result<dsmil_info, Errno> {
    let mut info = dsmil_info::default();
    // SAFETY: The module fills in one `dsmil_info`.
    unsafe { raw::info(fd.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}

/// Fills `room` from `cursor` on; the next cursor, and how many were filled in.
pub(crate) fn list(fd: BorrowedFd<'_>, cursor: u32, room: &mut [dsmil_token]) -> Result<(u32, usize), Errno> {
    let mut list =
        dsmil_list { cursor, count: length(room)?, tokens: address(room.as_mut_ptr()), reserved: 0 };
    // SAFETY: The module fills in at most `count` tokens at `tokens`, which is the slice's room.
    unsafe { raw::list(fd.as_raw_fd(), &raw mut list) }?;
    Ok((list.cursor, usize::try_from(list.count).map_err(|_| Errno::EOVERFLOW)?))
}

/// Reads each entry; one with an error says so itself.
pub(crate) fn read(fd: BorrowedFd<'_>, entries: &mut [dsmil_read_entry]) -> Result<(), Errno> {
    let mut read =
        dsmil_read { count: length(entries)?, entries: address(entries.as_mut_ptr()), ..Default::default() };
    // SAFETY: The module reads and fills in `count` entries at `entries`, which is the slice.
    unsafe { raw::read(fd.as_raw_fd(), &raw mut read) }?;
    Ok(())
}

pub(crate) fn allow(fd: BorrowedFd<'_>, ids: &[u16]) -> Result<(), Failed> {
    let count = length(ids).map_err(|errno| failed(errno, dsmil_failure::default(), 0))?;
    let mut allow = dsmil_allow { count, ids: address(ids.as_ptr()), ..Default::default() };
    // SAFETY: The module reads `count` ids at `ids`, which is the slice.
    let done = unsafe { raw::allow(fd.as_raw_fd(), &raw mut allow) };
    done.map(|_| ()).map_err(|errno| failed(errno, allow.failure, 0))
}

/// Writes the entries; the number of the pending transaction.
pub(crate) fn write(
    fd: BorrowedFd<'_>,
    entries: &mut [dsmil_write_entry],
    deadline_ms: u32,
) -> Result<u64, Failed> {
    let count = length(entries).map_err(|errno| failed(errno, dsmil_failure::default(), 0))?;
    let mut write =
        dsmil_write { count, entries: address(entries.as_mut_ptr()), deadline_ms, ..Default::default() };
    // SAFETY: The module reads and fills in `count` entries at `entries`, which is the slice.
    let done = unsafe { raw::write(fd.as_raw_fd(), &raw mut write) };
    done.map(|_| write.transaction).map_err(|errno| failed(errno, write.failure, write.undo))
}

pub(crate) fn confirm(fd: BorrowedFd<'_>, transaction: u64) -> Result<dsmil_settle, Failed> {
    let mut settle = dsmil_settle { transaction, ..Default::default() };
    // SAFETY: The module reads and fills in one `dsmil_settle`.
    let done = unsafe { raw::confirm(fd.as_raw_fd(), &raw mut settle) };
    done.map(|_| settle).map_err(|errno| failed(errno, settle.failure, 0))
}

pub(crate) fn undo(fd: BorrowedFd<'_>, transaction: u64) -> Result<dsmil_settle, Failed> {
    let mut settle = dsmil_settle { transaction, ..Default::default() };
    // SAFETY: The module reads and fills in one `dsmil_settle`.
    let done = unsafe { raw::undo(fd.as_raw_fd(), &raw mut settle) };
    // An undo that the firmware stops is gone on with by the module.
    done.map(|_| settle).map_err(|errno| failed(errno, settle.failure, uapi::DSMIL_UNDO_RETRYING))
}

const fn failed(errno: Errno, failure: dsmil_failure, undo: u32) -> Failed {
    Failed { errno, failure, undo }
}

fn length<T>(slice: &[T]) -> Result<u32, Errno> {
    u32::try_from(slice.len()).map_err(|_| Errno::E2BIG)
}

/// A user pointer as the interface takes it.
fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance().try_into().unwrap_or(0)
}
