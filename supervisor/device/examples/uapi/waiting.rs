//! Waiting for events: reading, poll, epoll, signals.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::getpid;

use crate::bench::{Bench, Check, Fallible, holds, same};
use crate::events::{RECORD, listen, records, refusals};
use crate::process::{child, speaking, tell};
use crate::uapi::*;

/// So long nothing happens where nothing should.
const QUIET_MS: u16 = 60;

extern "C" fn nothing(_signal: libc::c_int) {}

/// Signals no longer end this process, and interrupt whatever it waits for.
fn interruptible(signal: Signal) -> Check {
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: The handler does nothing.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// An alarm after so long, which interrupts what this process waits for.
pub(crate) fn alarm(after: Duration) -> Check {
    interruptible(Signal::SIGALRM)?;
    let value = libc::timeval { tv_sec: 0, tv_usec: i64::from(after.subsec_micros()) };
    let timer = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: value };
    // SAFETY: The kernel reads one timer.
    Errno::result(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) })?;
    Ok(())
}

pub(crate) fn check(bench: &mut Bench) {
    blocking(bench);
    polling(bench);
}

fn blocking(bench: &mut Bench) {
    bench.check("read-without-waiting-eagain", |b| same(records(&listen(b)?, 1), Err(Errno::EAGAIN)));
    bench.check("read-waits-for-an-event", |b| {
        let (file, node) = (b.open()?, b.node.clone());
        let mut reader = speaking(move |line| {
            let listener = File::open(node)?;
            tell(line)?;
            let found = records(&listener, 8)?;
            same(found.iter().map(|e| (e.kind, e.lost)).collect(), vec![(DSMIL_EVENT_REFUSED, 0)])
        })?;
        reader.hear()?;
        asleep(&reader)?;
        refusals(&file, 1)?;
        reader.end()
    });
    bench.check("read-interrupted-by-a-signal-eintr", |b| {
        let node = b.node.clone();
        let mut reader = speaking(move |line| {
            interruptible(Signal::SIGUSR1)?;
            let listener = File::open(node)?;
            tell(line)?;
            same(records(&listener, 8), Err(Errno::EINTR))
        })?;
        reader.hear()?;
        asleep(&reader)?;
        kill(reader.pid(), Signal::SIGUSR1)?;
        reader.end()
    });
    bench.check("read-killed-while-it-waits", |b| {
        let node = b.node.clone();
        let mut reader = speaking(move |line| {
            let listener = File::open(node)?;
            tell(line)?;
            records(&listener, 8)?;
            Ok(())
        })?;
        reader.hear()?;
        asleep(&reader)?;
        reader.kill()
    });
}

/// Waits until a child sleeps in a system call that signals can interrupt.
fn asleep(reader: &crate::process::Child) -> Check {
    let path = format!("/proc/{}/stat", reader.pid());
    crate::bench::until("the reader to sleep", || {
        let text = std::fs::read_to_string(&path)?;
        Ok(text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S')))
    })
}

/// What poll says at once.
fn polled(file: &File) -> Fallible<PollFlags> {
    let mut wanted = [PollFd::new(file.as_fd(), PollFlags::POLLIN | PollFlags::POLLOUT)];
    poll(&mut wanted, PollTimeout::ZERO)?;
    Ok(wanted.first().and_then(PollFd::revents).unwrap_or(PollFlags::empty()))
}

/// An epoll of one file.
struct Epoll(OwnedFd);

impl Epoll {
    fn new(file: &File, flags: i32) -> Fallible<Self> {
        // SAFETY: Makes a descriptor, which is nobody else's.
        let made = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        // SAFETY: As above; it was just looked at whether there is one.
        let epoll = unsafe { OwnedFd::from_raw_fd(Errno::result(made)?) };
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | flags).cast_unsigned(), u64: 7 };
        let (add, file) = (libc::EPOLL_CTL_ADD, file.as_raw_fd());
        // SAFETY: The kernel reads one event.
        Errno::result(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), add, file, &raw mut event) })?;
        Ok(Self(epoll))
    }

    /// Whether it is told of something within so long.
    fn wait(&self, milliseconds: u16) -> Fallible<bool> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: The kernel fills in one event at most.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, milliseconds.into()) };
        Ok(Errno::result(count)? == 1)
    }
}

fn polling(bench: &mut Bench) {
    bench.check("poll-says-when-there-is-one", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        same(polled(&listener)?, PollFlags::empty())?;
        refusals(&file, 2)?;
        same(polled(&listener)?, PollFlags::POLLIN)?;
        records(&listener, 1)?;
        same(polled(&listener)?, PollFlags::POLLIN)?;
        records(&listener, 1)?;
        same(polled(&listener)?, PollFlags::empty())
    });
    bench.check("poll-is-woken", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        let waker = child(|| {
            std::thread::sleep(Duration::from_millis(50));
            refusals(&file, 1)
        })?;
        let mut wanted = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        same(poll(&mut wanted, PollTimeout::from(10_000_u16))?, 1)?;
        waker.end()?;
        same(records(&listener, 4)?.len(), 1)
    });
    bench.check("epoll-level", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        let epoll = Epoll::new(&listener, 0)?;
        holds(!epoll.wait(QUIET_MS)?, "told of nothing")?;
        refusals(&file, 1)?;
        holds(epoll.wait(1000)? && epoll.wait(0)? && epoll.wait(0)?, "not told of what is still there")?;
        records(&listener, 1)?;
        holds(!epoll.wait(QUIET_MS)?, "told of what was read")
    });
    bench.check("epoll-edge", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        let epoll = Epoll::new(&listener, libc::EPOLLET)?;
        holds(!epoll.wait(QUIET_MS)?, "told of nothing")?;
        refusals(&file, 2)?;
        holds(epoll.wait(1000)?, "not told")?;
        holds(!epoll.wait(QUIET_MS)?, "told twice of the same")?;
        refusals(&file, 1)?;
        holds(epoll.wait(1000)?, "not told of one more")?;
        same(records(&listener, 8)?.len(), 3)
    });
    bench.check("events-come-by-the-pid-that-others-know", |b| {
        let (file, listener) = (b.open()?, listen(b)?);
        let by = child(|| refusals(&file, 1))?;
        let pid = u32::try_from(by.pid().as_raw())?;
        by.end()?;
        refusals(&file, 1)?;
        let found = records(&listener, 4)?;
        let ours = u32::try_from(getpid().as_raw())?;
        same(found.iter().map(|e| (e.pid, e.uid)).collect(), vec![(pid, 0), (ours, 0)])?;
        same(RECORD, 72)
    });
}
