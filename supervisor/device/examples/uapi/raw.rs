//! Ioctls as bytes, past the client library, so that nothing is kept from the module.

use std::ffi::c_ulong;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use types::token::{Change, TokenId};

use crate::bench::{Check, Fallible, same};
use crate::uapi::*;

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

/// An argument that says why it was refused.
pub(crate) trait Argument: Copy + Debug + Eq {
    fn failure(&mut self) -> &mut dsmil_failure;
}

macro_rules! arguments {
    ($($name:ident)*) => {
        $(impl Argument for $name {
            fn failure(&mut self) -> &mut dsmil_failure {
                &mut self.failure
            }
        })*
    };
}
arguments! { dsmil_read dsmil_snapshot dsmil_allow dsmil_begin dsmil_stage dsmil_commit dsmil_settle }

/// One raw ioctl.
pub(crate) fn raw<T>(file: &File, number: u32, argument: &mut T) -> Result<(), Errno> {
    raw_at(file, number, address(std::slice::from_ref(argument)))
}

/// One at an address that is a structure of the ioctl's type, or none that may be written.
pub(crate) fn raw_at(file: &File, number: u32, address: u64) -> Result<(), Errno> {
    // SAFETY: Callers pass the address of a structure of the ioctl's type that lives through the call, or one
    // at which the kernel cannot write.
    let done = unsafe { nix::libc::ioctl(file.as_raw_fd(), c_ulong::from(number), address) };
    Errno::result(done).map(|_| ())
}

pub(crate) fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr().expose_provenance().try_into().unwrap_or(0)
}

/// The ioctl fails with this error.
pub(crate) fn refuses<T>(file: &File, number: u32, mut argument: T, errno: Errno) -> Check {
    same(raw(file, number, &mut argument), Err(errno))
}

/// The ioctl is refused so, and gives its structure back; which is the result.
pub(crate) fn refused<T: Argument>(
    file: &File,
    number: u32,
    mut argument: T,
    wanted: dsmil_failure,
) -> Fallible<T> {
    let done = raw(file, number, &mut argument);
    let found = (done.err().map(|errno| errno as i32), *argument.failure());
    same(found, (Some(wanted.error), wanted))?;
    Ok(argument)
}

/// The ioctl fails with EFAULT and leaves its structure as it was.
pub(crate) fn faults<T: Argument>(file: &File, number: u32, argument: T) -> Check {
    let mut given = argument;
    same(raw(file, number, &mut given), Err(Errno::EFAULT))?;
    same(given, argument)
}

/// A refusal of the whole.
pub(crate) fn whole(errno: Errno, reason: u32) -> dsmil_failure {
    dsmil_failure { reason, error: errno as i32, index: DSMIL_NO_INDEX, ..Default::default() }
}

/// A refusal on account of one entry.
pub(crate) fn entry(errno: Errno, reason: u32, index: u32, id: TokenId) -> dsmil_failure {
    dsmil_failure { index, id: id.0, ..whole(errno, reason) }
}

/// The refusal of what is not zero and should be.
pub(crate) fn reserved() -> dsmil_failure {
    whole(Errno::EINVAL, DSMIL_REASON_RESERVED)
}

/// A list as the interface takes it.
pub(crate) fn allow_of(ids: &[u16]) -> dsmil_allow {
    dsmil_allow { count: count(ids), ids: address(ids), ..Default::default() }
}

/// A read as the interface takes it, fresh.
pub(crate) fn read_of(entries: &mut [dsmil_read_entry]) -> dsmil_read {
    dsmil_read { count: count(entries), entries: address(entries), ..Default::default() }
}

/// Entries as the interface takes them.
pub(crate) fn stage_of(transaction: u64, entries: &[dsmil_stage_entry]) -> dsmil_stage {
    dsmil_stage { transaction, count: count(entries), entries: address(entries), ..Default::default() }
}

pub(crate) fn commit_of(transaction: u64) -> dsmil_commit {
    dsmil_commit { transaction, ..Default::default() }
}

pub(crate) fn settle_of(transaction: u64) -> dsmil_settle {
    dsmil_settle { transaction, ..Default::default() }
}

/// A change as the interface takes it.
pub(crate) fn staged(change: &Change) -> dsmil_stage_entry {
    let (id, select, value) = (change.id.0, change.select.code(), change.value);
    let expects = |expected| dsmil_stage_entry { flags: 1, expected, ..Default::default() };
    dsmil_stage_entry { id, select, value, ..change.expected.map(expects).unwrap_or_default() }
}

/// Begins a transaction; its number.
pub(crate) fn begin(file: &File, deadline_ms: u32) -> Fallible<u64> {
    begin_with(file, deadline_ms, 0)
}

pub(crate) fn begin_with(file: &File, deadline_ms: u32, flags: u32) -> Fallible<u64> {
    let mut begin = dsmil_begin { deadline_ms, flags, ..Default::default() };
    raw(file, DSMIL_IOC_BEGIN, &mut begin).map_err(|errno| format!("begin: {errno} {:?}", begin.failure))?;
    Ok(begin.transaction)
}

/// Adds changes; how many entries there are then.
pub(crate) fn stage(file: &File, transaction: u64, changes: &[Change]) -> Fallible<u32> {
    let entries: Vec<_> = changes.iter().map(staged).collect();
    let mut stage = stage_of(transaction, &entries);
    raw(file, DSMIL_IOC_STAGE, &mut stage).map_err(|errno| format!("stage: {errno} {:?}", stage.failure))?;
    Ok(stage.staged)
}

pub(crate) fn commit(file: &File, transaction: u64) -> Check {
    let mut commit = commit_of(transaction);
    raw(file, DSMIL_IOC_COMMIT, &mut commit)
        .map_err(|errno| format!("commit: {errno} {:?}", commit.failure))?;
    Ok(())
}

/// Begins, stages and commits; the number of the pending transaction.
pub(crate) fn write(file: &File, changes: &[Change], deadline_ms: u32) -> Fallible<u64> {
    let number = begin(file, deadline_ms)?;
    stage(file, number, changes)?;
    commit(file, number)?;
    Ok(number)
}

/// Confirms or undoes.
pub(crate) fn settle(file: &File, number: u32, transaction: u64) -> Fallible<dsmil_settle> {
    let mut settle = settle_of(transaction);
    raw(file, number, &mut settle).map_err(|errno| format!("settle: {errno} {:?}", settle.failure))?;
    Ok(settle)
}

pub(crate) fn undo(file: &File, transaction: u64) -> Fallible<dsmil_settle> {
    settle(file, DSMIL_IOC_UNDO, transaction)
}

fn count<T>(slice: &[T]) -> u32 {
    slice.len().try_into().unwrap_or(u32::MAX)
}

/// Every step of a transaction is refused alike.
pub(crate) fn steps_refused(file: &File, number: u64, change: &Change, wanted: dsmil_failure) -> Check {
    let entries = [staged(change)];
    refused(file, DSMIL_IOC_STAGE, stage_of(number, &entries), wanted)?;
    refused(file, DSMIL_IOC_COMMIT, commit_of(number), wanted)?;
    refused(file, DSMIL_IOC_CONFIRM, settle_of(number), wanted)?;
    refused(file, DSMIL_IOC_UNDO, settle_of(number), wanted).map(|_| ())
}
