//! Snapshots: all values of one generation, and bringing them back.

use std::time::{Duration, Instant};

use device::Age;
use nix::errno::Errno;
use types::token::{Change, Select};

use crate::bench::{Bench, Check, Fallible, holds, same, until};
use crate::laptop::Fault;
use crate::process::{child, hear, speaking, tell};
use crate::raw::{address, commit, raw, refused, settle, stage, undo, whole, write};
use crate::uapi::*;

/// After this long two snapshots are enough.
const ENOUGH: Duration = Duration::from_secs(10);

/// A snapshot into room for so many entries.
fn snapshot_into(
    b: &Bench,
    room: &mut [dsmil_read_entry],
    selects: u32,
    age: u32,
) -> Fallible<dsmil_snapshot> {
    let mut snapshot = dsmil_snapshot {
        count: u32::try_from(room.len())?,
        selects,
        max_age_ms: age,
        entries: address(room),
        ..Default::default()
    };
    raw(&b.open()?, DSMIL_IOC_SNAPSHOT, &mut snapshot)
        .map_err(|errno| format!("{errno} {:?}", snapshot.failure))?;
    Ok(snapshot)
}

/// The number of readable tokens.
fn readable(b: &Bench) -> Fallible<usize> {
    Ok(usize::try_from(b.info()?.readable)?)
}

/// Whatever is sealed.
pub(crate) fn check(bench: &mut Bench) {
    bench.check("snapshot-all-selects-in-order", |b| {
        let mut room = vec![dsmil_read_entry::default(); 3 * readable(b)? + 1];
        let began = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
        let taken = snapshot_into(b, &mut room, 7, 0)?;
        same((usize::try_from(taken.count)?, taken.failed), (3 * readable(b)?, 0))?;
        same((taken.generation, taken.failure.index), (b.info()?.generation, DSMIL_NO_INDEX))?;
        holds(taken.time_ns >= u64::try_from(began.tv_sec())? * 1_000_000_000, "it began too early")?;
        let last = room.pop();
        same(last, Some(dsmil_read_entry::default()))?;
        let wanted = b.tokens.iter().filter(|t| !(0xa000..=0xbfff).contains(&t.id.0));
        let wanted: Vec<_> = wanted.flat_map(|t| (0..3).map(|select| (t.id.0, select))).collect();
        same(room.iter().map(|e| (e.id, e.select)).collect::<Vec<_>>(), wanted)?;
        for entry in room.iter().filter(|e| e.select == 0) {
            same(
                (entry.id, entry.error, entry.value),
                (entry.id, 0, b.stored(types::token::TokenId(entry.id))?),
            )?;
        }
        Ok(())
    });
    bench.check("snapshot-from-the-cache-makes-no-call", |b| {
        let mut room = vec![dsmil_read_entry::default(); 3 * readable(b)?];
        snapshot_into(b, &mut room, 7, 0)?;
        let before = b.laptop.calls()?;
        let taken = snapshot_into(b, &mut room, 7, DSMIL_AGE_ANY)?;
        same((taken.failed, b.laptop.calls()?), (0, before))?;
        snapshot_into(b, &mut room, 7, 600_000)?;
        same(b.laptop.calls()?, before)?;
        holds(room.iter().all(|e| e.age_ns > 0), "a cached value has no age")
    });
    bench.check("snapshot-costs-a-call-for-each-location", |b| {
        let mut locations: Vec<_> = b.tokens.iter().map(|t| t.location).collect();
        locations.sort_unstable();
        locations.dedup();
        let mut room = vec![dsmil_read_entry::default(); readable(b)?];
        let before = b.laptop.calls()?;
        snapshot_into(b, &mut room, 1, 0)?;
        same(b.laptop.calls()?.0 - before.0, u32::try_from(locations.len())?)
    });
    bench.check("snapshot-ended-by-a-signal-eintr", |b| {
        let (file, all) = (b.open()?, b.info()?.readable);
        let count = readable(b)?;
        crate::reading::alarmed(b, 64, move || {
            let room = vec![dsmil_read_entry::default(); count];
            let snapshot =
                dsmil_snapshot { count: all, selects: 1, entries: address(&room), ..Default::default() };
            let wanted = whole(Errno::EINTR, DSMIL_REASON_INTERRUPTED);
            let told = refused(&file, DSMIL_IOC_SNAPSHOT, snapshot, wanted)?;
            same((told.count, told.failed, told.generation, told.time_ns), (all, 0, 0, 0))?;
            // Nothing was filled in.
            same(room, vec![dsmil_read_entry::default(); count])
        })
    });
    bench.check("snapshot-room-enospc", |b| {
        for (selects, each) in [(1, 1), (4, 1), (3, 2), (7, 3)] {
            let wanted = each * b.info()?.readable;
            let mut room = vec![dsmil_read_entry::default(); usize::try_from(wanted)?];
            for count in [0, 1, wanted - 1] {
                let small = dsmil_snapshot { count, selects, entries: address(&room), ..Default::default() };
                let failure = dsmil_failure { found: wanted, ..whole(Errno::ENOSPC, DSMIL_REASON_ROOM) };
                let told = refused(&b.open()?, DSMIL_IOC_SNAPSHOT, small, failure)?;
                same(told.count, count)?;
            }
            same(snapshot_into(b, &mut room, selects, DSMIL_AGE_ANY)?.count, wanted)?;
        }
        Ok(())
    });
}

