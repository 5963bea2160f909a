//! Rates: the module is loaded with `read_burst=8 write_burst=3`, and with rates so low that a call of the firmware takes less time than
//! its limit gives back: `read_rate=20 write_rate=4`, on a kernel that looks for mistakes `read_rate=1 write_rate=1`.

use std::fs::File;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use types::token::{Change, Select};

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::raw::{Argument, address, begin, commit, commit_of, raw, read_of, stage, undo, write};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    bench.check("limits-told", |b| {
        let info = b.info()?;
        same((info.read_burst, info.write_burst), (8, 3))?;
        holds(info.read_rate > 0 && info.write_rate > 0, "there are no limits")
    });
    reading(bench);
    writing(bench);
}

/// Reads of so many distinct values, fresh.
fn wanted(b: &Bench, count: usize) -> Vec<dsmil_read_entry> {
    let own = b.tokens.iter().filter(|t| !t.shares_location);
    own.take(count).map(|t| dsmil_read_entry { id: t.id.0, ..Default::default() }).collect()
}

/// The request is refused for its rate; how long to wait.
fn limited<T: Argument>(file: &File, number: u32, mut argument: T) -> Fallible<u64> {
    let done = raw(file, number, &mut argument);
    let failure = *argument.failure();
    let found = (done, failure.reason, failure.error, failure.index);
    same(found, (Err(Errno::EAGAIN), DSMIL_REASON_RATE, Errno::EAGAIN as i32, DSMIL_NO_INDEX))?;
    holds(failure.wait_ms > 0, "no time to wait")?;
    Ok(failure.wait_ms.into())
}

/// Milliseconds that so many reads take to come in.
fn read_ms(b: &Bench, count: u64) -> Fallible<u64> {
    Ok(count * 1000 / u64::from(b.info()?.read_rate))
}

/// The same of writes.
fn write_ms(b: &Bench, count: u64) -> Fallible<u64> {
    Ok(count * 1000 / u64::from(b.info()?.write_rate))
}

/// Whether a call takes so long that no lower rate of writes would do.
fn is_slow(b: &Bench) -> Fallible<bool> {
    Ok(b.info()?.write_rate == 1)
}

/// Waits until both buckets are full, also after a debt of their own size: twice as long as it takes to fill.
fn fill(b: &Bench) -> Check {
    sleep(Duration::from_millis(2 * read_ms(b, 8)?.max(write_ms(b, 3)?)));
    Ok(())
}

/// A wait is what all of it would have taken at `began`, less the time that has gone by since.
fn is_rest(wait: u64, all: u64, began: Instant) -> Fallible<()> {
    let gone = u64::try_from(began.elapsed().as_millis())? + 1;
    holds(wait <= all && wait + gone >= all, format!("{wait} ms of {all}, {gone} ms later"))
}

/// Attempts at a check that a busy machine can spoil: what was taken comes back while the check is held up.
const ATTEMPTS: usize = 8;

/// Makes a check anew as long as it fails.
fn patiently(check: impl Fn() -> Check) -> Check {
    let mut done = check();
    for _ in 1..ATTEMPTS {
        if done.is_ok() {
            break;
        }
        done = check();
    }
    done
}

fn reading(bench: &mut Bench) {
    bench.check("read-rate-and-the-time-to-wait", |b| {
        patiently(|| {
            let (file, mut burst) = (b.open()?, wanted(b, 8));
            fill(b)?;
            let began = Instant::now();
            raw(&file, DSMIL_IOC_READ, &mut read_of(&mut burst))?;
            let before = b.laptop.calls()?;
            let (mut again, mut half) = (wanted(b, 8), wanted(b, 4));
            let wait = limited(&file, DSMIL_IOC_READ, read_of(&mut again))?;
            is_rest(wait, read_ms(b, 8)?, began)?;
            let less = limited(&file, DSMIL_IOC_READ, read_of(&mut half))?;
            is_rest(less, read_ms(b, 4)?, began)?;
            same((again, b.laptop.calls()?), (wanted(b, 8), before))?;
            sleep(Duration::from_millis(less));
            raw(&file, DSMIL_IOC_READ, &mut read_of(&mut half))?;
            Ok(())
        })
    });
    bench.check("read-before-the-time-is-refused", |b| {
        patiently(|| {
            let (file, mut entries) = (b.open()?, wanted(b, 8));
            fill(b)?;
            raw(&file, DSMIL_IOC_READ, &mut read_of(&mut entries))?;
            let mut entries = wanted(b, 8);
            let wait = limited(&file, DSMIL_IOC_READ, read_of(&mut entries))?;
            sleep(Duration::from_millis(wait / 4));
            let rest = limited(&file, DSMIL_IOC_READ, read_of(&mut entries))?;
            holds(rest < wait, format!("{wait} ms, then {rest}"))?;
            sleep(Duration::from_millis(rest));
            raw(&file, DSMIL_IOC_READ, &mut read_of(&mut entries))?;
            same(entries.iter().filter(|e| e.error == 0 && e.age_ns == 0).count(), 8)
        })
    });
    bench.check("read-of-more-than-the-bucket-leaves-a-debt", |b| {
        patiently(|| {
            let (file, mut many) = (b.open()?, wanted(b, 20));
            fill(b)?;
            let began = Instant::now();
            raw(&file, DSMIL_IOC_READ, &mut read_of(&mut many))?;
            same(many.iter().filter(|e| e.error != 0).count(), 0)?;
            let wait = limited(&file, DSMIL_IOC_READ, read_of(&mut wanted(b, 1)))?;
            // Twelve too many, and the one.
            is_rest(wait, read_ms(b, 13)?, began)?;
            let wait = limited(&file, DSMIL_IOC_READ, read_of(&mut wanted(b, 20)))?;
            is_rest(wait, read_ms(b, 20)?, began)
        })
    });
    bench.check("cached-reads-and-bad-entries-are-not-limited", |b| {
        let (file, mut entries) = (b.open()?, wanted(b, 8));
        for _ in 0..4 {
            let mut read = dsmil_read { max_age_ms: DSMIL_AGE_ANY, ..read_of(&mut entries) };
            raw(&file, DSMIL_IOC_READ, &mut read)?;
            same(read.failed, 0)?;
            entries = wanted(b, 8);
        }
        let mut bad = [dsmil_read_entry { id: b.absent()?.0, ..Default::default() }; 64];
        raw(&file, DSMIL_IOC_READ, &mut read_of(&mut bad))?;
        same(bad.map(|e| e.error), [Errno::ENOENT as i32; 64])
    });
    bench.check("snapshot-rate", |b| {
        let room = vec![dsmil_read_entry::default(); usize::try_from(b.info()?.readable)?];
        let good = dsmil_snapshot {
            count: b.info()?.readable,
            selects: 1,
            entries: address(&room),
            ..Default::default()
        };
        limited(&b.open()?, DSMIL_IOC_SNAPSHOT, good)?;
        raw(&b.open()?, DSMIL_IOC_SNAPSHOT, &mut dsmil_snapshot { max_age_ms: DSMIL_AGE_ANY, ..good })?;
        Ok(())
    });
}

