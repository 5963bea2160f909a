//! What the chip has cost so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The kinds of operations that are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Heads of the log signed.
    SignHead,
    /// Other digests signed.
    Sign,
    /// Data sealed.
    Seal,
    /// Data unsealed.
    Unseal,
    /// Requests for random bytes.
    Random,
    /// Questions about what the chip holds and can do.
    Resources,
    /// NV indices defined, read, written, removed.
    Nv,
    /// The log's anchor defined, read and advanced.
    Anchor,
    /// The TPM's own statements: quotes and certifications.
    Attest,
    /// PCRs read and extended.
    Pcr,
    /// Keys made, and signatures with them.
    Key,
    /// Data encrypted and decrypted in the chip.
    Cipher,
}

impl Kind {
    /// All of them, in the order of [`Counters::operations`].
    pub const ALL: [Self; 12] = [
        Self::SignHead,
        Self::Sign,
        Self::Seal,
        Self::Unseal,
        Self::Random,
        Self::Resources,
        Self::Nv,
        Self::Anchor,
        Self::Attest,
        Self::Pcr,
        Self::Key,
        Self::Cipher,
    ];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignHead => "sign_head",
            Self::Sign => "sign",
            Self::Seal => "seal",
            Self::Unseal => "unseal",
            Self::Random => "random",
            Self::Resources => "resources",
            Self::Nv => "nv",
            Self::Anchor => "anchor",
            Self::Attest => "attest",
            Self::Pcr => "pcr",
            Self::Key => "key",
            Self::Cipher => "cipher",
        }
    }
}

/// How many buckets a histogram has: the last one begins at 8.4 s.
pub const BUCKETS: usize = 24;

/// The upper bound of a bucket, microseconds; `None` for the last one, which has none.
pub fn bucket_us_max(bucket: usize) -> Option<u64> {
    let shift = u32::try_from(bucket).ok()?.checked_add(1)?;
    (bucket + 1 < BUCKETS).then(|| 1u64.checked_shl(shift))?
}

/// One kind of operation, as counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Operation {
    /// Operations that the chip was asked for, failed ones included.
    pub count: u64,
    /// Those that ended in an error.
    pub failed: u64,
    /// Time in the chip and on the way there, all together, nanoseconds; waiting in the queue is not in it.
    pub time_ns: u64,
    /// The longest one, nanoseconds.
    pub time_ns_max: u64,
    /// Time that they waited in the queue, all together, nanoseconds.
    pub wait_ns: u64,
    /// The longest such wait, nanoseconds.
    pub wait_ns_max: u64,
    /// Requests that wait now.
    pub waiting: usize,
    /// How many took how long: bucket 0 less than 2 µs, each next one up to twice as long, the last one all above.
    pub buckets: [u64; BUCKETS],
}

impl Operation {
    /// What so many of a hundred took less than, microseconds, to a power of two; `None` where nothing was counted, or where it lies in
    /// the last bucket.
    pub fn percentile_us(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.buckets.iter().sum();
        // In wide numbers, rounded up: 99 of 100 of one are that one.
        let wanted = (u128::from(total) * u128::from(percent)).div_ceil(100);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += u128::from(*count);
            seen > 0 && seen >= wanted
        });
        bucket.and_then(bucket_us_max)
    }
}

/// What [`Handle::counters`](crate::Handle::counters) gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Commands sent to the chip, also those of the start.
    pub commands: u64,
    /// Commands sent once more because the chip asked for it.
    pub retries: u64,
    /// Times that session and keys were made again after a reset or a broken connection.
    pub reconnects: u64,
    /// Requests refused because the queue was full.
    pub queue_full: u64,
    /// Requests whose caller stopped waiting at the deadline.
    pub deadline_passed: u64,
    /// Requests taken back before the chip began with them, those past their deadline included.
    pub cancelled: u64,
    /// Requests that wait now.
    pub queue_len: usize,
    /// One for each of [`Kind::ALL`].
    pub operations: [Operation; Kind::ALL.len()],
}

impl Counters {
    /// The operations of one kind.
    pub fn of(&self, kind: Kind) -> Operation {
        self.operations.get(kind as usize).copied().unwrap_or_default()
    }

    /// Signatures of both keys.
    pub fn signatures(&self) -> u64 {
        self.of(Kind::SignHead).count + self.of(Kind::Sign).count
    }
}

/// Requests that wait, one for each of [`Kind::ALL`].
pub(crate) type Waiting = [usize; Kind::ALL.len()];

