//! The way back: replies of one connection, written where they are made if the socket takes them, else by a task.
//!
//! Most replies are short and their reader waits for them. Handing each to the connection's task would wake that task
//! for it, which costs more than the write itself.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::OwnedWriteHalf;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::REQUESTS_MAX;

/// Replies of one connection that may wait: one and all phases for each request under way.
const REPLIES_MAX: usize = 64;
/// How long a client may leave a reply unread before its connection ends.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// One connection as those see it who reply.
#[derive(Debug)]
pub(super) struct Line {
    outbox: Mutex<Outbox>,
    /// Requests that may still come.
    slots: Semaphore,
    /// The client does not read, or is gone.
    broken: CancellationToken,
    runtime: Handle,
}

#[derive(Debug)]
struct Outbox {
    /// None: the connection has ended.
    stream: Option<Arc<OwnedWriteHalf>>,
    /// What the socket did not take at once.
    frames: VecDeque<Frame>,
    /// A task writes them.
    flushing: bool,
}

/// A reply on its way. It keeps its request's slot until it is written.
#[derive(Debug)]
struct Frame {
    bytes: Zeroizing<Vec<u8>>,
    written: usize,
    _slot: Arc<Slot>,
}

/// A request under way: the place of another when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Line>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.slots.add_permits(1);
    }
}

impl Slot {
    /// Hands a frame over without waiting. Who has gone, or does not read, loses it.
    pub(super) fn send(self: &Arc<Self>, bytes: Zeroizing<Vec<u8>>) {
        let line = &self.0;
        let mut outbox = line.lock();
        let Some(stream) = &outbox.stream else { return };
        let mut written = 0;
        if outbox.frames.is_empty() {
            match stream.try_write(&bytes) {
                Ok(count) if count == bytes.len() => return,
                Ok(count) => written = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return line.broken.cancel(),
            }
        }
        if outbox.frames.len() >= REPLIES_MAX {
            return;
        }
        outbox.frames.push_back(Frame { bytes, written, _slot: Arc::clone(self) });
        if !outbox.flushing {
            outbox.flushing = true;
            let line = Arc::clone(line);
            self.0.runtime.spawn(async move { line.flush().await });
        }
    }

    /// Whether nobody is there any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.broken.is_cancelled() || self.0.lock().stream.is_none()
    }
}

impl Line {
    /// The line of a fresh connection.
    pub(super) fn new(stream: OwnedWriteHalf) -> Arc<Self> {
        let outbox = Outbox { stream: Some(Arc::new(stream)), frames: VecDeque::new(), flushing: false };
        Arc::new(Self {
            outbox: Mutex::new(outbox),
            slots: Semaphore::new(REQUESTS_MAX),
            broken: CancellationToken::new(),
            runtime: Handle::current(),
        })
    }

    /// A place for one request more, once there is one.
    pub(super) async fn slot(self: &Arc<Self>) -> Arc<Slot> {
        // The semaphore is never closed.
        if let Ok(permit) = self.slots.acquire().await {
            permit.forget();
        }
        Arc::new(Slot(Arc::clone(self)))
    }

    /// Ends when the client does not read, or is gone.
    pub(super) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Writes what waits, as fast as the client reads.
    pub(super) async fn flush(&self) {
        let mut deadline = Instant::now() + READ_PATIENCE;
        loop {
            let Some(stream) = self.lock().stream.clone() else { return };
            if !matches!(timeout_at(deadline, stream.writable()).await, Ok(Ok(()))) {
                return self.broken.cancel();
            }
            match self.write(&stream) {
                Ok(Wrote::All) => return,
                Ok(Wrote::Frames) => deadline = Instant::now() + READ_PATIENCE,
                Ok(Wrote::Part) => {}
                Err(_) => return self.broken.cancel(),
            }
        }
    }

    fn write(&self, stream: &OwnedWriteHalf) -> io::Result<Wrote> {
        let mut outbox = self.lock();
        let mut wrote = Wrote::Part;
        while let Some(frame) = outbox.frames.front_mut() {
            let rest = frame.bytes.get(frame.written..).unwrap_or_default();
            match stream.try_write(rest) {
                Ok(count) if count == rest.len() => {
                    wrote = Wrote::Frames;
                    outbox.frames.pop_front();
                }
                Ok(count) => frame.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(wrote),
                Err(error) => return Err(error),
            }
        }
        outbox.flushing = false;
        Ok(Wrote::All)
    }

    /// Ends the connection: what was not written is lost.
    pub(super) fn close(&self) {
        let mut outbox = self.lock();
        outbox.stream = None;
        // Each holds the line, which would hold them.
        outbox.frames.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Each change of it is whole.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a write got.
enum Wrote {
    All,
    /// Some frames whole, and not all.
    Frames,
    Part,
}
