//! What callers hold: a bounded queue with deadlines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use types::hash::Hash;
use zeroize::Zeroizing;

use crate::blob::BLOB_MAX;
use crate::chip::{Chip, KeyOrigin, Resources};
use crate::counters::{Kind, Shared};
use crate::key_dir::Role;
use crate::operations::{RANDOM_MAX, SEAL_MAX};
use crate::owner::{self, Ask, Backend};
use crate::queue::{Job, Priority, Queue, Refused};
use crate::software::Software;
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
    let facts = Facts {
        identity: chip.identity.clone(),
        head_key: chip.head.public,
        general_key: chip.general_key,
        attestation_key: Some(chip.attestation_key),
        key_origin: chip.origin,
    };
    run(config, Backend::Chip(Box::new(chip)), facts, counters)
}

/// Opens a key in software in place of a TPM: the same interface, and none of the guarantees.
///
/// It needs a key folder of its own, and says in its [`Identity`] what it is. What only a chip can do is refused with
/// `Unsupported`. Only for machines whose configuration says that they go without a TPM.
///
/// # Errors
/// - `ForeignKeyDir`, `DamagedKey`, `KeyDir`: the key folder is a TPM's, damaged, or not accessible
/// - `Busy`: another program starts with the same key folder
pub fn start_software(config: &Config) -> Result<Handle, Error> {
    let software = Software::open(&config.key_dir)?;
    let facts = Facts {
        identity: Software::identity(),
        head_key: software.public(Role::Head)?,
        general_key: software.public(Role::General)?,
        attestation_key: None,
        key_origin: software.origin,
    };
    run(config, Backend::Software(software), facts, Arc::default())
}

fn run(config: &Config, backend: Backend, facts: Facts, counters: Arc<Shared>) -> Result<Handle, Error> {
    let queue = Arc::new(Queue::new(config.queue_len));
    let handle = Handle {
        queue: Arc::new(Asker(queue.clone())),
        counters: counters.clone(),
        facts: Arc::new(facts),
        patience: config.deadline,
        priority: Priority::Normal,
    };
    std::thread::Builder::new()
        .name("tpm".to_owned())
        .spawn(move || owner::run(backend, &queue, &counters))
        .map_err(|error| Error::Unavailable { tcti: config.tcti.clone(), reason: error.to_string() })?;
    Ok(handle)
}

/// The TPM, for whoever wants something of it. Cheap to clone; the chip is closed when the last one is gone.
///
/// Each asynchronous method waits until the deadline that the configuration or [`within`](Self::within) sets, and
/// needs tokio's timer. Dropping its future before the chip begins takes the request back. Besides what they say
/// themselves, all can fail with `QueueFull` at once, and with `DeadlinePassed`, `Busy`, `Stopped`, `Unavailable` (the
/// connection broke: a later request tries to open it again, with the rights that the process then has) or `Chip`.
#[derive(Clone)]
pub struct Handle {
    queue: Arc<Asker>,
    counters: Arc<Shared>,
    facts: Arc<Facts>,
    patience: Duration,
    priority: Priority,
}

/// What all handles share; the queue is closed when the last one is gone.
struct Asker(Arc<Queue>);

impl Drop for Asker {
    fn drop(&mut self) {
        self.0.close(None);
    }
}

/// The SHA-256 digest of a head of the log; a type of its own, so that nothing else is signed as one by mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeadDigest(pub Hash);

/// What does not change while the process lasts.
struct Facts {
    identity: Identity,
    head_key: PublicKey,
    general_key: PublicKey,
    attestation_key: Option<PublicKey>,
    key_origin: KeyOrigin,
}

