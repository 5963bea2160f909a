//! What the chip has cost so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One kind of operation, as counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Operation {
    /// Operations that the chip was asked for, failed ones included.
    pub count: u64,
    /// Those that ended in an error.
    pub failed: u64,
    /// Time in the chip and in libtss2, all together, nanoseconds; waiting in the queue is not in it.
    pub time_ns: u64,
    /// The longest one, nanoseconds.
    pub time_ns_max: u64,
}

/// What [`Handle::counters`](crate::Handle::counters) gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Commands sent to the chip, also those of the start. What libtss2 sends again by itself is not in it.
    pub commands: u64,
    /// Commands sent once more because the chip asked for it.
    pub retries: u64,
    /// Requests refused because the queue was full.
    pub queue_full: u64,
    /// Requests whose caller stopped waiting at the deadline.
    pub deadline_passed: u64,
    /// Requests that wait now.
    pub queue_len: usize,
    /// Signatures.
    pub sign: Operation,
    /// Data sealed.
    pub seal: Operation,
    /// Data unsealed.
    pub unseal: Operation,
    /// Requests for random bytes.
    pub random: Operation,
    /// Questions about what the chip holds.
    pub resources: Operation,
}

/// The kinds of operations.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Sign,
    Seal,
    Unseal,
    Random,
    Resources,
}

/// One kind of operation, being counted.
#[derive(Default)]
struct Meter {
    count: AtomicU64,
    failed: AtomicU64,
    time_ns: AtomicU64,
    time_ns_max: AtomicU64,
}

impl Meter {
    fn read(&self) -> Operation {
        Operation {
            count: self.count.load(Relaxed),
            failed: self.failed.load(Relaxed),
            time_ns: self.time_ns.load(Relaxed),
            time_ns_max: self.time_ns_max.load(Relaxed),
        }
    }
}

/// The counters that the owner and the handles share. Each stands alone, so no order between them is needed.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) commands: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) deadline_passed: AtomicU64,
    sign: Meter,
    seal: Meter,
    unseal: Meter,
    random: Meter,
    resources: Meter,
}

impl Shared {
    /// Adds one to a counter.
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Records one finished operation.
    pub(crate) fn record(&self, kind: Kind, time: Duration, failed: bool) {
        let meter = match kind {
            Kind::Sign => &self.sign,
            Kind::Seal => &self.seal,
            Kind::Unseal => &self.unseal,
            Kind::Random => &self.random,
            Kind::Resources => &self.resources,
        };
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        meter.count.fetch_add(1, Relaxed);
        meter.failed.fetch_add(u64::from(failed), Relaxed);
        meter.time_ns.fetch_add(ns, Relaxed);
        meter.time_ns_max.fetch_max(ns, Relaxed);
    }

    /// The values now.
    pub(crate) fn read(&self, queue_len: usize) -> Counters {
        Counters {
            commands: self.commands.load(Relaxed),
            retries: self.retries.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            deadline_passed: self.deadline_passed.load(Relaxed),
            queue_len,
            sign: self.sign.read(),
            seal: self.seal.read(),
            unseal: self.unseal.read(),
            random: self.random.read(),
            resources: self.resources.read(),
        }
    }
}