/// One kind of operation, being counted.
#[derive(Default)]
struct Meter {
    count: AtomicU64,
    failed: AtomicU64,
    time_ns: AtomicU64,
    time_ns_max: AtomicU64,
    wait_ns: AtomicU64,
    wait_ns_max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Meter {
    fn read(&self, waiting: usize) -> Operation {
        Operation {
            waiting,
            count: self.count.load(Relaxed),
            failed: self.failed.load(Relaxed),
            time_ns: self.time_ns.load(Relaxed),
            time_ns_max: self.time_ns_max.load(Relaxed),
            wait_ns: self.wait_ns.load(Relaxed),
            wait_ns_max: self.wait_ns_max.load(Relaxed),
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Relaxed)),
        }
    }
}

/// The counters that the owner and the handles share. Each stands alone, so no order between them is needed.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) commands: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) queue_full: AtomicU64,
    pub(crate) deadline_passed: AtomicU64,
    meters: [Meter; Kind::ALL.len()],
}

impl Shared {
    /// Adds one to a counter.
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Records one finished operation.
    pub(crate) fn record(&self, kind: Kind, wait: Duration, time: Duration, failed: bool) {
        let Some(meter) = self.meters.get(kind as usize) else { return };
        let (wait, time) = (nanoseconds(wait), nanoseconds(time));
        meter.count.fetch_add(1, Relaxed);
        meter.failed.fetch_add(u64::from(failed), Relaxed);
        meter.time_ns.fetch_add(time, Relaxed);
        meter.time_ns_max.fetch_max(time, Relaxed);
        meter.wait_ns.fetch_add(wait, Relaxed);
        meter.wait_ns_max.fetch_max(wait, Relaxed);
        if let Some(bucket) = meter.buckets.get(bucket_of(time / 1000)) {
            Self::add(bucket);
        }
    }

    /// The values now.
    pub(crate) fn read(&self, waiting: Waiting, cancelled: u64) -> Counters {
        let mut operations = [Operation::default(); Kind::ALL.len()];
        for (operation, (meter, waiting)) in operations.iter_mut().zip(self.meters.iter().zip(waiting)) {
            *operation = meter.read(waiting);
        }
        Counters {
            commands: self.commands.load(Relaxed),
            retries: self.retries.load(Relaxed),
            reconnects: self.reconnects.load(Relaxed),
            queue_full: self.queue_full.load(Relaxed),
            deadline_passed: self.deadline_passed.load(Relaxed),
            cancelled,
            queue_len: waiting.iter().sum(),
            operations,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn bucket_of(us: u64) -> usize {
    usize::try_from(us.max(1).ilog2()).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_falls_into_its_bucket() {
        for us in [0, 1, 2, 3, 4, 1000, 40_000, 2_000_000, 8_388_607, 8_388_608, u64::MAX] {
            let bucket = bucket_of(us);
            assert!(bucket_us_max(bucket).is_none_or(|max| us < max), "{us}");
            assert!(bucket == 0 || bucket_us_max(bucket - 1).is_some_and(|min| us >= min), "{us}");
        }
        assert_eq!(bucket_us_max(BUCKETS), None);
    }

    #[test]
    fn percentiles_are_the_bounds_of_buckets() {
        let counted = |times: &[u64]| {
            let mut operation = Operation::default();
            for us in times {
                operation.buckets[bucket_of(*us)] += 1;
            }
            (operation.percentile_us(50), operation.percentile_us(99))
        };
        assert_eq!(counted(&[]), (None, None));
        assert_eq!(counted(&[5]), (Some(8), Some(8)));
        assert_eq!(counted(&[5, 5000]), (Some(8), Some(8192)));
        assert_eq!(counted(&[&[1000; 99][..], &[100_000]].concat()), (Some(1024), Some(1024)));
        assert_eq!(counted(&[&[1000; 98][..], &[100_000; 2]].concat()), (Some(1024), Some(131_072)));
        assert_eq!(counted(&[u64::MAX]), (None, None));
    }

    #[test]
    fn operations_are_counted_apart() {
        let shared = Shared::default();
        shared.record(Kind::Cipher, Duration::from_micros(5), Duration::from_millis(2), true);
        let mut waiting = Waiting::default();
        waiting[Kind::Pcr as usize] = 3;
        let counters = shared.read(waiting, 0);
        assert_eq!(
            (counters.queue_len, counters.of(Kind::Pcr).waiting, counters.of(Kind::Nv).waiting),
            (3, 3, 0)
        );
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(counters.of(kind).count, u64::from(kind == Kind::Cipher));
        }
        let cipher = counters.of(Kind::Cipher);
        assert_eq!((cipher.failed, cipher.time_ns, cipher.wait_ns), (1, 2_000_000, 5_000));
        assert_eq!(cipher.buckets.iter().position(|n| *n == 1), Some(10));
    }
}