/// While a list is sealed.
pub(crate) fn sealed(bench: &mut Bench) {
    bench.check("snapshot-consistent-beside-commits", consistent);
    bench.check("snapshot-cached-beside-commits-is-of-a-whole-generation", cached_beside);
    bench.check("snapshot-waits-for-a-commit-until-a-signal", waits);
    bench.check("snapshot-values-keep-changing-eagain", changing);
    bench.check("snapshot-restored", |b| {
        let taken = b.device.snapshot(&[Select::Current, Select::Battery], Age::Fresh)?;
        same(b.device.restore(&taken, Duration::ZERO)?.is_none(), true)?;
        let old: Vec<_> = b.own.iter().map(|id| b.stored(*id)).collect::<Fallible<_>>()?;
        for (id, value) in b.own.iter().zip(&old) {
            b.laptop.poke(b.location(*id)?, value ^ 5)?;
        }
        let pending = b.device.restore(&taken, Duration::ZERO)?.ok_or("nothing to restore")?;
        same(pending.old().len(), old.len())?;
        pending.confirm()?;
        same(b.own.iter().map(|id| b.stored(*id)).collect::<Fallible<Vec<_>>>()?, old)
    });
}

/// Two tokens that are only ever changed together never differ in a snapshot.
fn consistent(b: &Bench) -> Check {
    let (first, second) = (b.token()?, *b.own.last().ok_or("no token")?);
    let old = [b.stored(first)?, b.stored(second)?];
    let file = b.open()?;
    let both =
        move |value| [first, second].map(|id| Change { id, select: Select::Current, value, expected: None });
    settle(&file, DSMIL_IOC_CONFIRM, write(&file, &both(1000), 0)?)?;
    let node = b.node.clone();
    // A kernel that looks for mistakes takes a hundred times as long for each call.
    let began = Instant::now();
    b.device.snapshot(&[Select::Current], Age::Fresh)?;
    let longest = began.elapsed().mul_f32(1.5).max(Duration::from_millis(150));
    let mut writer = speaking(move |line| {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(node)?;
        for value in 1001.. {
            settle(&file, DSMIL_IOC_CONFIRM, write(&file, &both(value), 0)?)?;
            if value == 1002 {
                tell(line)?;
            }
            // Room for some snapshots to succeed, not for all.
            std::thread::sleep(longest / 4 * (value % 4 + 1));
        }
        hear(line)
    })?;
    writer.hear()?;
    let (mut taken, mut moved) = (0, 0);
    let mut last = 0;
    let began = Instant::now();
    for _ in 0..6 {
        if taken > 1 && moved > 1 && began.elapsed() > ENOUGH {
            break;
        }
        let Ok(snapshot) = b.device.snapshot(&[Select::Current], Age::Fresh) else { continue };
        let value = |id| snapshot.get(id, Select::Current).map(|e| e.held.clone().map(|a| a.value));
        same(value(first), value(second))?;
        same(snapshot.generation % 2, 0)?;
        moved += u32::from(snapshot.generation > last);
        (taken, last) = (taken + 1, snapshot.generation);
    }
    writer.kill()?;
    b.until_idle()?;
    for (id, value) in [first, second].into_iter().zip(old) {
        b.laptop.poke(b.location(id)?, value)?;
    }
    holds(taken > 1 && moved > 1, format!("{taken} snapshots of {moved} generations"))
}

