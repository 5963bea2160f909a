//! What ends a transaction that nobody settles.

use std::fs::{File, OpenOptions};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup};
use types::token::Change;

use crate::bench::{Bench, Check, Fallible, holds, same, until};
use crate::laptop::Fault;
use crate::memory::Area;
use crate::process::{closer, hear, sleeper, speaking, tell};
use crate::raw::{begin, commit_of, raw_at, refused, stage, steps_refused, undo, whole, write};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    deadlines(bench);
    closing(bench);
    dying(bench);
}

fn deadlines(bench: &mut Bench) {
    bench.check("open-one-is-dropped-at-its-deadline", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let writes = b.laptop.calls()?.1;
        let began = Instant::now();
        let number = begin(&file, 1000)?;
        stage(&file, number, &[change])?;
        b.until_idle()?;
        in_time(began.elapsed(), began.elapsed(), Duration::ZERO)?;
        b.ended(DSMIL_OUTCOME_EXPIRED)?;
        same((b.stored(change.id)?, b.laptop.calls()?.1), (old, writes))?;
        gone(&file, number, &change)
    });
    bench.check("pending-one-is-undone-at-its-deadline", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let calls = undo_takes(b, &file, &change)?;
        let asked = Instant::now();
        let number = write(&file, &[change], 1000)?;
        let written = Instant::now();
        let remaining = b.info()?.remaining_ms;
        holds((1..=1000).contains(&remaining), format!("{remaining} ms remain"))?;
        b.until_value(change.id, old)?;
        // The deadline runs from the commit's end on, which is somewhere between the two.
        in_time(asked.elapsed(), written.elapsed(), calls)?;
        b.until_idle()?;
        b.ended(DSMIL_OUTCOME_EXPIRED)?;
        gone(&file, number, &change)
    });
    bench.check("commit-starts-the-deadline-anew", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = begin(&file, 1500)?;
        stage(&file, number, &[change])?;
        std::thread::sleep(Duration::from_millis(800));
        crate::raw::commit(&file, number)?;
        std::thread::sleep(Duration::from_millis(900));
        // More than the first deadline after the beginning.
        same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
        undo(&file, number)?;
        same(b.stored(change.id)?, old)
    });
    bench.check("deadline-comes-though-the-answer-waits", answer_waits);
}

/// What an undo may take besides its firmware calls, whatever asks for it.
const SLACK: Duration = Duration::from_secs(1);

/// And where a call alone takes seconds, under a kernel that looks for mistakes, everything else is slow, too.
fn slack(calls: Duration) -> Duration {
    SLACK.max(2 * calls)
}
/// Reads take so long that a commit of all our tokens is at its first ones when something ends it.
const SLOW_MS: u32 = 300;

/// After a deadline of a second, within what the undo's firmware calls take and a second more. So much time has gone by since before and
/// since after it began to run.
fn in_time(before: Duration, after: Duration, calls: Duration) -> Check {
    let (first, last) = (Duration::from_secs(1), Duration::from_secs(1) + calls + slack(calls));
    holds(
        before >= first && after <= last,
        format!("{before:?} and {after:?}, not within {first:?} and {last:?}"),
    )
}

/// What the undo of a change takes, and a look at what then stands.
fn undo_takes(b: &Bench, file: &File, change: &Change) -> Fallible<Duration> {
    let number = write(file, &[*change], 0)?;
    let began = Instant::now();
    undo(file, number)?;
    b.stored(change.id)?;
    Ok(began.elapsed())
}

/// What one call of the firmware takes now, with all around it: what ends a commit waits for the one that it is at.
fn call_takes(b: &Bench) -> Fallible<Duration> {
    let began = Instant::now();
    b.value(b.token()?)?;
    Ok(began.elapsed())
}

/// Changes of all our tokens, and how often the firmware has been told to write.
fn many(b: &Bench) -> Fallible<(Vec<Change>, u32)> {
    let changes = b.own.iter().map(|id| Ok(b.flip(*id)?.0)).collect::<Fallible<_>>()?;
    Ok((changes, b.laptop.calls()?.1))
}

