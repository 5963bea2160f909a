//! What a commit does, and what it comes to when the firmware or somebody else is in the way.

use std::fs::File;

use device::Error;
use nix::errno::Errno;
use types::token::{Change, Select};

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::laptop::Fault;
use crate::memory::Area;
use crate::process::speaking;
use crate::raw::{
    begin, commit_of, entry, raw, raw_at, refused, settle, settle_of, stage, stage_of, undo, whole, write,
};
use crate::staging::everything;
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    results(bench);
    failures(bench);
    undoing(bench);
}

/// What stands at each change's place.
fn standing(b: &Bench, changes: &[Change]) -> Fallible<Vec<u32>> {
    let wanted: Vec<_> = changes.iter().map(|change| (change.id, change.select)).collect();
    Ok(b.device.read(&wanted).into_iter().map(|a| a.map(|r| r.value)).collect::<Result<_, _>>()?)
}

fn results(bench: &mut Bench) {
    bench.check("commit-gives-the-old-values-and-confirm-keeps-the-new", |b| {
        let (file, changes) = (b.open()?, everything(b)?);
        let number = begin(&file, 0)?;
        stage(&file, number, &changes)?;
        let mut old = vec![0_u32; changes.len()];
        let count = u32::try_from(old.len())?;
        let mut commit = dsmil_commit { count, old: crate::raw::address(&old), ..commit_of(number) };
        raw(&file, DSMIL_IOC_COMMIT, &mut commit)?;
        let clean = dsmil_failure { index: DSMIL_NO_INDEX, ..Default::default() };
        same((commit.undo, commit.failure), (DSMIL_UNDO_NONE, clean))?;
        same(
            old.iter_mut().map(|old| Some(*old)).collect(),
            changes.iter().map(|c| c.expected).collect::<Vec<_>>(),
        )?;
        let info = b.info()?;
        same((info.state, info.entries, info.transaction), (DSMIL_STATE_PENDING, count, number))?;
        let told = settle(&file, DSMIL_IOC_CONFIRM, number)?;
        same((told.undone, told.left, told.failure), (0, 0, clean))?;
        b.ended(DSMIL_OUTCOME_CONFIRMED)?;
        drop(file);
        same(standing(b, &changes)?, changes.iter().map(|c| c.value).collect())?;
        put_back(b, &changes)
    });
    bench.check("undo-brings-the-old-values-back", |b| {
        let (file, changes) = (b.open()?, everything(b)?);
        let generation = b.info()?.generation;
        let number = write(&file, &changes, 0)?;
        same(b.info()?.generation, generation + 2)?;
        same(standing(b, &changes)?, changes.iter().map(|c| c.value).collect())?;
        let told = undo(&file, number)?;
        same((told.undone, told.left), (u32::try_from(changes.len())?, 0))?;
        same(b.info()?.generation, generation + 4)?;
        b.ended(DSMIL_OUTCOME_UNDONE)?;
        same(
            standing(b, &changes)?.into_iter().map(Some).collect(),
            changes.iter().map(|c| c.expected).collect::<Vec<_>>(),
        )
    });
    bench.check("shared-location-takes-its-tokens-values", |b| {
        let (file, shared) = (b.open()?, b.shared()?);
        let first = shared.first().ok_or("no shared location")?;
        let old = b.stored(first.id)?;
        let other = shared.iter().map(|t| u32::from(t.table_value)).find(|v| *v != old).ok_or("one value")?;
        let change = Change { id: first.id, select: Select::Current, value: other, expected: None };
        let number = write(&file, &[change], 0)?;
        for token in &shared {
            same((token.id, b.value(token.id)?), (token.id, other))?;
        }
        undo(&file, number)?;
        same(b.stored(first.id)?, old)
    });
    bench.check("same-value-is-written-and-undone", |b| {
        let (file, id) = (b.open()?, b.token()?);
        let old = b.stored(id)?;
        let number =
            write(&file, &[Change { id, select: Select::Current, value: old, expected: Some(old) }], 0)?;
        same((undo(&file, number)?.undone, b.stored(id)?), (1, old))
    });
    bench.check("undo-of-an-open-one-drops-it", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let number = begin(&file, 0)?;
        stage(&file, number, &[change])?;
        let before = b.laptop.calls()?;
        let told = undo(&file, number)?;
        same((told.undone, told.left, b.laptop.calls()?), (0, 0, before))?;
        b.ended(DSMIL_OUTCOME_UNDONE)?;
        same(b.stored(change.id)?, old)
    });
}

