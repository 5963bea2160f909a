//! The log as the loop uses it: replayed at the start, then a thread's own, which appends what has queued with one
//! flush, lets out what waited for it, and has heads signed.
//!
//! ```text
//! loop    decide, evolve ──► queue: records, and what waits for them
//! thread  takes the queue ─► append, one flush ─► lets out ─► heads, room ─┐
//!            ▲─────────────────────────────────────────────────────────────┘
//! ```
//!
//! While the thread flushes one batch the loop decides the next. What is let out is always covered: it was queued with
//! the records, or after them, that were folded in when it was computed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use api::wire;
use engine::{Event, Room, State};
use policy::Rules;
use recovery::replay;
use store::head::{Head, PublicKey, SignedHead};
use store::log::Log;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use types::hash::Hash;

mod anchor;
mod counts;
mod queue;
mod window;
mod writer;

use counts::Counts;
pub use queue::Batch;
use queue::{Queue, Snapshot};
use writer::Writer;

/// What a journal is opened with.
pub struct Config {
    /// The log's folder.
    pub dir: PathBuf,
    /// The size at which another file of it is begun.
    pub file_bytes: u64,
    /// A head is signed at latest this long after a fact.
    pub head_every: Duration,
    /// Notes are refused while the disk has fewer bytes free.
    pub notes_free_bytes: u64,
    /// The log is anchored in the TPM at latest this long after the last time; none: it has no anchor.
    pub anchor_every: Option<Duration>,
    /// Why an anchor that is not the log's is to be replaced.
    pub accept_anchor: Option<String>,
    /// Why the log goes on with another TPM, and the keys of those before.
    pub new_machine: Option<(String, Vec<tpm::Retired>)>,
}

/// A log that is replayed and whose thread does not run yet.
pub struct Replayed {
    log: Log,
    config: Config,
    key: PublicKey,
    counts: Option<Counts>,
    /// How many facts were in the snapshot that the replay began with; 0 without one.
    pub from: u64,
}

/// The loop's end of the log.
pub struct Journal<T> {
    queue: Arc<Queue<T>>,
    /// How the thread ended.
    ended: oneshot::Receiver<anyhow::Result<()>>,
}

/// The log as those see it whose answers are let out: what is durable.
pub struct Durable<'a> {
    log: &'a Log,
    dir: &'a Path,
    signed: u64,
    counts: Option<&'a Counts>,
}

impl Durable<'_> {
    /// Entries.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Entries covered by a signed head.
    pub const fn signed(&self) -> u64 {
        self.signed
    }

    /// The Merkle root.
    pub fn root(&self) -> Hash {
        self.log.root()
    }

    /// How it is anchored in the TPM; none where it is not.
    pub fn anchor(&self) -> Option<wire::tpm::Anchor> {
        self.counts.map(Counts::describe)
    }

    /// Where it lies.
    pub const fn dir(&self) -> &Path {
        self.dir
    }
}

impl Replayed {
    /// Opens the log, folds it into a state under these rules, and makes sure that this TPM signed it, or on a new machine the one
    /// before; what is to be recorded of that.
    pub fn open(
        mut config: Config,
        tpm: &tpm::Handle,
        rules: Rules,
    ) -> anyhow::Result<(Self, State, Option<Event>)> {
        let key = PublicKey::from_der(&tpm.head_key().spki())?;
        let new_machine = config.new_machine.take();
        let dir = &config.dir;
        let growth = replay::growth(config.file_bytes);
        let empty = State::new(rules);
        let (log, state, from) = if dir.exists() {
            let replay::Replayed { log, state, from, passed_over } = replay::replay(dir, &growth, &empty)?;
            for (entries, why) in passed_over {
                tracing::warn!("the snapshot at {entries} facts is not used: {why}");
            }
            (log, state, from)
        } else {
            (create(dir, &growth)?, empty, 0)
        };
        let moved = match log.newest_head() {
            Some(head) => signed_by(head, &key, new_machine).with_context(|| {
                format!(
                    "the log in {} was not signed by this machine's TPM key {}",
                    dir.display(),
                    short(&key)
                )
            })?,
            None => None,
        };
        if let Some(Event::Moved { from, .. }) = &moved {
            // Who verifies the log needs it for the heads of before.
            let before = PublicKey::from_der(from)?;
            store::blob::replace(
                &dir.join(format!("key-{}.pem", short(&before))),
                before.to_pem().as_bytes(),
            )?;
        }
        let path = dir.join("key.pem");
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&key.to_pem()) {
            store::blob::replace(&path, key.to_pem().as_bytes())?;
        }
        Ok((Self { log, config, key, counts: None, from }, state, moved))
    }

    /// Holds the log against the TPM's anchor, and anchors it; what is to be recorded of that.
    ///
    /// # Errors
    ///
    /// The log is not the newest that the TPM knows of, or not this TPM's.
    pub async fn anchor(&mut self, tpm: &tpm::Handle) -> anyhow::Result<Vec<Event>> {
        let Some(every) = self.config.anchor_every else { return Ok(Vec::new()) };
        let origin = origin(self.log.id());
        let accept = self.config.accept_anchor.take();
        let key = &self.key;
        let sign = async |head: Head| -> anyhow::Result<SignedHead> {
            let signature = tpm.sign_head(anchor::digest(&head)?).await.context("signing the first head")?;
            Ok(SignedHead::assemble(head, key, signature.der())?)
        };
        let place = (self.config.dir.as_path(), origin.as_str());
        let (counts, events) = anchor::begin(&mut self.log, place, tpm, (every, accept), sign).await?;
        self.counts = Some(counts);
        Ok(events)
    }

    /// The newest signed head, up to which a start from a snapshot has left the log unread.
    pub fn unread(&self) -> Option<(PathBuf, Head)> {
        let head = self.log.newest_head().filter(|_| self.from > 0)?;
        Some((self.config.dir.clone(), head.head().clone()))
    }

    /// Starts the thread; `workers` wait for the TPM. `let_out` is given what waited, in order, once it is covered by a flush.
    pub fn start<T: Send + 'static>(
        self,
        tpm: tpm::Handle,
        workers: Handle,
        let_out: impl FnMut(Vec<T>, &Durable<'_>) + Send + 'static,
    ) -> anyhow::Result<Journal<T>> {
        let queue = Arc::new(Queue::default());
        let (end, ended) = oneshot::channel();
        let mut writer =
            Writer::new(self.log, self.config, self.key, (tpm, workers, self.counts), Arc::clone(&queue));
        writer.look()?;
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            let result = writer.run(let_out);
            // Whoever waits for the log has ended as well if nobody takes it.
            end.send(result).ok();
        })?;
        Ok(Journal { queue, ended })
    }
}

