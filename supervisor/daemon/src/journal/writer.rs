//! The thread that owns the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use engine::Room;
use nix::sys::statvfs::statvfs;
use store::head::{Head, PublicKey, SOFTWARE_KEY, SignedHead};
use store::log::Log;
use tokio::runtime::Handle;

use super::anchor;
use super::counts::{Counts, Owed, Paid, Promise};
use super::queue::{Batch, DECIDED_BYTES_MAX, FromTpm, Queue, Snapshot, Work};
use super::{Config, Durable};

/// How long to wait before a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// How often the disk is asked for its free space.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the TPM is left alone, where nothing is appended, before it is asked for what it owes.
const IDLE_PAUSE: Duration = Duration::from_secs(5);
/// How long closing waits for what is at the TPM.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

/// The thread's own things.
pub struct Writer<T> {
    log: Log,
    dir: PathBuf,
    origin: String,
    key: PublicKey,
    tpm: tpm::Handle,
    workers: Handle,
    queue: Arc<Queue<T>>,
    /// What the TPM has counted; none without an anchor.
    counts: Option<Counts>,
    /// Entries covered by a stored head.
    signed: u64,
    /// The TPM is at a head, or counts one.
    signing: bool,
    /// When a head was last sent there.
    sent: Instant,
    /// A head is to be signed at once; and the next one that is stored is to be anchored if it may.
    urgent: bool,
    asked: bool,
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
        (tpm, workers, counts): (tpm::Handle, Handle, Option<Counts>),
        queue: Arc<Queue<T>>,
    ) -> Self {
        let id = log.id();
        Self {
            signed: log.newest_head().map_or(0, |head| head.head().size),
            log,
            dir: config.dir,
            origin: super::origin(id),
            key,
            tpm,
            workers,
            queue,
            counts,
            signing: false,
            sent: Instant::now(),
            urgent: false,
            asked: false,
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
            let due = self.due();
            let Work { mut batch, signed, snapshot, closing } =
                self.queue.take(std::mem::take(&mut spare), expected, due);
            self.append(&batch)?;
            expected = batch.records.len().max(1);
            if let Some(answer) = signed {
                self.take_answer(answer)?;
            }
            if let Some(snapshot) = snapshot {
                self.snapshot(snapshot)?;
            }
            let outputs = std::mem::take(&mut batch.outputs);
            if !outputs.is_empty() {
                let (log, dir, counts) = (&self.log, self.dir.as_path(), self.counts.as_ref());
                let_out(outputs, &Durable { log, dir, signed: self.signed, counts });
            }
            if closing {
                return self.close();
            }
            self.sign(batch.sign);
            self.look()?;
            self.make_ready();
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

    /// Has the next file made beside the work. What fails is tried again by the log itself when it needs the file.
    fn make_ready(&mut self) {
        if let Some(chore) = self.log.chore() {
            self.workers.spawn_blocking(move || {
                chore
                    .run()
                    .unwrap_or_else(|error| tracing::debug!("the log's next file is not ready yet: {error}"));
            });
        }
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

    /// When the TPM is to be asked for something; none while it is at something, and where there is nothing.
    fn due(&self) -> Option<Instant> {
        if self.signing {
            return None;
        }
        // A TPM that has just failed is given a pause in any case.
        let at_once = self.urgent && self.counts.as_ref().is_none_or(|counts| counts.owed().is_none());
        let unsigned = self.log.size() > self.signed;
        let head = unsigned.then(|| if at_once { self.sent } else { self.sent + self.head_every });
        let idle = self.counts.as_ref().and_then(Counts::due_at);
        // Entries that nothing follows are anchored too, and what was not confirmed is asked for again.
        let idle = idle.map(|at| at.max(self.sent + self.head_every.max(IDLE_PAUSE)));
        head.into_iter().chain(idle).min()
    }

    /// Has a head signed if one is due, or `now`; else what the last one promised counted, if it was not.
    fn sign(&mut self, now: bool) {
        // While the TPM is at something it has to wait, and must not be forgotten.
        self.urgent |= now;
        self.asked |= now;
        if self.due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        self.sent = Instant::now();
        // Where it failed to count, heads are signed all the same: the next one promises what that one has.
        let owed = self.counts.as_ref().map(Counts::owed).filter(|owed| !owed.is_none());
        if let Some(owed) = owed.filter(|_| self.log.size() == self.signed) {
            return self.pay(owed);
        }
        self.urgent = false;
        let (head, promise) = self.head(self.asked);
        match anchor::digest(&head) {
            Ok(digest) => {
                self.signing = true;
                let (tpm, queue) = (self.tpm.clone(), Arc::clone(&self.queue));
                self.workers.spawn(async move {
                    queue.signed(FromTpm::Head(head, promise, tpm.sign_head(digest).await));
                });
            }
            Err(error) => tracing::error!("a head cannot be signed: {error}"),
        }
    }

    /// The head as it is now, and what it promises: it is anchored where that is due, or somebody `asks` for it.
    fn head(&mut self, asks: bool) -> (Head, Promise) {
        let promised = self.counts.as_mut().map(|counts| {
            let anchors = counts.is_due(asks);
            counts.promise(anchors)
        });
        let (line, promise) = promised.unzip();
        let software = self.tpm.is_without_chip().then(|| SOFTWARE_KEY.to_owned());
        let lines = line.into_iter().chain(software).collect();
        (self.log.head(&self.origin, lines), promise.unwrap_or_default())
    }

    fn pay(&mut self, owed: Owed) {
        self.signing = true;
        let (tpm, queue) = (self.tpm.clone(), Arc::clone(&self.queue));
        self.workers.spawn(async move {
            let (paid, done) = owed.pay(&tpm).await;
            queue.signed(FromTpm::Paid(paid, done));
        });
    }

    fn take_answer(&mut self, answer: FromTpm) -> anyhow::Result<()> {
        self.signing = false;
        match answer {
            FromTpm::Head(head, promise, signature) => {
                let owed = self.store(head, promise, signature)?;
                if !owed.is_none() {
                    self.pay(owed);
                }
            }
            FromTpm::Paid(paid, done) => self.paid(&paid, done),
        }
        Ok(())
    }

    fn paid(&mut self, paid: &Paid, done: Result<(), tpm::Error>) {
        if let Some(counts) = &mut self.counts {
            counts.paid(paid, done.is_err());
        }
        if let Err(error) = done {
            tracing::warn!("the TPM has not counted the newest head, and is asked again: {error}");
        }
    }

    /// Stores a head that was signed; a chip that failed is asked again when the next one is due. Gives back what the head
    /// promises.
    fn store(
        &mut self,
        head: Head,
        promise: Promise,
        signature: Result<tpm::Signature, tpm::Error>,
    ) -> anyhow::Result<Owed> {
        let size = head.size;
        let signature = match signature {
            Ok(signature) => signature,
            Err(error) => {
                tracing::warn!("the head at {size} is not signed: {error}");
                return Ok(Owed::default());
            }
        };
        let signed = SignedHead::assemble(head, &self.key, signature.der())?;
        match self.log.store_head(&signed) {
            Ok(()) => (self.signed, self.asked) = (size, self.urgent),
            Err(error @ store::Error::Full { .. }) => {
                tracing::warn!("the head at {size} is not stored: {error}");
                return Ok(Owed::default());
            }
            Err(error) => return Err(error).context("a head cannot be stored; stopping at once"),
        }
        let id = self.log.id();
        let counts = self.counts.as_mut();
        Ok(counts.map_or_else(Owed::default, |counts| counts.stored(id, signed.head(), promise)))
    }

    /// Writes the state down; what cannot be written is no harm, the next start takes longer.
    fn snapshot(&self, snapshot: Snapshot) -> anyhow::Result<()> {
        let Snapshot { facts, state, reply } = snapshot;
        let size = self.log.size();
        ensure!(facts == size, "a state of {facts} facts came for a log of {size} entries; stopping at once");
        let written = self.log.start().and_then(|start| store::snapshot::write(&self.dir, &start, &state));
        // Nobody waits for it any more when the loop has ended.
        reply.send(written).ok();
        Ok(())
    }

    /// The last head. What is still at the TPM is waited for: two must not count at once.
    fn close(mut self) -> anyhow::Result<()> {
        let end = Instant::now() + CLOSE_PATIENCE;
        while self.signing && Instant::now() < end {
            if let Some(answer) = self.queue.take_signed(end) {
                self.take_answer(answer)?;
            }
        }
        if self.signing || (self.log.size() == self.signed && self.counts.is_none()) {
            return Ok(());
        }
        let workers = self.workers.clone();
        if let Some(owed) = self.counts.as_ref().map(Counts::owed) {
            let (paid, done) = workers.block_on(owed.pay(&self.tpm));
            self.paid(&paid, done);
        }
        let (head, promise) = self.head(true);
        let signature = workers.block_on(self.tpm.sign_head(anchor::digest(&head)?));
        let owed = self.store(head, promise, signature)?;
        let (paid, done) = workers.block_on(owed.pay(&self.tpm));
        self.paid(&paid, done);
        Ok(())
    }
}
