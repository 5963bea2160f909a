//! What is refused whatever the state: numbers, addresses, reserved members, counts.

use nix::errno::Errno;

use crate::bench::{Bench, same};
use crate::raw::{ALL, BAD_ADDRESS, address, commit_of, dirty, raw, raw_at, refuses, stage_of};
use crate::uapi::*;

/// Number that no ioctl of the interface has.
const UNKNOWN_IOCTL: u32 = (DSMIL_IOC_VERSION & !0xff) | 0xee;

pub(crate) fn check(bench: &mut Bench) {
    ioctls(bench);
    lists(bench);
    reads(bench);
    snapshots(bench);
    settles(bench);
}

fn ioctls(bench: &mut Bench) {
    bench.check("unknown-ioctl-enotty", |b| refuses(&b.open()?, UNKNOWN_IOCTL, [0_u64; 32], Errno::ENOTTY));
    bench.check("wrong-size-ioctl-enotty", |b| {
        refuses(&b.open()?, DSMIL_IOC_VERSION + (8 << 16), [0_u64; 32], Errno::ENOTTY)
    });
    bench.check("version", |b| {
        let mut version = dsmil_version::default();
        raw(&b.open()?, DSMIL_IOC_VERSION, &mut version)?;
        same(version, dsmil_version { abi: DSMIL_ABI_VERSION, reserved: 0 })
    });
    bench.check("bad-pointer-efault", |b| {
        let file = b.open()?;
        for number in DSMIL_IOC_VERSION & 0xff..=DSMIL_IOC_UNDO & 0xff {
            let ioctl = ALL.iter().find(|ioctl| **ioctl & 0xff == number).ok_or("unlisted ioctl")?;
            same(raw_at(&file, *ioctl, usize::try_from(BAD_ADDRESS)?), Err(Errno::EFAULT))?;
        }
        Ok(())
    });
}

fn lists(bench: &mut Bench) {
    bench.check("list-bad-array-efault", |b| {
        let list = dsmil_list { count: 4, tokens: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_LIST, list, Errno::EFAULT)
    });
    bench.check("list-bad-cursor-einval", |b| {
        let mut room = [dsmil_token::default(); 4];
        let cursor = u32::try_from(b.tokens.len())? + 1;
        let list = dsmil_list { cursor, count: 4, tokens: address(&room), ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_LIST, list, Errno::EINVAL)?;
        refuses(&b.open()?, DSMIL_IOC_LIST, dsmil_list { cursor: u32::MAX, ..list }, Errno::EINVAL)?;
        same(std::mem::take(&mut room), [dsmil_token::default(); 4])
    });
    bench.check("list-reserved-einval", |b| {
        let room = [dsmil_token::default(); 4];
        let list = dsmil_list { count: 4, tokens: address(&room), reserved: 1, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_LIST, list, Errno::EINVAL)
    });
    bench.check("list-count-out-of-range", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_LIST, dsmil_list::default(), Errno::EINVAL)?;
        let list = dsmil_list { count: DSMIL_LIST_MAX + 1, ..Default::default() };
        refuses(&file, DSMIL_IOC_LIST, list, Errno::E2BIG)
    });
    bench.check("list-end-is-empty", |b| {
        let room = [dsmil_token::default(); 4];
        let cursor = u32::try_from(b.tokens.len())?;
        let mut list = dsmil_list { cursor, count: 4, tokens: address(&room), ..Default::default() };
        raw(&b.open()?, DSMIL_IOC_LIST, &mut list)?;
        same((list.count, list.cursor), (0, cursor))
    });
}

fn reads(bench: &mut Bench) {
    bench.check("read-reserved-einval", |b| {
        let file = b.open()?;
        let entries = [dsmil_read_entry::default(); 1];
        let read = dsmil_read { count: 1, entries: address(&entries), ..Default::default() };
        refuses(&file, DSMIL_IOC_READ, dsmil_read { flags: 1, ..read }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_READ, dsmil_read { failed: 1, ..read }, Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_READ, dsmil_read { failure: dirty(), ..read }, Errno::EINVAL)
    });
    bench.check("read-count-out-of-range", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_READ, dsmil_read::default(), Errno::EINVAL)?;
        let read = dsmil_read { count: DSMIL_READ_MAX + 1, ..Default::default() };
        refuses(&file, DSMIL_IOC_READ, read, Errno::E2BIG)
    });
    bench.check("read-bad-array-efault", |b| {
        let read = dsmil_read { count: 1, entries: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_READ, read, Errno::EFAULT)
    });
}

fn snapshots(bench: &mut Bench) {
    bench.check("snapshot-reserved-einval", |b| {
        let file = b.open()?;
        let good = dsmil_snapshot { selects: 1, ..Default::default() };
        for bad in [
            dsmil_snapshot { failed: 1, ..good },
            dsmil_snapshot { generation: 1, ..good },
            dsmil_snapshot { time_ns: 1, ..good },
            dsmil_snapshot { failure: dirty(), ..good },
            dsmil_snapshot { selects: 0, ..good },
            dsmil_snapshot { selects: 8, ..good },
        ] {
            refuses(&file, DSMIL_IOC_SNAPSHOT, bad, Errno::EINVAL)?;
        }
        let large = dsmil_snapshot { count: DSMIL_SNAPSHOT_MAX + 1, ..good };
        refuses(&file, DSMIL_IOC_SNAPSHOT, large, Errno::E2BIG)
    });
    bench.check("snapshot-without-room-says-how-much", |b| {
        let mut snapshot = dsmil_snapshot { selects: 7, ..Default::default() };
        same(raw(&b.open()?, DSMIL_IOC_SNAPSHOT, &mut snapshot), Err(Errno::ENOSPC))?;
        let readable = b.device.info()?.readable;
        same((snapshot.failure.reason, snapshot.failure.found), (DSMIL_REASON_ROOM, 3 * readable))
    });
    bench.check("snapshot-bad-array-efault", |b| {
        let count = DSMIL_SNAPSHOT_MAX;
        let max_age_ms = DSMIL_AGE_ANY;
        let bad =
            dsmil_snapshot { count, selects: 1, max_age_ms, entries: BAD_ADDRESS, ..Default::default() };
        refuses(&b.open()?, DSMIL_IOC_SNAPSHOT, bad, Errno::EFAULT)
    });
}

fn settles(bench: &mut Bench) {
    bench.check("settle-reserved-einval", |b| {
        let file = b.open()?;
        for number in [DSMIL_IOC_CONFIRM, DSMIL_IOC_UNDO] {
            let settle = dsmil_settle { transaction: 1, ..Default::default() };
            refuses(&file, number, dsmil_settle { flags: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { undone: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { left: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { reserved: 1, ..settle }, Errno::EINVAL)?;
            refuses(&file, number, dsmil_settle { failure: dirty(), ..settle }, Errno::EINVAL)?;
        }
        Ok(())
    });
    bench.check("no-transaction-esrch", |b| {
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_CONFIRM, dsmil_settle::default(), Errno::ESRCH)?;
        refuses(&file, DSMIL_IOC_UNDO, dsmil_settle { transaction: 7, ..Default::default() }, Errno::ESRCH)?;
        refuses(&file, DSMIL_IOC_COMMIT, commit_of(7), Errno::ESRCH)?;
        refuses(&file, DSMIL_IOC_STAGE, stage_of(7, &[dsmil_stage_entry::default()]), Errno::ESRCH)
    });
}
