//! One agent as both sides see it: the loop writes to its stdin, the driver knows from it which tasks are open.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use api::agent::protocol::Id;
use nix::errno::Errno;
use types::agent::{Limits, Name};

use super::happened::Why;

/// Most bytes that may wait for an agent to read them when another message comes, which then waits behind them.
pub const QUEUE_MAX: usize = 1 << 20;
/// Longest message to an agent, bytes.
pub const LINE_MAX: usize = 1 << 20;

/// One agent that was asked for.
#[derive(Debug)]
pub struct Instance {
    /// Its number.
    pub number: u64,
    /// What it is called.
    pub name: Name,
    /// What its definition allows.
    pub limits: Limits,
    state: Mutex<State>,
}

/// What changes of it.
#[derive(Debug, Default)]
pub struct State {
    /// Where it reads; none before it has started, and after its end was asked for.
    stdin: Option<OwnedFd>,
    /// What kills it.
    killer: Option<OwnedFd>,
    /// What it has not read yet.
    queue: VecDeque<u8>,
    /// Its stdin is closed once all is written.
    is_closing: bool,
    /// Its open tasks, each with the time when it must be over, once it was cancelled.
    pub tasks: HashMap<Id, Option<Instant>>,
    /// Its open calls.
    pub calls: HashSet<Id>,
    /// Why we wanted its end: the first reason counts.
    pub verdict: Option<Why>,
    /// Its end was asked for.
    pub is_asked: bool,
    /// The last of what it wrote to stderr.
    pub tail: VecDeque<u8>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// It is in the pipe.
    Now,
    /// It, or a part of it, waits; so did nothing before.
    Begins,
    /// It waits behind others.
    Waits,
    /// Too much waits already.
    Full,
    /// There is no way to it: it has not started, is ending, or has ended.
    Gone,
    /// It has closed its stdin.
    Closed,
}

impl Instance {
    /// One that has not started yet.
    pub fn new(number: u64, name: Name, limits: Limits) -> Self {
        Self { number, name, limits, state: Mutex::default() }
    }

    /// Its state. Nobody waits while holding it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// It has started.
    pub fn open(&mut self, stdin: OwnedFd, killer: Option<OwnedFd>) {
        self.stdin = Some(stdin);
        self.killer = killer;
    }

    /// Whether it has started, and its end was not asked for.
    pub const fn is_open(&self) -> bool {
        self.stdin.is_some() && !self.is_closing
    }

    /// Its stdin, to be told when it can be written.
    pub const fn stdin(&self) -> Option<&OwnedFd> {
        self.stdin.as_ref()
    }

    /// Writes a line, or as much of it as fits.
    pub fn send(&mut self, line: &str) -> Sent {
        let Some(stdin) = self.stdin.as_ref().filter(|_| !self.is_closing) else { return Sent::Gone };
        if !self.queue.is_empty() {
            if self.queue.len() > QUEUE_MAX {
                return Sent::Full;
            }
            self.queue.extend(line.as_bytes());
            return Sent::Waits;
        }
        match write(stdin, line.as_bytes()) {
            Ok(count) if count == line.len() => Sent::Now,
            Ok(count) => {
                self.queue.extend(line.as_bytes().get(count..).unwrap_or_default());
                Sent::Begins
            }
            Err(_) => Sent::Closed,
        }
    }

    /// Writes on what waits; true once nothing does.
    pub fn flush(&mut self) -> bool {
        while let Some(stdin) = &self.stdin {
            let (front, _) = self.queue.as_slices();
            if front.is_empty() {
                break;
            }
            match write(stdin, front) {
                Ok(0) => return false,
                Ok(count) => drop(self.queue.drain(..count)),
                Err(_) => self.queue.clear(),
            }
        }
        // What one long message needed is not kept for ever.
        self.queue = VecDeque::new();
        if self.is_closing {
            self.stdin = None;
        }
        true
    }

    /// Closes its stdin once it has read what waits.
    pub fn close(&mut self) {
        self.is_asked = true;
        self.is_closing = true;
        if self.queue.is_empty() {
            self.stdin = None;
        }
    }

    /// Wants its end; false where only the helper can bring it about.
    pub fn condemn(&mut self, why: Why) -> bool {
        self.verdict.get_or_insert(why);
        self.killer.as_ref().is_some_and(|killer| nix::unistd::write(killer, b"1").is_ok())
    }
}

/// Writes what fits now.
fn write(fd: &OwnedFd, bytes: &[u8]) -> nix::Result<usize> {
    loop {
        match nix::unistd::write(fd.as_fd(), bytes) {
            Err(Errno::EAGAIN) => return Ok(0),
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}
