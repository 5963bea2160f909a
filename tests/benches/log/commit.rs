//! Group commit: many writers, one thread that commits what has queued and then wakes those who wait for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::{major, minor};
use tests::bench::quantile_of;

use crate::sinks::{ENTRY_BYTES, Entry, Sink};

/// What one run of one sink gave.
#[derive(Debug)]
pub struct Run {
    seconds: f64,
    commits: u64,
    /// How long each append waited, sorted, in milliseconds.
    waits_ms: Vec<f64>,
    disk: Option<Disk>,
    switches: u64,
}

impl Run {
    /// Appends that were acknowledged.
    pub fn appends(&self) -> u64 {
        self.waits_ms.len() as u64
    }

    /// Appends in a second.
    pub fn rate(&self) -> f64 {
        self.appends() as f64 / self.seconds
    }

    /// One append in a hundred waits longer.
    pub fn p99_ms(&self) -> f64 {
        quantile_of(&self.waits_ms, 0.99).unwrap_or(f64::NAN)
    }

    /// Appends under one flush.
    pub fn batch(&self) -> f64 {
        self.appends() as f64 / self.commits as f64
    }

    /// Bytes that went to the disk for each append, prepared zeros too; no number if the disk does not tell.
    pub fn bytes(&self) -> f64 {
        self.disk.map_or(f64::NAN, |disk| disk.bytes as f64 / self.appends() as f64)
    }

    /// Flushes of the disk for a thousand appends; no number if the disk does not tell.
    pub fn flushes(&self) -> f64 {
        self.disk.map_or(f64::NAN, |disk| disk.flushes as f64 * 1e3 / self.appends() as f64)
    }

    /// Context switches of the process for each append.
    pub fn switches(&self) -> f64 {
        self.switches as f64 / self.appends() as f64
    }
}

/// The contents of an entry: each is another.
pub fn entry(writer: usize, number: u64) -> Entry {
    let mut entry = [0; ENTRY_BYTES];
    let marks = (writer as u64).to_le_bytes().into_iter().chain(number.to_le_bytes()).cycle();
    entry.iter_mut().zip(marks).for_each(|(byte, mark)| *byte = mark);
    entry
}

/// What has queued, and who waits for it.
#[derive(Default)]
struct Queued {
    entries: Vec<Entry>,
    writers: Vec<usize>,
}

#[derive(Default)]
struct Queue {
    queued: Mutex<Queued>,
    filled: Condvar,
    writing: AtomicUsize,
    /// The commit thread is gone: nobody will be acknowledged.
    failed: AtomicBool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what has queued into `batch`; false when the last writer is gone.
    fn take(&self, batch: &mut Queued) -> bool {
        batch.entries.clear();
        batch.writers.clear();
        let mut queued = self.lock();
        while queued.entries.is_empty() {
            if self.writing.load(Ordering::Acquire) == 0 {
                return false;
            }
            queued = self.filled.wait(queued).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut *queued, batch);
        true
    }
}

/// Lets the writers append to the sink, which is on the disk of the folder `at`, for some time.
///
/// # Errors
///
/// The sink failed.
pub fn run(sink: &mut dyn Sink, at: &Path, writers: usize, time: Duration) -> anyhow::Result<Run> {
    let queue = Queue { writing: AtomicUsize::new(writers), ..Queue::default() };
    let acknowledged: Vec<AtomicBool> = (0..writers).map(|_| AtomicBool::new(false)).collect();
    let (disk, switches) = (Disk::now(at), context_switches()?);
    let began = Instant::now();
    let (waits, commits) = thread::scope(|scope| {
        let handles: Vec<_> = acknowledged
            .iter()
            .enumerate()
            .map(|(writer, acknowledged)| {
                let queue = &queue;
                scope.spawn(move || write(queue, writer, acknowledged, began + time))
            })
            .collect();
        let threads: Vec<(&Thread, &AtomicBool)> =
            handles.iter().map(|handle| handle.thread()).zip(&acknowledged).collect();
        let commits = commit(&queue, sink, &threads);
        queue.failed.store(commits.is_err(), Ordering::Release);
        threads.iter().for_each(|(thread, _)| thread.unpark());
        let waits: Vec<f64> =
            handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect();
        (waits, commits)
    });
    let seconds = began.elapsed().as_secs_f64();
    let mut waits_ms = waits;
    waits_ms.sort_by(f64::total_cmp);
    Ok(Run {
        seconds,
        commits: commits?,
        waits_ms,
        disk: disk.and_then(|before| Disk::now(at)?.since(before)),
        switches: context_switches()?.saturating_sub(switches),
    })
}

/// One writer: appends, waits for the acknowledgement, appends again. Gives how long each took, in milliseconds.
fn write(queue: &Queue, writer: usize, acknowledged: &AtomicBool, end: Instant) -> Vec<f64> {
    let mut waits = Vec::with_capacity(8_192);
    for number in 0.. {
        let began = Instant::now();
        if began >= end {
            break;
        }
        let entry = entry(writer, number);
        let mut queued = queue.lock();
        let is_first = queued.entries.is_empty();
        queued.entries.push(entry);
        queued.writers.push(writer);
        drop(queued);
        if is_first {
            queue.filled.notify_one();
        }
        while !acknowledged.swap(false, Ordering::Acquire) {
            if queue.failed.load(Ordering::Acquire) {
                return waits;
            }
            thread::park();
        }
        waits.push(began.elapsed().as_secs_f64() * 1e3);
    }
    // Under the lock, so that the commit thread cannot look and then sleep in between.
    let queued = queue.lock();
    queue.writing.fetch_sub(1, Ordering::Release);
    drop(queued);
    queue.filled.notify_one();
    waits
}

/// The commit thread. Gives the number of commits.
fn commit(queue: &Queue, sink: &mut dyn Sink, threads: &[(&Thread, &AtomicBool)]) -> anyhow::Result<u64> {
    let (mut batch, mut commits) = (Queued::default(), 0);
    while queue.take(&mut batch) {
        sink.commit(&batch.entries)?;
        commits += 1;
        for writer in &batch.writers {
            let (thread, acknowledged) = threads.get(*writer).context("a writer without number")?;
            acknowledged.store(true, Ordering::Release);
            thread.unpark();
        }
        sink.prepare()?;
    }
    Ok(commits)
}

/// What a whole disk did, so what others write on it counts too: the counts of a process alone cannot be had, for the
/// kernel charges it with whole folios of the page cache.
#[derive(Clone, Copy, Debug)]
struct Disk {
    bytes: u64,
    flushes: u64,
}

impl Disk {
    /// Since the start of the machine; `None` where the folder is not on a single block device.
    fn now(at: &Path) -> Option<Self> {
        let device = at.metadata().ok()?.dev();
        let path = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
        // The fields stand in the kernel's Documentation/block/stat.rst; a sector has 512 bytes.
        let text = std::fs::read_to_string(path).ok()?;
        let field = |number| text.split_whitespace().nth(number)?.parse::<u64>().ok();
        Some(Self { bytes: field(6)? * 512, flushes: field(15)? })
    }

    fn since(self, before: Self) -> Option<Self> {
        Some(Self {
            bytes: self.bytes.checked_sub(before.bytes)?,
            flushes: self.flushes.checked_sub(before.flushes)?,
        })
    }
}

fn context_switches() -> anyhow::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(u64::try_from(usage.voluntary_context_switches() + usage.involuntary_context_switches())?)
}
