//! The interface's numbers, stated a second time: they must never change.

use std::mem::{offset_of, size_of};

use crate::bench::{Bench, same};
use crate::raw::ALL;
use crate::uapi::*;

/// Size of a structure and the offset of each member, found and expected.
macro_rules! layout {
    ($name:ident, $size:literal, { $($member:ident: $offset:literal),* $(,)? }) => {
        (stringify!($name),
            vec![size_of::<$name>(), $(offset_of!($name, $member)),*],
            vec![$size, $($offset),*])
    };
}

pub(crate) fn check(bench: &mut Bench) {
    bench.check("ioctl-numbers", |_| {
        let wanted = [
            0x8008_da00,
            0x80d0_da01,
            0xc018_da02,
            0xc038_da03,
            0xc048_da04,
            0xc030_da05,
            0xc030_da06,
            0xc040_da07,
            0xc040_da08,
            0xc038_da09,
            0xc038_da0a,
        ];
        same(ALL, wanted)
    });
    bench.check("layout-of-structures", |_| {
        for (name, found, wanted) in small().into_iter().chain(large()) {
            same((name, found), (name, wanted))?;
        }
        Ok(())
    });
    bench.check("limits-as-the-header-says", |b| {
        let info = b.info()?;
        let found = [
            info.abi,
            info.list_max,
            info.read_max,
            info.snapshot_max,
            info.allow_max,
            info.stage_max,
            info.transaction_max,
            info.events_max,
            info.deadline_min_ms,
            info.deadline_default_ms,
            info.deadline_max_ms,
        ];
        same(found, [1, 1024, 256, 12288, 4096, 256, 512, 1024, 1000, 30_000, 600_000])?;
        same(info.reserved, [0; 15])
    });
}

type Layout = (&'static str, Vec<usize>, Vec<usize>);

fn small() -> Vec<Layout> {
    vec![
        layout!(dsmil_failure, 32, {
            reason: 0, index: 4, id: 8, rule: 10, status: 12, found: 16, error: 20, wait_ms: 24, reserved: 28,
        }),
        layout!(dsmil_version, 8, { abi: 0, reserved: 4 }),
        layout!(dsmil_token, 16, {
            id: 0, location: 2, value: 4, rule: 6, flags: 8, group: 12, member: 13, reserved: 14,
        }),
        layout!(dsmil_list, 24, { cursor: 0, count: 4, tokens: 8, reserved: 16 }),
        layout!(dsmil_read_entry, 24, {
            id: 0, select: 2, reserved: 3, value: 4, error: 8, status: 12, age_ns: 16,
        }),
        layout!(dsmil_read, 56, { count: 0, flags: 4, max_age_ms: 8, failed: 12, entries: 16, failure: 24 }),
        layout!(dsmil_snapshot, 72, {
            count: 0, selects: 4, max_age_ms: 8, failed: 12, entries: 16, generation: 24, time_ns: 32, failure: 40,
        }),
        layout!(dsmil_allow, 48, { count: 0, flags: 4, ids: 8, failure: 16 }),
        layout!(dsmil_begin, 48, { deadline_ms: 0, flags: 4, transaction: 8, failure: 16 }),
        layout!(dsmil_stage_entry, 16, { id: 0, select: 2, flags: 3, value: 4, expected: 8, reserved: 12 }),
        layout!(dsmil_stage, 64, {
            transaction: 0, count: 8, flags: 12, entries: 16, staged: 24, reserved: 28, failure: 32,
        }),
        layout!(dsmil_commit, 64, {
            transaction: 0, flags: 8, count: 12, old: 16, undo: 24, reserved: 28, failure: 32,
        }),
        layout!(dsmil_settle, 56, { transaction: 0, flags: 8, undone: 12, left: 16, reserved: 20, failure: 24 }),
    ]
}

fn large() -> Vec<Layout> {
    vec![
        layout!(dsmil_info, 208, {
            abi: 0, flags: 4, backend: 8, lockdown: 12, tokens: 16, devices: 20, readable: 24, writable: 28,
            list_max: 32, read_max: 36, snapshot_max: 40, allow_max: 44, stage_max: 48, transaction_max: 52,
            events_max: 56, page_bytes: 60, deadline_min_ms: 64, deadline_default_ms: 68, deadline_max_ms: 72,
            read_rate: 76, read_burst: 80, write_rate: 84, write_burst: 88, state: 92, generation: 96,
            transaction: 104, events: 112, outcome: 120, entries: 124, remaining_ms: 128, attempts: 132,
            left: 136, heat: 140, temperature_mc: 144, reserved: 148,
        }),
        layout!(dsmil_event, 72, {
            number: 0, time_ns: 8, transaction: 16, kind: 24, detail: 28, pid: 32, uid: 36, command: 40,
            reason: 44, error: 48, status: 52, old: 56, new_value: 60, id: 64, select: 66, reserved: 67, lost: 68,
        }),
        layout!(dsmil_page, 128, {
            abi: 0, sequence: 4, cells_offset: 8, cell_bytes: 12, cells: 16, state: 20, outcome: 24, entries: 28,
            generation: 32, transaction: 40, deadline_ns: 48, events: 56, attempts: 64, left: 68, heat: 72,
            temperature_mc: 76, reserved: 80,
        }),
        layout!(dsmil_cell, 16, { time_ns: 0, value: 8, id: 12, select: 14, reserved: 15 }),
    ]
}
