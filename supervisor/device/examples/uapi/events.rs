//! What happens is told: in order, to each file, and nothing is lost in silence.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;
use nix::unistd::read;
use types::token::Change;

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::laptop::Fault;
use crate::memory::Area;
use crate::raw::{
    allow_of, begin, commit_of, raw, refused, settle, settle_of, stage, stage_of, undo, whole, write,
};
use crate::uapi::*;

/// Bytes of a record.
pub(crate) const RECORD: usize = size_of::<dsmil_event>();

/// The node, opened so that reading it does not wait.
pub(crate) fn listen(b: &Bench) -> Fallible<File> {
    Ok(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&b.node)?)
}

/// Up to so many records.
pub(crate) fn records(file: &File, most: usize) -> Result<Vec<dsmil_event>, Errno> {
    let mut room = vec![dsmil_event::default(); most];
    // SAFETY: The room's bytes, any of which are a record.
    let bytes = unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), most * RECORD) };
    let count = read(file, bytes)?;
    room.truncate(count / RECORD);
    if count % RECORD == 0 { Ok(room) } else { Err(Errno::EPROTO) }
}

/// What matters of a record whose moment and number cannot be foreseen.
fn kept(event: &dsmil_event) -> dsmil_event {
    dsmil_event { number: 0, time_ns: 0, ..*event }
}

pub(crate) fn check(bench: &mut Bench) {
    contents(bench);
    order(bench);
    buffers(bench);
}

/// What is told of a transaction by this process.
fn told(transaction: u64, kind: u32, detail: u32, command: u32) -> dsmil_event {
    dsmil_event { transaction, kind, detail, command, pid: std::process::id(), ..Default::default() }
}

fn changed(event: dsmil_event, change: &Change, old: u32, new_value: u32) -> dsmil_event {
    dsmil_event { id: change.id.0, old, new_value, ..event }
}

