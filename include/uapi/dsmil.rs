// SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note
// Generated from dsmil.h by scripts/uapi.sh: change that header, then run the script.

pub const DSMIL_ABI_VERSION: u32 = 1;
pub const DSMIL_LIST_MAX: u32 = 1024;
pub const DSMIL_READ_MAX: u32 = 256;
pub const DSMIL_ALLOW_MAX: u32 = 4096;
pub const DSMIL_STAGE_MAX: u32 = 256;
pub const DSMIL_TRANSACTION_MAX: u32 = 512;
pub const DSMIL_SNAPSHOT_MAX: u32 = 12288;
pub const DSMIL_EVENTS_MAX: u32 = 1024;
pub const DSMIL_AGE_ANY: u32 = 4294967295;
pub const DSMIL_DEADLINE_MIN_MS: u32 = 1000;
pub const DSMIL_DEADLINE_DEFAULT_MS: u32 = 30000;
pub const DSMIL_DEADLINE_MAX_MS: u32 = 600000;
pub const DSMIL_NO_INDEX: u32 = 4294967295;
pub const DSMIL_NO_DEVICE: u32 = 255;
pub const DSMIL_IOC_MAGIC: u32 = 218;
pub type __u8 = ::core::ffi::c_uchar;
pub type __u16 = ::core::ffi::c_ushort;
pub type __s32 = ::core::ffi::c_int;
pub type __u32 = ::core::ffi::c_uint;
pub type __u64 = ::core::ffi::c_ulonglong;
pub const DSMIL_SELECT_CURRENT: dsmil_select = 0;
pub const DSMIL_SELECT_BATTERY: dsmil_select = 1;
pub const DSMIL_SELECT_AC: dsmil_select = 2;
pub type dsmil_select = ::core::ffi::c_uint;
pub const DSMIL_RULE_NONE: dsmil_rule = 0;
pub const DSMIL_RULE_QUARANTINE: dsmil_rule = 1;
pub const DSMIL_RULE_POWER: dsmil_rule = 2;
pub const DSMIL_RULE_DESTRUCTIVE: dsmil_rule = 3;
pub const DSMIL_RULE_UPSTREAM: dsmil_rule = 4;
pub const DSMIL_RULE_SHARED_LOCATION: dsmil_rule = 5;
pub type dsmil_rule = ::core::ffi::c_uint;
pub const DSMIL_BACKEND_NONE: dsmil_backend = 0;
pub const DSMIL_BACKEND_WMI: dsmil_backend = 1;
pub const DSMIL_BACKEND_SMM: dsmil_backend = 2;
pub type dsmil_backend = ::core::ffi::c_uint;
pub const DSMIL_LOCKDOWN_NONE: dsmil_lockdown = 0;
pub const DSMIL_LOCKDOWN_INTEGRITY: dsmil_lockdown = 1;
pub const DSMIL_LOCKDOWN_CONFIDENTIALITY: dsmil_lockdown = 2;
pub type dsmil_lockdown = ::core::ffi::c_uint;
pub const DSMIL_STATE_IDLE: dsmil_state = 0;
pub const DSMIL_STATE_OPEN: dsmil_state = 1;
pub const DSMIL_STATE_PENDING: dsmil_state = 2;
pub const DSMIL_STATE_UNDOING: dsmil_state = 3;
pub type dsmil_state = ::core::ffi::c_uint;
pub const DSMIL_OUTCOME_NONE: dsmil_outcome = 0;
pub const DSMIL_OUTCOME_CONFIRMED: dsmil_outcome = 1;
pub const DSMIL_OUTCOME_FAILED: dsmil_outcome = 2;
pub const DSMIL_OUTCOME_UNDONE: dsmil_outcome = 3;
pub const DSMIL_OUTCOME_EXPIRED: dsmil_outcome = 4;
pub const DSMIL_OUTCOME_CLOSED: dsmil_outcome = 5;
pub const DSMIL_OUTCOME_SHUTDOWN: dsmil_outcome = 6;
pub const DSMIL_OUTCOME_SUSPENDED: dsmil_outcome = 7;
pub type dsmil_outcome = ::core::ffi::c_uint;
pub const DSMIL_UNDO_NONE: dsmil_undo = 0;
pub const DSMIL_UNDO_DONE: dsmil_undo = 1;
pub const DSMIL_UNDO_RETRYING: dsmil_undo = 2;
pub const DSMIL_UNDO_LEFT: dsmil_undo = 3;
pub type dsmil_undo = ::core::ffi::c_uint;
pub const DSMIL_HEAT_UNKNOWN: dsmil_heat = 0;
pub const DSMIL_HEAT_NORMAL: dsmil_heat = 1;
pub const DSMIL_HEAT_WARNING: dsmil_heat = 2;
pub const DSMIL_HEAT_CRITICAL: dsmil_heat = 3;
pub const DSMIL_HEAT_EMERGENCY: dsmil_heat = 4;
pub type dsmil_heat = ::core::ffi::c_uint;
pub const DSMIL_REASON_NONE: dsmil_reason = 0;
pub const DSMIL_REASON_RESERVED: dsmil_reason = 1;
pub const DSMIL_REASON_COUNT: dsmil_reason = 2;
pub const DSMIL_REASON_DEADLINE: dsmil_reason = 3;
pub const DSMIL_REASON_SELECT: dsmil_reason = 4;
pub const DSMIL_REASON_DUPLICATE: dsmil_reason = 5;
pub const DSMIL_REASON_UNKNOWN: dsmil_reason = 6;
pub const DSMIL_REASON_NEVER_WRITTEN: dsmil_reason = 7;
pub const DSMIL_REASON_NOT_SEALED: dsmil_reason = 8;
pub const DSMIL_REASON_SEALED: dsmil_reason = 9;
pub const DSMIL_REASON_NOT_ALLOWED: dsmil_reason = 10;
pub const DSMIL_REASON_PARTIAL_LOCATION: dsmil_reason = 11;
pub const DSMIL_REASON_CAPABILITY: dsmil_reason = 12;
pub const DSMIL_REASON_READ_ONLY_FILE: dsmil_reason = 13;
pub const DSMIL_REASON_LOCKED_DOWN: dsmil_reason = 14;
pub const DSMIL_REASON_VALUE: dsmil_reason = 15;
pub const DSMIL_REASON_EXPECTED: dsmil_reason = 16;
pub const DSMIL_REASON_BUSY: dsmil_reason = 17;
pub const DSMIL_REASON_UNDOING: dsmil_reason = 18;
pub const DSMIL_REASON_CLOSING: dsmil_reason = 19;
pub const DSMIL_REASON_FIRMWARE: dsmil_reason = 20;
pub const DSMIL_REASON_NOT_STUCK: dsmil_reason = 21;
pub const DSMIL_REASON_PASSWORD: dsmil_reason = 22;
pub const DSMIL_REASON_NO_TRANSACTION: dsmil_reason = 23;
pub const DSMIL_REASON_NOT_OWNER: dsmil_reason = 24;
pub const DSMIL_REASON_COMMITTED: dsmil_reason = 25;
pub const DSMIL_REASON_NOT_COMMITTED: dsmil_reason = 26;
pub const DSMIL_REASON_EMPTY: dsmil_reason = 27;
pub const DSMIL_REASON_FULL: dsmil_reason = 28;
pub const DSMIL_REASON_RATE: dsmil_reason = 29;
pub const DSMIL_REASON_ROOM: dsmil_reason = 30;
pub const DSMIL_REASON_CHANGED: dsmil_reason = 31;
pub const DSMIL_REASON_MEMORY: dsmil_reason = 32;
pub const DSMIL_REASON_INTERRUPTED: dsmil_reason = 33;
pub type dsmil_reason = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_failure {
    pub reason: __u32,
    pub index: __u32,
    pub id: __u16,
    pub rule: __u16,
    pub status: __s32,
    pub found: __u32,
    pub error: __s32,
    pub wait_ms: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_failure"][::core::mem::size_of::<dsmil_failure>() - 32usize];
    ["Alignment of dsmil_failure"][::core::mem::align_of::<dsmil_failure>() - 4usize];
    ["Offset of field: dsmil_failure::reason"]
        [::core::mem::offset_of!(dsmil_failure, reason) - 0usize];
    ["Offset of field: dsmil_failure::index"]
        [::core::mem::offset_of!(dsmil_failure, index) - 4usize];
    ["Offset of field: dsmil_failure::id"][::core::mem::offset_of!(dsmil_failure, id) - 8usize];
    ["Offset of field: dsmil_failure::rule"]
        [::core::mem::offset_of!(dsmil_failure, rule) - 10usize];
    ["Offset of field: dsmil_failure::status"]
        [::core::mem::offset_of!(dsmil_failure, status) - 12usize];
    ["Offset of field: dsmil_failure::found"]
        [::core::mem::offset_of!(dsmil_failure, found) - 16usize];
    ["Offset of field: dsmil_failure::error"]
        [::core::mem::offset_of!(dsmil_failure, error) - 20usize];
    ["Offset of field: dsmil_failure::wait_ms"]
        [::core::mem::offset_of!(dsmil_failure, wait_ms) - 24usize];
    ["Offset of field: dsmil_failure::reserved"]
        [::core::mem::offset_of!(dsmil_failure, reserved) - 28usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_version {
    pub abi: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_version"][::core::mem::size_of::<dsmil_version>() - 8usize];
    ["Alignment of dsmil_version"][::core::mem::align_of::<dsmil_version>() - 4usize];
    ["Offset of field: dsmil_version::abi"][::core::mem::offset_of!(dsmil_version, abi) - 0usize];
    ["Offset of field: dsmil_version::reserved"]
        [::core::mem::offset_of!(dsmil_version, reserved) - 4usize];
};
pub const DSMIL_INFO_SEALED: dsmil_info_flags = 1;
pub const DSMIL_INFO_HYPERVISOR: dsmil_info_flags = 2;
pub type dsmil_info_flags = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_info {
    pub abi: __u32,
    pub flags: __u32,
    pub backend: __u32,
    pub lockdown: __u32,
    pub tokens: __u32,
    pub devices: __u32,
    pub readable: __u32,
    pub writable: __u32,
    pub list_max: __u32,
    pub read_max: __u32,
    pub snapshot_max: __u32,
    pub allow_max: __u32,
    pub stage_max: __u32,
    pub transaction_max: __u32,
    pub events_max: __u32,
    pub page_bytes: __u32,
    pub deadline_min_ms: __u32,
    pub deadline_default_ms: __u32,
    pub deadline_max_ms: __u32,
    pub read_rate: __u32,
    pub read_burst: __u32,
    pub write_rate: __u32,
    pub write_burst: __u32,
    pub state: __u32,
    pub generation: __u64,
    pub transaction: __u64,
    pub events: __u64,
    pub outcome: __u32,
    pub entries: __u32,
    pub remaining_ms: __u32,
    pub attempts: __u32,
    pub left: __u32,
    pub heat: __u32,
    pub temperature_mc: __s32,
    pub reserved: [__u32; 15usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_info"][::core::mem::size_of::<dsmil_info>() - 208usize];
    ["Alignment of dsmil_info"][::core::mem::align_of::<dsmil_info>() - 8usize];
    ["Offset of field: dsmil_info::abi"][::core::mem::offset_of!(dsmil_info, abi) - 0usize];
    ["Offset of field: dsmil_info::flags"][::core::mem::offset_of!(dsmil_info, flags) - 4usize];
    ["Offset of field: dsmil_info::backend"][::core::mem::offset_of!(dsmil_info, backend) - 8usize];
    ["Offset of field: dsmil_info::lockdown"]
        [::core::mem::offset_of!(dsmil_info, lockdown) - 12usize];
    ["Offset of field: dsmil_info::tokens"][::core::mem::offset_of!(dsmil_info, tokens) - 16usize];
    ["Offset of field: dsmil_info::devices"]
        [::core::mem::offset_of!(dsmil_info, devices) - 20usize];
    ["Offset of field: dsmil_info::readable"]
        [::core::mem::offset_of!(dsmil_info, readable) - 24usize];
    ["Offset of field: dsmil_info::writable"]
        [::core::mem::offset_of!(dsmil_info, writable) - 28usize];
    ["Offset of field: dsmil_info::list_max"]
        [::core::mem::offset_of!(dsmil_info, list_max) - 32usize];
    ["Offset of field: dsmil_info::read_max"]
        [::core::mem::offset_of!(dsmil_info, read_max) - 36usize];
    ["Offset of field: dsmil_info::snapshot_max"]
        [::core::mem::offset_of!(dsmil_info, snapshot_max) - 40usize];
    ["Offset of field: dsmil_info::allow_max"]
        [::core::mem::offset_of!(dsmil_info, allow_max) - 44usize];
    ["Offset of field: dsmil_info::stage_max"]
        [::core::mem::offset_of!(dsmil_info, stage_max) - 48usize];
    ["Offset of field: dsmil_info::transaction_max"]
        [::core::mem::offset_of!(dsmil_info, transaction_max) - 52usize];
    ["Offset of field: dsmil_info::events_max"]
        [::core::mem::offset_of!(dsmil_info, events_max) - 56usize];
    ["Offset of field: dsmil_info::page_bytes"]
        [::core::mem::offset_of!(dsmil_info, page_bytes) - 60usize];
    ["Offset of field: dsmil_info::deadline_min_ms"]
        [::core::mem::offset_of!(dsmil_info, deadline_min_ms) - 64usize];
    ["Offset of field: dsmil_info::deadline_default_ms"]
        [::core::mem::offset_of!(dsmil_info, deadline_default_ms) - 68usize];
    ["Offset of field: dsmil_info::deadline_max_ms"]
        [::core::mem::offset_of!(dsmil_info, deadline_max_ms) - 72usize];
    ["Offset of field: dsmil_info::read_rate"]
        [::core::mem::offset_of!(dsmil_info, read_rate) - 76usize];
    ["Offset of field: dsmil_info::read_burst"]
        [::core::mem::offset_of!(dsmil_info, read_burst) - 80usize];
    ["Offset of field: dsmil_info::write_rate"]
        [::core::mem::offset_of!(dsmil_info, write_rate) - 84usize];
    ["Offset of field: dsmil_info::write_burst"]
        [::core::mem::offset_of!(dsmil_info, write_burst) - 88usize];
    ["Offset of field: dsmil_info::state"][::core::mem::offset_of!(dsmil_info, state) - 92usize];
    ["Offset of field: dsmil_info::generation"]
        [::core::mem::offset_of!(dsmil_info, generation) - 96usize];
    ["Offset of field: dsmil_info::transaction"]
        [::core::mem::offset_of!(dsmil_info, transaction) - 104usize];
    ["Offset of field: dsmil_info::events"][::core::mem::offset_of!(dsmil_info, events) - 112usize];
    ["Offset of field: dsmil_info::outcome"]
        [::core::mem::offset_of!(dsmil_info, outcome) - 120usize];
    ["Offset of field: dsmil_info::entries"]
        [::core::mem::offset_of!(dsmil_info, entries) - 124usize];
    ["Offset of field: dsmil_info::remaining_ms"]
        [::core::mem::offset_of!(dsmil_info, remaining_ms) - 128usize];
    ["Offset of field: dsmil_info::attempts"]
        [::core::mem::offset_of!(dsmil_info, attempts) - 132usize];
    ["Offset of field: dsmil_info::left"][::core::mem::offset_of!(dsmil_info, left) - 136usize];
    ["Offset of field: dsmil_info::heat"][::core::mem::offset_of!(dsmil_info, heat) - 140usize];
    ["Offset of field: dsmil_info::temperature_mc"]
        [::core::mem::offset_of!(dsmil_info, temperature_mc) - 144usize];
    ["Offset of field: dsmil_info::reserved"]
        [::core::mem::offset_of!(dsmil_info, reserved) - 148usize];
};
pub const DSMIL_TOKEN_DEVICE: dsmil_token_flags = 1;
pub const DSMIL_TOKEN_READABLE: dsmil_token_flags = 2;
pub const DSMIL_TOKEN_WRITABLE: dsmil_token_flags = 4;
pub const DSMIL_TOKEN_DENIED: dsmil_token_flags = 8;
pub const DSMIL_TOKEN_SHARED: dsmil_token_flags = 16;
pub type dsmil_token_flags = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_token {
    pub id: __u16,
    pub location: __u16,
    pub value: __u16,
    pub rule: __u16,
    pub flags: __u32,
    pub group: __u8,
    pub member: __u8,
    pub reserved: __u16,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_token"][::core::mem::size_of::<dsmil_token>() - 16usize];
    ["Alignment of dsmil_token"][::core::mem::align_of::<dsmil_token>() - 4usize];
    ["Offset of field: dsmil_token::id"][::core::mem::offset_of!(dsmil_token, id) - 0usize];
    ["Offset of field: dsmil_token::location"]
        [::core::mem::offset_of!(dsmil_token, location) - 2usize];
    ["Offset of field: dsmil_token::value"][::core::mem::offset_of!(dsmil_token, value) - 4usize];
    ["Offset of field: dsmil_token::rule"][::core::mem::offset_of!(dsmil_token, rule) - 6usize];
    ["Offset of field: dsmil_token::flags"][::core::mem::offset_of!(dsmil_token, flags) - 8usize];
    ["Offset of field: dsmil_token::group"][::core::mem::offset_of!(dsmil_token, group) - 12usize];
    ["Offset of field: dsmil_token::member"]
        [::core::mem::offset_of!(dsmil_token, member) - 13usize];
    ["Offset of field: dsmil_token::reserved"]
        [::core::mem::offset_of!(dsmil_token, reserved) - 14usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_list {
    pub cursor: __u32,
    pub count: __u32,
    pub tokens: __u64,
    pub reserved: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_list"][::core::mem::size_of::<dsmil_list>() - 24usize];
    ["Alignment of dsmil_list"][::core::mem::align_of::<dsmil_list>() - 8usize];
    ["Offset of field: dsmil_list::cursor"][::core::mem::offset_of!(dsmil_list, cursor) - 0usize];
    ["Offset of field: dsmil_list::count"][::core::mem::offset_of!(dsmil_list, count) - 4usize];
    ["Offset of field: dsmil_list::tokens"][::core::mem::offset_of!(dsmil_list, tokens) - 8usize];
    ["Offset of field: dsmil_list::reserved"]
        [::core::mem::offset_of!(dsmil_list, reserved) - 16usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_read_entry {
    pub id: __u16,
    pub select: __u8,
    pub reserved: __u8,
    pub value: __u32,
    pub error: __s32,
    pub status: __s32,
    pub age_ns: __u64,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_read_entry"][::core::mem::size_of::<dsmil_read_entry>() - 24usize];
    ["Alignment of dsmil_read_entry"][::core::mem::align_of::<dsmil_read_entry>() - 8usize];
    ["Offset of field: dsmil_read_entry::id"]
        [::core::mem::offset_of!(dsmil_read_entry, id) - 0usize];
    ["Offset of field: dsmil_read_entry::select"]
        [::core::mem::offset_of!(dsmil_read_entry, select) - 2usize];
    ["Offset of field: dsmil_read_entry::reserved"]
        [::core::mem::offset_of!(dsmil_read_entry, reserved) - 3usize];
    ["Offset of field: dsmil_read_entry::value"]
        [::core::mem::offset_of!(dsmil_read_entry, value) - 4usize];
    ["Offset of field: dsmil_read_entry::error"]
        [::core::mem::offset_of!(dsmil_read_entry, error) - 8usize];
    ["Offset of field: dsmil_read_entry::status"]
        [::core::mem::offset_of!(dsmil_read_entry, status) - 12usize];
    ["Offset of field: dsmil_read_entry::age_ns"]
        [::core::mem::offset_of!(dsmil_read_entry, age_ns) - 16usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_read {
    pub count: __u32,
    pub flags: __u32,
    pub max_age_ms: __u32,
    pub failed: __u32,
    pub entries: __u64,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_read"][::core::mem::size_of::<dsmil_read>() - 56usize];
    ["Alignment of dsmil_read"][::core::mem::align_of::<dsmil_read>() - 8usize];
    ["Offset of field: dsmil_read::count"][::core::mem::offset_of!(dsmil_read, count) - 0usize];
    ["Offset of field: dsmil_read::flags"][::core::mem::offset_of!(dsmil_read, flags) - 4usize];
    ["Offset of field: dsmil_read::max_age_ms"]
        [::core::mem::offset_of!(dsmil_read, max_age_ms) - 8usize];
    ["Offset of field: dsmil_read::failed"][::core::mem::offset_of!(dsmil_read, failed) - 12usize];
    ["Offset of field: dsmil_read::entries"]
        [::core::mem::offset_of!(dsmil_read, entries) - 16usize];
    ["Offset of field: dsmil_read::failure"]
        [::core::mem::offset_of!(dsmil_read, failure) - 24usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_snapshot {
    pub count: __u32,
    pub selects: __u32,
    pub max_age_ms: __u32,
    pub failed: __u32,
    pub entries: __u64,
    pub generation: __u64,
    pub time_ns: __u64,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_snapshot"][::core::mem::size_of::<dsmil_snapshot>() - 72usize];
    ["Alignment of dsmil_snapshot"][::core::mem::align_of::<dsmil_snapshot>() - 8usize];
    ["Offset of field: dsmil_snapshot::count"]
        [::core::mem::offset_of!(dsmil_snapshot, count) - 0usize];
    ["Offset of field: dsmil_snapshot::selects"]
        [::core::mem::offset_of!(dsmil_snapshot, selects) - 4usize];
    ["Offset of field: dsmil_snapshot::max_age_ms"]
        [::core::mem::offset_of!(dsmil_snapshot, max_age_ms) - 8usize];
    ["Offset of field: dsmil_snapshot::failed"]
        [::core::mem::offset_of!(dsmil_snapshot, failed) - 12usize];
    ["Offset of field: dsmil_snapshot::entries"]
        [::core::mem::offset_of!(dsmil_snapshot, entries) - 16usize];
    ["Offset of field: dsmil_snapshot::generation"]
        [::core::mem::offset_of!(dsmil_snapshot, generation) - 24usize];
    ["Offset of field: dsmil_snapshot::time_ns"]
        [::core::mem::offset_of!(dsmil_snapshot, time_ns) - 32usize];
    ["Offset of field: dsmil_snapshot::failure"]
        [::core::mem::offset_of!(dsmil_snapshot, failure) - 40usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_allow {
    pub count: __u32,
    pub flags: __u32,
    pub ids: __u64,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_allow"][::core::mem::size_of::<dsmil_allow>() - 48usize];
    ["Alignment of dsmil_allow"][::core::mem::align_of::<dsmil_allow>() - 8usize];
    ["Offset of field: dsmil_allow::count"][::core::mem::offset_of!(dsmil_allow, count) - 0usize];
    ["Offset of field: dsmil_allow::flags"][::core::mem::offset_of!(dsmil_allow, flags) - 4usize];
    ["Offset of field: dsmil_allow::ids"][::core::mem::offset_of!(dsmil_allow, ids) - 8usize];
    ["Offset of field: dsmil_allow::failure"]
        [::core::mem::offset_of!(dsmil_allow, failure) - 16usize];
};
pub const DSMIL_BEGIN_UNDO_ON_SUSPEND: dsmil_begin_flags = 1;
pub type dsmil_begin_flags = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_begin {
    pub deadline_ms: __u32,
    pub flags: __u32,
    pub transaction: __u64,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_begin"][::core::mem::size_of::<dsmil_begin>() - 48usize];
    ["Alignment of dsmil_begin"][::core::mem::align_of::<dsmil_begin>() - 8usize];
    ["Offset of field: dsmil_begin::deadline_ms"]
        [::core::mem::offset_of!(dsmil_begin, deadline_ms) - 0usize];
    ["Offset of field: dsmil_begin::flags"][::core::mem::offset_of!(dsmil_begin, flags) - 4usize];
    ["Offset of field: dsmil_begin::transaction"]
        [::core::mem::offset_of!(dsmil_begin, transaction) - 8usize];
    ["Offset of field: dsmil_begin::failure"]
        [::core::mem::offset_of!(dsmil_begin, failure) - 16usize];
};
pub const DSMIL_STAGE_EXPECTED: dsmil_stage_flags = 1;
pub type dsmil_stage_flags = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_stage_entry {
    pub id: __u16,
    pub select: __u8,
    pub flags: __u8,
    pub value: __u32,
    pub expected: __u32,
    pub reserved: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_stage_entry"][::core::mem::size_of::<dsmil_stage_entry>() - 16usize];
    ["Alignment of dsmil_stage_entry"][::core::mem::align_of::<dsmil_stage_entry>() - 4usize];
    ["Offset of field: dsmil_stage_entry::id"]
        [::core::mem::offset_of!(dsmil_stage_entry, id) - 0usize];
    ["Offset of field: dsmil_stage_entry::select"]
        [::core::mem::offset_of!(dsmil_stage_entry, select) - 2usize];
    ["Offset of field: dsmil_stage_entry::flags"]
        [::core::mem::offset_of!(dsmil_stage_entry, flags) - 3usize];
    ["Offset of field: dsmil_stage_entry::value"]
        [::core::mem::offset_of!(dsmil_stage_entry, value) - 4usize];
    ["Offset of field: dsmil_stage_entry::expected"]
        [::core::mem::offset_of!(dsmil_stage_entry, expected) - 8usize];
    ["Offset of field: dsmil_stage_entry::reserved"]
        [::core::mem::offset_of!(dsmil_stage_entry, reserved) - 12usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_stage {
    pub transaction: __u64,
    pub count: __u32,
    pub flags: __u32,
    pub entries: __u64,
    pub staged: __u32,
    pub reserved: __u32,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_stage"][::core::mem::size_of::<dsmil_stage>() - 64usize];
    ["Alignment of dsmil_stage"][::core::mem::align_of::<dsmil_stage>() - 8usize];
    ["Offset of field: dsmil_stage::transaction"]
        [::core::mem::offset_of!(dsmil_stage, transaction) - 0usize];
    ["Offset of field: dsmil_stage::count"][::core::mem::offset_of!(dsmil_stage, count) - 8usize];
    ["Offset of field: dsmil_stage::flags"][::core::mem::offset_of!(dsmil_stage, flags) - 12usize];
    ["Offset of field: dsmil_stage::entries"]
        [::core::mem::offset_of!(dsmil_stage, entries) - 16usize];
    ["Offset of field: dsmil_stage::staged"]
        [::core::mem::offset_of!(dsmil_stage, staged) - 24usize];
    ["Offset of field: dsmil_stage::reserved"]
        [::core::mem::offset_of!(dsmil_stage, reserved) - 28usize];
    ["Offset of field: dsmil_stage::failure"]
        [::core::mem::offset_of!(dsmil_stage, failure) - 32usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_commit {
    pub transaction: __u64,
    pub flags: __u32,
    pub count: __u32,
    pub old: __u64,
    pub undo: __u32,
    pub reserved: __u32,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_commit"][::core::mem::size_of::<dsmil_commit>() - 64usize];
    ["Alignment of dsmil_commit"][::core::mem::align_of::<dsmil_commit>() - 8usize];
    ["Offset of field: dsmil_commit::transaction"]
        [::core::mem::offset_of!(dsmil_commit, transaction) - 0usize];
    ["Offset of field: dsmil_commit::flags"][::core::mem::offset_of!(dsmil_commit, flags) - 8usize];
    ["Offset of field: dsmil_commit::count"]
        [::core::mem::offset_of!(dsmil_commit, count) - 12usize];
    ["Offset of field: dsmil_commit::old"][::core::mem::offset_of!(dsmil_commit, old) - 16usize];
    ["Offset of field: dsmil_commit::undo"][::core::mem::offset_of!(dsmil_commit, undo) - 24usize];
    ["Offset of field: dsmil_commit::reserved"]
        [::core::mem::offset_of!(dsmil_commit, reserved) - 28usize];
    ["Offset of field: dsmil_commit::failure"]
        [::core::mem::offset_of!(dsmil_commit, failure) - 32usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_settle {
    pub transaction: __u64,
    pub flags: __u32,
    pub undone: __u32,
    pub left: __u32,
    pub reserved: __u32,
    pub failure: dsmil_failure,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_settle"][::core::mem::size_of::<dsmil_settle>() - 56usize];
    ["Alignment of dsmil_settle"][::core::mem::align_of::<dsmil_settle>() - 8usize];
    ["Offset of field: dsmil_settle::transaction"]
        [::core::mem::offset_of!(dsmil_settle, transaction) - 0usize];
    ["Offset of field: dsmil_settle::flags"][::core::mem::offset_of!(dsmil_settle, flags) - 8usize];
    ["Offset of field: dsmil_settle::undone"]
        [::core::mem::offset_of!(dsmil_settle, undone) - 12usize];
    ["Offset of field: dsmil_settle::left"][::core::mem::offset_of!(dsmil_settle, left) - 16usize];
    ["Offset of field: dsmil_settle::reserved"]
        [::core::mem::offset_of!(dsmil_settle, reserved) - 20usize];
    ["Offset of field: dsmil_settle::failure"]
        [::core::mem::offset_of!(dsmil_settle, failure) - 24usize];
};
pub const DSMIL_EVENT_TOKEN: dsmil_event_kind = 1;
pub const DSMIL_EVENT_SEALED: dsmil_event_kind = 2;
pub const DSMIL_EVENT_BEGUN: dsmil_event_kind = 3;
pub const DSMIL_EVENT_COMMITTED: dsmil_event_kind = 4;
pub const DSMIL_EVENT_ENDED: dsmil_event_kind = 5;
pub const DSMIL_EVENT_RETRYING: dsmil_event_kind = 6;
pub const DSMIL_EVENT_LEFT: dsmil_event_kind = 7;
pub const DSMIL_EVENT_REFUSED: dsmil_event_kind = 8;
pub const DSMIL_EVENT_FIRMWARE: dsmil_event_kind = 9;
pub const DSMIL_EVENT_HEAT: dsmil_event_kind = 10;
pub type dsmil_event_kind = ::core::ffi::c_uint;
pub const DSMIL_CAUSE_COMMIT: dsmil_cause = 1;
pub const DSMIL_CAUSE_UNDO: dsmil_cause = 2;
pub const DSMIL_CAUSE_ELSEWHERE: dsmil_cause = 3;
pub type dsmil_cause = ::core::ffi::c_uint;
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_event {
    pub number: __u64,
    pub time_ns: __u64,
    pub transaction: __u64,
    pub kind: __u32,
    pub detail: __u32,
    pub pid: __u32,
    pub uid: __u32,
    pub command: __u32,
    pub reason: __u32,
    pub error: __s32,
    pub status: __s32,
    pub old: __u32,
    pub new_value: __u32,
    pub id: __u16,
    pub select: __u8,
    pub reserved: __u8,
    pub lost: __u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_event"][::core::mem::size_of::<dsmil_event>() - 72usize];
    ["Alignment of dsmil_event"][::core::mem::align_of::<dsmil_event>() - 8usize];
    ["Offset of field: dsmil_event::number"][::core::mem::offset_of!(dsmil_event, number) - 0usize];
    ["Offset of field: dsmil_event::time_ns"]
        [::core::mem::offset_of!(dsmil_event, time_ns) - 8usize];
    ["Offset of field: dsmil_event::transaction"]
        [::core::mem::offset_of!(dsmil_event, transaction) - 16usize];
    ["Offset of field: dsmil_event::kind"][::core::mem::offset_of!(dsmil_event, kind) - 24usize];
    ["Offset of field: dsmil_event::detail"]
        [::core::mem::offset_of!(dsmil_event, detail) - 28usize];
    ["Offset of field: dsmil_event::pid"][::core::mem::offset_of!(dsmil_event, pid) - 32usize];
    ["Offset of field: dsmil_event::uid"][::core::mem::offset_of!(dsmil_event, uid) - 36usize];
    ["Offset of field: dsmil_event::command"]
        [::core::mem::offset_of!(dsmil_event, command) - 40usize];
    ["Offset of field: dsmil_event::reason"]
        [::core::mem::offset_of!(dsmil_event, reason) - 44usize];
    ["Offset of field: dsmil_event::error"][::core::mem::offset_of!(dsmil_event, error) - 48usize];
    ["Offset of field: dsmil_event::status"]
        [::core::mem::offset_of!(dsmil_event, status) - 52usize];
    ["Offset of field: dsmil_event::old"][::core::mem::offset_of!(dsmil_event, old) - 56usize];
    ["Offset of field: dsmil_event::new_value"]
        [::core::mem::offset_of!(dsmil_event, new_value) - 60usize];
    ["Offset of field: dsmil_event::id"][::core::mem::offset_of!(dsmil_event, id) - 64usize];
    ["Offset of field: dsmil_event::select"]
        [::core::mem::offset_of!(dsmil_event, select) - 66usize];
    ["Offset of field: dsmil_event::reserved"]
        [::core::mem::offset_of!(dsmil_event, reserved) - 67usize];
    ["Offset of field: dsmil_event::lost"][::core::mem::offset_of!(dsmil_event, lost) - 68usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_page {
    pub abi: __u32,
    pub sequence: __u32,
    pub cells_offset: __u32,
    pub cell_bytes: __u32,
    pub cells: __u32,
    pub state: __u32,
    pub outcome: __u32,
    pub entries: __u32,
    pub generation: __u64,
    pub transaction: __u64,
    pub deadline_ns: __u64,
    pub events: __u64,
    pub attempts: __u32,
    pub left: __u32,
    pub heat: __u32,
    pub temperature_mc: __s32,
    pub reserved: [__u64; 6usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_page"][::core::mem::size_of::<dsmil_page>() - 128usize];
    ["Alignment of dsmil_page"][::core::mem::align_of::<dsmil_page>() - 8usize];
    ["Offset of field: dsmil_page::abi"][::core::mem::offset_of!(dsmil_page, abi) - 0usize];
    ["Offset of field: dsmil_page::sequence"]
        [::core::mem::offset_of!(dsmil_page, sequence) - 4usize];
    ["Offset of field: dsmil_page::cells_offset"]
        [::core::mem::offset_of!(dsmil_page, cells_offset) - 8usize];
    ["Offset of field: dsmil_page::cell_bytes"]
        [::core::mem::offset_of!(dsmil_page, cell_bytes) - 12usize];
    ["Offset of field: dsmil_page::cells"][::core::mem::offset_of!(dsmil_page, cells) - 16usize];
    ["Offset of field: dsmil_page::state"][::core::mem::offset_of!(dsmil_page, state) - 20usize];
    ["Offset of field: dsmil_page::outcome"]
        [::core::mem::offset_of!(dsmil_page, outcome) - 24usize];
    ["Offset of field: dsmil_page::entries"]
        [::core::mem::offset_of!(dsmil_page, entries) - 28usize];
    ["Offset of field: dsmil_page::generation"]
        [::core::mem::offset_of!(dsmil_page, generation) - 32usize];
    ["Offset of field: dsmil_page::transaction"]
        [::core::mem::offset_of!(dsmil_page, transaction) - 40usize];
    ["Offset of field: dsmil_page::deadline_ns"]
        [::core::mem::offset_of!(dsmil_page, deadline_ns) - 48usize];
    ["Offset of field: dsmil_page::events"][::core::mem::offset_of!(dsmil_page, events) - 56usize];
    ["Offset of field: dsmil_page::attempts"]
        [::core::mem::offset_of!(dsmil_page, attempts) - 64usize];
    ["Offset of field: dsmil_page::left"][::core::mem::offset_of!(dsmil_page, left) - 68usize];
    ["Offset of field: dsmil_page::heat"][::core::mem::offset_of!(dsmil_page, heat) - 72usize];
    ["Offset of field: dsmil_page::temperature_mc"]
        [::core::mem::offset_of!(dsmil_page, temperature_mc) - 76usize];
    ["Offset of field: dsmil_page::reserved"]
        [::core::mem::offset_of!(dsmil_page, reserved) - 80usize];
};
#[repr(C)]
#[derive(Debug, Default, Copy, Clone, PartialEq, Eq)]
pub struct dsmil_cell {
    pub time_ns: __u64,
    pub value: __u32,
    pub id: __u16,
    pub select: __u8,
    pub reserved: __u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of dsmil_cell"][::core::mem::size_of::<dsmil_cell>() - 16usize];
    ["Alignment of dsmil_cell"][::core::mem::align_of::<dsmil_cell>() - 8usize];
    ["Offset of field: dsmil_cell::time_ns"][::core::mem::offset_of!(dsmil_cell, time_ns) - 0usize];
    ["Offset of field: dsmil_cell::value"][::core::mem::offset_of!(dsmil_cell, value) - 8usize];
    ["Offset of field: dsmil_cell::id"][::core::mem::offset_of!(dsmil_cell, id) - 12usize];
    ["Offset of field: dsmil_cell::select"][::core::mem::offset_of!(dsmil_cell, select) - 14usize];
    ["Offset of field: dsmil_cell::reserved"]
        [::core::mem::offset_of!(dsmil_cell, reserved) - 15usize];
};
pub const DSMIL_IOC_VERSION: dsmil_ioctl = 2148063744;
pub const DSMIL_IOC_INFO: dsmil_ioctl = 2161170945;
pub const DSMIL_IOC_LIST: dsmil_ioctl = 3222854146;
pub const DSMIL_IOC_READ: dsmil_ioctl = 3224951299;
pub const DSMIL_IOC_SNAPSHOT: dsmil_ioctl = 3225999876;
pub const DSMIL_IOC_ALLOW: dsmil_ioctl = 3224427013;
pub const DSMIL_IOC_BEGIN: dsmil_ioctl = 3224427014;
pub const DSMIL_IOC_STAGE: dsmil_ioctl = 3225475591;
pub const DSMIL_IOC_COMMIT: dsmil_ioctl = 3225475592;
pub const DSMIL_IOC_CONFIRM: dsmil_ioctl = 3224951305;
pub const DSMIL_IOC_UNDO: dsmil_ioctl = 3224951306;
pub type dsmil_ioctl = ::core::ffi::c_uint;
