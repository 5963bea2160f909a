//! Ioctls as bytes, past the client library, so that nothing is kept from the module.

use std::ffi::c_ulong;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use types::token::Change;

use crate::bench::Check;
use crate::uapi::*;

/// Address that is mapped in no process.
pub(crate) const BAD_ADDRESS: u64 = 8;
/// Every ioctl of the interface.
pub(crate) const ALL: [u32; 11] = [
    DSMIL_IOC_VERSION,
    DSMIL_IOC_INFO,
    DSMIL_IOC_LIST,
    DSMIL_IOC_READ,
    DSMIL_IOC_SNAPSHOT,
    DSMIL_IOC_ALLOW,
    DSMIL_IOC_BEGIN,
    DSMIL_IOC_STAGE,
    DSMIL_IOC_COMMIT,
    DSMIL_IOC_CONFIRM,
    DSMIL_IOC_UNDO,
];

/// One raw ioctl.
pub(crate) fn raw<T>(file: &File, number: u32, argument: &mut T) -> Result<(), Errno> {
    raw_at(file, number, std::ptr::from_mut(argument).expose_provenance())
}

pub(crate) fn raw_at(file: &File, number: u32, address: usize) -> Result<(), Errno> {
    // SAFETY: Callers pass the address of a structure of the ioctl's type that lives through the call, or one
    // that is mapped in no process, which the kernel refuses.
    let done = unsafe { nix::libc::ioctl(file.as_raw_fd(), c_ulong::from(number), address) };
    Errno::result(done).map(|_| ())
}

pub(crate) fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().expose_provenance().try_into().unwrap_or(0)
}

/// The ioctl fails with this error.
pub(crate) fn refuses<T>(file: &File, number: u32, mut argument: T, errno: Errno) -> Check {
    match raw(file, number, &mut argument) {
        Err(found) if found == errno => Ok(()),
        found => Err(format!("expected {errno:?}, got {found:?}").into()),
    }
}

/// A failure that did not come from the module.
pub(crate) fn dirty() -> dsmil_failure {
    dsmil_failure { reason: 1, ..Default::default() }
}

/// A list as the interface takes it.
pub(crate) fn allow_of(ids: &[u16]) -> dsmil_allow {
    let count = ids.len().try_into().unwrap_or(u32::MAX);
    dsmil_allow { count, ids: address(ids), ..Default::default() }
}

/// A change as the interface takes it, whatever stands there.
pub(crate) fn entry_of(change: &Change) -> dsmil_stage_entry {
    let (id, select, value) = (change.id.0, change.select.code(), change.value);
    dsmil_stage_entry { id, select, value, ..Default::default() }
}

/// Entries for a transaction, as the interface takes them.
pub(crate) fn stage_of(transaction: u64, entries: &[dsmil_stage_entry]) -> dsmil_stage {
    let count = entries.len().try_into().unwrap_or(u32::MAX);
    dsmil_stage { transaction, count, entries: address(entries), ..Default::default() }
}

/// A commit that does not ask for the old values.
pub(crate) fn commit_of(transaction: u64) -> dsmil_commit {
    dsmil_commit { transaction, ..Default::default() }
}

/// Begins a transaction; its number.
pub(crate) fn begin_raw(file: &File, deadline_ms: u32) -> Result<u64, Errno> {
    let mut begin = dsmil_begin { deadline_ms, ..Default::default() };
    raw(file, DSMIL_IOC_BEGIN, &mut begin)?;
    Ok(begin.transaction)
}

/// Begins a transaction and stages one change; its number.
pub(crate) fn stage_raw(file: &File, change: &Change, deadline_ms: u32) -> Result<u64, Errno> {
    let number = begin_raw(file, deadline_ms)?;
    raw(file, DSMIL_IOC_STAGE, &mut stage_of(number, &[entry_of(change)]))?;
    Ok(number)
}

/// Writes one token; the number of the pending transaction.
pub(crate) fn write_raw(file: &File, change: &Change, deadline_ms: u32) -> Result<u64, Errno> {
    let number = stage_raw(file, change, deadline_ms)?;
    raw(file, DSMIL_IOC_COMMIT, &mut commit_of(number))?;
    Ok(number)
}
