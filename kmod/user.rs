// SPDX-License-Identifier: GPL-2.0-only

//! Copying from and to user space.
//!
//! A copy may wait for user space, for as long as that likes (userfaultfd, a file system in user space),
//! so none is made under a lock.

use crate::glue;
use kernel::{
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// The structure at a user address.
pub(crate) fn take<T: FromBytes>(from: UserPtr) -> Result<T> {
    UserSlice::new(from, size_of::<T>()).reader().read()
}

/// The structure at a user address that the answer can be given back to.
///
/// For what cannot be taken back once it is done, and must not be told as `EFAULT`. (Another thread can still take the
/// memory away before the answer.)
pub(crate) fn take_answerable<T: FromBytes + AsBytes>(from: UserPtr) -> Result<T> {
    let value = take(from)?;
    give(from, &value)?;
    Ok(value)
}

/// Gives a structure back to a user address.
pub(crate) fn give<T: AsBytes>(to: UserPtr, value: &T) -> Result {
    UserSlice::new(to, size_of::<T>()).writer().write(value)
}

/// The `count` structures of an array whose address came as an integer.
pub(crate) fn take_all<T: FromBytes>(from: u64, count: u32) -> Result<KVec<T>> {
    glue::take_array(address(from)?, count as usize)
}

/// Fills a slice from an array whose address came as an integer.
pub(crate) fn take_into<T: FromBytes>(from: u64, values: &mut [T]) -> Result {
    glue::fill_array(address(from)?, values)
}

/// Gives structures back to an array whose address came as an integer.
pub(crate) fn give_all<T: AsBytes>(to: u64, values: &[T]) -> Result {
    glue::give_array(address(to)?, values)
}

fn address(from: u64) -> Result<UserPtr> {
    Ok(UserPtr::from_addr(from.try_into().map_err(|_| EFAULT)?))
}
