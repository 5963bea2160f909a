//! The system calls on the node, one function per ioctl, and reading its events.
//!
//! Each function passes structures of the type that the ioctl's number was made from, anew for each attempt, and
//! slices whose lengths it states itself.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{self, c_ulong};

use crate::uapi::{
    self, dsmil_allow, dsmil_begin, dsmil_commit, dsmil_event, dsmil_failure, dsmil_info, dsmil_list,
    dsmil_read, dsmil_read_entry, dsmil_settle, dsmil_snapshot, dsmil_stage, dsmil_stage_entry, dsmil_token,
    dsmil_version,
};

/// Attempts at a call that signals interrupt before it does anything. A process that gets more of them is better
/// told than kept.
const ATTEMPTS_MAX: u32 = 16;

mod raw {
    use super::*;

    nix::ioctl_read_bad!(version, c_ulong::from(uapi::DSMIL_IOC_VERSION), dsmil_version);
    nix::ioctl_read_bad!(info, c_ulong::from(uapi::DSMIL_IOC_INFO), dsmil_info);
    nix::ioctl_readwrite_bad!(list, c_ulong::from(uapi::DSMIL_IOC_LIST), dsmil_list);
    nix::ioctl_readwrite_bad!(read, c_ulong::from(uapi::DSMIL_IOC_READ), dsmil_read);
    nix::ioctl_readwrite_bad!(snapshot, c_ulong::from(uapi::DSMIL_IOC_SNAPSHOT), dsmil_snapshot);
    nix::ioctl_readwrite_bad!(allow, c_ulong::from(uapi::DSMIL_IOC_ALLOW), dsmil_allow);
    nix::ioctl_readwrite_bad!(begin, c_ulong::from(uapi::DSMIL_IOC_BEGIN), dsmil_begin);
    nix::ioctl_readwrite_bad!(stage, c_ulong::from(uapi::DSMIL_IOC_STAGE), dsmil_stage);
    nix::ioctl_readwrite_bad!(commit, c_ulong::from(uapi::DSMIL_IOC_COMMIT), dsmil_commit);
    nix::ioctl_readwrite_bad!(confirm, c_ulong::from(uapi::DSMIL_IOC_CONFIRM), dsmil_settle);
    nix::ioctl_readwrite_bad!(undo, c_ulong::from(uapi::DSMIL_IOC_UNDO), dsmil_settle);
}

/// Why an ioctl with a failure structure failed; the structure is all zero where the module left it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    pub(crate) errno: Errno,
    pub(crate) failure: dsmil_failure,
    /// `DSMIL_UNDO_*`, for commits and undos.
    pub(crate) undo: u32,
}

/// What a snapshot says besides its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) count: usize,
    pub(crate) generation: u64,
    pub(crate) time_ns: u64,
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
pub(crate) fn read(
    fd: BorrowedFd<'_>,
    asked: &[dsmil_read_entry],
    max_age_ms: u32,
) -> Result<Vec<dsmil_read_entry>, Failed> {
    let count = length(asked).map_err(unasked)?;
    uninterrupted(|| {
        // As asked once more: a signal may have left some of them filled in.
        let mut entries = asked.to_vec();
        let array = address(entries.as_mut_ptr());
        let mut read = dsmil_read { count, entries: array, max_age_ms, ..Default::default() };
        // SAFETY: The module reads and fills in `count` entries at `entries`, which is the vector.
        let done = unsafe { raw::read(fd.as_raw_fd(), &raw mut read) };
        done.map(|_| entries).map_err(|errno| failed(errno, read.failure, 0))
    })
}

/// Fills `room` with every readable token.
pub(crate) fn snapshot(
    fd: BorrowedFd<'_>,
    room: &mut [dsmil_read_entry],
    selects: u32,
    max_age_ms: u32,
) -> Result<Taken, Failed> {
    let count = length(room).map_err(unasked)?;
    uninterrupted(|| {
        let array = address(room.as_mut_ptr());
        let mut taken = dsmil_snapshot { count, selects, max_age_ms, entries: array, ..Default::default() };
        // SAFETY: The module fills in at most `count` entries at `entries`, which is the slice's room.
        let done = unsafe { raw::snapshot(fd.as_raw_fd(), &raw mut taken) };
        done.map_err(|errno| failed(errno, taken.failure, 0))?;
        let count = usize::try_from(taken.count).map_err(|_| unasked(Errno::EOVERFLOW))?;
        Ok(Taken { count, generation: taken.generation, time_ns: taken.time_ns })
    })
}

pub(crate) fn allow(fd: BorrowedFd<'_>, ids: &[u16]) -> Result<(), Failed> {
    let count = length(ids).map_err(unasked)?;
    uninterrupted(|| {
        let mut allow = dsmil_allow { count, ids: address(ids.as_ptr()), ..Default::default() };
        // SAFETY: The module reads `count` ids at `ids`, which is the slice.
        let done = unsafe { raw::allow(fd.as_raw_fd(), &raw mut allow) };
        done.map(|_| ()).map_err(|errno| failed(errno, allow.failure, 0))
    })
}