impl<T> Journal<T> {
    /// Queues a batch once there is room for it: a full disk holds up whoever has something to record. A batch whose
    /// queueing is given up half-way is left as it was.
    pub async fn append(&mut self, batch: &mut Batch<T>) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            result = &mut self.ended => Err(failure(result)),
            () = self.queue.ready() => {
                self.queue.push(batch);
                Ok(())
            }
        }
    }

    /// Has the state written down, which must hold exactly the records that were queued; the hash of its file.
    ///
    /// # Errors
    ///
    /// It is not written, which is no harm; or the thread has gone.
    pub async fn snapshot(
        &mut self,
        facts: u64,
        state: Vec<u8>,
    ) -> anyhow::Result<Result<Hash, store::Error>> {
        let (reply, answer) = oneshot::channel();
        self.queue.snapshot(Snapshot { facts, state, reply });
        tokio::select! {
            biased;
            result = &mut self.ended => Err(failure(result)),
            answer = answer => answer.context("the log's thread has gone"),
        }
    }

    /// Waits for the thread to fail.
    pub async fn failed(&mut self) -> anyhow::Error {
        failure((&mut self.ended).await)
    }

    /// What the disk has room for.
    pub fn room(&self) -> Room {
        self.queue.room()
    }

    /// Appends what has queued, has the last head signed and ends the thread.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.queue.close();
        (&mut self.ended).await.context("the log's thread has gone")?
    }
}

/// Makes sure that this key signed a head; or one of those before, where the log goes on with another TPM.
fn signed_by(
    head: &SignedHead,
    key: &PublicKey,
    new_machine: Option<(String, Vec<tpm::Retired>)>,
) -> anyhow::Result<Option<Event>> {
    let Some((reason, retired)) = new_machine else {
        head.verify(key)?;
        return Ok(None);
    };
    if head.verify(key).is_ok() {
        bail!("this TPM is that of the log: start without --new-machine");
    }
    for before in retired {
        let from = before.head.spki();
        if head.verify(&PublicKey::from_der(&from)?).is_ok() {
            let (general, to) = (before.general.spki(), key.der().to_vec());
            return Ok(Some(Event::Moved { from, general, to, reason }));
        }
    }
    bail!("it was signed by none of the keys in tpm/retired either")
}

fn failure(ended: Result<anyhow::Result<()>, oneshot::error::RecvError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error,
        _ => anyhow::anyhow!("the log's thread has gone"),
    }
}

/// The name of a log in its heads.
fn origin(id: [u8; 16]) -> String {
    format!("dsmil/{}", id.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The short id of a key, as signed notes name it.
pub fn short(key: &PublicKey) -> String {
    key.id().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn create(dir: &Path, growth: &store::log::Config) -> anyhow::Result<Log> {
    use std::io::Read as _;
    let mut id = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut id))
        .context("reading random bytes")?;
    Ok(Log::create(dir, id, growth)?)
}

#[cfg(test)]
mod tests;
