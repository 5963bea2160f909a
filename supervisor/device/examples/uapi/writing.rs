//! What a write refuses, and what it does.

use std::time::Duration;

use device::{Error, Outcome, State};
use nix::errno::Errno;
use types::token::{Change, Denied, Select};

use crate::bench::{Bench, Check, same};
use crate::memory::Page;
use crate::raw::{raw, raw_at, refuses, write_of, write_raw};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    refusals(bench);
    results(bench);
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
        let entry = [dsmil_write_entry { id: absent.0, ..Default::default() }];
        refuses(&b.open()?, DSMIL_IOC_WRITE, write_of(&entry), Errno::ENOENT)
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
    bench.check("write-refused-and-unwritable-undoes-nothing", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let transaction = write_raw(&file, &change, 0)?;
        let entry = [dsmil_write_entry { id: change.id.0, ..Default::default() }];
        let page = Page::read_only(dsmil_write { transaction, ..write_of(&entry) })?;
        same(raw_at(&file, DSMIL_IOC_WRITE, page.address()), Err(Errno::EFAULT))?;
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)
    });
    bench.check("write-refused-gives-back-zeroes", |b| {
        let entry = [dsmil_write_entry { id: b.token()?.0, ..Default::default() }];
        let mut write = dsmil_write { transaction: 7, undo: 7, ..write_of(&entry) };
        same(raw(&b.open()?, DSMIL_IOC_WRITE, &mut write), Err(Errno::EINVAL))?;
        same(
            (write.transaction, write.undo, write.failure.reason),
            (0, DSMIL_UNDO_NONE, DSMIL_REASON_RESERVED),
        )
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
    let entry = dsmil_write_entry { id: change.id.0, value: change.value, ..Default::default() };
    let page = Page::read_only(entry)?;
    let write = dsmil_write { count: 1, entries: page.address().try_into()?, ..Default::default() };
    refuses(&file, DSMIL_IOC_WRITE, write, Errno::EFAULT)?;
    same(b.value(change.id)?, old)?;
    let page = Page::read_only(write_of(std::slice::from_ref(&entry)))?;
    same(raw_at(&file, DSMIL_IOC_WRITE, page.address()), Err(Errno::EFAULT))?;
    same(b.value(change.id)?, old)?;
    same(b.device.info()?.state, State::Idle)
}
