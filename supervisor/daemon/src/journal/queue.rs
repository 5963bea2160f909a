//! What the loop has decided and the log's thread has not appended.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::Room;
use store::head::Head;
use tokio::sync::{Notify, oneshot};
use types::hash::Hash;

use super::counts::{Paid, Promise};

/// How many bytes of records may be queued before the loop waits.
const QUEUED_BYTES_MAX: usize = 512 << 10;
/// How much else may be queued before the loop waits: answers to those who ask, who may have gone meanwhile and ask again.
const QUEUED_OUTPUTS_MAX: usize = 8 << 10;
/// How many bytes of records the loop may gather before it queues them.
pub const GATHERED_BYTES: usize = 256 << 10;
/// How long a batch waits for those who were answered together to ask again. Each flush costs as much for one record as
/// for eighty, so with many askers a flush for the first who comes back is a loss for all others. It is less than what a
/// flush takes, and one asker alone never waits.
const GATHER: Duration = Duration::from_micros(150);
/// What is decided and not appended, at most, in bytes as it lies on the disk: what is queued, what the thread has in
/// hand, and what the loop has gathered, with the records (each up to 64 KiB) that went over a limit, and frames.
pub const DECIDED_BYTES_MAX: u64 = 3 << 20;

/// Records, and what waits until they are durable.
#[derive(Debug)]
pub struct Batch<T> {
    /// The index of the first record.
    pub first: u64,
    /// Encoded records.
    pub records: Vec<Vec<u8>>,
    /// Their bytes.
    pub bytes: usize,
    /// What waits, in order.
    pub outputs: Vec<T>,
    /// A head is to be signed at once.
    pub sign: bool,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { first: 0, records: Vec::new(), bytes: 0, outputs: Vec::new(), sign: false }
    }
}

impl<T> Batch<T> {
    /// Adds a record whose index in the log is to be this one.
    pub fn record(&mut self, index: u64, record: Vec<u8>) {
        if self.records.is_empty() {
            self.first = index;
        }
        self.bytes += record.len();
        self.records.push(record);
    }

    /// Whether enough is gathered to be queued.
    pub const fn is_large(&self) -> bool {
        self.bytes >= GATHERED_BYTES
    }

    /// Whether nothing more may be queued.
    const fn is_full(&self) -> bool {
        self.bytes >= QUEUED_BYTES_MAX || self.outputs.len() >= QUEUED_OUTPUTS_MAX
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.outputs.is_empty() && !self.sign
    }

    fn append(&mut self, other: &mut Self) {
        if self.records.is_empty() {
            self.first = other.first;
        }
        self.records.append(&mut other.records);
        self.outputs.append(&mut other.outputs);
        self.bytes += std::mem::take(&mut other.bytes);
        self.sign |= std::mem::take(&mut other.sign);
    }
}

/// What came back from the TPM.
#[derive(Debug)]
pub enum FromTpm {
    /// A head with its signature, and what it promises.
    Head(Head, Promise, Result<tpm::Signature, tpm::Error>),
    /// What was counted of what a stored head promised.
    Paid(Paid, Result<(), tpm::Error>),
}

/// The state after all records that were queued, to be written down.
#[derive(Debug)]
pub struct Snapshot {
    /// How many facts it holds.
    pub facts: u64,
    /// It, encoded.
    pub state: Vec<u8>,
    /// Who waits for the file's hash.
    pub reply: oneshot::Sender<Result<Hash, store::Error>>,
}

/// What the thread takes at once.
pub struct Work<T> {
    pub batch: Batch<T>,
    pub signed: Option<FromTpm>,
    pub snapshot: Option<Snapshot>,
    /// Nothing comes after it.
    pub closing: bool,
}

struct Inner<T> {
    batch: Batch<T>,
    signed: Option<FromTpm>,
    snapshot: Option<Snapshot>,
    closing: bool,
    /// The thread sleeps until there are so many records, or something that waits for none.
    asleep: bool,
    wanted: usize,
}

type Guard<'a, T> = MutexGuard<'a, Inner<T>>;

impl<T> Inner<T> {
    /// Nothing is to be done.
    fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.signed.is_none() && self.snapshot.is_none() && !self.closing
    }

    /// It is not worth while to wait for more.
    fn is_filled(&self) -> bool {
        let is_other = self.batch.records.is_empty() && !self.is_idle();
        self.batch.records.len() >= self.wanted || is_other || self.snapshot.is_some() || self.closing
    }
}

/// The queue between the loop and the log's thread.
pub struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    taken: Notify,
    room: AtomicU8,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let inner = Inner {
            batch: Batch::default(),
            signed: None,
            snapshot: None,
            closing: false,
            asleep: false,
            wanted: 1,
        };
        let (filled, taken) = (Condvar::new(), Notify::new());
        Self { inner: Mutex::new(inner), filled, taken, room: AtomicU8::new(0) }
    }
}

impl<T> Queue<T> {
    /// Waits until there is room for a batch.
    pub async fn ready(&self) {
        while self.lock().batch.is_full() {
            // One loop waits, and a notice that comes before it does is kept.
            self.taken.notified().await;
        }
    }

    /// Queues a batch and empties it.
    pub fn push(&self, batch: &mut Batch<T>) {
        if batch.is_empty() {
            return;
        }
        self.change(|inner| inner.batch.append(batch));
    }

    /// Has the state written down once all that has queued is durable. Nothing may be queued until the answer has come.
    pub fn snapshot(&self, snapshot: Snapshot) {
        self.change(|inner| inner.snapshot = Some(snapshot));
    }