/// Writes what each change expected to stand before.
fn put_back(b: &Bench, changes: &[Change]) -> Check {
    let back = |c: &Change| Change { value: c.expected.unwrap_or(0), expected: Some(c.value), ..*c };
    let back: Vec<_> = changes.iter().map(back).collect();
    let file = b.open()?;
    settle(&file, DSMIL_IOC_CONFIRM, write(&file, &back, 0)?)?;
    same(standing(b, changes)?, back.iter().map(|c| c.value).collect())
}

/// Two changes, the second of which fails so; nothing stays.
fn fails(b: &Bench, changes: &[Change; 2], wanted: dsmil_failure, undo: u32) -> Check {
    let file = b.open()?;
    let old = standing_before(b, changes)?;
    let number = begin(&file, 0)?;
    stage(&file, number, changes)?;
    let told = refused(&file, DSMIL_IOC_COMMIT, commit_of(number), wanted)?;
    same(told.undo, undo)?;
    b.ended(DSMIL_OUTCOME_FAILED)?;
    same(standing_before(b, changes)?, old)?;
    let none = whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION);
    refused(&file, DSMIL_IOC_COMMIT, commit_of(number), none).map(|_| ())
}

fn standing_before(b: &Bench, changes: &[Change; 2]) -> Fallible<Vec<u32>> {
    changes.iter().map(|change| b.stored(change.id)).collect()
}

fn two(b: &Bench) -> Fallible<[Change; 2]> {
    Ok([b.flip(b.token()?)?.0, b.flip(b.second()?)?.0])
}

fn failures(bench: &mut Bench) {
    bench.check("commit-unexpected-estale", |b| {
        let [first, second] = two(b)?;
        let (found, writes) = (b.stored(second.id)?, b.laptop.calls()?.1);
        let wanted = entry(Errno::ESTALE, DSMIL_REASON_EXPECTED, 1, second.id);
        let strange = Change { expected: Some(found ^ 2), ..second };
        fails(b, &[first, strange], dsmil_failure { found, ..wanted }, DSMIL_UNDO_NONE)?;
        same(b.laptop.calls()?.1, writes)?;
        let told = Error::Unexpected { id: second.id, found };
        same(b.device.write(&[strange], std::time::Duration::ZERO).err(), Some(told))
    });
    bench.check("commit-firmware-error-at-each-call", |b| {
        let changes = two(b)?;
        // Reads of both, write and read back of the first, of the second: four reads, two writes.
        for (on, skip, index, undo) in [
            (Fault::READS, 0, 0, DSMIL_UNDO_NONE),
            (Fault::READS, 1, 1, DSMIL_UNDO_NONE),
            (Fault::WRITES, 0, 0, DSMIL_UNDO_DONE),
            (Fault::READS, 2, 0, DSMIL_UNDO_DONE),
            (Fault::WRITES, 1, 1, DSMIL_UNDO_DONE),
            (Fault::READS, 3, 1, DSMIL_UNDO_DONE),
        ] {
            for (kind, errno, status) in
                [(Fault::ERROR, Errno::EIO, -1), (Fault::UNSUPPORTED, Errno::ENXIO, -2)]
            {
                let _fault = b.laptop.fault(Fault { skip, count: 1, ..Fault::each(kind, on) })?;
                let id = changes.get(usize::try_from(index)?).ok_or("no such change")?.id;
                let wanted = dsmil_failure { status, ..entry(errno, DSMIL_REASON_FIRMWARE, index, id) };
                fails(b, &changes, wanted, undo).map_err(|why| format!("{on} {skip} {status}: {why}"))?;
            }
        }
        Ok(())
    });
    bench.check("commit-not-stuck-eio", |b| {
        let changes = two(b)?;
        let _fault =
            b.laptop.fault(Fault { skip: 1, count: 1, ..Fault::each(Fault::IGNORED, Fault::WRITES) })?;
        let (id, found) = (b.second()?, b.stored(b.second()?)?);
        let wanted = entry(Errno::EIO, DSMIL_REASON_NOT_STUCK, 1, id);
        fails(b, &changes, dsmil_failure { found, ..wanted }, DSMIL_UNDO_DONE)
    });
    bench.check("commit-password-eacces", |b| {
        let changes = two(b)?;
        b.laptop.password(true)?;
        let wanted = entry(Errno::EACCES, DSMIL_REASON_PASSWORD, 0, b.token()?);
        let done = fails(b, &changes, dsmil_failure { status: -1, ..wanted }, DSMIL_UNDO_DONE);
        b.laptop.password(false)?;
        done
    });
}