/// From the cache a snapshot takes no time, so it falls between the writes of a commit unless it waits for its end: also
/// when another begins at once.
fn cached_beside(b: &Bench) -> Check {
    let (first, second) = (b.token()?, *b.own.last().ok_or("no token")?);
    let (old, node) = ([b.stored(first)?, b.stored(second)?], b.node.clone());
    let both =
        move |value| [first, second].map(|id| Change { id, select: Select::Current, value, expected: None });
    let mut writer = speaking(move |line| {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(node)?;
        for value in 2001.. {
            settle(&file, DSMIL_IOC_CONFIRM, write(&file, &both(value), 0)?)?;
            if value == 2002 {
                tell(line)?;
            }
        }
        hear(line)
    })?;
    writer.hear()?;
    let (began, mut taken, mut moved, mut last) = (Instant::now(), 0_u32, 0_u32, 0);
    while (taken < 400 || moved < 20) && began.elapsed() < ENOUGH {
        let snapshot = match b.device.snapshot(&[Select::Current], Age::Any) {
            Ok(snapshot) => snapshot,
            Err(device::Error::Changed) => continue,
            Err(other) => return Err(other.into()),
        };
        same(snapshot.generation % 2, 0)?;
        let value = |id| snapshot.get(id, Select::Current).map(|e| e.held.clone().map(|a| a.value));
        holds(value(first).is_some_and(|held| held.is_ok()), "a value of the change is missing")?;
        same(value(first), value(second))?;
        moved += u32::from(snapshot.generation > last);
        (taken, last) = (taken + 1, snapshot.generation);
    }
    writer.kill()?;
    b.until_idle()?;
    for (id, value) in [first, second].into_iter().zip(old) {
        b.laptop.poke(b.location(id)?, value)?;
    }
    holds(taken > 20 && moved > 2, format!("{taken} snapshots of {moved} generations"))
}

/// While a commit takes seconds, who waits for its end to take a snapshot can be killed.
fn waits(b: &Bench) -> Check {
    let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
    let slow = b.laptop.fault(Fault { value: 3000, count: 1, ..Fault::each(Fault::SLOW, Fault::WRITES) })?;
    let before = b.info()?.generation;
    let writer = child(move || {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(node)?;
        write(&file, &[change], 0).map(|_| ())
    })?;
    until("the commit to begin", || Ok(b.info()?.generation > before))?;
    let (device, began) = (b.open()?, Instant::now());
    let waiting = child(move || {
        let room = vec![dsmil_read_entry::default(); usize::try_from(DSMIL_SNAPSHOT_MAX)?];
        let (count, entries) = (DSMIL_SNAPSHOT_MAX, address(&room));
        let snapshot = dsmil_snapshot { count, selects: 1, entries, ..Default::default() };
        let wanted = whole(Errno::EINTR, DSMIL_REASON_INTERRUPTED);
        refused(&device, DSMIL_IOC_SNAPSHOT, snapshot, wanted).map(|_| ())
    })?;
    std::thread::sleep(Duration::from_millis(300));
    waiting.kill()?;
    let took = began.elapsed();
    writer.end()?;
    drop(slow);
    holds(took < Duration::from_millis(1500), format!("killed after {took:?} alone"))?;
    same(b.stored(change.id)?, old)
}

/// Somebody writes without a pause, so that no attempt is left undisturbed.
fn changing(b: &Bench) -> Check {
    let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
    let writer = child(move || {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(node)?;
        loop {
            let number = crate::raw::begin(&file, 0)?;
            stage(&file, number, &[change])?;
            commit(&file, number)?;
            undo(&file, number)?;
        }
    })?;
    b.until_value(change.id, change.value)?;
    let mut room = vec![dsmil_read_entry::default(); readable(b)?];
    let all = u32::try_from(room.len())?;
    let snapshot = dsmil_snapshot { count: all, selects: 1, entries: address(&room), ..Default::default() };
    let changed = whole(Errno::EAGAIN, DSMIL_REASON_CHANGED);
    let done = refused(&b.open()?, DSMIL_IOC_SNAPSHOT, snapshot, changed).map(|_| ());
    writer.kill()?;
    b.until_idle()?;
    room.clear();
    same(b.stored(change.id)?, old)?;
    done
}