/// Opens the transaction; its number.
pub(crate) fn begin(fd: BorrowedFd<'_>, deadline_ms: u32, flags: u32) -> Result<u64, Failed> {
    uninterrupted(|| {
        let mut begin = dsmil_begin { deadline_ms, flags, ..Default::default() };
        // SAFETY: The module reads and fills in one `dsmil_begin`.
        let done = unsafe { raw::begin(fd.as_raw_fd(), &raw mut begin) };
        done.map(|_| begin.transaction).map_err(|errno| failed(errno, begin.failure, 0))
    })
}

/// Adds entries to the transaction.
pub(crate) fn stage(
    fd: BorrowedFd<'_>,
    transaction: u64,
    entries: &[dsmil_stage_entry],
) -> Result<(), Failed> {
    let count = length(entries).map_err(unasked)?;
    uninterrupted(|| {
        let array = address(entries.as_ptr());
        let mut stage = dsmil_stage { transaction, count, entries: array, ..Default::default() };
        // SAFETY: The module reads `count` entries at `entries`, which is the slice.
        let done = unsafe { raw::stage(fd.as_raw_fd(), &raw mut stage) };
        done.map(|_| ()).map_err(|errno| failed(errno, stage.failure, 0))
    })
}

/// Writes what is staged; `old`, as long as that is, gets the values that stood there.
pub(crate) fn commit(fd: BorrowedFd<'_>, transaction: u64, old: &mut [u32]) -> Result<(), Failed> {
    let count = length(old).map_err(unasked)?;
    uninterrupted(|| {
        let array = address(old.as_mut_ptr());
        let mut commit = dsmil_commit { transaction, count, old: array, ..Default::default() };
        // SAFETY: The module fills in `count` values at `old`, which is the slice.
        let done = unsafe { raw::commit(fd.as_raw_fd(), &raw mut commit) };
        done.map(|_| ()).map_err(|errno| failed(errno, commit.failure, commit.undo))
    })
}

pub(crate) fn confirm(fd: BorrowedFd<'_>, transaction: u64) -> Result<dsmil_settle, Failed> {
    uninterrupted(|| {
        let mut settle = dsmil_settle { transaction, ..Default::default() };
        // SAFETY: The module reads and fills in one `dsmil_settle`.
        let done = unsafe { raw::confirm(fd.as_raw_fd(), &raw mut settle) };
        done.map(|_| settle).map_err(|errno| failed(errno, settle.failure, 0))
    })
}

pub(crate) fn undo(fd: BorrowedFd<'_>, transaction: u64) -> Result<dsmil_settle, Failed> {
    uninterrupted(|| {
        let mut settle = dsmil_settle { transaction, ..Default::default() };
        // SAFETY: The module reads and fills in one `dsmil_settle`.
        let done = unsafe { raw::undo(fd.as_raw_fd(), &raw mut settle) };
        // An undo that the firmware stops is gone on with by the module.
        done.map(|_| settle).map_err(|errno| failed(errno, settle.failure, uapi::DSMIL_UNDO_RETRYING))
    })
}

/// Reads as many events as there are and `room` takes; how many were filled in.
pub(crate) fn events(fd: BorrowedFd<'_>, room: &mut [dsmil_event]) -> Result<usize, Errno> {
    // SAFETY: The module fills in at most as many bytes as the slice has, and any bytes make events: they are
    // integers alone.
    let done = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), size_of_val(room)) };
    let bytes = usize::try_from(Errno::result(done)?).map_err(|_| Errno::EOVERFLOW)?;
    Ok(bytes / size_of::<dsmil_event>())
}

/// Asks again when a signal came before anything was done.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Failed>) -> Result<T, Failed> {
    let mut attempt = 1;
    loop {
        match call() {
            // The module's own word for it: a firmware call that was interrupted is another matter.
            Err(failed)
                if failed.failure.reason == uapi::DSMIL_REASON_INTERRUPTED && attempt < ATTEMPTS_MAX =>
            {
                attempt += 1;
            }
            done => return done,
        }
    }
}

const fn failed(errno: Errno, failure: dsmil_failure, undo: u32) -> Failed {
    Failed { errno, failure, undo }
}

/// A request that did not get as far as the module.
fn unasked(errno: Errno) -> Failed {
    failed(errno, dsmil_failure::default(), 0)
}

fn length<T>(slice: &[T]) -> Result<u32, Errno> {
    u32::try_from(slice.len()).map_err(|_| Errno::E2BIG)
}

/// A user pointer as the interface takes it.
fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance().try_into().unwrap_or(0)
}
