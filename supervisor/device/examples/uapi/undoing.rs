//! What brings the old values back.

use std::fs::OpenOptions;
use std::thread::sleep;
use std::time::{Duration, Instant};

use device::{Device, Error, Outcome, State};
use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::dup;

use crate::bench::{Bench, Check, same};
use crate::memory::Page;
use crate::process::{forked, wait};
use crate::raw::{commit_of, raw, raw_at, refuses, stage_raw, write_raw};
use crate::uapi::*;

pub(crate) fn check(bench: &mut Bench) {
    owner(bench);
    closing(bench);
}

/// Who may settle a change, and who may not.
fn owner(bench: &mut Bench) {
    bench.check("undo-on-drop", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        same(b.value(change.id)?, change.value)?;
        drop(pending);
        same(b.value(change.id)?, old)?;
        same(b.device.info()?.outcome, Outcome::Undone)
    });
    bench.check("second-write-ebusy", |b| {
        let (change, _) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        let second = Device::open(&b.node)?.write(&[change], Duration::ZERO).err();
        let own = b.device.write(&[change], Duration::ZERO).err();
        pending.undo()?;
        same((second, own), (Some(Error::Busy), Some(Error::Busy)))
    });
    bench.check("settle-by-another-file-eperm", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::ZERO)?;
        let settle = dsmil_settle { transaction: pending.transaction(), ..Default::default() };
        let file = b.open()?;
        refuses(&file, DSMIL_IOC_CONFIRM, settle, Errno::EPERM)?;
        refuses(&file, DSMIL_IOC_UNDO, settle, Errno::EPERM)?;
        let wrong = dsmil_settle { transaction: pending.transaction() + 1, ..settle };
        refuses(&file, DSMIL_IOC_CONFIRM, wrong, Errno::ESRCH)?;
        drop(file);
        same(b.value(change.id)?, change.value)?;
        pending.undo()?;
        same(b.value(change.id)?, old)
    });
    bench.check("settle-by-a-child-eperm", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let number = write_raw(&file, &change, 0)?;
        let settle = dsmil_settle { transaction: number, ..Default::default() };
        let child = forked(|| refuses(&file, DSMIL_IOC_CONFIRM, settle, Errno::EPERM).is_ok())?;
        same(wait(child)?, 0)?;
        // The child's exit closed its descriptor; that is not the owner's.
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)
    });
    bench.check("settle-result-unwritable-efault-still-pending", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        let settle = dsmil_settle { transaction: write_raw(&file, &change, 0)?, ..Default::default() };
        let page = Page::read_only(settle)?;
        for number in [DSMIL_IOC_CONFIRM, DSMIL_IOC_UNDO] {
            same(raw_at(&file, number, page.address()), Err(Errno::EFAULT))?;
            same(b.value(change.id)?, change.value)?;
        }
        raw(&file, DSMIL_IOC_UNDO, &mut settle.clone())?;
        same(b.value(change.id)?, old)
    });
}

/// Nobody settles it: the file is closed, its owner dies, the deadline comes.
fn closing(bench: &mut Bench) {
    bench.check("undo-on-close", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        write_raw(&file, &change, 0)?;
        same(b.value(change.id)?, change.value)?;
        drop(file);
        same(b.value(change.id)?, old)?;
        same(b.device.info()?.outcome, Outcome::Closed)
    });
    bench.check("undo-on-close-of-a-duplicate", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let file = b.open()?;
        write_raw(&file, &change, 0)?;
        drop(dup(&file)?);
        same(b.value(change.id)?, old)
    });
    bench.check("undo-on-kill", undo_on_kill);
    bench.check("undo-at-deadline", |b| {
        let (change, old) = b.flip(b.token()?)?;
        let pending = b.device.write(&[change], Duration::from_secs(1))?;
        let written = Instant::now();
        match b.device.info()?.state {
            State::Pending { remaining } if remaining <= Duration::from_secs(1) => {}
            other => return Err(format!("{other:?}").into()),
        }
        b.until_value(change.id, old)?;
        if written.elapsed() < Duration::from_millis(900) {
            return Err("too early".into());
        }
        same(b.device.info()?.outcome, Outcome::Expired)?;
        same(pending.confirm(), Err(Error::NotPending))?;
        same(b.value(change.id)?, old)
    });
    bench.check("undo-at-deadline-though-the-answer-waits", undo_while_answer_waits);
    bench.check("idle-in-the-end", |b| same(b.device.info()?.state, State::Idle));
}

/// A child that has written and is killed while another process has the file open too.
fn undo_on_kill(b: &Bench) -> Check {
    let (change, old) = b.flip(b.token()?)?;
    let (ready, told) = nix::unistd::pipe()?;
    let node = b.node.clone();
    let child = forked(move || {
        let Ok(file) = OpenOptions::new().read(true).write(true).open(&node) else { return false };
        // The grandchild keeps the file open, so that `release` does not come when the child dies.
        let grandchild = forked(|| {
            sleep(Duration::from_secs(3));
            true
        });
        let written = write_raw(&file, &change, 0).is_ok() && grandchild.is_ok();
        let _ = nix::unistd::write(&told, if written { b"y" } else { b"n" });
        sleep(Duration::from_secs(60));
        true
    })?;
    let mut answer = [0];
    nix::unistd::read(&ready, &mut answer)?;
    same(answer, *b"y")?;
    same(b.value(change.id)?, change.value)?;
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL)?;
    waitpid(child, None)?;
    b.until_value(change.id, old)?;
    same(b.device.info()?.outcome, Outcome::Closed)
}

/// A writer to whom the old values cannot be given back now: it must not hold up the deadline, nor others.
fn undo_while_answer_waits(b: &Bench) -> Check {
    let (change, old) = b.flip(b.token()?)?;
    let file = b.open()?;
    let child = forked(move || {
        let Ok((page, _watch)) = Page::stalling(0_u32) else { return false };
        let Ok(number) = stage_raw(&file, &change, 2000) else { return false };
        let old = page.address().try_into().unwrap_or(0);
        raw(&file, DSMIL_IOC_COMMIT, &mut dsmil_commit { count: 1, old, ..commit_of(number) }).is_ok()
    })?;
    b.until_value(change.id, change.value)?;
    // Answered at once, not after the writer's death.
    b.device.info()?;
    let undone = b.until_value(change.id, old);
    let outcome = b.device.info()?.outcome;
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL)?;
    waitpid(child, None)?;
    undone?;
    same(outcome, Outcome::Expired)
}
