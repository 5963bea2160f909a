//! The log as the loop uses it: replayed at the start, appended to in batches, its heads signed by the TPM.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::{Record, State, evolve};
use store::head::{Head, PublicKey, SignedHead};
use store::log::Log;
use types::hash::Hash;

/// How long to wait before a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// The open log.
pub struct Journal {
    log: Log,
    dir: PathBuf,
    origin: String,
    key: PublicKey,
    /// Entries covered by a stored head.
    signed: u64,
    /// A head is at the TPM.
    signing: bool,
    last: Instant,
    interval: Duration,
    /// Room beyond the reserve was there when last looked.
    room: bool,
}

impl Journal {
    /// Opens the log, folds it into the state, and makes sure that this TPM signed it.
    pub fn open(
        dir: &Path,
        tpm: &tpm::Handle,
        interval: Duration,
        state: &mut State,
    ) -> anyhow::Result<Self> {
        let key = PublicKey::from_der(&tpm.public_key().spki())?;
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
        let origin =
            format!("dsmil/{}", log.id().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let signed = log.newest_head().map_or(0, |head| head.head().size);
        Ok(Self {
            log,
            dir: dir.to_owned(),
            origin,
            key,
            signed,
            signing: false,
            last: Instant::now(),
            interval,
            room: true,
        })
    }

    /// Appends the records with one flush.
    ///
    /// A full disk is back pressure: it waits. A failed flush ends the process at once: what was acknowledged after
    /// it could be lost.
    pub fn append(&mut self, records: &[Record]) -> anyhow::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let entries = records.iter().map(Record::encode).collect::<Result<Vec<_>, _>>()?;
        loop {
            let result = if self.room { self.log.append(&entries) } else { self.log.append_urgent(&entries) };
            match result {
                Ok(_) => return Ok(()),
                Err(store::Error::Full { .. }) if self.room => self.room = false,
                Err(error @ store::Error::Full { .. }) => {
                    tracing::error!("{error}; waiting for space");
                    std::thread::sleep(FULL_PAUSE);
                }
                Err(error) => return Err(error).context("the log cannot be appended to; stopping at once"),
            }
        }
    }

    /// Whether there is room for new orders; prepares it ahead of need.
    pub fn room(&mut self) -> anyhow::Result<bool> {
        match self.log.prepare() {
            Ok(()) => self.room = true,
            Err(store::Error::Full { .. }) => self.room = false,
            Err(error) => return Err(error).context("the log cannot be prepared; stopping at once"),
        }
        Ok(self.room)
    }

    /// A head to sign, if one is due.
    pub fn due(&mut self, now: bool) -> Option<Head> {
        let is_due = self.log.size() > self.signed && (now || self.last.elapsed() >= self.interval);
        (is_due && !self.signing).then(|| {
            self.signing = true;
            self.last = Instant::now();
            self.log.head(&self.origin, Vec::new())
        })
    }

    /// Stores a head that was signed; a chip that failed is asked again at the next turn.
    pub fn signed(
        &mut self,
        head: Head,
        signature: Result<tpm::Signature, tpm::Error>,
    ) -> anyhow::Result<()> {
        self.signing = false;
        let signature = match signature {
            Ok(signature) => signature,
            Err(error) => {
                tracing::warn!("the head at {} is not signed: {error}", head.size);
                return Ok(());
            }
        };
        let size = head.size;
        let signed = SignedHead::assemble(head, &self.key, signature.der())?;
        match self.log.store_head(&signed) {
            Ok(()) => self.signed = size,
            Err(error @ store::Error::Full { .. }) => {
                tracing::warn!("the head at {size} is not stored: {error}")
            }
            Err(error) => return Err(error).context("a head cannot be stored; stopping at once"),
        }
        Ok(())
    }

    /// Forgets a head that is at the TPM, whose signature nobody will take.
    pub const fn abandon_signing(&mut self) {
        self.signing = false;
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.log.size()
    }

    /// Entries covered by a signed head.
    pub const fn covered(&self) -> u64 {
        self.signed
    }

    /// The Merkle root.
    pub fn root(&self) -> Hash {
        self.log.root()
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
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