fn undoing(bench: &mut Bench) {
    bench.check("undo-leaves-what-somebody-else-changed", |b| {
        let (file, changes, left) = (b.open()?, two(b)?, b.info()?.left);
        let number = write(&file, &changes, 0)?;
        b.laptop.poke(b.location(b.token()?)?, 4711)?;
        let told = undo(&file, number)?;
        same((told.undone, told.left, told.failure.reason), (1, 1, DSMIL_REASON_NONE))?;
        same((b.stored(b.token()?)?, b.info()?.left), (4711, left + 1))?;
        same(Some(b.stored(b.second()?)?), changes[1].expected)?;
        b.ended(DSMIL_OUTCOME_UNDONE)?;
        b.laptop.poke(b.location(b.token()?)?, changes[0].expected.unwrap_or(0))
    });
    bench.check("commit-fails-and-its-undo-leaves-what-somebody-else-changed", left_by_a_commit);
    bench.check("undo-done-is-told-though-its-answer-cannot-be-given", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let settle = Area::low(settle_of(write(&file, &[change], 0)?))?;
        let slow =
            b.laptop.fault(Fault { value: 600, count: 1, ..Fault::each(Fault::SLOW, Fault::READS) })?;
        let at = settle.address();
        let (done, gone) = std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(200));
                Area::protect(at)
            });
            (raw_at(&file, DSMIL_IOC_UNDO, at), thread.join())
        });
        drop(slow);
        same((done, gone.ok()), (Ok(()), Some(Ok(()))))?;
        same(settle.copy(), settle_of(b.info()?.transaction))?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_UNDONE)
    });
    bench.check("undo-fails-and-is-retried", retried);
    bench.check("undo-retried-leaves-what-somebody-else-changed-meanwhile", |b| {
        let (file, (change, old), left) = (b.open()?, b.flip(b.token()?)?, b.info()?.left);
        let number = write(&file, &[change], 0)?;
        let fault = b.laptop.fault(Fault::each(Fault::ERROR, Fault::WRITES))?;
        same(raw(&file, DSMIL_IOC_UNDO, &mut settle_of(number)), Err(Errno::EIO))?;
        same(b.info()?.state, DSMIL_STATE_UNDOING)?;
        b.laptop.poke(b.location(change.id)?, 4711)?;
        drop(fault);
        b.until_idle()?;
        same((b.stored(change.id)?, b.info()?.left), (4711, left + 1))?;
        b.ended(DSMIL_OUTCOME_UNDONE)?;
        b.laptop.poke(b.location(change.id)?, old)
    });
    bench.check("commit-fails-and-its-undo-too", |b| {
        let (file, changes) = (b.open()?, two(b)?);
        let number = begin(&file, 0)?;
        stage(&file, number, &changes)?;
        let fault = b.laptop.fault(Fault { skip: 1, ..Fault::each(Fault::ERROR, Fault::WRITES) })?;
        let wanted = entry(Errno::EIO, DSMIL_REASON_FIRMWARE, 1, b.second()?);
        let told =
            refused(&file, DSMIL_IOC_COMMIT, commit_of(number), dsmil_failure { status: -1, ..wanted })?;
        same((told.undo, b.info()?.state), (DSMIL_UNDO_RETRYING, DSMIL_STATE_UNDOING))?;
        drop(fault);
        b.until_idle()?;
        same(Some(b.stored(b.token()?)?), changes[0].expected)?;
        b.ended(DSMIL_OUTCOME_FAILED)
    });
}

