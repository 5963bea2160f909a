//! Suspend and resume: as far as the freezer, and real sleep.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::raw::{begin, begin_with, commit, stage, undo, write};
use crate::uapi::*;

/// Goes as far as freezing everybody, stays so for so many seconds, and comes back.
fn freeze(seconds: u32) -> Check {
    fs::write("/sys/module/suspend/parameters/pm_test_delay", seconds.to_string())?;
    fs::write("/sys/power/pm_test", "freezer")?;
    let done = fs::write("/sys/power/state", "mem");
    fs::write("/sys/power/pm_test", "none")?;
    Ok(done?)
}

/// Sleeps for real until the clock's alarm; how long.
fn sleep(seconds: u64) -> Fallible<Duration> {
    let asleep = || -> Fallible<Duration> {
        let (boot, awake) =
            (clock_gettime(ClockId::CLOCK_BOOTTIME)?, clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok(Duration::from(boot).saturating_sub(Duration::from(awake)))
    };
    let before = asleep()?;
    fs::write("/sys/class/rtc/rtc0/wakealarm", "0")?;
    fs::write("/sys/class/rtc/rtc0/wakealarm", format!("+{seconds}"))?;
    fs::write("/sys/power/state", "mem")?;
    Ok(asleep()?.saturating_sub(before))
}

pub(crate) fn check(bench: &mut Bench) {
    bench.check("suspend-leaves-a-change-pending", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = write(&file, &[change], 60_000)?;
        freeze(1)?;
        let info = b.info()?;
        same((info.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
        holds(info.remaining_ms < 59_500, format!("{} ms remain", info.remaining_ms))?;
        undo(&file, number)?;
        same(b.stored(change.id)?, old)
    });
    bench.check("suspend-undoes-where-that-was-asked", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = begin_with(&file, 60_000, DSMIL_BEGIN_UNDO_ON_SUSPEND)?;
        stage(&file, number, &[change])?;
        commit(&file, number)?;
        same(b.stored(change.id)?, change.value)?;
        freeze(0)?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_SUSPENDED)
    });
    bench.check("suspend-drops-an-open-one-where-that-was-asked", |b| {
        let file = b.open()?;
        begin_with(&file, 60_000, DSMIL_BEGIN_UNDO_ON_SUSPEND)?;
        freeze(0)?;
        b.ended(DSMIL_OUTCOME_SUSPENDED)?;
        let number = begin(&file, 60_000)?;
        freeze(0)?;
        same((b.info()?.state, b.info()?.transaction), (DSMIL_STATE_OPEN, number))?;
        undo(&file, number).map(|_| ())
    });
    bench.check("deadline-in-frozen-time-fires-at-resume", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        write(&file, &[change], 1000)?;
        freeze(2)?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_EXPIRED)
    });
}

/// Real sleep, from which not every kernel comes back on every machine.
pub(crate) fn real(bench: &mut Bench) {
    bench.check("deadline-in-real-sleep-fires-at-resume", |b| {
        b.device.allow(&b.own)?;
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        write(&file, &[change], 1500)?;
        let slept = sleep(4)?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_EXPIRED)?;
        holds(slept > Duration::from_millis(1500), format!("slept for {slept:?} alone"))
    });
}