impl Handle {
    /// The same TPM with another deadline for each request: now + `patience`.
    pub fn within(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The same TPM with another place in the queue for each request; [`Priority::Normal`] unless said otherwise.
    pub fn at(&self, priority: Priority) -> Self {
        Self { priority, ..self.clone() }
    }

    /// Who the chip is; asked once, at the start.
    pub fn identity(&self) -> &Identity {
        &self.facts.identity
    }

    /// The public half of the key that signs heads of the log, and nothing else.
    pub fn head_key(&self) -> &PublicKey {
        &self.facts.head_key
    }

    /// The public half of the key that signs everything else.
    pub fn general_key(&self) -> &PublicKey {
        &self.facts.general_key
    }

    /// The public half of the key that signs what the TPM states of itself; software has none.
    pub fn attestation_key(&self) -> Option<&PublicKey> {
        self.facts.attestation_key.as_ref()
    }

    /// Whether there is no chip, but a key in software: [`start_software`].
    pub fn is_without_chip(&self) -> bool {
        self.facts.attestation_key.is_none()
    }

    /// Whether the head key was made at this start.
    pub fn key_origin(&self) -> KeyOrigin {
        self.facts.key_origin
    }

    /// Signs the SHA-256 digest of a head of the log. One command.
    pub async fn sign_head(&self, digest: HeadDigest) -> Result<Signature, Error> {
        self.ask(Kind::SignHead, move |backend| backend.sign(Role::Head, digest.0)).await
    }

    /// Signs any other SHA-256 digest with the machine's general key. Three commands.
    pub async fn sign(&self, digest: Hash) -> Result<Signature, Error> {
        self.ask(Kind::Sign, move |backend| backend.sign(Role::General, digest)).await
    }

    /// Encrypts 1 to [`SEAL_MAX`] bytes so that only this TPM, with this key folder, can decrypt them. One command.
    ///
    /// # Errors
    /// - `Length`: none or too many bytes
    pub async fn seal(&self, data: &[u8]) -> Result<Vec<u8>, Error> {
        check_len("data to seal", data.len(), SEAL_MAX)?;
        let data = Zeroizing::new(data.to_vec());
        self.ask(Kind::Seal, move |backend| backend.seal(&data)).await
    }

    /// Decrypts what [`seal`](Self::seal) made. Three commands.
    ///
    /// # Errors
    /// - `ForeignBlob`: another TPM sealed it
    /// - `DamagedBlob`: it was changed, or sealed under another key folder
    pub async fn unseal(&self, blob: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        check_len("sealed data", blob.len(), BLOB_MAX)?;
        let blob = blob.to_vec();
        self.ask(Kind::Unseal, move |backend| backend.unseal(&blob)).await
    }

    /// 1 to [`RANDOM_MAX`] random bytes of the chip's generator. One command for each 32.
    ///
    /// # Errors
    /// - `Length`: none or too many bytes
    pub async fn random(&self, len: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        check_len("random data", len, RANDOM_MAX)?;
        self.ask(Kind::Random, move |backend| backend.random(len)).await
    }

    /// What the chip holds now. Three commands.
    pub async fn resources(&self) -> Result<Resources, Error> {
        self.ask_chip(Kind::Resources, "what the chip holds", Chip::resources).await
    }

    /// What was done since the start, and what waits. Sends nothing to the chip.
    pub fn counters(&self) -> Counters {
        self.counters.read(self.queue.0.waiting(), self.queue.0.cancelled())
    }

    /// Serves what was asked for before, gives back what is kept in the chip, closes the connection and ends the
    /// thread; other handles then get `Stopped`. A second call does nothing.
    ///
    /// # Errors
    /// Those of the chip while it was closed. It is closed in any case, unless the deadline passed.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        // It needs no room in the queue: it must not be refused because there is much to do.
        self.queue.0.close(Some(reply));
        let deadline = Instant::now() + self.patience;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            // No answer: another shutdown came first.
            Ok(answer) => answer.unwrap_or(Ok(())),
            Err(_) => Err(self.late()),
        }
    }

    /// Asks for what only a chip can do.
    pub(crate) async fn ask_chip<T: Send + 'static>(
        &self,
        kind: Kind,
        what: &'static str,
        mut operation: impl FnMut(&mut Chip) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(kind, move |backend| backend.chip(what, &mut operation)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        kind: Kind,
        operation: impl FnOnce(&mut Backend) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let since = Instant::now();
        let deadline = since + self.patience;
        let (reply, answer) = oneshot::channel();
        let work = Box::new(Ask { reply, operation });
        match self.queue.0.push(Job { kind, work, since, deadline }, self.priority) {
            Ok(()) => {}
            Err(Refused::Full) => {
                Shared::add(&self.counters.queue_full);
                return Err(Error::QueueFull { len: self.queue.0.len_max() });
            }
            Err(Refused::Closed) => return Err(Error::Stopped),
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

pub(crate) fn check_len(what: &'static str, len: usize, max: usize) -> Result<(), Error> {
    if (1..=max).contains(&len) { Ok(()) } else { Err(Error::Length { what, len, max }) }
}
