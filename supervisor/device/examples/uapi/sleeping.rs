//! Suspend and resume: as far as the freezer, and real sleep.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::{ClockId, clock_gettime};

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::laptop::Fault;
use crate::process::speaking;
use crate::raw::{begin, begin_with, commit, stage, undo, write};
use crate::uapi::*;

/// Goes as far as freezing everybody, stays so for so many seconds, and comes back.
fn freeze(seconds: u32) -> Check {
    Ok(freeze_for("mem", seconds)??)
}

/// The same on the way to “mem” or to “disk”; what the kernel says to that.
fn freeze_for(sleep: &str, seconds: u32) -> Fallible<io::Result<()>> {
    let delay = if sleep == "disk" { "hibernate" } else { "suspend" };
    fs::write(format!("/sys/module/{delay}/parameters/pm_test_delay"), seconds.to_string())?;
    fs::write("/sys/power/pm_test", "freezer")?;
    let done = fs::write("/sys/power/state", sleep);
    fs::write("/sys/power/pm_test", "none")?;
    Ok(done)
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
    bench.check("hibernation-undoes-a-change-though-nobody-asked", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        write(&file, &[change], 60_000)?;
        freeze_for("disk", 0)??;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_SUSPENDED)?;
        // Nothing is written yet: it may go on.
        let number = begin(&file, 60_000)?;
        stage(&file, number, &[change])?;
        freeze_for("disk", 0)??;
        same((b.info()?.state, b.info()?.transaction), (DSMIL_STATE_OPEN, number))?;
        commit(&file, number)?;
        undo(&file, number).map(|_| ())
    });
    bench.check("suspend-is-refused-while-what-was-asked-cannot-be-done", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = begin_with(&file, 60_000, DSMIL_BEGIN_UNDO_ON_SUSPEND)?;
        stage(&file, number, &[change])?;
        commit(&file, number)?;
        let fault = b.laptop.fault(Fault::each(Fault::ERROR, Fault::WRITES))?;
        for sleep in ["mem", "disk"] {
            let done = freeze_for(sleep, 0)?;
            let refused = done.err().and_then(|error| error.raw_os_error());
            same((sleep, refused), (sleep, Some(Errno::EPERM as i32)))?;
            same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_UNDOING, change.value))?;
        }
        holds(b.info()?.attempts >= 6, format!("{} attempts", b.info()?.attempts))?;
        drop(fault);
        // The next attempt of its own comes after half a minute by now.
        freeze(0)?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_SUSPENDED)
    });
    bench.check("suspend-of-an-undo-that-fails-goes-on-where-nobody-asked", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        write(&file, &[change], 60_000)?;
        let fault = b.laptop.fault(Fault::each(Fault::ERROR, Fault::WRITES))?;
        drop(file);
        same(b.info()?.state, DSMIL_STATE_UNDOING)?;
        freeze_for("mem", 0)??;
        freeze_for("disk", 0)??;
        same(b.info()?.state, DSMIL_STATE_UNDOING)?;
        drop(fault);
        freeze_for("disk", 0)??;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_CLOSED)
    });
    bench.check("nothing-that-sleep-would-undo-gets-pending-on-the-way-to-it", |b| {
        falling(b, "mem", DSMIL_BEGIN_UNDO_ON_SUSPEND)?;
        falling(b, "disk", 0)
    });
    bench.check("deadline-in-frozen-time-fires-at-resume", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        write(&file, &[change], 1000)?;
        freeze(2)?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_EXPIRED)
    });
}

/// How often the machine falls asleep while somebody commits without a pause.
const FALLS: usize = 3;

/// Somebody commits and undoes without a pause while the machine falls asleep. Between two of their calls they would be frozen
/// for a second, so if that ever comes between a commit and its undo, the change was pending in sleep.
fn falling(b: &Bench, sleep: &str, flags: u32) -> Check {
    let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
    let mut busy = speaking(move |line| {
        line.set_nonblocking(true)?;
        let file = fs::OpenOptions::new().read(true).write(true).open(node)?;
        while io::Read::read(line, &mut [0]).is_err() {
            // Refused on the way to sleep.
            let Ok(number) = begin_with(&file, 60_000, flags) else { continue };
            let done = stage(&file, number, &[change]).and_then(|_| commit(&file, number));
            let committed = Instant::now();
            let undone = undo(&file, number);
            let took = committed.elapsed();
            let slept = done.is_ok() && undone.is_ok() && took > Duration::from_millis(900);
            holds(!slept, format!("it was pending in sleep, for {took:?}"))?;
        }
        Ok(())
    })?;
    b.until_value(change.id, change.value)?;
    for _ in 0..FALLS {
        freeze_for(sleep, 1)??;
    }
    // Not heard if it has something to say itself.
    let _it_may_be_over = busy.tell();
    busy.end()?;
    b.until_idle()?;
    same(b.stored(change.id)?, old)
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