fn contents(bench: &mut Bench) {
    bench.check("events-of-a-change-undone", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let listener = listen(b)?;
        let number = write(&file, &[change], 0)?;
        undo(&file, number)?;
        let found = records(&listener, 16)?;
        let (commit, undo) = (DSMIL_IOC_COMMIT, DSMIL_IOC_UNDO);
        let wanted = [
            told(number, DSMIL_EVENT_BEGUN, 0, DSMIL_IOC_BEGIN),
            changed(told(number, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_COMMIT, commit), &change, old, change.value),
            told(number, DSMIL_EVENT_COMMITTED, 1, commit),
            changed(told(number, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_UNDO, undo), &change, change.value, old),
            told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_UNDONE, undo),
        ];
        same(found.iter().map(kept).collect::<Vec<_>>(), wanted.to_vec())?;
        in_order(&found)?;
        same(found.last().map(|e| e.number), Some(b.info()?.events))
    });
    bench.check("events-of-a-change-confirmed-or-expired", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let listener = listen(b)?;
        let number = write(&file, &[change], 0)?;
        settle(&file, DSMIL_IOC_CONFIRM, number)?;
        let wanted = told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_CONFIRMED, DSMIL_IOC_CONFIRM);
        same(records(&listener, 16)?.last().map(kept), Some(wanted))?;
        b.laptop.poke(b.location(change.id)?, old)?;
        let number = begin(&file, 1000)?;
        b.until_idle()?;
        let wanted = [
            told(number, DSMIL_EVENT_BEGUN, 0, DSMIL_IOC_BEGIN),
            told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_EXPIRED, 0),
        ];
        same(records(&listener, 16)?.iter().map(kept).collect::<Vec<_>>(), wanted.to_vec())
    });
    bench.check("events-of-refusals", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        let sealed = whole(Errno::EPERM, DSMIL_REASON_SEALED);
        refused(&file, DSMIL_IOC_ALLOW, allow_of(&[]), sealed)?;
        refused(&file, DSMIL_IOC_UNDO, settle_of(0), whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION))?;
        let number = begin(&file, 0)?;
        let absent = b.absent()?;
        let entries = [dsmil_stage_entry { id: absent.0, ..Default::default() }];
        same(raw(&file, DSMIL_IOC_STAGE, &mut stage_of(number, &entries)), Err(Errno::ENOENT))?;
        undo(&file, number)?;
        let said = |command, reason, errno: Errno, id| dsmil_event {
            reason,
            error: errno as i32,
            id,
            ..told(0, DSMIL_EVENT_REFUSED, 0, command)
        };
        let wanted = [
            said(DSMIL_IOC_ALLOW, DSMIL_REASON_SEALED, Errno::EPERM, 0),
            said(DSMIL_IOC_UNDO, DSMIL_REASON_NO_TRANSACTION, Errno::ESRCH, 0),
            told(number, DSMIL_EVENT_BEGUN, 0, DSMIL_IOC_BEGIN),
            said(DSMIL_IOC_STAGE, DSMIL_REASON_UNKNOWN, Errno::ENOENT, absent.0),
            told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_UNDONE, DSMIL_IOC_UNDO),
        ];
        same(records(&listener, 16)?.iter().map(kept).collect::<Vec<_>>(), wanted.to_vec())
    });
    bench.check("events-of-what-others-change", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        b.value(change.id)?;
        let listener = listen(b)?;
        b.laptop.poke(b.location(change.id)?, 77)?;
        b.value(change.id)?;
        let nobody = dsmil_event { pid: 0, ..told(0, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_ELSEWHERE, 0) };
        same(records(&listener, 16)?.iter().map(kept).collect(), vec![changed(nobody, &change, old, 77)])?;
        let number = write(&file, &[Change { expected: None, ..change }], 0)?;
        b.laptop.poke(b.location(change.id)?, 99)?;
        same(undo(&file, number)?.left, 1)?;
        let found = records(&listener, 16)?;
        let left =
            dsmil_event { id: change.id.0, old: 77, ..told(number, DSMIL_EVENT_LEFT, 0, DSMIL_IOC_UNDO) };
        holds(found.iter().any(|e| kept(e) == left), format!("{found:?}"))?;
        b.laptop.poke(b.location(change.id)?, old)
    });
    bench.check("events-of-what-others-change-seen-by-a-change", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        b.value(change.id)?;
        let listener = listen(b)?;
        let (commit, undo_by) = (DSMIL_IOC_COMMIT, DSMIL_IOC_UNDO);
        let nobody = dsmil_event { pid: 0, ..told(0, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_ELSEWHERE, 0) };
        // Before the commit, after it, and then as it was before.
        b.laptop.poke(b.location(change.id)?, 77)?;
        let number = write(&file, &[Change { expected: None, ..change }], 0)?;
        b.laptop.poke(b.location(change.id)?, 77)?;
        let settled = undo(&file, number)?;
        same((settled.undone, settled.left), (1, 0))?;
        let wanted = [
            told(number, DSMIL_EVENT_BEGUN, 0, DSMIL_IOC_BEGIN),
            changed(nobody, &change, old, 77),
            changed(told(number, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_COMMIT, commit), &change, 77, change.value),
            told(number, DSMIL_EVENT_COMMITTED, 1, commit),
            changed(nobody, &change, change.value, 77),
            told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_UNDONE, undo_by),
        ];
        same(records(&listener, 16)?.iter().map(kept).collect::<Vec<_>>(), wanted.to_vec())?;
        b.laptop.poke(b.location(change.id)?, old)?;
        b.value(change.id)?;
        let number = write(&file, &[change], 0)?;
        records(&listener, 16)?;
        b.laptop.poke(b.location(change.id)?, 99)?;
        undo(&file, number)?;
        let wanted = [
            changed(nobody, &change, change.value, 99),
            dsmil_event { id: change.id.0, old, ..told(number, DSMIL_EVENT_LEFT, 0, undo_by) },
            told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_UNDONE, undo_by),
        ];
        same(records(&listener, 16)?.iter().map(kept).collect::<Vec<_>>(), wanted.to_vec())?;
        b.laptop.poke(b.location(change.id)?, old)
    });
    bench.check("events-of-a-commit-that-fails-tell-what-stood", |b| {
        let (first, second) = (b.flip(b.token()?)?, b.flip(b.second()?)?);
        let (file, changes) = (b.open()?, [first.0, second.0]);
        // Of the second write: nothing took place, or all of it did, though it is said to have failed.
        for (kind, replaced) in [(Fault::ERROR, None), (Fault::LATE_ERROR, Some(second.0.value))] {
            // What earlier checks have put there past the module is known to it from here on.
            changes.iter().try_for_each(|change| b.value(change.id).map(drop))?;
            let fault = b.laptop.fault(Fault { skip: 1, count: 1, ..Fault::each(kind, Fault::WRITES) })?;
            let (number, listener) = (begin(&file, 0)?, listen(b)?);
            stage(&file, number, &changes)?;
            same(raw(&file, DSMIL_IOC_COMMIT, &mut commit_of(number)), Err(Errno::EIO))?;
            drop(fault);
            let undone = told(number, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_UNDO, DSMIL_IOC_COMMIT);
            let mut wanted = Vec::from_iter(replaced.map(|from| changed(undone, &second.0, from, second.1)));
            wanted.push(changed(undone, &first.0, first.0.value, first.1));
            let found = records(&listener, 16)?;
            let found: Vec<_> = found.iter().map(kept).filter(|e| e.kind == DSMIL_EVENT_TOKEN).collect();
            same((kind, found), (kind, wanted))?;
            same((b.stored(first.0.id)?, b.stored(second.0.id)?), (first.1, second.1))?;
        }
        Ok(())
    });
    bench.check("events-of-the-firmware-failing", failing);
    bench.check("events-of-the-temperature", heating);
    bench.check("asking-for-an-implausible-temperature-calls-nobody", implausible);
}

