//! What `export` and `mount` have in common: a state folder, or a copy of it, without daemon and TPM.

use std::path::{Path, PathBuf};

use clap::Args;
use recovery::manifest::stored::Stored;
use recovery::vault::offline::{self, PublicKey};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::secret;

/// The repository's key, bytes.
pub const KEY_BYTES: usize = 32;
/// The largest public key that is read, bytes.
pub const PEM_BYTES_MAX: usize = 16 << 10;

/// Where checkpoints lie, and what opens and proves them.
#[derive(Debug, Args)]
pub struct Offline {
    /// The repository's key, 32 bytes; “-” is the standard input.
    #[arg(long, value_name = "FILE")]
    repository_key: PathBuf,
    /// The daemon's state folder, or a copy of it.
    #[arg(long, visible_alias = "state", default_value = "/var/lib/dsmil")]
    pub dir: PathBuf,
    /// The public key that signed the checkpoint, PEM. More than once for a machine that had another TPM before.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

impl Offline {
    /// The folder of chunks.
    pub fn chunks(&self) -> PathBuf {
        self.dir.join("chunks")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// A checkpoint by its number, or by its name, which no two have at a time.
    pub fn find(&self, which: &str) -> Result<Stored, Fault> {
        let dir = self.checkpoints();
        let read = |number| Stored::decode(number, &store::manifest::get(&dir, number)?).map_err(fault);
        if let Ok(number) = which.parse() {
            return read(number);
        }
        for number in store::manifest::list(&dir)? {
            let stored = read(number)?;
            if stored.statement.name == which {
                return Ok(stored);
            }
        }
        Err(Fault::NotFound(format!("there is no checkpoint “{which}” in {}", dir.display())))
    }

    /// The keys that may have signed.
    pub fn signers(&self) -> Result<Signers, Fault> {
        Signers::read(&self.key)
    }

    /// The repository's key.
    pub fn repository_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, Fault> {
        repository_key(&self.repository_key)
    }
}

/// The repository's key from a file.
pub fn repository_key(path: &Path) -> Result<Zeroizing<[u8; KEY_BYTES]>, Fault> {
    let bytes = secret::read(path, "the repository's key", KEY_BYTES)?;
    let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice());
    key.map(Zeroizing::new).map_err(|_| {
        Fault::Usage(format!("{} is no repository's key: it has not {KEY_BYTES} bytes", path.display()))
    })
}

/// The keys that may have signed; none where nothing is to be checked.
pub struct Signers(Vec<PublicKey>);

impl Signers {
    /// From PEM files.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Fault> {
        let read = |path: &PathBuf| {
            let pem = secret::read(path, "the public key", PEM_BYTES_MAX)?;
            offline::public_key(&String::from_utf8_lossy(&pem))
                .map_err(|error| Fault::Failed(format!("{}: {error}", path.display())))
        };
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The keys themselves.
    pub fn into_keys(self) -> Vec<PublicKey> {
        self.0
    }

    /// Whether signatures are checked.
    pub const fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether the signature was asked for, and then holds.
    pub fn check(&self, stored: &Stored) -> Result<bool, Fault> {
        if self.0.is_empty() {
            return Ok(false);
        }
        if self.0.iter().any(|key| stored.is_signed_by(key)) {
            return Ok(true);
        }
        let number = stored.statement.number;
        let message = format!(
            "checkpoint {number} is not signed by the given key: it was changed, or comes from elsewhere"
        );
        Err(Fault::Damaged { message, damage: None })
    }

    /// What was found of the signature, in words.
    pub const fn said(signed: bool) -> &'static str {
        if signed { "its signature holds" } else { "its signature was not checked: give --key" }
    }
}

/// What went wrong, in the words of the command.
pub fn fault(error: recovery::Error) -> Fault {
    match error {
        recovery::Error::Store(error) => error.into(),
        recovery::Error::Damaged(_) => Fault::Damaged { message: error.to_string(), damage: None },
        recovery::Error::Refused(_) => Fault::NotFound(error.to_string()),
        error => Fault::Failed(error.to_string()),
    }
}
