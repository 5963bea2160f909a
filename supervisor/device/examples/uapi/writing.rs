//! What a write refuses, and what it does.

use std::time::Duration;

use device::{Error, Flags, Outcome, State};
use nix::errno::Errno;
use types::token::{Change, Denied, Select};

use crate::bench::{Bench, Check, same};
use crate::memory::Page;
use crate::raw::{begin_raw, commit_of, entry_of, raw, raw_at, refuses, stage_of, stage_raw, write_raw};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    stages(bench);
    refusals(bench);
    results(bench);
}

/// What a transaction goes through before anything is written.
fn stages(bench: &mut Bench) {
    bench.check("stage-entry-form-einval", |b| {
        let file = b.open()?;
        let number = begin_raw(&file, 0)?;
        let good = dsmil_stage_entry { id: b.token()?.0, ..Default::default() };
        for bad in [
            dsmil_stage_entry { flags: 2, ..good },
            dsmil_stage_entry { expected: 1, ..good },
            dsmil_stage_entry { reserved: 1, ..good },
            dsmil_stage_entry { select: 3, ..good },
        ] {
            refuses(&file, DSMIL_IOC_STAGE, stage_of(number, &[good, bad]), Errno::EINVAL)?;
        }
        // All or none: the good one was not taken either.
        let mut stage = stage_of(number, std::slice::from_ref(&good));
        raw(&file, DSMIL_IOC_STAGE, &mut stage)?;
        same(stage.staged, 1)
    });
    bench.check("commit-of-nothing-einval", |b| {
        let mut transaction = b.device.begin(Duration::ZERO, Flags::default())?;
        match transaction.commit() {
            Err(Error::Invalid { .. }) => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    });
    bench.check("commit-with-other-room-einval", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let number = stage_raw(&file, &change, 0)?;
        let room = [0_u32; 2];
        let commit = dsmil_commit { count: 2, old: crate::raw::address(&room), ..commit_of(number) };
        refuses(&file, DSMIL_IOC_COMMIT, commit, Errno::EINVAL)?;
        same(b.value(change.id)?, old)
    });
    bench.check("confirm-before-commit-einval", |b| {
        let (change, _) = b.flip(b.token()?)?;
        let file = b.open()?;
        let transaction = stage_raw(&file, &change, 0)?;
        let settle = dsmil_settle { transaction, ..Default::default() };
        refuses(&file, DSMIL_IOC_CONFIRM, settle, Errno::EINVAL)
    });
    bench.check("stage-and-commit-after-commit-einval", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let number = write_raw(&file, &change, 0)?;
        refuses(&file, DSMIL_IOC_STAGE, stage_of(number, &[entry_of(&change)]), Errno::EINVAL)?;
        refuses(&file, DSMIL_IOC_COMMIT, commit_of(number), Errno::EINVAL)?;
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)
    });
    bench.check("dropped-before-commit-writes-nothing", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let mut transaction = b.device.begin(Duration::ZERO, Flags::default())?;
        transaction.stage(&[change])?;
        match b.device.info()?.state {
            State::Open { .. } => {}
            other => return Err(format!("{other:?}").into()),
        }
        drop(transaction);
        same(b.value(change.id)?, old)?;
        same(b.device.info()?.state, State::Idle)
    });
}

fn refusals(bench: &mut Bench) {
    bench.check("write-quarantine-refused-for-root", |b| {
        let id = b.denied(Denied::Quarantine)?;
        let (change, old) = b.flip(id)?;
        let refused = Error::NeverWritten { id, rule: Denied::Quarantine };
        same(b.device.write(&[change], Duration::ZERO).err(), Some(refused))?;
        same(b.value(id)?, old)
    });
    bench.check("write-every-denied-refused", |b| {
        for token in b.tokens.iter().filter(|t| t.denied.is_some()) {
            let change = Change { id: token.id, select: Select::Current, value: 1, expected: None };
            // Behind a good one: nothing may have been written when the bad one is found.
            let (good, old) = b.flip(b.token()?)?;
            match b.device.write(&[good, change], Duration::ZERO) {
                Err(Error::NeverWritten { id, .. }) if id == token.id => {}
                other => return Err(format!("{}: {other:?}", token.id).into()),
            }
            same(b.value(good.id)?, old)?;
        }
        Ok(())
    });
    bench.check("write-unknown-enoent", |b| {
        let absent = b.absent()?;
        let file = b.open()?;
        let entry = [dsmil_stage_entry { id: absent.0, ..Default::default() }];
        refuses(&file, DSMIL_IOC_STAGE, stage_of(begin_raw(&file, 0)?, &entry), Errno::ENOENT)
    });
    bench.check("write-not-allowed-refused", |b| {
        let id = b.other()?;
        let change = Change { id, select: Select::Current, value: 1, expected: None };
        same(b.device.write(&[change], Duration::ZERO).err(), Some(Error::NotAllowed(id)))
    });
    bench.check("write-duplicate-einval", |b| {
        let (change, old) = b.flip(b.token()?)?;
        match b.device.write(&[change, change], Duration::ZERO) {
            Err(Error::Invalid { index: Some(1), .. }) => same(b.value(change.id)?, old),
            other => Err(format!("{other:?}").into()),
        }
    });
    bench.check("write-deadline-out-of-range", |b| {
        let (change, _) = b.flip(b.token()?)?;
        for deadline in [Duration::from_millis(999), Duration::from_millis(600_001), Duration::MAX] {
            match b.device.write(&[change], deadline) {
                Err(Error::Invalid { .. }) => {}
                other => return Err(format!("{deadline:?}: {other:?}").into()),
            }
        }
        Ok(())
    });
    bench.check("write-unexpected-refused", |b| {
        let (mut change, old) = b.flip(b.token()?)?;
        change.expected = Some(old ^ 2);
        let refused = Error::Unexpected { id: change.id, found: old };
        same(b.device.write(&[change], Duration::ZERO).err(), Some(refused))?;
        same(b.value(change.id)?, old)
    });
    bench.check("write-shared-location-value", |b| {
        let shared = b.device.tokens()?.into_iter().find(|t| t.shares_location && t.writable);
        let shared = shared.ok_or("no shared location is on the list")?;
        let there: Vec<_> = b.tokens.iter().filter(|t| t.location == shared.location).collect();
        let strange = (0..).find(|v| there.iter().all(|t| u32::from(t.table_value) != *v));
        let change = |value| Change { id: shared.id, select: Select::Current, value, expected: None };
        match b.device.write(&[change(strange.ok_or("no value left")?)], Duration::ZERO) {
            Err(Error::Invalid { .. }) => {}
            other => return Err(format!("{other:?}").into()),
        }
        let old = b.value(shared.id)?;
        let other = there.iter().map(|t| u32::from(t.table_value)).find(|v| *v != old);
        let other = other.ok_or("no other value")?;
        let pending = b.device.write(&[change(other)], Duration::ZERO)?;
        same(b.value(shared.id)?, other)?;
        pending.undo()?;
        same(b.value(shared.id)?, old)
    });
}

