//! Whose a transaction is: the file and the process that began it, and nobody else's.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use types::token::Change;

use crate::bench::{Bench, Check, Fallible, holds, same, until};
use crate::laptop::Fault;
use crate::process::{child, hear, receive, send, speaking, tell};
use crate::raw::{
    begin, commit_of, refused, settle, settle_of, stage, stage_of, staged, steps_refused, undo, whole, write,
};
use crate::uapi::*;

/// Argument with which this program settles what it inherited: descriptor and number follow.
pub(crate) const CONFIRM: &str = "--confirm";

/// What the program does when it was run with [`CONFIRM`].
pub(crate) fn confirm(descriptor: &str, number: &str) -> Check {
    let descriptor = descriptor.parse()?;
    same(fcntl_of(descriptor)?, FdFlag::empty())?;
    // SAFETY: It is open, which was just seen, and nobody else's in this program.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    settle(&file, DSMIL_IOC_CONFIRM, number.parse()?).map(|_| ())
}

fn fcntl_of(descriptor: i32) -> Fallible<FdFlag> {
    // SAFETY: Borrowed for this call alone, which says so if it is not open.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    Ok(FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?))
}

/// Everything that only the owner may do is refused so.
fn strange(file: &File, number: u64, change: &Change) -> Check {
    steps_refused(file, number, change, whole(Errno::EPERM, DSMIL_REASON_NOT_OWNER))
}

/// While the change is open, then while it is pending.
fn at_both(b: &Bench, act: impl Fn(&File, u64, &Change) -> Check) -> Check {
    let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
    let number = begin(&file, 0)?;
    stage(&file, number, &[change])?;
    act(&file, number, &change).map_err(|why| format!("while open: {why}"))?;
    same((b.info()?.state, b.info()?.entries), (DSMIL_STATE_OPEN, 1))?;
    crate::raw::commit(&file, number)?;
    act(&file, number, &change).map_err(|why| format!("while pending: {why}"))?;
    same((b.info()?.state, b.stored(change.id)?), (DSMIL_STATE_PENDING, change.value))?;
    undo(&file, number)?;
    same(b.stored(change.id)?, old)
}

pub(crate) fn check(bench: &mut Bench) {
    bench.check("another-file-eperm", |b| {
        // Also its close is nobody's business.
        at_both(b, |_, number, change| strange(&b.open()?, number, change))
    });
    bench.check("another-file-of-a-read-only-kind", |b| {
        at_both(b, |_, number, change| {
            let file = File::open(&b.node)?;
            let entries = [staged(change)];
            let (not, read_only) = (
                whole(Errno::EPERM, DSMIL_REASON_NOT_OWNER),
                whole(Errno::EBADF, DSMIL_REASON_READ_ONLY_FILE),
            );
            refused(&file, DSMIL_IOC_STAGE, stage_of(number, &entries), not)?;
            refused(&file, DSMIL_IOC_COMMIT, commit_of(number), read_only)?;
            refused(&file, DSMIL_IOC_CONFIRM, settle_of(number), not)?;
            refused(&file, DSMIL_IOC_UNDO, settle_of(number), not).map(|_| ())
        })
    });
    bench.check("forked-child-eperm", |b| {
        // Its exit closes its descriptor, which is not the owner's.
        at_both(b, |file, number, change| child(|| strange(file, number, change))?.end())
    });
    bench.check("receiver-of-the-descriptor-eperm", |b| {
        at_both(b, |file, number, change| {
            let (ours, theirs) = UnixStream::pair()?;
            let receiver = child(|| strange(&File::from(receive(&theirs)?), number, change))?;
            send(&ours, file)?;
            receiver.end()
        })
    });
    bench.check("descriptor-opened-by-a-parent-is-the-childs-own", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let begun = child(|| {
            let number = write(&file, &[change], 0)?;
            settle(&file, DSMIL_IOC_CONFIRM, number).map(|_| ())
        })?;
        begun.end()?;
        same(b.stored(change.id)?, change.value)?;
        b.laptop.poke(b.location(change.id)?, old)
    });
    bench.check("thread-of-the-process-may", |b| {
        let ((change, old), file) = (b.flip(b.token()?)?, b.open()?);
        let number = begin(&file, 0)?;
        let step = |act: fn(&File, u64, Change) -> Check| -> Check {
            let done = std::thread::scope(|scope| {
                let thread = scope.spawn(|| act(&file, number, change).map_err(|why| why.to_string()));
                thread.join().map_err(|_| "the thread died".to_owned())
            });
            Ok(done??)
        };
        step(|file, number, change| stage(file, number, &[change]).map(|_| ()))?;
        step(|file, number, _| crate::raw::commit(file, number))?;
        same(b.stored(change.id)?, change.value)?;
        step(|file, number, _| undo(file, number).map(|_| ()))?;
        same(b.stored(change.id)?, old)
    });
    bench.check("others-do-not-wait-for-a-commit", others);
    programs(bench);
}

