//! Addresses that are no good: EFAULT, the structure as it was, and nothing sealed, begun, staged or pending.

use std::fs::File;

use nix::errno::Errno;
use types::token::Change;

use crate::bench::{Bench, Check, Fallible, same};
use crate::memory::Area;
use crate::raw::{
    ALL, address, allow_of, begin, commit_of, faults, raw, raw_at, read_of, refuses, settle_of, stage,
    stage_of, staged, undo, write,
};
use crate::uapi::*;

/// Addresses at which nothing of ours is.
fn nowhere() -> Fallible<[(&'static str, u64); 8]> {
    Ok([
        ("null", 0),
        ("below the first page", 8),
        ("not mapped", Area::gone()?),
        ("the last page of user space", 0x7fff_ffff_f000),
        ("beyond 47 bits", 0x8000_0000_0000),
        ("the kernel's direct map", 0xffff_8880_0000_0000),
        ("the kernel's text", 0xffff_ffff_8100_0000),
        ("the end of all", u64::MAX - 7),
    ])
}

/// Whatever a request's array is, it fails at each such address.
fn lost<T: crate::raw::Argument>(file: &File, number: u32, good: T, place: fn(&mut T) -> &mut u64) -> Check {
    for (name, address) in nowhere()? {
        let mut bad = good;
        *place(&mut bad) = address;
        faults(file, number, bad).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

/// While nothing is sealed.
pub(crate) fn before(bench: &mut Bench) {
    bench.check("argument-nowhere-efault", |b| {
        let file = b.open()?;
        for number in ALL {
            for (name, address) in nowhere()? {
                same((number, name, raw_at(&file, number, address)), (number, name, Err(Errno::EFAULT)))?;
            }
        }
        same(b.info()?.flags & DSMIL_INFO_SEALED, 0)
    });
    bench.check("argument-torn-efault", |b| {
        let file = b.open()?;
        for number in ALL {
            // All of it but its last word is there.
            let size = usize::try_from(number >> 16 & 0x3fff)?;
            let (_area, at) = Area::torn(&vec![0_u64; size / 8], size - 8)?;
            same((number, raw_at(&file, number, at)), (number, Err(Errno::EFAULT)))?;
        }
        same(b.info()?.flags & DSMIL_INFO_SEALED, 0)
    });
    bench.check("list-array-efault", |b| {
        let file = b.open()?;
        let room = [dsmil_token::default(); 4];
        let good = dsmil_list { count: 4, tokens: address(&room), ..Default::default() };
        for (name, tokens) in nowhere()? {
            let bad = dsmil_list { tokens, ..good };
            refuses(&file, DSMIL_IOC_LIST, bad, Errno::EFAULT).map_err(|why| format!("{name}: {why}"))?;
        }
        let (_area, tokens) = Area::torn(&room, 40)?;
        refuses(&file, DSMIL_IOC_LIST, dsmil_list { tokens, ..good }, Errno::EFAULT)?;
        let area = Area::read_only(room)?;
        refuses(&file, DSMIL_IOC_LIST, dsmil_list { tokens: area.address(), ..good }, Errno::EFAULT)
    });
    bench.check("allow-array-efault-unsealed", |b| {
        let (file, ids) = (b.open()?, [b.token()?.0, b.second()?.0]);
        lost(&file, DSMIL_IOC_ALLOW, allow_of(&ids), |allow| &mut allow.ids)?;
        let (_area, ids) = Area::torn(&ids, 2)?;
        faults(&file, DSMIL_IOC_ALLOW, dsmil_allow { ids, count: 2, ..Default::default() })?;
        same(b.info()?.flags & DSMIL_INFO_SEALED, 0)
    });
    bench.check("allow-answer-unwritable-efault-unsealed", |b| {
        let ids = [b.token()?.0];
        let area = Area::read_only(allow_of(&ids))?;
        same(raw_at(&b.open()?, DSMIL_IOC_ALLOW, area.address()), Err(Errno::EFAULT))?;
        same(b.info()?.flags & DSMIL_INFO_SEALED, 0)
    });
    values(bench);
}

fn values(bench: &mut Bench) {
    bench.check("read-array-efault", |b| {
        let file = b.open()?;
        let mut entries = [dsmil_read_entry { id: b.token()?.0, ..Default::default() }; 3];
        lost(&file, DSMIL_IOC_READ, read_of(&mut entries), |read| &mut read.entries)?;
        let (_area, at) = Area::torn(&entries, 48)?;
        let good = dsmil_read { entries: at, ..read_of(&mut entries) };
        faults(&file, DSMIL_IOC_READ, good)?;
        let area = Area::read_only(entries)?;
        faults(&file, DSMIL_IOC_READ, dsmil_read { entries: area.address(), ..good })
    });
    bench.check("snapshot-array-efault", |b| {
        let file = b.open()?;
        let count = b.info()?.readable;
        let mut room = vec![dsmil_read_entry::default(); usize::try_from(count)?];
        // From the cache, so that it costs the firmware nothing.
        let good = dsmil_snapshot {
            count,
            selects: 1,
            max_age_ms: DSMIL_AGE_ANY,
            entries: address(&room),
            ..Default::default()
        };
        lost(&file, DSMIL_IOC_SNAPSHOT, good, |snapshot| &mut snapshot.entries)?;
        room.truncate(100);
        let (_area, entries) = Area::torn(&room, 96)?;
        faults(&file, DSMIL_IOC_SNAPSHOT, dsmil_snapshot { entries, ..good })?;
        let area = Area::read_only([dsmil_read_entry::default(); 8])?;
        faults(&file, DSMIL_IOC_SNAPSHOT, dsmil_snapshot { entries: area.address(), ..good })
    });
    bench.check("look-answers-unwritable-efault", |b| {
        let file = b.open()?;
        let mut entries = [dsmil_read_entry { id: b.token()?.0, ..Default::default() }];
        let room = [dsmil_token::default()];
        let list = dsmil_list { count: 1, tokens: address(&room), ..Default::default() };
        let areas = [
            (DSMIL_IOC_VERSION, Area::read_only(0_u64)?),
            (DSMIL_IOC_INFO, Area::read_only(dsmil_info::default())?),
            (DSMIL_IOC_LIST, Area::read_only(list)?),
            (DSMIL_IOC_READ, Area::read_only(read_of(&mut entries))?),
            (DSMIL_IOC_SNAPSHOT, Area::read_only(dsmil_snapshot::default())?),
        ];
        for (number, area) in areas {
            same((number, raw_at(&file, number, area.address())), (number, Err(Errno::EFAULT)))?;
        }
        Ok(())
    });
}

/// While a list is sealed.
pub(crate) fn check(bench: &mut Bench) {
    bench.check("begin-answer-unwritable-efault-nothing-begun", |b| {
        let before = b.info()?.transaction;
        let area = Area::read_only(dsmil_begin::default())?;
        same(raw_at(&b.open()?, DSMIL_IOC_BEGIN, area.address()), Err(Errno::EFAULT))?;
        let info = b.info()?;
        same((info.state, info.transaction), (DSMIL_STATE_IDLE, before))
    });
    bench.check("stage-array-efault-nothing-staged", |b| {
        let (file, changes) = (b.open()?, [b.flip(b.token()?)?.0, b.flip(b.second()?)?.0]);
        let number = begin(&file, 0)?;
        let entries = changes.map(|change| staged(&change));
        lost(&file, DSMIL_IOC_STAGE, stage_of(number, &entries), |stage| &mut stage.entries)?;
        let (_area, at) = Area::torn(&entries, 16)?;
        faults(&file, DSMIL_IOC_STAGE, dsmil_stage { entries: at, ..stage_of(number, &entries) })?;
        let area = Area::read_only(stage_of(number, &entries))?;
        same(raw_at(&file, DSMIL_IOC_STAGE, area.address()), Err(Errno::EFAULT))?;
        let info = b.info()?;
        same((info.state, info.entries), (DSMIL_STATE_OPEN, 0))?;
        // What is only taken need not be writable.
        let area = Area::read_only(entries)?;
        let mut stage = dsmil_stage { entries: area.address(), ..stage_of(number, &entries) };
        raw(&file, DSMIL_IOC_STAGE, &mut stage)?;
        same(stage.staged, 2)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("commit-old-efault-undone", |b| {
        let (change, old) = b.flip(b.token()?)?;
        for (name, at) in nowhere()? {
            let (number, commit) = (commit_with(b, &change)?, |transaction| dsmil_commit {
                transaction,
                count: 1,
                old: at,
                ..Default::default()
            });
            faults(&number.0, DSMIL_IOC_COMMIT, commit(number.1)).map_err(|why| format!("{name}: {why}"))?;
            same(b.stored(change.id)?, old)?;
            b.ended(DSMIL_OUTCOME_FAILED)?;
        }
        let (file, number) = commit_with(b, &change)?;
        let area = Area::read_only(0_u32)?;
        let commit = dsmil_commit { count: 1, old: area.address(), ..commit_of(number) };
        faults(&file, DSMIL_IOC_COMMIT, commit)?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_FAILED)
    });
    bench.check("commit-old-torn-efault-undone", |b| {
        let changes = [b.flip(b.token()?)?.0, b.flip(b.second()?)?.0];
        let file = b.open()?;
        let number = begin(&file, 0)?;
        stage(&file, number, &changes)?;
        let (_area, old) = Area::torn(&[0_u32; 2], 4)?;
        faults(&file, DSMIL_IOC_COMMIT, dsmil_commit { count: 2, old, ..commit_of(number) })?;
        for change in changes {
            same(Some(b.stored(change.id)?), change.expected)?;
        }
        b.ended(DSMIL_OUTCOME_FAILED)
    });
    bench.check("commit-answer-unwritable-efault-still-open", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let (file, number) = commit_with(b, &change)?;
        let area = Area::read_only(commit_of(number))?;
        same(raw_at(&file, DSMIL_IOC_COMMIT, area.address()), Err(Errno::EFAULT))?;
        same((b.stored(change.id)?, b.info()?.state), (old, DSMIL_STATE_OPEN))?;
        undo(&file, number).map(|_| ())
    });
    bench.check("settle-answer-unwritable-efault-still-pending", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let number = write(&file, &[change], 0)?;
        let area = Area::read_only(settle_of(number))?;
        for ioctl in [DSMIL_IOC_CONFIRM, DSMIL_IOC_UNDO] {
            same(raw_at(&file, ioctl, area.address()), Err(Errno::EFAULT))?;
            same((b.stored(change.id)?, b.info()?.state), (change.value, DSMIL_STATE_PENDING))?;
        }
        undo(&file, number)?;
        same(b.stored(change.id)?, old)
    });
}

/// A transaction with one change, ready to be committed.
fn commit_with(b: &Bench, change: &Change) -> Fallible<(File, u64)> {
    let file = b.open()?;
    let number = begin(&file, 0)?;
    stage(&file, number, &[*change])?;
    Ok((file, number))
}