    /// Hands back what the TPM gave, or did not.
    pub fn signed(&self, signed: FromTpm) {
        self.change(|inner| inner.signed = Some(signed));
    }

    /// Nothing comes any more.
    pub fn close(&self) {
        self.change(|inner| inner.closing = true);
    }

    /// Takes all that has queued, as soon as there is something, or at the deadline. Of the `expected` records most are
    /// waited for, but not for long. `spare` is an empty batch whose memory is used again.
    pub fn take(&self, spare: Batch<T>, expected: usize, deadline: Option<Instant>) -> Work<T> {
        let mut inner = self.lock();
        inner.wanted = 1;
        while inner.is_idle() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            inner = self.wait(inner, deadline);
        }
        inner.wanted = expected - expected / 4;
        if !inner.is_filled() {
            let end = Instant::now() + GATHER;
            while !inner.is_filled() && Instant::now() < end {
                inner = self.wait(inner, Some(end));
            }
        }
        let batch = std::mem::replace(&mut inner.batch, spare);
        let work = Work {
            batch,
            signed: inner.signed.take(),
            snapshot: inner.snapshot.take(),
            closing: inner.closing,
        };
        drop(inner);
        if work.batch.is_full() {
            self.taken.notify_one();
        }
        work
    }

    /// What the TPM gave, as soon as it is there, or none at the deadline.
    pub fn take_signed(&self, deadline: Instant) -> Option<FromTpm> {
        let mut inner = self.lock();
        while inner.signed.is_none() && Instant::now() < deadline {
            inner = self.wait(inner, Some(deadline));
        }
        inner.signed.take()
    }

    /// What the disk has room for.
    pub fn room(&self) -> Room {
        match self.room.load(Ordering::Acquire) {
            0 => Room::Reserve,
            1 => Room::Orders,
            _ => Room::Notes,
        }
    }

    /// Tells it.
    pub fn set_room(&self, room: Room) {
        self.room.store(room as u8, Ordering::Release);
    }

    fn wait<'a>(&self, mut inner: Guard<'a, T>, end: Option<Instant>) -> Guard<'a, T> {
        inner.asleep = true;
        let mut inner = match end {
            None => self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner),
            Some(end) => {
                let left = end.saturating_duration_since(Instant::now());
                self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        inner.asleep = false;
        inner
    }

    fn change(&self, change: impl FnOnce(&mut Inner<T>)) {
        let mut inner = self.lock();
        change(&mut inner);
        // Waking somebody who is awake, or who would go on waiting, would be a system call for nothing.
        let wake = inner.asleep && inner.is_filled();
        drop(inner);
        if wake {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> Guard<'_, T> {
        // A panic ends the process.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn batch(index: u64, records: usize) -> Batch<u64> {
        let mut batch = Batch::default();
        for index in (index..).take(records) {
            batch.record(index, vec![0; 10]);
            batch.outputs.push(index);
        }
        batch
    }

    #[test]
    fn all_that_has_queued_is_taken_in_order() {
        let queue = Queue::default();
        for (index, records) in [(5, 2), (7, 0), (7, 3)] {
            queue.push(&mut batch(index, records));
        }
        let Work { batch, closing, .. } = queue.take(Batch::default(), 1, None);
        assert_eq!((batch.first, batch.records.len(), batch.bytes), (5, 5, 50));
        assert_eq!(batch.outputs, [5, 6, 7, 8, 9]);
        assert!(!closing);
        let nothing = queue.take(Batch::default(), 1, Some(Instant::now()));
        assert!(nothing.batch.is_empty());
    }

    #[test]
    fn those_who_are_expected_are_waited_for_and_not_for_long() {
        let queue = Arc::new(Queue::default());
        queue.push(&mut batch(0, 3));
        let began = Instant::now();
        assert_eq!(queue.take(Batch::default(), 80, None).batch.records.len(), 3);
        assert!(began.elapsed() >= GATHER);
        // Three of four are enough.
        let (late, others) = (Arc::clone(&queue), 59);
        let pushing = std::thread::spawn(move || {
            late.push(&mut batch(3, 1));
            late.push(&mut batch(4, others));
        });
        let mut taken = 0;
        while taken < 1 + others {
            taken += queue.take(Batch::default(), 80, Some(Instant::now() + LONG)).batch.records.len();
        }
        pushing.join().unwrap();
        assert_eq!(taken, 60);
    }

    #[test]
    fn what_is_no_record_waits_for_none() {
        let queue = Queue::<u64>::default();
        queue.push(&mut Batch { outputs: vec![1], ..Batch::default() });
        // It would wait for ever for what does not come.
        let inner = &mut *queue.lock();
        inner.wanted = 80;
        assert!(inner.is_filled());
        inner.batch.record(0, vec![1]);
        assert!(!inner.is_filled());
        inner.closing = true;
        assert!(inner.is_filled());
    }

    #[tokio::test]
    async fn who_decides_more_than_can_be_appended_waits() {
        let queue = Arc::new(Queue::<u64>::default());
        let mut large = Batch::default();
        large.record(0, vec![0; QUEUED_BYTES_MAX]);
        queue.push(&mut large);
        assert_eq!((large.bytes, large.records.len()), (0, 0));
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        queue.take(Batch::default(), 1, None);
        tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
        // So does who only answers.
        queue.push(&mut Batch { outputs: vec![0; QUEUED_OUTPUTS_MAX], ..Batch::default() });
        let waiting = tokio::spawn({
            let queue = Arc::clone(&queue);
            async move { queue.ready().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        queue.take(Batch::default(), 1, None);
        tokio::time::timeout(LONG, waiting).await.unwrap().unwrap();
    }
}