/// The last of four writes does not stick. When that is found out somebody else has changed the first one's location, to which the
/// undo comes last.
fn left_by_a_commit(b: &Bench) -> Check {
    let changes: Vec<_> = b.own.iter().map(|id| b.flip(*id)).collect::<Fallible<_>>()?;
    let (changes, old): (Vec<Change>, Vec<u32>) = changes.into_iter().unzip();
    let (first, last) = (changes.first().ok_or("no change")?.id, changes.last().ok_or("no change")?.id);
    let count = u32::try_from(changes.len())?;
    // Reads of all, then a write and a read of each, then the undo, whose reads begin with the last one's: all slow, so that there
    // is time.
    let _ignored =
        b.laptop.fault(Fault { skip: count - 1, count: 1, ..Fault::each(Fault::IGNORED, Fault::WRITES) })?;
    let _slow = b.laptop.fault(Fault { skip: count, value: 60, ..Fault::each(Fault::SLOW, Fault::READS) })?;
    let (writes, left, node) = (b.laptop.calls()?.1, b.info()?.left, b.node.clone());
    let (wanted, found) =
        (entry(Errno::EIO, DSMIL_REASON_NOT_STUCK, count - 1, last), *old.last().ok_or("")?);
    let owner = speaking(move |_| {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(node)?;
        let number = begin(&file, 0)?;
        stage(&file, number, &changes)?;
        let wanted = dsmil_failure { found, ..wanted };
        let told = refused(&file, DSMIL_IOC_COMMIT, commit_of(number), wanted)?;
        same(told.undo, DSMIL_UNDO_LEFT)
    })?;
    crate::bench::until("the second write", || Ok(b.laptop.calls()?.1 >= writes + 2))?;
    b.laptop.poke(b.location(first)?, 4711)?;
    owner.end()?;
    b.ended(DSMIL_OUTCOME_FAILED)?;
    same((b.stored(first)?, b.info()?.left), (4711, left + 1))?;
    b.laptop.poke(b.location(first)?, *old.first().ok_or("no change")?)?;
    same(b.own.iter().map(|id| b.stored(*id)).collect::<Fallible<Vec<_>>>()?, old)
}

/// The firmware refuses to go back for a while: nothing else begins, and the undo comes in the end.
fn retried(b: &Bench) -> Check {
    let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
    let number = write(&file, &[change], 0)?;
    let fault = b.laptop.fault(Fault::each(Fault::ERROR, Fault::WRITES))?;
    let wanted = dsmil_failure { status: -1, ..entry(Errno::EIO, DSMIL_REASON_FIRMWARE, 0, change.id) };
    let told = refused(&file, DSMIL_IOC_UNDO, settle_of(number), wanted)?;
    same((told.undone, told.left, b.stored(change.id)?), (0, 0, change.value))?;
    let info = b.info()?;
    same((info.state, info.attempts, info.remaining_ms), (DSMIL_STATE_UNDOING, 1, 0))?;
    busy_undoing(b, &file, number)?;
    crate::bench::until("a second attempt", || Ok(b.info()?.attempts >= 2))?;
    drop(fault);
    b.until_idle()?;
    holds(b.stored(change.id)? == old, "the old value is not back")?;
    b.ended(DSMIL_OUTCOME_UNDONE)
}

fn busy_undoing(b: &Bench, file: &File, number: u64) -> Check {
    let wanted = whole(Errno::EBUSY, DSMIL_REASON_UNDOING);
    refused(file, DSMIL_IOC_BEGIN, dsmil_begin::default(), wanted)?;
    refused(&b.open()?, DSMIL_IOC_BEGIN, dsmil_begin::default(), wanted)?;
    refused(file, DSMIL_IOC_CONFIRM, settle_of(number), wanted)?;
    refused(file, DSMIL_IOC_UNDO, settle_of(number), wanted)?;
    let entries = [dsmil_stage_entry { id: b.second()?.0, ..Default::default() }];
    refused(file, DSMIL_IOC_STAGE, stage_of(number, &entries), wanted)?;
    refused(file, DSMIL_IOC_COMMIT, commit_of(number), wanted).map(|_| ())
}