/// Temperatures in tenths of a kelvin, and in degrees Celsius what is told of them: each level from the one before. The last but one is
/// none that a processor can have, so it is unknown. Below the temperature at which the kernel switches the machine off.
const HEATS: [(u32, i32, u32); 6] = [
    (3632, 90, DSMIL_HEAT_WARNING),
    (3682, 95, DSMIL_HEAT_CRITICAL),
    (3742, 101, DSMIL_HEAT_EMERGENCY),
    // Less than two degrees below a threshold the level stays; this is more.
    (3672, 94, DSMIL_HEAT_CRITICAL),
    (2000, -73, DSMIL_HEAT_UNKNOWN),
    (0, 45, DSMIL_HEAT_NORMAL),
];

fn heating(b: &Bench) -> Check {
    let listener = listen(b)?;
    same(b.info()?.heat, DSMIL_HEAT_NORMAL)?;
    let mut before = b.info()?.temperature_mc.cast_unsigned();
    for (tenths_kelvin, degrees, level) in HEATS {
        b.laptop.heat(tenths_kelvin)?;
        let told = heat_told(&listener).inspect_err(|_| {
            let _told_by_the_next_check = b.laptop.heat(0);
        })?;
        same((told.detail, told.new_value.cast_signed() / 1000, told.old), (level, degrees, before))?;
        same((told.pid, told.command), (0, 0))?;
        let info = b.info()?;
        same((info.heat, info.temperature_mc), (level, told.new_value.cast_signed()))?;
        before = told.new_value;
    }
    Ok(())
}

/// 50 degrees below zero in tenths of a kelvin: no processor is as cold as that. (As hot as that the kernel switches off.)
const IMPLAUSIBLE: u32 = 2231;

/// Each look tells of the level once it changes: so if asking made the module look, it would be told by that, and not by the
/// work within its second.
fn implausible(b: &Bench) -> Check {
    let listener = listen(b)?;
    b.laptop.heat(IMPLAUSIBLE)?;
    let told = heat_told(&listener);
    same(b.info()?.heat, DSMIL_HEAT_UNKNOWN)?;
    b.laptop.heat(0)?;
    let began = std::time::Instant::now();
    let mut asked = 0;
    while b.info()?.heat == DSMIL_HEAT_UNKNOWN && began.elapsed() < std::time::Duration::from_secs(10) {
        asked += 1;
    }
    same((told?.detail, heat_told(&listener)?.detail), (DSMIL_HEAT_UNKNOWN, DSMIL_HEAT_NORMAL))?;
    holds(asked > 10, format!("it was known after {asked} questions"))
}

/// The next event about the temperature, at which the module looks once a second.
fn heat_told(listener: &File) -> Fallible<dsmil_event> {
    for _ in 0..200 {
        match records(listener, 1).as_deref() {
            Ok([event]) if event.kind == DSMIL_EVENT_HEAT => return Ok(*event),
            Ok(_) => {}
            Err(Errno::EAGAIN) => std::thread::sleep(std::time::Duration::from_millis(50)),
            Err(other) => return Err((*other).into()),
        }
    }
    Err("nothing is told of the temperature for ten seconds".into())
}

fn failing(b: &Bench) -> Check {
    let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
    let listener = listen(b)?;
    let number = write(&file, &[change], 0)?;
    let fault = b.laptop.fault(Fault { count: 1, ..Fault::each(Fault::ERROR, Fault::WRITES) })?;
    same(raw(&file, DSMIL_IOC_UNDO, &mut settle_of(number)), Err(Errno::EIO))?;
    b.until_value(change.id, old)?;
    b.until_idle()?;
    drop(fault);
    let found: Vec<_> = records(&listener, 16)?.iter().skip(3).map(kept).collect();
    let (undo, id) = (DSMIL_IOC_UNDO, change.id.0);
    let error = dsmil_event { id, error: 5, status: -1, ..told(number, DSMIL_EVENT_FIRMWARE, 0, undo) };
    let back = changed(told(number, DSMIL_EVENT_TOKEN, DSMIL_CAUSE_UNDO, 0), &change, change.value, old);
    let refused =
        dsmil_event { transaction: 0, kind: DSMIL_EVENT_REFUSED, reason: DSMIL_REASON_FIRMWARE, ..error };
    let wanted = [
        error,
        dsmil_event { id, ..told(number, DSMIL_EVENT_RETRYING, 1, undo) },
        refused,
        back,
        told(number, DSMIL_EVENT_ENDED, DSMIL_OUTCOME_UNDONE, 0),
    ];
    same(found, wanted.to_vec())
}

