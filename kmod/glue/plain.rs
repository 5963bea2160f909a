// SPDX-License-Identifier: GPL-2.0-only

//! The structures of the interface as plain old data.

use crate::uapi;
use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

/// Size of the field that `_field` gives, which is plain old data itself.
#[allow(dead_code, reason = "rustc 1.85 does not count its uses in `const _`")]
const fn size_of_field<S, F: FromBytes + AsBytes>(_field: fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Marks structures of the interface as plain old data. Fails to compile if one has padding, through
/// which memory of the kernel would leak, or a field that is not named here.
macro_rules! plain {
    ($($name:ident { $($field:ident)* })*) => {$(
        const _: () = assert!(
            size_of::<uapi::$name>() == 0 $(+ size_of_field(|s: &uapi::$name| &s.$field))*
        );
        // SAFETY: So are all fields: every bit pattern is valid, and there is no interior mutability.
        unsafe impl FromBytes for uapi::$name {}
        // SAFETY: The fields fill it, so there is no padding; there is no interior mutability.
        unsafe impl AsBytes for uapi::$name {}
    )*};
}

plain! {
    dsmil_failure { reason index id rule status found error wait_ms reserved }
    dsmil_version { abi reserved }
    dsmil_info {
        abi flags backend lockdown tokens devices readable writable list_max read_max snapshot_max
        allow_max stage_max transaction_max events_max page_bytes deadline_min_ms deadline_default_ms
        deadline_max_ms read_rate read_burst write_rate write_burst state generation transaction events
        outcome entries remaining_ms attempts left heat temperature_mc reserved
    }
    dsmil_token { id location value rule flags group member reserved }
    dsmil_list { cursor count tokens reserved }
    dsmil_read { count flags max_age_ms failed entries failure }
    dsmil_read_entry { id select reserved value error status age_ns }
    dsmil_snapshot { count selects max_age_ms failed entries generation time_ns failure }
    dsmil_allow { count flags ids failure }
    dsmil_begin { deadline_ms flags transaction failure }
    dsmil_stage { transaction count flags entries staged reserved failure }
    dsmil_stage_entry { id select flags value expected reserved }
    dsmil_commit { transaction flags count old undo reserved failure }
    dsmil_settle { transaction flags undone left reserved failure }
    dsmil_event {
        number time_ns transaction kind detail pid uid command reason error status old new_value id select
        reserved lost
    }
}
