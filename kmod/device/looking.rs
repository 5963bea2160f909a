// SPDX-License-Identifier: GPL-2.0-only

//! The ioctls that change nothing: version, information, list, read, snapshot.

use super::Handle;
use crate::{
    failure::{
        errno_of,
        failure_of,
        is_blank,
        kernel_failure,
        refuse,
        unless_fault,
        whole_failure,
        Outcome, //
    },
    state::Age,
    uapi,
    user::{
        give,
        give_all,
        take,
        take_all,
        take_into, //
    },
};
use kernel::{
    prelude::*,
    uaccess::UserPtr, //
};

/// So many entries of a read need no memory of their own.
const FEW: usize = 4;
/// Every select there is, as bits.
const SELECTS: u32 = (1 << (uapi::DSMIL_SELECT_AC + 1)) - 1;

impl Handle {
    pub(super) fn version(&self, arg: UserPtr) -> Result {
        give(
            arg,
            &uapi::dsmil_version {
                abi: uapi::DSMIL_ABI_VERSION,
                reserved: 0,
            },
        )
    }

    pub(super) fn info(&self, arg: UserPtr) -> Result {
        let mut info = self.shared.fixed_info();
        self.shared.describe(&mut info);
        give(arg, &info)
    }

    pub(super) fn list(&self, arg: UserPtr) -> Result {
        let mut list: uapi::dsmil_list = take(arg)?;
        if list.reserved != 0 || list.count == 0 {
            return Err(EINVAL);
        }
        if list.count > uapi::DSMIL_LIST_MAX {
            return Err(E2BIG);
        }
        let tokens = self
            .shared
            .list(list.cursor as usize, list.count as usize)?;
        // Neither overflows: the table has `TOKENS_MAX` entries at most.
        list.count = tokens.len() as u32;
        list.cursor += list.count;
        give_all(list.tokens, tokens)?;
        give(arg, &list)
    }

    pub(super) fn read(&self, arg: UserPtr) -> Result {
        let mut read: uapi::dsmil_read = take(arg)?;
        let mut few = [uapi::dsmil_read_entry::default(); FEW];
        let mut many = KVec::new();
        let done = unless_fault(take_entries(&read, &mut few, &mut many))?.and_then(|entries| {
            let failed = self.shared.read(entries, Age::new(read.max_age_ms))?;
            Ok((&*entries, failed))
        });
        read.failed = done.as_ref().map_or(0, |(_, failed)| *failed);
        read.failure = failure_of(&done);
        if let Ok((entries, _)) = &done {
            give_all(read.entries, entries)?;
        }
        give(arg, &read)?;
        errno_of(done).map(|_| ())
    }

    pub(super) fn snapshot(&self, arg: UserPtr) -> Result {
        let mut snapshot: uapi::dsmil_snapshot = take(arg)?;
        let age = Age::new(snapshot.max_age_ms);
        let done = check_snapshot(&snapshot)
            .and_then(|()| self.shared.snapshot(snapshot.selects, snapshot.count, age));
        if let Ok(done) = &done {
            give_all(snapshot.entries, &done.entries)?;
            snapshot.count = done.entries.len() as u32;
            snapshot.failed = done.failed;
            snapshot.generation = done.generation;
            snapshot.time_ns = done.time;
        }
        snapshot.failure = failure_of(&done);
        give(arg, &snapshot)?;
        errno_of(done).map(|_| ())
    }
}

/// The entries of a read that is well formed, in either of the two places.
fn take_entries<'a>(
    read: &uapi::dsmil_read,
    few: &'a mut [uapi::dsmil_read_entry],
    many: &'a mut KVec<uapi::dsmil_read_entry>,
) -> Outcome<&'a mut [uapi::dsmil_read_entry]> {
    if read.flags != 0 || read.failed != 0 || !is_blank(&read.failure) {
        return refuse(uapi::DSMIL_REASON_RESERVED);
    }
    if read.count == 0 {
        return refuse(uapi::DSMIL_REASON_COUNT);
    }
    if read.count > uapi::DSMIL_READ_MAX {
        return Err(whole_failure(uapi::DSMIL_REASON_COUNT, E2BIG));
    }
    if let Some(few) = few.get_mut(..read.count as usize) {
        take_into(read.entries, few).map_err(kernel_failure)?;
        return Ok(few);
    }
    *many = take_all(read.entries, read.count).map_err(kernel_failure)?;
    Ok(many)
}

fn check_snapshot(snapshot: &uapi::dsmil_snapshot) -> Outcome<()> {
    let is_plain = snapshot.failed == 0
        && snapshot.generation == 0
        && snapshot.time_ns == 0
        && is_blank(&snapshot.failure);
    if !is_plain {
        return refuse(uapi::DSMIL_REASON_RESERVED);
    }
    if snapshot.selects == 0 || snapshot.selects & !SELECTS != 0 {
        return refuse(uapi::DSMIL_REASON_SELECT);
    }
    if snapshot.count > uapi::DSMIL_SNAPSHOT_MAX {
        return Err(whole_failure(uapi::DSMIL_REASON_COUNT, E2BIG));
    }
    Ok(())
}