fn results(bench: &mut Bench) {
    bench.check("write-result-unwritable-efault-undone", write_to_read_only_memory);
    bench.check("begin-refused-and-unwritable-undoes-nothing", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        write_raw(&file, &change, 0)?;
        let page = Page::read_only(dsmil_begin::default())?;
        same(raw_at(&file, DSMIL_IOC_BEGIN, page.address()), Err(Errno::EFAULT))?;
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)
    });
    bench.check("refused-gives-back-zeroes", |b| {
        let file = b.open()?;
        let mut begin = dsmil_begin { transaction: 7, ..Default::default() };
        same(raw(&file, DSMIL_IOC_BEGIN, &mut begin), Err(Errno::EINVAL))?;
        same((begin.transaction, begin.failure.reason), (0, DSMIL_REASON_RESERVED))?;
        let mut commit = dsmil_commit { undo: 7, ..commit_of(1) };
        same(raw(&file, DSMIL_IOC_COMMIT, &mut commit), Err(Errno::EINVAL))?;
        same((commit.undo, commit.failure.reason), (DSMIL_UNDO_NONE, DSMIL_REASON_RESERVED))
    });
    bench.check("write-confirm", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        same(pending.old().first().map(|r| r.value), Some(old))?;
        pending.confirm()?;
        same(b.value(change.id)?, change.value)?;
        same(b.device.info()?.outcome, Outcome::Confirmed)?;
        // And back, so that the machine is as it was.
        let back = Change { value: old, expected: Some(change.value), ..change };
        b.device.write(&[back], Duration::ZERO)?.confirm()?;
        same(b.value(change.id)?, old)
    });
    bench.check("write-many-and-every-select", |b| {
        let mut changes = Vec::new();
        for id in &b.own {
            for select in [Select::Current, Select::Ac, Select::Battery] {
                let old = b.device.read(&[(*id, select)]).pop().ok_or("no answer")??.value;
                changes.push(Change { id: *id, select, value: old ^ 3, expected: Some(old) });
            }
        }
        let pending = b.device.write(&changes, Duration::ZERO)?;
        let wanted: Vec<_> = changes.iter().map(|c| (c.id, c.select)).collect();
        let standing = b.device.read(&wanted).into_iter().collect::<Result<Vec<_>, _>>()?;
        let settled = pending.undo()?;
        let back = b.device.read(&wanted).into_iter().collect::<Result<Vec<_>, _>>()?;
        same(
            standing.iter().map(|r| r.value).collect(),
            changes.iter().map(|c| c.value).collect::<Vec<_>>(),
        )?;
        same(
            back.iter().map(|r| Some(r.value)).collect(),
            changes.iter().map(|c| c.expected).collect::<Vec<_>>(),
        )?;
        same(settled.undone, u32::try_from(changes.len())?)
    });
}

/// The answer cannot be given back, so nobody could confirm: the change must not stay.
fn write_to_read_only_memory(b: &Bench) -> Check {
    let (change, old) = b.flip(b.token()?)?;
    let file = b.open()?;
    let number = stage_raw(&file, &change, 0)?;
    // Refused before anything is written, so the transaction is still open.
    let page = Page::read_only(commit_of(number))?;
    same(raw_at(&file, DSMIL_IOC_COMMIT, page.address()), Err(Errno::EFAULT))?;
    same(b.value(change.id)?, old)?;
    // Written, but nobody would know what had stood there.
    let page = Page::read_only(0_u32)?;
    let commit = dsmil_commit { count: 1, old: page.address().try_into()?, ..commit_of(number) };
    refuses(&file, DSMIL_IOC_COMMIT, commit, Errno::EFAULT)?;
    same(b.value(change.id)?, old)?;
    same(b.device.info()?.state, State::Idle)
}
