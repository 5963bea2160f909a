// SPDX-License-Identifier: GPL-2.0-only

//! Arrays from and to user space, each in one copy.
//!
//! The crate copies an array element by element, or looks up in the allocator what the memory is that it has just
//! got from it; an array of 64 elements costs ten times as much then. What C has the kernel check of a length that is not
//! constant (hardened usercopy) is checked here, too: the raw functions below leave it out.

use kernel::{
    bindings,
    prelude::*,
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::UserPtr,
};

/// That the bytes lie in one object, which the kernel stops at if not. Also where hardened usercopy was switched off at
/// boot.
#[inline(always)]
fn check<T>(start: *const T, bytes: usize, to_user: bool) {
    #[cfg(CONFIG_HARDENED_USERCOPY)]
    // SAFETY: Looks at where the bytes lie, and reads none of them.
    unsafe {
        bindings::__check_object_size(start.cast(), bytes as c_ulong, to_user)
    };
    #[cfg(not(CONFIG_HARDENED_USERCOPY))]
    let _ = (start, bytes, to_user);
}

/// The `count` elements at a user address.
///
/// # Errors
///
/// - `EFAULT`: they cannot be read.
/// - `ENOMEM`.
pub(crate) fn take_array<T: FromBytes>(from: UserPtr, count: usize) -> Result<KVec<T>> {
    let mut values: KVec<T> = KVec::with_capacity(count, GFP_KERNEL)?;
    // Does not overflow: so much was allocated.
    let bytes = count * size_of::<T>();
    check(values.as_ptr(), bytes, false);
    // SAFETY: There is room for `count` elements, and nobody else has it; the function checks the user's side.
    let left = unsafe {
        bindings::_copy_from_user(
            values.as_mut_ptr().cast(),
            from.as_const_ptr(),
            bytes as c_ulong,
        )
    };
    if left != 0 {
        return Err(EFAULT);
    }
    // SAFETY: The capacity was asked for, and the elements were filled in; any bytes are valid ones.
    unsafe { values.inc_len(count) };
    Ok(values)
}

/// Fills a slice from a user address.
///
/// # Errors
///
/// `EFAULT`: it cannot be read; what stands in the slice then means nothing.
pub(crate) fn fill_array<T: FromBytes>(from: UserPtr, values: &mut [T]) -> Result {
    check(values.as_ptr(), size_of_val(values), false);
    // SAFETY: The slice is as long as that, and any bytes are valid elements; the function checks the user's
    // side.
    let left = unsafe {
        bindings::_copy_from_user(
            values.as_mut_ptr().cast(),
            from.as_const_ptr(),
            size_of_val(values) as c_ulong,
        )
    };
    if left == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// Gives elements back to a user address.
///
/// # Errors
///
/// `EFAULT`: they cannot be written.
pub(crate) fn give_array<T: AsBytes>(to: UserPtr, values: &[T]) -> Result {
    check(values.as_ptr(), size_of_val(values), true);
    // SAFETY: The slice is as long as that, and has no padding; the function checks the user's side.
    let left = unsafe {
        bindings::_copy_to_user(
            to.as_mut_ptr(),
            values.as_ptr().cast(),
            size_of_val(values) as c_ulong,
        )
    };
    if left == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}
