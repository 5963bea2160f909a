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
use engine::{Record, Room, State, evolve};
use store::head::PublicKey;
use store::log::Log;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use types::hash::Hash;

mod queue;
mod writer;

pub use queue::Batch;
use queue::Queue;
use writer::Writer;

/// What a journal is opened with.
pub struct Config {
    /// The log's folder.
    pub dir: PathBuf,
    /// A head is signed at latest this long after a fact.
    pub head_every: Duration,
    /// Notes are refused while the disk has fewer bytes free.
    pub notes_free_bytes: u64,
}

/// A log that is replayed and whose thread does not run yet.
pub struct Replayed {
    log: Log,
    config: Config,
    key: PublicKey,
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

    /// Where it lies.
    pub const fn dir(&self) -> &Path {
        self.dir
    }
}

impl Replayed {
    /// Opens the log, folds it into the state, and makes sure that this TPM signed it.
    pub fn open(config: Config, tpm: &tpm::Handle, state: &mut State) -> anyhow::Result<Self> {
        let key = PublicKey::from_der(&tpm.head_key().spki())?;
        let dir = &config.dir;
        let log = if dir.exists() { replay(dir, state)? } else { create(dir)? };
        if let Some(head) = log.newest_head() {
            head.verify(&key).with_context(|| {
                format!(
                    "the log in {} was not signed by this machine's TPM key {}",
                    dir.display(),
                    short(&key)
                )
            })?;
        }
        let path = dir.join("key.pem");
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&key.to_pem()) {
            store::blob::replace(&path, key.to_pem().as_bytes())?;
        }
        Ok(Self { log, config, key })
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
        let mut writer = Writer::new(self.log, self.config, self.key, (tpm, workers), Arc::clone(&queue));
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

fn failure(ended: Result<anyhow::Result<()>, oneshot::error::RecvError>) -> anyhow::Error {
    match ended {
        Ok(Err(error)) => error,
        _ => anyhow::anyhow!("the log's thread has gone"),
    }
}

/// The short id of a key, as signed notes name it.
pub fn short(key: &PublicKey) -> String {
    key.id().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn create(dir: &Path) -> anyhow::Result<Log> {
    use std::io::Read as _;
    let mut id = [0; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut id))
        .context("reading random bytes")?;
    Ok(Log::create(dir, id, &store::log::Config::default())?)
}

fn replay(dir: &Path, state: &mut State) -> anyhow::Result<Log> {
    let mut fault = None;
    let log = Log::open(dir, &store::log::Config::default(), &mut |index, bytes| {
        if fault.is_none() {
            match Record::decode(bytes) {
                Ok(record) => evolve(state, &record),
                Err(error) => fault = Some((index, error)),
            }
        }
    });
    let log = log.with_context(|| {
        format!("the log in {} is not opened, because starting must not mean forgetting", dir.display())
    })?;
    if let Some((index, error)) = fault {
        bail!("entry {index} of the log in {}: {error}", dir.display());
    }
    Ok(log)
}
