//! A kernel that is locked down while a change is pending. It stays so until the next boot.

use std::fs;

use nix::errno::Errno;

use crate::bench::{Bench, Check, Fallible, same};
use crate::events::listen;
use crate::raw::{
    allow_of, commit_of, raw, read_of, refused, settle, stage, stage_of, staged, undo, whole, write,
};
use crate::uapi::*;

/// Locks down, with the change confirmed, or undone, after it.
pub(crate) fn check(bench: &mut Bench, confirms: bool) {
    bench.check("locked-down", if confirms { confirmed } else { undone });
    bench.check("locked-down-nothing-begins", |b| {
        let wanted = whole(Errno::EPERM, DSMIL_REASON_LOCKED_DOWN);
        refused(&b.open()?, DSMIL_IOC_BEGIN, dsmil_begin::default(), wanted)?;
        refused(&b.open()?, DSMIL_IOC_ALLOW, allow_of(&[]), wanted)?;
        refused(&b.open()?, DSMIL_IOC_COMMIT, commit_of(1), wanted).map(|_| ())
    });
    bench.check("locked-down-reading-goes-on", |b| {
        let (file, id) = (b.open()?, b.token()?);
        let mut entries = [dsmil_read_entry { id: id.0, ..Default::default() }];
        raw(&file, DSMIL_IOC_READ, &mut read_of(&mut entries))?;
        same(entries.map(|e| (e.error, e.value)), [(0, b.stored(id)?)])?;
        b.device.snapshot(&[types::token::Select::Current], device::Age::Fresh)?;
        b.device.map()?.state()?;
        let listener = listen(b)?;
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&[]), whole(Errno::EPERM, DSMIL_REASON_LOCKED_DOWN))?;
        same(crate::events::records(&listener, 4)?.first().map(|e| e.reason), Some(DSMIL_REASON_LOCKED_DOWN))
    });
    bench.check("locked-down-further", |b| {
        fs::write("/sys/kernel/security/lockdown", "confidentiality")?;
        same(b.info()?.lockdown, DSMIL_LOCKDOWN_CONFIDENTIALITY)?;
        let wanted = whole(Errno::EPERM, DSMIL_REASON_LOCKED_DOWN);
        refused(&b.open()?, DSMIL_IOC_BEGIN, dsmil_begin::default(), wanted)?;
        b.value(b.token()?).map(|_| ())
    });
}

/// A change is pending when the kernel is locked down, and stays so; the number of its transaction.
fn locked_down(b: &Bench, file: &fs::File, change: &types::token::Change) -> Fallible<u64> {
    b.device.allow(&b.own)?;
    let number = write(file, &[*change], 60_000)?;
    same(b.info()?.lockdown, DSMIL_LOCKDOWN_NONE)?;
    fs::write("/sys/kernel/security/lockdown", "integrity")?;
    let info = b.info()?;
    same((info.lockdown, info.state), (DSMIL_LOCKDOWN_INTEGRITY, DSMIL_STATE_PENDING))?;
    let refusal = whole(Errno::EPERM, DSMIL_REASON_LOCKED_DOWN);
    refused(file, DSMIL_IOC_COMMIT, commit_of(number), refusal)?;
    refused(file, DSMIL_IOC_BEGIN, dsmil_begin::default(), refusal)?;
    let entries = [staged(change)];
    let committed = whole(Errno::EINVAL, DSMIL_REASON_COMMITTED);
    refused(file, DSMIL_IOC_STAGE, stage_of(number, &entries), committed)?;
    same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
    Ok(number)
}

fn confirmed(b: &Bench) -> Check {
    let (file, (change, _)) = (b.open()?, b.flip(b.token()?)?);
    let number = locked_down(b, &file, &change)?;
    settle(&file, DSMIL_IOC_CONFIRM, number)?;
    drop(file);
    same(b.stored(change.id)?, change.value)?;
    b.ended(DSMIL_OUTCOME_CONFIRMED)
}

fn undone(b: &Bench) -> Check {
    let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
    let number = locked_down(b, &file, &change)?;
    same(undo(&file, number)?.undone, 1)?;
    same(b.stored(change.id)?, old)?;
    b.ended(DSMIL_OUTCOME_UNDONE)?;
    // Staging asks nothing of the kernel, but there is nothing to stage into.
    same(stage(&file, number, &[change]).is_err(), true)
}