/// While a commit takes seconds, everybody else is answered at once, with what they would be answered afterwards.
fn others(b: &Bench) -> Check {
    let ((change, old), node, number) = (b.flip(b.token()?)?, b.node.clone(), b.info()?.transaction + 1);
    let slow = b.laptop.fault(Fault { value: 3000, count: 1, ..Fault::each(Fault::SLOW, Fault::WRITES) })?;
    let before = b.info()?.generation;
    let writer = child(move || {
        let file = OpenOptions::new().read(true).write(true).open(node)?;
        write(&file, &[change], 0).map(|_| ())
    })?;
    until("the commit to begin", || Ok(b.info()?.generation > before))?;
    let (file, began) = (b.open()?, Instant::now());
    let answers = (
        refused(&file, DSMIL_IOC_BEGIN, dsmil_begin::default(), whole(Errno::EBUSY, DSMIL_REASON_BUSY)),
        strange(&file, number, &change),
        steps_refused(&file, number + 1, &change, whole(Errno::ESRCH, DSMIL_REASON_NO_TRANSACTION)),
    );
    let took = began.elapsed();
    writer.end()?;
    drop(slow);
    answers.0?;
    answers.1.and(answers.2)?;
    holds(took < Duration::from_millis(1500), format!("answered after {took:?}"))?;
    same(b.stored(change.id)?, old)
}

fn programs(bench: &mut Bench) {
    bench.check("another-program-keeps-what-it-inherits", |b| {
        let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
        let owner = child(move || {
            let file = OpenOptions::new().read(true).write(true).open(node)?;
            let number = write(&file, &[change], 0)?;
            fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Err(exec(&[CONFIRM, &file.as_raw_fd().to_string(), &number.to_string()]))
        })?;
        owner.end()?;
        same(b.stored(change.id)?, change.value)?;
        b.ended(DSMIL_OUTCOME_CONFIRMED)?;
        b.laptop.poke(b.location(change.id)?, old)
    });
    bench.check("another-program-without-the-descriptor-undoes", |b| {
        let ((change, old), node) = (b.flip(b.token()?)?, b.node.clone());
        let mut owner = speaking(move |line| {
            let file = OpenOptions::new().read(true).write(true).open(node)?;
            write(&file, &[change], 0)?;
            tell(line)?;
            hear(line)?;
            // The standard library opens everything so that it is closed here.
            use std::os::unix::process::CommandExt;
            Err(Command::new("/bin/sleep").arg("20").exec().into())
        })?;
        owner.hear()?;
        same(b.stored(change.id)?, change.value)?;
        owner.tell()?;
        b.until_value(change.id, old)?;
        owner.kill()?;
        b.ended(DSMIL_OUTCOME_CLOSED)
    });
}

fn exec(arguments: &[&str]) -> Box<dyn std::error::Error> {
    use std::os::unix::process::CommandExt;
    Command::new("/proc/self/exe").args(arguments).exec().into()
}
