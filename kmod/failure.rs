// SPDX-License-Identifier: GPL-2.0-only

//! How a refusal or a failure is told: the reason, the entry and the error number of the header.

use crate::{
    token::Refusal,
    transaction::{
        Entry,
        Failure, //
    },
    uapi,
};
use kernel::{
    bindings,
    prelude::*, //
};

/// What an ioctl with a `struct dsmil_failure` ends with.
pub(crate) type Outcome<T> = core::result::Result<T, uapi::dsmil_failure>;

/// A refusal of the whole.
pub(crate) fn refuse<T>(reason: u32) -> Outcome<T> {
    Err(whole_failure(reason, error_of(reason)))
}

/// What an ioctl gives back as its failure.
pub(crate) fn failure_of<T>(done: &Outcome<T>) -> uapi::dsmil_failure {
    match done {
        Ok(_) => uapi::dsmil_failure {
            index: uapi::DSMIL_NO_INDEX,
            ..Default::default()
        },
        Err(failure) => *failure,
    }
}

/// What an ioctl ends with.
pub(crate) fn errno_of<T>(done: Outcome<T>) -> Result<T> {
    done.map_err(|failure| Error::from_errno(-failure.error))
}

/// An array that cannot be taken is told by `EFAULT` alone: nothing is given back, and nobody is told.
pub(crate) fn unless_fault<T>(done: Outcome<T>) -> Result<Outcome<T>> {
    match done {
        Err(failure) if failure == kernel_failure(EFAULT) => Err(EFAULT),
        done => Ok(done),
    }
}

/// A failure that came in is all zero.
pub(crate) fn is_blank(failure: &uapi::dsmil_failure) -> bool {
    *failure == uapi::dsmil_failure::default()
}

/// A refusal on account of one entry.
pub(crate) fn refusal_failure(refusal: &Refusal) -> uapi::dsmil_failure {
    uapi::dsmil_failure {
        index: refusal.index as u32,
        id: refusal.id,
        rule: refusal.rule as u16,
        ..whole_failure(refusal.reason, error_of(refusal.reason))
    }
}

/// A failure that blames no entry.
pub(crate) fn whole_failure(reason: u32, error: Error) -> uapi::dsmil_failure {
    uapi::dsmil_failure {
        reason,
        index: uapi::DSMIL_NO_INDEX,
        error: -error.to_errno(),
        ..Default::default()
    }
}

/// Copying or memory failed, nothing was refused.
pub(crate) fn kernel_failure(error: Error) -> uapi::dsmil_failure {
    let reason = if error == ENOMEM {
        uapi::DSMIL_REASON_MEMORY
    } else {
        uapi::DSMIL_REASON_NONE
    };
    whole_failure(reason, error)
}

/// The rate is limited: when to try again, in milliseconds.
pub(crate) fn wait_failure(wait_ms: u32) -> uapi::dsmil_failure {
    uapi::dsmil_failure {
        wait_ms,
        ..whole_failure(uapi::DSMIL_REASON_RATE, EAGAIN)
    }
}

/// There is too little room for so many entries.
pub(crate) fn room_failure(needed: u32) -> uapi::dsmil_failure {
    uapi::dsmil_failure {
        found: needed,
        ..whole_failure(uapi::DSMIL_REASON_ROOM, ENOSPC)
    }
}

/// A commit or an undo stopped at an entry.
pub(crate) fn entry_failure(failure: &Failure, entries: &[Entry]) -> uapi::dsmil_failure {
    let fallback = error_of(failure.reason);
    let fault = failure.fault.as_ref();
    let blamed = failure.index.and_then(|index| entries.get(index));
    uapi::dsmil_failure {
        index: failure
            .index
            .map_or(uapi::DSMIL_NO_INDEX, |index| index as u32),
        id: blamed.map_or(0, |entry| entry.id),
        found: failure.found,
        status: fault.map_or(0, |fault| fault.status),
        error: fault.map_or(-fallback.to_errno(), |fault| fault.error),
        ..whole_failure(failure.reason, fallback)
    }
}

/// The error number that the header gives for a reason.
fn error_of(reason: u32) -> Error {
    match reason {
        uapi::DSMIL_REASON_UNKNOWN => ENOENT,
        uapi::DSMIL_REASON_NEVER_WRITTEN
        | uapi::DSMIL_REASON_NOT_SEALED
        | uapi::DSMIL_REASON_SEALED
        | uapi::DSMIL_REASON_NOT_ALLOWED
        | uapi::DSMIL_REASON_CAPABILITY
        | uapi::DSMIL_REASON_LOCKED_DOWN
        | uapi::DSMIL_REASON_NOT_OWNER => EPERM,
        uapi::DSMIL_REASON_READ_ONLY_FILE => EBADF,
        uapi::DSMIL_REASON_EXPECTED => Error::from_errno(-(bindings::ESTALE as i32)),
        uapi::DSMIL_REASON_BUSY | uapi::DSMIL_REASON_UNDOING => EBUSY,
        uapi::DSMIL_REASON_CLOSING => Error::from_errno(-(bindings::ESHUTDOWN as i32)),
        uapi::DSMIL_REASON_FIRMWARE | uapi::DSMIL_REASON_NOT_STUCK => EIO,
        uapi::DSMIL_REASON_PASSWORD => EACCES,
        uapi::DSMIL_REASON_NO_TRANSACTION => ESRCH,
        uapi::DSMIL_REASON_FULL => E2BIG,
        uapi::DSMIL_REASON_CHANGED => EAGAIN,
        uapi::DSMIL_REASON_MEMORY => ENOMEM,
        uapi::DSMIL_REASON_INTERRUPTED => EINTR,
        _ => EINVAL,
    }
}
