//! What is refused whatever the state: numbers, members that must be zero, counts.

use std::fs::File;

use nix::errno::Errno;

use crate::bench::{Bench, Check, same};
use crate::raw::{
    ALL, Argument, address, allow_of, raw, read_of, refused, refuses, reserved, settle_of, whole,
};
use crate::rights::{open_as_user, open_without_capabilities};
use crate::uapi::*;

/// Changes one member of a structure.
type Spoil<T> = (&'static str, fn(&mut T));

const FAILURE: [Spoil<dsmil_failure>; 9] = [
    ("reason", |f| f.reason = 1),
    ("index", |f| f.index = 1),
    ("id", |f| f.id = 1),
    ("rule", |f| f.rule = 1),
    ("status", |f| f.status = 1),
    ("found", |f| f.found = 1),
    ("error", |f| f.error = 1),
    ("wait_ms", |f| f.wait_ms = 1),
    ("reserved", |f| f.reserved = 1),
];

/// Each of these changes to what is good, and each member of its failure, is refused as reserved.
pub(crate) fn spoilt<T: Argument>(file: &File, number: u32, good: T, members: &[Spoil<T>]) -> Check {
    let refuse = |name: &str, bad: T| -> Check {
        let done = refused(file, number, bad, reserved());
        done.map(|_| ()).map_err(|why| format!("{name}: {why}").into())
    };
    for (name, spoil) in members {
        let mut bad = good;
        spoil(&mut bad);
        refuse(name, bad)?;
    }
    for (name, spoil) in FAILURE {
        let mut bad = good;
        spoil(bad.failure());
        refuse(name, bad)?;
    }
    Ok(())
}

/// Each of these flags in what is good is refused as reserved.
pub(crate) fn flagged<T: Argument>(
    file: &File,
    number: u32,
    good: T,
    bits: std::ops::Range<u32>,
    flags: fn(&mut T) -> &mut u32,
) -> Check {
    for bit in bits {
        let mut bad = good;
        *flags(&mut bad) |= 1 << bit;
        refused(file, number, bad, reserved()).map_err(|why| format!("flag {bit}: {why}"))?;
    }
    Ok(())
}

pub(crate) fn check(bench: &mut Bench) {
    numbers(bench);
    list(bench);
    read(bench);
    others(bench);
}

fn numbers(bench: &mut Bench) {
    bench.check("version", |b| {
        let mut version = dsmil_version { abi: 7, reserved: 7 };
        raw(&b.open()?, DSMIL_IOC_VERSION, &mut version)?;
        same(version, dsmil_version { abi: DSMIL_ABI_VERSION, reserved: 0 })
    });
    bench.check("unknown-numbers-enotty", |b| strangers(&b.open()?));
    bench.check("unknown-numbers-enotty-read-only", |b| strangers(&File::open(&b.node)?));
    bench.check("unknown-numbers-enotty-without-capability", |b| {
        strangers(&open_without_capabilities(&b.node)?)?;
        strangers(&open_as_user(&b.node)?)
    });
}

/// Other numbers, sizes, directions and types than those of the interface.
fn strangers(file: &File) -> Check {
    let refuse = |number| {
        refuses(file, number, [0_u64; 64], Errno::ENOTTY).map_err(|why| format!("{number:#x}: {why}"))
    };
    for known in ALL {
        for number in (0..=0xff).filter(|number| ALL.iter().all(|known| known & 0xff != *number)) {
            refuse(known & !0xff | number)?;
        }
        for direction in (0..4).map(|direction| direction << 30).filter(|bits| *bits != known & 0xc000_0000) {
            refuse(known & 0x3fff_ffff | direction)?;
        }
        for number in [known + (8 << 16), known - (8 << 16), known & !0x3fff_0000, known ^ 0x100] {
            refuse(number)?;
        }
    }
    Ok(())
}

fn list(bench: &mut Bench) {
    bench.check("list-forms", |b| {
        let (file, room) = (b.open()?, [dsmil_token::default(); 4]);
        let good = dsmil_list { count: 4, tokens: address(&room), ..Default::default() };
        let refuse = |bad, errno| refuses(&file, DSMIL_IOC_LIST, bad, errno);
        refuse(dsmil_list { reserved: 1, ..good }, Errno::EINVAL)?;
        refuse(dsmil_list { reserved: 1 << 63, ..good }, Errno::EINVAL)?;
        refuse(dsmil_list { count: 0, ..good }, Errno::EINVAL)?;
        refuse(dsmil_list { count: DSMIL_LIST_MAX + 1, ..good }, Errno::E2BIG)?;
        refuse(dsmil_list { count: u32::MAX, ..good }, Errno::E2BIG)?;
        let end = u32::try_from(b.tokens.len())?;
        refuse(dsmil_list { cursor: end + 1, ..good }, Errno::EINVAL)?;
        refuse(dsmil_list { cursor: u32::MAX, ..good }, Errno::EINVAL)?;
        let mut list = dsmil_list { cursor: end, ..good };
        raw(&file, DSMIL_IOC_LIST, &mut list)?;
        same((list.count, list.cursor), (0, end))
    });
}

fn read(bench: &mut Bench) {
    bench.check("read-reserved-einval", |b| {
        let file = b.open()?;
        let mut entries = [dsmil_read_entry { id: b.token()?.0, ..Default::default() }];
        let good = read_of(&mut entries);
        spoilt(&file, DSMIL_IOC_READ, good, &[("failed", |r| r.failed = 1)])?;
        flagged(&file, DSMIL_IOC_READ, good, 0..32, |r| &mut r.flags)
    });
    bench.check("read-count-out-of-range", |b| {
        let file = b.open()?;
        let mut entries = vec![dsmil_read_entry::default(); usize::try_from(DSMIL_READ_MAX)? + 1];
        let many = read_of(&mut entries);
        refused(&file, DSMIL_IOC_READ, many, whole(Errno::E2BIG, DSMIL_REASON_COUNT))?;
        let none = dsmil_read { count: 0, ..many };
        refused(&file, DSMIL_IOC_READ, none, whole(Errno::EINVAL, DSMIL_REASON_COUNT)).map(|_| ())
    });
    bench.check("read-entry-forms", |b| {
        let good = dsmil_read_entry { id: b.token()?.0, ..Default::default() };
        let mut entries = [
            dsmil_read_entry { select: 3, ..good },
            dsmil_read_entry { select: 255, ..good },
            dsmil_read_entry { reserved: 1, ..good },
            dsmil_read_entry { value: 1, ..good },
            dsmil_read_entry { error: 1, ..good },
            dsmil_read_entry { status: 1, ..good },
            dsmil_read_entry { age_ns: 1, ..good },
            dsmil_read_entry { id: b.absent()?.0, ..good },
            good,
        ];
        let before = b.laptop.calls()?;
        let mut read = read_of(&mut entries);
        raw(&b.open()?, DSMIL_IOC_READ, &mut read)?;
        same((read.failed, read.failure.reason, read.failure.index), (8, 0, DSMIL_NO_INDEX))?;
        let (einval, enoent) = (Errno::EINVAL as i32, Errno::ENOENT as i32);
        same(entries.map(|e| e.error), [einval, einval, einval, einval, einval, einval, einval, enoent, 0])?;
        same(entries.map(|e| (e.reserved, e.status, e.age_ns)), [(0, 0, 0); 9])?;
        // Only the good one was worth a call.
        same(b.laptop.calls()?.0, before.0 + 1)
    });
}

fn others(bench: &mut Bench) {
    bench.check("snapshot-forms", |b| {
        let (file, mut room) = (b.open()?, vec![dsmil_read_entry::default(); 1024]);
        let good = dsmil_snapshot { count: 1024, selects: 1, entries: address(&room), ..Default::default() };
        spoilt(
            &file,
            DSMIL_IOC_SNAPSHOT,
            good,
            &[
                ("failed", |s| s.failed = 1),
                ("generation", |s| s.generation = 1),
                ("time_ns", |s| s.time_ns = 1),
            ],
        )?;
        let select = whole(Errno::EINVAL, DSMIL_REASON_SELECT);
        refused(&file, DSMIL_IOC_SNAPSHOT, dsmil_snapshot { selects: 0, ..good }, select)?;
        for bit in 3..32 {
            let bad = dsmil_snapshot { selects: 1 | 1 << bit, ..good };
            refused(&file, DSMIL_IOC_SNAPSHOT, bad, select)?;
        }
        let bad = dsmil_snapshot { count: DSMIL_SNAPSHOT_MAX + 1, ..good };
        refused(&file, DSMIL_IOC_SNAPSHOT, bad, whole(Errno::E2BIG, DSMIL_REASON_COUNT))?;
        same(room.drain(..).all(|entry| entry == dsmil_read_entry::default()), true)
    });
    bench.check("allow-forms", |b| {
        let file = b.open()?;
        let ids = vec![b.token()?.0; usize::try_from(DSMIL_ALLOW_MAX)? + 1];
        let good = dsmil_allow { count: 1, ..allow_of(&ids) };
        spoilt(&file, DSMIL_IOC_ALLOW, good, &[])?;
        flagged(&file, DSMIL_IOC_ALLOW, good, 0..32, |a| &mut a.flags)?;
        let many = whole(Errno::E2BIG, DSMIL_REASON_COUNT);
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&ids), many)?;
        same(b.info()?.flags & DSMIL_INFO_SEALED, 0)
    });
    bench.check("settle-forms", |b| {
        let file = b.open()?;
        for number in [DSMIL_IOC_CONFIRM, DSMIL_IOC_UNDO] {
            spoilt(
                &file,
                number,
                settle_of(1),
                &[("undone", |s| s.undone = 1), ("left", |s| s.left = 1), ("reserved", |s| s.reserved = 1)],
            )?;
            flagged(&file, number, settle_of(1), 0..32, |s| &mut s.flags)?;
        }
        Ok(())
    });
}