/// Changes of so many tokens, by so much.
fn changes(b: &Bench, count: usize, by: u32) -> Fallible<Vec<Change>> {
    let change = |id| {
        let old = b.stored(id)?;
        Ok(Change { id, select: Select::Current, value: old ^ by, expected: None })
    };
    b.own.iter().take(count).map(|id| change(*id)).collect()
}

fn writing(bench: &mut Bench) {
    bench.check("allow-is-not-limited", |b| Ok(b.device.allow(&b.own)?));
    bench.check("commit-rate-leaves-it-open", |b| {
        patiently(|| {
            let file = b.open()?;
            fill(b)?;
            let three = changes(b, 3, 1)?;
            // Three at once, and the undo costs nothing.
            undo(&file, write(&file, &three, 0)?)?;
            let number = begin(&file, 0)?;
            stage(&file, number, &three)?;
            let writes = b.laptop.calls()?.1;
            let wait = limited(&file, DSMIL_IOC_COMMIT, commit_of(number))?;
            holds((1..=write_ms(b, 3)?).contains(&wait), format!("{wait} ms"))?;
            let info = b.info()?;
            same((info.state, info.entries), (DSMIL_STATE_OPEN, 3))?;
            same(b.laptop.calls()?.1, writes)?;
            sleep(Duration::from_millis(wait));
            commit(&file, number)?;
            undo(&file, number).map(|_| ())
        })
    });
    bench.check("undo-is-not-limited", |b| {
        patiently(|| {
            let (file, all) = (b.open()?, changes(b, 4, 1)?);
            fill(b)?;
            let old: Vec<_> = all.iter().map(|c| b.stored(c.id)).collect::<Fallible<_>>()?;
            // More than the bucket holds: served from the full bucket, in debt from then on.
            let number = write(&file, &all, 0)?;
            let undone = undo(&file, number)?;
            same((undone.undone, undone.left), (4, 0))?;
            same(all.iter().map(|c| b.stored(c.id)).collect::<Fallible<Vec<_>>>()?, old)?;
            // On a kernel that looks for mistakes the debt came back while commit and undo ran.
            if is_slow(b)? { Ok(()) } else { in_debt(b, &file) }
        })
    });
    bench.check("undo-on-close-and-at-deadline-are-not-limited", |b| {
        for closes in [true, false] {
            let (file, one) = (b.open()?, changes(b, 1, 1)?);
            fill(b)?;
            let change = one.first().copied().ok_or("no change")?;
            let old = b.stored(change.id)?;
            write(&file, &one, 1000)?;
            same(b.stored(change.id)?, change.value)?;
            if closes {
                drop(file);
            }
            b.until_value(change.id, old)?;
        }
        Ok(())
    });
    bench.check("limits-counted", |b| {
        let counters = crate::looking::table("counters")?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(-1);
        holds(count("reads_limited") >= 7, format!("{} reads", count("reads_limited")))?;
        let commits = if is_slow(b)? { 1 } else { 2 };
        holds(count("commits_limited") >= commits, format!("{} commits", count("commits_limited")))?;
        same(b.info()?.state, DSMIL_STATE_IDLE)
    });
}

/// A commit of one entry has to wait, since five were just taken from three.
fn in_debt(b: &Bench, file: &File) -> Check {
    let number = begin(file, 0)?;
    stage(file, number, &changes(b, 1, 1)?)?;
    let wait = limited(file, DSMIL_IOC_COMMIT, commit_of(number))?;
    holds((1..=write_ms(b, 2)?).contains(&wait), format!("{wait} ms"))?;
    undo(file, number).map(|_| ())
}
