//! What is told when the kernel has no memory: each allocation and each copy of a request fails once, one request after the other.
//!
//! On a kernel with fault injection that `scripts/laptop/failing.sh` has set up to hit the module's own functions alone.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use nix::errno::Errno;
use nix::unistd::gettid;

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::raw::{
    Argument, address, allow_of, begin, commit_of, raw, read_of, refused, settle, stage, stage_of, undo,
    whole,
};
use crate::uapi::*;

/// No request makes more allocations and copies than this.
const CALLS_MAX: u32 = 200;

/// The switch of this thread: its n-th allocation or copy fails.
struct Failing(File);

impl Failing {
    fn new() -> Fallible<Self> {
        let path = format!("/proc/self/task/{}/fail-nth", gettid());
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self(file.map_err(|why| format!("this kernel cannot be made to fail: {why}"))?))
    }

    fn arm(&self, call: u32) -> Check {
        self.0.write_all_at(call.to_string().as_bytes(), 0).map_err(Into::into)
    }

    /// Calls that are still to pass; 0 once one has failed.
    fn rest(&self) -> Fallible<u32> {
        let mut text = [0; 16];
        let count = self.0.read_at(&mut text, 0)?;
        Ok(std::str::from_utf8(text.get(..count).unwrap_or(&[]))?.trim().parse()?)
    }
}

/// Where failing allocations from the slab are set up.
const SLAB: &str = "/sys/kernel/debug/failslab";

/// Every allocation of this process from the slab fails, until this is dropped: one that fails alone is made up for elsewhere, where it is
/// larger than a page.
struct Starved;

impl Starved {
    fn new() -> Fallible<Self> {
        fs::write(format!("{SLAB}/task-filter"), "Y")?;
        fs::write("/proc/self/make-it-fail", "1")?;
        fs::write(format!("{SLAB}/probability"), "100")?;
        Ok(Self)
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let _told_by_the_next_check = fs::write(format!("{SLAB}/probability"), "0");
        let _told_by_the_next_check = fs::write("/proc/self/make-it-fail", "0");
        let _told_by_the_next_check = fs::write(format!("{SLAB}/task-filter"), "N");
    }
}

/// Makes each call of a request fail in turn until none is left, `after` which it has succeeded; at least one must have been refused for
/// want of memory, and none for another reason than what failed.
fn each<T: Argument>(
    file: &File,
    number: u32,
    mut request: impl FnMut() -> Fallible<T>,
    after: impl FnOnce(&T) -> Check,
) -> Check {
    let failing = Failing::new()?;
    let wanted = whole(Errno::ENOMEM, DSMIL_REASON_MEMORY);
    let mut lacking = 0;
    for call in 1..=CALLS_MAX {
        let mut argument = request()?;
        failing.arm(call)?;
        let done = raw(file, number, &mut argument);
        let has_failed = failing.rest()? == 0;
        failing.arm(0)?;
        match done {
            Ok(()) if !has_failed => {
                after(&argument)?;
                return holds(
                    lacking > 0,
                    format!("none of {} calls was refused for want of memory", call - 1),
                );
            }
            // It could do without; or the answer could not be given, and so is not known.
            Ok(()) => {}
            // The kernel's own driver had none.
            Err(Errno::ENOMEM) if has_failed && argument.failure().reason == DSMIL_REASON_FIRMWARE => {}
            Err(Errno::ENOMEM) if has_failed => {
                same((call, *argument.failure()), (call, wanted))?;
                lacking += 1;
            }
            // A copy that failed.
            Err(Errno::EFAULT) if has_failed => {}
            Err(other) => return Err(format!("call {call}: {other} {:?}", argument.failure()).into()),
        }
    }
    Err(format!("more than {CALLS_MAX} calls").into())
}