fn in_order(found: &[dsmil_event]) -> Check {
    let follows = |pair: &[dsmil_event]| match pair {
        [a, b] => a.number + 1 + u64::from(b.lost) == b.number && a.time_ns <= b.time_ns,
        _ => true,
    };
    holds(found.windows(2).all(follows), format!("{found:?}"))
}

/// So many events: refusals, which cost nothing.
pub(crate) fn refusals(file: &File, count: usize) -> Check {
    let none = whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION);
    (0..count).try_for_each(|_| refused(file, DSMIL_IOC_COMMIT, commit_of(0), none).map(|_| ()))
}

fn order(bench: &mut Bench) {
    bench.check("events-since-opening-to-each-file", |b| {
        let (file, first) = (b.open()?, listen(b)?);
        refusals(&file, 2)?;
        let second = listen(b)?;
        refusals(&file, 3)?;
        let (one, two) = (records(&first, 16)?, records(&second, 16)?);
        same((one.len(), two.len()), (5, 3))?;
        same(one.get(2..), Some(two.as_slice()))?;
        same((records(&first, 16), records(&second, 16)), (Err(Errno::EAGAIN), Err(Errno::EAGAIN)))
    });
    bench.check("events-lost-are-counted", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        let kept = usize::try_from(DSMIL_EVENTS_MAX)?;
        refusals(&file, 1)?;
        same(records(&listener, 16)?.len(), 1)?;
        refusals(&file, kept + 37)?;
        let first = records(&listener, 3)?;
        same(first.iter().map(|e| e.lost).collect::<Vec<_>>(), vec![37, 0, 0])?;
        let rest = records(&listener, 2 * kept)?;
        same((rest.len(), rest.iter().map(|e| e.lost).sum()), (kept - 3, 0))?;
        in_order(&first.into_iter().chain(rest).collect::<Vec<_>>())?;
        // Just as many as are kept: none is lost.
        refusals(&file, kept)?;
        let all = records(&listener, 2 * kept)?;
        same((all.len(), all.iter().map(|e| e.lost).sum()), (kept, 0))
    });
    bench.check("events-to-two-readers-of-one-file-once", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        refusals(&file, 900)?;
        let take = || {
            let mut numbers = Vec::new();
            while let Ok(found) = records(&listener, 7) {
                numbers.extend(found.iter().map(|e| e.number));
            }
            numbers
        };
        let (mut all, other) = std::thread::scope(|scope| {
            let thread = scope.spawn(take);
            (take(), thread.join().unwrap_or_default())
        });
        all.extend(other);
        all.sort_unstable();
        let last = b.info()?.events;
        same(all, (last - 899..=last).collect())
    });
}

fn buffers(bench: &mut Bench) {
    bench.check("events-small-buffer-einval", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        refusals(&file, 2)?;
        let mut room = [0; RECORD + 1];
        for bytes in [0, 1, RECORD - 1] {
            let found = read(&listener, room.get_mut(..bytes).ok_or("too long")?);
            same((bytes, found), (bytes, Err(Errno::EINVAL)))?;
        }
        // Whole records alone, and none lost by that.
        same(read(&listener, &mut room), Ok(RECORD))?;
        same(records(&listener, 4)?.len(), 1)
    });
    bench.check("events-bad-buffer-loses-none", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        refusals(&file, 3)?;
        let area = Area::read_only([0_u8; 2 * RECORD])?;
        same(read_at(&listener, area.address(), 2 * RECORD), Err(Errno::EFAULT))?;
        same(read_at(&listener, 8, RECORD), Err(Errno::EFAULT))?;
        same(read_at(&listener, Area::gone()?, RECORD), Err(Errno::EFAULT))?;
        // Room for one and a half.
        let (_area, at) = Area::torn(&[0_u64; 2 * RECORD / 8], RECORD + RECORD / 2 / 8 * 8)?;
        same(read_at(&listener, at, 2 * RECORD), Ok(RECORD))?;
        let rest = records(&listener, 8)?;
        same((rest.len(), rest.iter().map(|e| e.lost).sum()), (2, 0))?;
        same(rest.last().map(|e| e.number), Some(b.info()?.events))
    });
}

/// Reads into memory that may be missing.
fn read_at(file: &File, address: u64, bytes: usize) -> Result<usize, Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: Memory of this program that holds nothing else, or none.
    let count = unsafe { libc::syscall(libc::SYS_read, file.as_raw_fd(), address, bytes) };
    Errno::result(count).map(|count| usize::try_from(count).unwrap_or(0))
}