/// An owner who commits them while reads are slow, and is killed in the middle: the commit does not go on to its end.
fn killed_in_commit(b: &Bench) -> Check {
    let ((changes, writes), node) = (many(b)?, b.node.clone());
    let slow = b.laptop.fault(Fault { value: SLOW_MS, ..Fault::each(Fault::SLOW, Fault::READS) })?;
    let call = call_takes(b)?;
    let mut owner = speaking(move |line| {
        let file = OpenOptions::new().read(true).write(true).open(node)?;
        let number = begin(&file, 0)?;
        stage(&file, number, &changes)?;
        tell(line)?;
        crate::raw::commit(&file, number)
    })?;
    owner.hear()?;
    std::thread::sleep(Duration::from_millis(u64::from(SLOW_MS * 3 / 2)));
    let dead = Instant::now();
    owner.kill()?;
    let took = dead.elapsed();
    drop(slow);
    same(b.laptop.calls()?.1, writes)?;
    holds(took < call + slack(call), format!("it ended after {took:?}, and a call takes {call:?}"))?;
    b.ended(DSMIL_OUTCOME_CLOSED)
}

/// The same, but a thread of the owner closes a descriptor meanwhile.
fn closed_in_commit(b: &Bench) -> Check {
    let ((changes, writes), file) = (many(b)?, b.open()?);
    let slow = b.laptop.fault(Fault { value: SLOW_MS, ..Fault::each(Fault::SLOW, Fault::READS) })?;
    let call = call_takes(b)?;
    let number = begin(&file, 0)?;
    stage(&file, number, &changes)?;
    let done = std::thread::scope(|scope| {
        let commit = || {
            let gone = whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION);
            refused(&file, DSMIL_IOC_COMMIT, commit_of(number), gone).map_err(|why| why.to_string())
        };
        let thread = scope.spawn(commit);
        std::thread::sleep(Duration::from_millis(u64::from(SLOW_MS * 3 / 2)));
        let closing = Instant::now();
        drop(dup(&file)?);
        let took = closing.elapsed();
        holds(took < call + slack(call), format!("closing took {took:?}, and a call takes {call:?}"))?;
        Fallible::Ok(thread.join().map_err(|_| "the thread died")??)
    });
    drop(slow);
    same((done?.undo, b.laptop.calls()?.1), (DSMIL_UNDO_NONE, writes))?;
    b.ended(DSMIL_OUTCOME_CLOSED)
}

/// Too late for everything.
fn gone(file: &File, number: u64, change: &Change) -> Check {
    steps_refused(file, number, change, whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION))
}

/// The old values cannot be given back now: that must not hold up the deadline, nor others.
fn answer_waits(b: &Bench) -> Check {
    let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
    let mut owner = speaking(move |line| {
        let number = begin(&file, 1500)?;
        stage(&file, number, &[change])?;
        let (room, _watch) = Area::stalling(0_u32)?;
        let commit = Area::low(dsmil_commit { count: 1, old: room.address(), ..commit_of(number) })?;
        tell(line)?;
        same(raw_at(&file, DSMIL_IOC_COMMIT, commit.address()), Ok(()))
    })?;
    owner.hear()?;
    b.until_value(change.id, change.value)?;
    // Others are answered at once, not after the writer's death; and what is written is read back before it is pending.
    until("the commit to end", || Ok(b.info()?.state != DSMIL_STATE_OPEN))?;
    same(b.info()?.state, DSMIL_STATE_PENDING)?;
    let undone = b.until_value(change.id, old);
    let ended = b.until_idle().and_then(|()| b.ended(DSMIL_OUTCOME_EXPIRED));
    owner.kill()?;
    undone.and(ended)
}

