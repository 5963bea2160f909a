//! Storing chunks while the next ones are read: workers compress, one writer encrypts and appends.
//!
//! ```text
//! caller: cut, name ──► line ──► workers: compress ──► line, in order ──► writer: encrypt, append, seal
//! ```
//!
//! The line keeps the order of the calls: a pack's records have the order in which they were put, and its nonces count up in
//! one thread. What the writer fails at stays first in the line; the next call of the caller is told why, and the one after
//! that has it tried again.

mod line;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::codec::Encoder;
use super::pack::Location;
use super::packs::Packs;
use super::{CHUNK_BYTES_MAX, ChunkId};
use crate::error::Error;
use line::{Line, Order, Trouble};

/// The most threads that compress: one reader of files does not keep more of them busy.
const WORKERS_MAX: usize = 8;
/// The most bytes of chunks, before compression, that are under way at once.
///
/// With what a pack gathers (6 MiB), what a splitter reads ahead (4 MiB), and for each worker its room and zstd's memory (3 MiB), writing
/// takes less than 64 MiB at any time.
const UNDER_WAY_BYTES_MAX: usize = 24 << 20;
/// The most chunks under way.
const UNDER_WAY_MAX: usize = 4096;

/// The threads, and what they work on.
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    dir: PathBuf,
}

struct Shared {
    line: Mutex<Line>,
    /// Something was put, for the workers.
    put: Condvar,
    /// The first in the line is ready, for the writer.
    ready: Condvar,
    /// The writer has done or failed, for the caller.
    done: Condvar,
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(on: &Condvar, line: MutexGuard<'a, Line>) -> MutexGuard<'a, Line> {
    on.wait(line).unwrap_or_else(PoisonError::into_inner)
}

impl Pipeline {
    /// Starts as many workers as there are CPUs, and the writer.
    pub(super) fn start(packs: &Arc<Mutex<Packs>>, level: i32, dir: &Path) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            line: Mutex::default(),
            put: Condvar::new(),
            ready: Condvar::new(),
            done: Condvar::new(),
        });
        let mut pipeline = Self { shared: Arc::clone(&shared), threads: Vec::new(), dir: dir.into() };
        let failed = |e| Error::io("start the threads that write to", dir, e);
        let workers = thread::available_parallelism().map_or(1, |count| count.get().min(WORKERS_MAX));
        for number in 0..workers {
            let (shared, encoder) = (Arc::clone(&shared), Encoder::new(level).map_err(failed)?);
            match pipeline.spawn("chunk-worker", move || work(&shared, encoder)) {
                // One is enough.
                Err(_) if number > 0 => break,
                started => started.map_err(failed)?,
            }
        }
        let packs = Arc::clone(packs);
        pipeline.spawn("chunk-writer", move || write(&shared, &packs)).map_err(failed)?;
        Ok(pipeline)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let leaving = Leaving(Arc::clone(&self.shared));
        let body = move || {
            let _leaving = leaving;
            body();
        };
        self.threads.push(thread::Builder::new().name(name.into()).spawn(body)?);
        Ok(())
    }

    /// Puts a chunk into the line, when there is room; gives its ticket. What has been stored since the last call goes to `stored`.
    pub(super) fn put(
        &self,
        id: ChunkId,
        plain: &[u8],
        stored: &mut Vec<(ChunkId, Location)>,
    ) -> Result<u64, Error> {
        // Copied before the lock is taken: it is what takes longest here.
        let plain = plain.to_vec();
        let mut line = self.room(plain.len().min(CHUNK_BYTES_MAX))?;
        stored.append(&mut line.stored);
        let ticket = line.put(id, plain);
        drop(line);
        self.shared.put.notify_one();
        Ok(ticket)
    }

    /// Waits until everything is in sealed packs and flushed.
    pub(super) fn sync(&self, stored: &mut Vec<(ChunkId, Location)>) -> Result<(), Error> {
        let mut line = self.room(0)?;
        let ticket = line.push(Order::Sync);
        self.shared.ready.notify_one();
        while line.finished <= ticket {
            line = wait(&self.shared.done, line);
            line.tell(&self.dir)?;
        }
        stored.append(&mut line.stored);
        Ok(())
    }

    /// Where a chunk is, once it has been stored.
    pub(super) fn wait(&self, ticket: u64, id: &ChunkId) -> Result<Location, Error> {
        let mut line = self.shared.line();
        while line.finished <= ticket {
            line.troubled(&self.dir)?;
            line = wait(&self.shared.done, line);
        }
        let found = line.stored.iter().find(|(stored, _)| stored == id);
        found
            .map(|(_, location)| *location)
            .ok_or_else(|| Error::Absent { what: "chunk", path: self.dir.join(id.to_string()) })
    }

    /// Waits for room in the line.
    fn room(&self, bytes: usize) -> Result<MutexGuard<'_, Line>, Error> {
        let mut line = self.shared.line();
        loop {
            if matches!(line.trouble, Trouble::Told) {
                // It was told before, so this call is the caller's next try.
                line.trouble = Trouble::Retried;
                self.shared.ready.notify_one();
            }
            line.tell(&self.dir)?;
            let is_full = line.bytes + bytes > UNDER_WAY_BYTES_MAX || line.under_way() >= UNDER_WAY_MAX;
            if !matches!(line.trouble, Trouble::Retried) && !is_full {
                return Ok(line);
            }
            line = wait(&self.shared.done, line);
        }
    }
}

impl Drop for Pipeline {
    /// What is under way was not promised to anybody.
    fn drop(&mut self) {
        self.shared.line().closing = true;
        self.shared.put.notify_all();
        self.shared.ready.notify_all();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// A thread that ends by a panic must not leave the others waiting for ever.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.line().trouble = Trouble::Failed(None);
            self.0.done.notify_all();
        }
    }
}

/// What a worker does.
fn work(shared: &Shared, mut encoder: Encoder) {
    let mut line = shared.line();
    while !line.closing {
        let Some((ticket, plain)) = line.raw.pop_front() else {
            line = wait(&shared.put, line);
            continue;
        };
        drop(line);
        let body = encoder.encode(plain);
        line = shared.line();
        if line.fill(ticket, body) {
            shared.ready.notify_one();
        }
    }
}

/// What the writer does.
fn write(shared: &Shared, packs: &Mutex<Packs>) {
    let packs = || packs.lock().unwrap_or_else(PoisonError::into_inner);
    let mut line = shared.line();
    let mut current = None;
    while !line.closing {
        current = current.or_else(|| line.next());
        let may = matches!(line.trouble, Trouble::None | Trouble::Retried);
        let Some(order) = current.as_ref().filter(|_| may) else {
            line = wait(&shared.ready, line);
            continue;
        };
        drop(line);
        let done = match order {
            Order::Chunk(id, body) => packs().append(*id, body).map(|location| Some((*id, location))),
            Order::Sync => packs().sync().map(|()| None),
        };
        line = shared.line();
        match done {
            Ok(location) => {
                line.finish(current.take(), location);
                line.trouble = Trouble::None;
            }
            Err(error @ Error::Flush { .. }) => line.trouble = Trouble::Failed(Some(error)),
            Err(error) => line.trouble = Trouble::New(error),
        }
        shared.done.notify_all();
    }
}
