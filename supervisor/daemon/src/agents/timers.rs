//! What is due when.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use api::agent::protocol::Id;

/// Something that is due. Whether it still matters is looked at then.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timer {
    /// When.
    pub at: Instant,
    /// For which instance.
    pub instance: u64,
    /// What.
    pub due: Due,
}

/// What can be due.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Due {
    /// It must have said hello.
    Hello,
    /// It is asked for a heartbeat.
    Heartbeat,
    /// It must have ended: its stdout is closed.
    Eof,
    /// It must have ended: its stdin is closed.
    Stdin,
    /// It must have ended: it was asked to.
    End,
    /// It must have stopped working on a task.
    Cancel(Id),
    /// Progress that was held back is told.
    Progress,
    /// It may write to stderr again.
    Stderr,
}

/// All timers of the driver.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<Timer>>);

impl Timers {
    /// Sets one more.
    pub fn set(&mut self, timer: Timer) {
        self.0.push(Reverse(timer));
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(timer)| timer.at)
    }

    /// Takes one that is due.
    pub fn take(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }
}