fn closing(bench: &mut Bench) {
    bench.check("close-undoes", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        write(&file, &[change], 0)?;
        same(b.stored(change.id)?, change.value)?;
        drop(file);
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_CLOSED)
    });
    bench.check("close-drops-an-open-one", |b| {
        let file = b.open()?;
        begin(&file, 0)?;
        drop(file);
        b.ended(DSMIL_OUTCOME_CLOSED)
    });
    bench.check("close-of-a-duplicate-undoes", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = write(&file, &[change], 0)?;
        drop(dup(&file)?);
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_CLOSED)?;
        gone(&file, number, &change)
    });
    bench.check("close-undoes-though-a-mapping-stays", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let map = crate::mapping::Map::new(&file, b.info()?.page_bytes)?;
        write(&file, &[change], 0)?;
        drop(file);
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_CLOSED)?;
        same(map.head().state, DSMIL_STATE_IDLE)
    });
    bench.check("close-undoes-though-a-child-has-it-open", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let holder = speaking(hear)?;
        write(&file, &[change], 0)?;
        drop(file);
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_CLOSED)?;
        holder.kill()
    });
    bench.check("last-close-by-another-process-undoes", |b| {
        // The owner shares its table with somebody who closes the descriptor for both.
        owned(b, |file, line| {
            nix::sys::wait::waitpid(closer(file)?, None)?;
            tell(line)?;
            hear(line)
        })
    });
}

/// An owner that commits and then does something, upon which the change goes back.
fn owned(b: &Bench, act: impl FnOnce(&File, &mut std::os::unix::net::UnixStream) -> Check) -> Check {
    let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
    let mut owner = speaking(move |line| {
        let file = OpenOptions::new().read(true).write(true).open(node)?;
        write(&file, &[change], 0)?;
        tell(line)?;
        hear(line)?;
        // Closed in there, if at all.
        let file = std::mem::ManuallyDrop::new(file);
        act(&file, line)
    })?;
    owner.hear()?;
    same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
    owner.tell()?;
    owner.hear()?;
    b.until_value(change.id, old)?;
    b.until_idle()?;
    b.ended(DSMIL_OUTCOME_CLOSED)?;
    owner.kill()
}

fn dying(bench: &mut Bench) {
    bench.check("exit-undoes", |b| {
        let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
        let owner = crate::process::child(move || {
            let file = OpenOptions::new().read(true).write(true).open(node)?;
            write(&file, &[change], 0)?;
            std::mem::forget(file);
            Ok(())
        })?;
        owner.end()?;
        same(b.stored(change.id)?, old)?;
        b.ended(DSMIL_OUTCOME_CLOSED)
    });
    bench.check("kill-in-a-commit-stops-it", killed_in_commit);
    bench.check("close-in-a-commit-stops-it", closed_in_commit);
    bench.check("kill-undoes-though-a-grandchild-has-it-open", |b| killed(b, false));
    bench.check("kill-undoes-though-a-grandchild-shares-the-table", |b| killed(b, true));
    bench.check("end-of-one-thread-undoes-nothing", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = std::thread::scope(|scope| {
            let thread = scope.spawn(|| write(&file, &[change], 0).map_err(|why| why.to_string()));
            thread.join().map_err(|_| "the thread died".to_owned())
        })??;
        std::thread::sleep(Duration::from_millis(1200));
        same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
        undo(&file, number)?;
        same(b.stored(change.id)?, old)
    });
}

/// The owner is killed while somebody else has the file open, by a table of their own or by the owner's.
fn killed(b: &Bench, shares: bool) -> Check {
    let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
    let calls = undo_takes(b, &b.open()?, &change)?;
    let mut owner = speaking(move |line| {
        let file = OpenOptions::new().read(true).write(true).open(node)?;
        let holder = sleeper(shares)?;
        write(&file, &[change], 0)?;
        tell(line)?;
        use std::io::Write;
        line.write_all(&holder.as_raw().to_le_bytes())?;
        hear(line)
    })?;
    owner.hear()?;
    let holder = owner.number()?;
    same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
    // Not reaped yet: that its parent is slow must not matter.
    kill(owner.pid(), Signal::SIGKILL)?;
    let dead = Instant::now();
    let undone = b.until_value(change.id, old).and_then(|()| b.until_idle());
    let took = dead.elapsed();
    kill(Pid::from_raw(holder), Signal::SIGKILL)?;
    owner.kill()?;
    undone?;
    holds(took < calls + slack(calls), format!("undone after {took:?}, and its calls take {calls:?}"))?;
    b.ended(DSMIL_OUTCOME_CLOSED)
}
