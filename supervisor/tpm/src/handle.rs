//! What callers hold: a bounded queue with deadlines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::blob::BLOB_MAX;
use crate::chip::{Chip, KeyOrigin, RANDOM_MAX, Resources, SEAL_MAX};
use crate::counters::Shared;
use crate::owner::{self, Job, Reply, Request};
use crate::{Config, Counters, Error, Identity, PublicKey, Signature};

/// Opens the TPM on this thread, with this thread's rights, and starts the thread that owns it from then on.
///
/// It makes what is missing: the storage root key, the key folder and the signing key. It takes from some
/// milliseconds to some seconds, and may write to the chip once in its life. Call it before an asynchronous runtime
/// runs, or where blocking is allowed.
///
/// # Errors
/// - `Unavailable`: no TPM there, or no right to open it
/// - `Authorization`: the owner hierarchy or the storage root key has an authorisation value
/// - `Srk`: something else lies at the configured handle
/// - `ForeignKeyDir`, `DamagedKey`, `KeyDir`: the key folder is another TPM's, damaged, or not accessible
/// - `Busy`: the chip is testing itself, or another program starts with the same key folder
/// - `LockedOut`, `Chip`: as said there
pub fn start(config: &Config) -> Result<Handle, Error> {
    let counters = Arc::new(Shared::default());
    let chip = Chip::open(config, counters.clone())?;
    let (queue, requests) = mpsc::channel(config.queue_len.max(1));
    let facts =
        Facts { identity: chip.identity.clone(), public_key: chip.public_key, key_origin: chip.origin };
    let handle =
        Handle { queue, counters: counters.clone(), facts: Arc::new(facts), patience: config.deadline };
    std::thread::Builder::new()
        .name("tpm".to_owned())
        .spawn(move || owner::run(chip, requests, &counters))
        .map_err(|error| Error::Unavailable { tcti: config.tcti.clone(), reason: error.to_string() })?;
    Ok(handle)
}

/// The TPM, for whoever wants something of it. Cheap to clone; the chip is closed when the last one is gone.
///
/// Each asynchronous method waits until the deadline that the configuration or [`within`](Self::within) sets, and
/// needs tokio's timer. Dropping its future before the chip begins takes the request back. Besides what they say
/// themselves, all can fail with `QueueFull` at once, and with `DeadlinePassed`, `Busy`, `Stopped`, `Unavailable` (the
/// connection broke: only a new start helps) or `Chip`.
#[derive(Clone)]
pub struct Handle {
    queue: mpsc::Sender<Job>,
    counters: Arc<Shared>,
    facts: Arc<Facts>,
    patience: Duration,
}

/// What does not change while the connection lasts.
struct Facts {
    identity: Identity,
    public_key: PublicKey,
    key_origin: KeyOrigin,
}

impl Handle {
    /// The same TPM with another deadline for each request: now + `patience`.
    pub fn within(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Who the chip is; asked once, at the start.
    pub fn identity(&self) -> &Identity {
        &self.facts.identity
    }

    /// The public half of the signing key.
    pub fn public_key(&self) -> &PublicKey {
        &self.facts.public_key
    }

    /// Whether the signing key was made at this start.
    pub fn key_origin(&self) -> KeyOrigin {
        self.facts.key_origin
    }

    /// Signs a SHA-256 digest with the machine's key. One command.
    pub async fn sign(&self, digest: Hash) -> Result<Signature, Error> {
        self.ask(|reply| Request::Sign(digest, reply)).await
    }

    /// Encrypts 1 to [`SEAL_MAX`] bytes so that only this TPM, with this key folder, can decrypt them. One command.
    ///
    /// # Errors
    /// - `Length`: none or too many bytes
    pub async fn seal(&self, data: &[u8]) -> Result<Vec<u8>, Error> {
        check_len("data to seal", data.len(), SEAL_MAX)?;
        let data = Zeroizing::new(data.to_vec());
        self.ask(|reply| Request::Seal(data, reply)).await
    }

    /// Decrypts what [`seal`](Self::seal) made. Three commands.
    ///
    /// # Errors
    /// - `ForeignBlob`: another TPM sealed it
    /// - `DamagedBlob`: it was changed, or sealed under another key folder
    pub async fn unseal(&self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        check_len("sealed data", blob.len(), BLOB_MAX)?;
        let blob = blob.to_vec();
        self.ask(|reply| Request::Unseal(blob, reply)).await
    }

    /// 1 to [`RANDOM_MAX`] random bytes of the chip's generator. One command for each 32.
    ///
    /// # Errors
    /// - `Length`: none or too many bytes
    pub async fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        check_len("random data", len, RANDOM_MAX)?;
        self.ask(|reply| Request::Random(len, reply)).await
    }

    /// What the chip holds now. Three commands.
    pub async fn resources(&self) -> Result<Resources, Error> {
        self.ask(Request::Resources).await
    }

    /// What was done since the start, and what waits. Sends nothing to the chip.
    pub fn counters(&self) -> Counters {
        self.counters.read(self.queue.max_capacity() - self.queue.capacity())
    }

    /// Serves what was asked for before, gives back what is kept in the chip, closes the connection and ends the
    /// thread; other handles then get `Stopped`. A second call does nothing.
    ///
    /// # Errors
    /// Those of the chip while it was closed. It is closed in any case, unless the deadline passed.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.patience;
        let (reply, answer) = oneshot::channel();
        let job = Job { request: Request::Shutdown(reply), deadline };
        // It waits for room in the queue: it must not be refused because there is much to do.
        let closing = async {
            if self.queue.send(job).await.is_err() {
                return Ok(());
            }
            // No answer: another shutdown came first.
            answer.await.unwrap_or(Ok(()))
        };
        tokio::time::timeout_at(deadline.into(), closing).await.unwrap_or_else(|_| Err(self.late()))
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let deadline = Instant::now() + self.patience;
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(Job { request: request(reply), deadline }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                Shared::add(&self.counters.queue_full);
                return Err(Error::QueueFull { len: self.queue.max_capacity() });
            }
            Err(TrySendError::Closed(_)) => return Err(Error::Stopped),
        }
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(answer) => answer.unwrap_or(Err(Error::Stopped)),
            Err(_) => Err(self.late()),
        }
    }

    fn late(&self) -> Error {
        Shared::add(&self.counters.deadline_passed);
        Error::DeadlinePassed
    }
}

fn check_len(what: &'static str, len: usize, max: usize) -> Result<(), Error> {
    if (1..=max).contains(&len) { Ok(()) } else { Err(Error::Length { what, len, max }) }
}