/// Nothing is sealed before, and this seals.
pub(crate) fn check(bench: &mut Bench) {
    bench.check("no-memory-read-enomem", |b| {
        let wanted: Vec<_> = b.own.iter().cycle().take(12).copied().collect();
        let blank = || wanted.iter().map(|id| dsmil_read_entry { id: id.0, ..Default::default() }).collect();
        let mut entries: Vec<dsmil_read_entry> = Vec::new();
        let request = || {
            entries = blank();
            Ok(dsmil_read { max_age_ms: DSMIL_AGE_ANY, ..read_of(&mut entries) })
        };
        each(&b.open()?, DSMIL_IOC_READ, request, |_| Ok(()))
    });
    bench.check("no-memory-snapshot-enomem", |b| {
        let count = b.info()?.readable;
        let room = vec![dsmil_read_entry::default(); usize::try_from(count)?];
        let (entries, max_age_ms) = (address(&room), DSMIL_AGE_ANY);
        let mut snapshot = dsmil_snapshot { count, selects: 1, max_age_ms, entries, ..Default::default() };
        let (file, wanted) = (b.open()?, whole(Errno::ENOMEM, DSMIL_REASON_MEMORY));
        let starved = Starved::new()?;
        let done = refused(&file, DSMIL_IOC_SNAPSHOT, snapshot, wanted);
        drop(starved);
        let told = done?;
        same((told.count, told.failed, told.generation, told.time_ns), (count, 0, 0, 0))?;
        raw(&file, DSMIL_IOC_SNAPSHOT, &mut snapshot)?;
        same(snapshot.count, count)
    });
    bench.check("no-memory-allow-enomem", |b| {
        let (file, ids) = (b.open()?, b.own.iter().map(|id| id.0).collect::<Vec<_>>());
        let (failing, mut call, mut lacking) = (Failing::new()?, 0, 0);
        let wanted = whole(Errno::ENOMEM, DSMIL_REASON_MEMORY);
        // The last copy that fails comes after the seal.
        while b.info()?.flags & DSMIL_INFO_SEALED == 0 {
            let mut allow = allow_of(&ids);
            call += 1;
            failing.arm(call)?;
            let done = raw(&file, DSMIL_IOC_ALLOW, &mut allow);
            failing.arm(0)?;
            if done == Err(Errno::ENOMEM) {
                lacking += 1;
                same((allow.failure, b.info()?.flags & DSMIL_INFO_SEALED), (wanted, 0))?;
            }
        }
        holds(lacking > 0, format!("none of {call} calls was refused for want of memory"))
    });
    bench.check("no-memory-stage-enomem", |b| {
        let file = b.open()?;
        let entries: Vec<_> =
            b.own.iter().map(|id| dsmil_stage_entry { id: id.0, ..Default::default() }).collect();
        let number = begin(&file, 600_000)?;
        let mut current = number;
        let request = || {
            // What was refused has staged nothing; what was not is dropped.
            if b.info()?.entries > 0 {
                undo(&file, current)?;
                current = begin(&file, 600_000)?;
            }
            Ok(stage_of(current, &entries))
        };
        let count = u32::try_from(entries.len())?;
        each(&file, DSMIL_IOC_STAGE, request, |told| same(told.staged, count))?;
        let last = b.info()?.transaction;
        undo(&file, last).map(|_| ())
    });
    bench.check("no-memory-commit-enomem", |b| {
        let (file, (change, old)) = (b.open()?, b.flip(b.token()?)?);
        let request = || {
            let info = b.info()?;
            match info.state {
                DSMIL_STATE_IDLE => {}
                DSMIL_STATE_UNDOING => b.until_idle()?,
                _ => undo(&file, info.transaction).map(drop)?,
            }
            same(b.stored(change.id)?, old)?;
            let number = begin(&file, 600_000)?;
            stage(&file, number, &[change])?;
            Ok(commit_of(number))
        };
        let pending = |told: &dsmil_commit| {
            same(b.stored(change.id)?, change.value)?;
            same(settle(&file, DSMIL_IOC_UNDO, told.transaction)?.undone, 1)
        };
        each(&file, DSMIL_IOC_COMMIT, request, pending)?;
        same(b.stored(change.id)?, old)
    });
}
