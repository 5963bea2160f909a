//! The thread that owns the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use engine::Room;
use nix::sys::statvfs::statvfs;
use store::head::{Head, PublicKey, SignedHead};
use store::log::Log;
use tokio::runtime::Handle;

use super::queue::{Batch, DECIDED_BYTES_MAX, Queue, Work};
use super::{Config, Durable};

/// How long to wait before a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How often the disk is asked for its free space.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The thread's own things.
pub struct Writer<T> {
    log: Log,
    dir: PathBuf,
    origin: String,
    key: PublicKey,
    tpm: tpm::Handle,
    workers: Handle,
    queue: Arc<Queue<T>>,
    /// Entries covered by a stored head.
    signed: u64,
    /// A head is at the TPM.
    signing: bool,
    /// When a head was last sent there.
    sent: Instant,
    head_every: Duration,
    notes_free_bytes: u64,
    /// What there was room for when last looked, and when the disk was last asked.
    room: Room,
    looked: Option<Instant>,
    /// The disk had enough free for notes.
    roomy: bool,
}

impl<T: Send + 'static> Writer<T> {
    /// Of a log that is open.
    pub fn new(
        log: Log,
        config: Config,
        key: PublicKey,
        (tpm, workers): (tpm::Handle, Handle),
        queue: Arc<Queue<T>>,
    ) -> Self {
        let id = log.id();
        Self {
            signed: log.newest_head().map_or(0, |head| head.head().size),
            log,
            dir: config.dir,
            origin: format!("dsmil/{}", id.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            key,
            tpm,
            workers,
            queue,
            signing: false,
            sent: Instant::now(),
            head_every: config.head_every,
            notes_free_bytes: config.notes_free_bytes,
            room: Room::Notes,
            looked: None,
            roomy: false,
        }
    }

    /// Runs until it is closed, or until the log fails: what would be let out after that could be lost.
    pub fn run(mut self, mut let_out: impl FnMut(Vec<T>, &Durable<'_>)) -> anyhow::Result<()> {
        let (mut spare, mut expected) = (Batch::default(), 1);
        loop {
            let due = (!self.signing && self.log.size() > self.signed).then(|| self.sent + self.head_every);
            let Work { mut batch, signed, closing } =
                self.queue.take(std::mem::take(&mut spare), expected, due);
            self.append(&batch)?;
            expected = batch.records.len().max(1);
            if let Some((head, signature)) = signed {
                self.store(head, signature)?;
            }
            let outputs = std::mem::take(&mut batch.outputs);
            if !outputs.is_empty() {
                let_out(outputs, &Durable { log: &self.log, dir: &self.dir, signed: self.signed });
            }
            if closing {
                return self.close();
            }
            self.sign(batch.sign);
            self.look()?;
            batch.records.clear();
            spare = Batch { first: 0, bytes: 0, sign: false, ..batch };
        }
    }

    /// Appends the records with one flush.
    ///
    /// A full disk is back pressure: it waits. A failed flush ends the process at once: what was acknowledged after
    /// it could be lost.
    fn append(&mut self, batch: &Batch<T>) -> anyhow::Result<()> {
        if batch.records.is_empty() {
            return Ok(());
        }
        // Who was told a place is told the right one.
        let (first, size) = (batch.first, self.log.size());
        ensure!(first == size, "fact {first} was decided for a log of {size} entries; stopping at once");
        loop {
            let result = match self.room {
                Room::Reserve => self.log.append_urgent(&batch.records),
                Room::Orders | Room::Notes => self.log.append(&batch.records),
            };
            match result {
                Ok(_) => return Ok(()),
                Err(store::Error::Full { .. }) if self.room > Room::Reserve => self.tell(Room::Reserve),
                Err(error @ store::Error::Full { .. }) => {
                    tracing::error!("{error}; waiting for space");
                    std::thread::sleep(FULL_PAUSE);
                }
                Err(error) => return Err(error).context("the log cannot be appended to; stopping at once"),
            }
        }
    }

    /// Finds out what there is room for, and prepares it ahead of need.
    pub fn look(&mut self) -> anyhow::Result<()> {
        // The second of them makes sure of what the first prepares only where a file may grow.
        let room = match self.log.prepare().and_then(|()| self.log.ensure(DECIDED_BYTES_MAX)) {
            Ok(()) if self.is_roomy() => Room::Notes,
            Ok(()) => Room::Orders,
            Err(store::Error::Full { .. }) => Room::Reserve,
            Err(error) => return Err(error).context("the log cannot be prepared; stopping at once"),
        };
        self.tell(room);
        Ok(())
    }

    /// Whether the disk has more free than notes must leave.
    fn is_roomy(&mut self) -> bool {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            self.roomy = statvfs(&self.dir).is_ok_and(|disk| {
                disk.blocks_available().saturating_mul(disk.fragment_size()) >= self.notes_free_bytes
            });
        }
        self.roomy
    }

    fn tell(&mut self, room: Room) {
        self.room = room;
        self.queue.set_room(room);
    }

    /// Has a head signed if one is due, or `now`.
    fn sign(&mut self, now: bool) {
        let is_due = self.log.size() > self.signed && (now || self.sent.elapsed() >= self.head_every);
        if !is_due || self.signing {
            return;
        }
        self.sent = Instant::now();
        let head = self.log.head(&self.origin, Vec::new());
        match head.digest() {
            Ok(digest) => {
                self.signing = true;
                let (tpm, queue) = (self.tpm.clone(), Arc::clone(&self.queue));
                self.workers
                    .spawn(async move { queue.signed((head, tpm.sign_head(tpm::HeadDigest(digest)).await)) });
            }
            Err(error) => tracing::error!("a head cannot be signed: {error}"),
        }
    }

    /// Stores a head that was signed; a chip that failed is asked again when the next one is due.
    fn store(&mut self, head: Head, signature: Result<tpm::Signature, tpm::Error>) -> anyhow::Result<()> {
        self.signing = false;
        let size = head.size;
        let signature = match signature {
            Ok(signature) => signature,
            Err(error) => {
                tracing::warn!("the head at {size} is not signed: {error}");
                return Ok(());
            }
        };
        let signed = SignedHead::assemble(head, &self.key, signature.der())?;
        match self.log.store_head(&signed) {
            Ok(()) => self.signed = size,
            Err(error @ store::Error::Full { .. }) => {
                tracing::warn!("the head at {size} is not stored: {error}");
            }
            Err(error) => return Err(error).context("a head cannot be stored; stopping at once"),
        }
        Ok(())
    }

    /// The last head. One that is still at the TPM is not waited for: this one covers more.
    fn close(mut self) -> anyhow::Result<()> {
        if self.log.size() > self.signed {
            let head = self.log.head(&self.origin, Vec::new());
            let signature = self.workers.block_on(self.tpm.sign_head(tpm::HeadDigest(head.digest()?)));
            self.store(head, signature)?;
        }
        Ok(())
    }
}
