//! Structures of the interface as bytes, and back.

use std::ptr;

use crate::fuzz::uapi;

/// A C structure without padding whose every byte may have any value.
///
/// # Safety
///
/// Both must be true of it.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: The ABI's structures have explicit reserved members instead of padding (their sizes are asserted where they are
// defined, and `structures_have_no_padding` below adds the members up) and hold integers alone.
unsafe impl Plain for uapi::dsmil_version {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_info {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_token {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_list {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_read_entry {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_read {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_snapshot {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_allow {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_begin {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_stage_entry {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_stage {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_commit {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_settle {}
// SAFETY: As above.
unsafe impl Plain for uapi::dsmil_failure {}

/// The bytes of a structure.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> Vec<u8> {
    // SAFETY: A `Plain` value has no padding, so all its bytes are initialised; the reference keeps it alive.
    unsafe { std::slice::from_raw_parts(ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }.to_vec()
}

/// The structure at an offset, if there are enough bytes.
pub(crate) fn structure_at<T: Plain>(bytes: &[u8], offset: usize) -> Option<T> {
    let bytes = bytes.get(offset..)?.get(..size_of::<T>())?;
    // SAFETY: There are as many bytes as `T` has, and a `Plain` type takes any bytes.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_no_padding() {
        let check = |size: usize, members: &[usize]| assert_eq!(size, members.iter().sum::<usize>());
        check(size_of::<uapi::dsmil_failure>(), &[4, 4, 2, 2, 4, 4, 4, 4, 4]);
        check(size_of::<uapi::dsmil_version>(), &[4, 4]);
        check(size_of::<uapi::dsmil_info>(), &[24 * 4, 3 * 8, 7 * 4, 15 * 4]);
        check(size_of::<uapi::dsmil_token>(), &[2, 2, 2, 2, 4, 1, 1, 2]);
        check(size_of::<uapi::dsmil_list>(), &[4, 4, 8, 8]);
        check(size_of::<uapi::dsmil_read_entry>(), &[2, 1, 1, 4, 4, 4, 8]);
        check(size_of::<uapi::dsmil_read>(), &[4, 4, 4, 4, 8, 32]);
        check(size_of::<uapi::dsmil_snapshot>(), &[4, 4, 4, 4, 8, 8, 8, 32]);
        check(size_of::<uapi::dsmil_allow>(), &[4, 4, 8, 32]);
        check(size_of::<uapi::dsmil_begin>(), &[4, 4, 8, 32]);
        check(size_of::<uapi::dsmil_stage_entry>(), &[2, 1, 1, 4, 4, 4]);
        check(size_of::<uapi::dsmil_stage>(), &[8, 4, 4, 8, 4, 4, 32]);
        check(size_of::<uapi::dsmil_commit>(), &[8, 4, 4, 8, 4, 4, 32]);
        check(size_of::<uapi::dsmil_settle>(), &[8, 4, 4, 4, 4, 32]);
    }
}
