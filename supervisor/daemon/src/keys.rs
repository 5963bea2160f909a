//! The repository's key: 32 random bytes that exist on the disk only sealed by the TPM: under the vault's policy, or to the TPM alone
//! as long as there is no vault with a policy.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use recovery::vault::{FILE, Vault};
use store::head::PublicKey;
use zeroize::Zeroizing;

use crate::effects::vault;

/// A sealed key is some hundred bytes.
const SEALED_MAX: u64 = 4096;
/// Where it lies sealed to the TPM alone.
const NAME: &str = "repository.key";

/// The key, as a start finds it.
pub enum Found {
    /// It is open.
    Open(Zeroizing<[u8; 32]>),
    /// It does not open on this machine as it is: why. Everything but checkpoints works.
    Locked(String),
}

/// Unseals the key, or makes it at the first start. `has_moved`: the machine has had another TPM.
pub async fn repository(tpm: &tpm::Handle, state: &Path, has_moved: bool) -> anyhow::Result<Found> {
    match vault::read(state) {
        Ok(None) => {}
        Ok(Some(vault)) => return from_vault(tpm, state, vault).await,
        Err(why) => {
            return Ok(match plain(tpm, state).await {
                Ok(key) => Found::Open(key),
                Err(_) => Found::Locked(why),
            });
        }
    }
    let path = state.join(NAME);
    let shown = path.display();
    if path.exists() {
        return match plain(tpm, state).await {
            Ok(key) => Ok(Found::Open(key)),
            Err(error) if has_moved => Ok(Found::Locked(format!(
                "{error:#}; there is no vault either, so the checkpoints that were taken with it cannot be read again: move chunks, \
                 checkpoints and {shown} away to begin anew"
            ))),
            Err(error) => Err(error),
        };
    }
    if state.join("chunks").exists() {
        bail!(
            "{shown} is gone, and without it the checkpoints in {} cannot be read: bring it back, or the file {FILE}",
            state.display()
        );
    }
    let fresh = tpm.random(32).await.context("asking the TPM for random bytes")?;
    let mut fresh = array(&fresh, &path)?;
    // Neither a chip's generator nor the kernel's is trusted alone.
    let mut other = Zeroizing::new([0; 32]);
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(other.as_mut()));
    read.context("asking the kernel for random bytes")?;
    fresh.iter_mut().zip(*other).for_each(|(byte, other)| *byte ^= other);
    let sealed = tpm.seal(fresh.as_slice()).await.context("sealing the repository's key")?;
    store::blob::create(&path, &sealed).with_context(|| format!("writing {shown}"))?;
    Ok(Found::Open(fresh))
}

async fn from_vault(tpm: &tpm::Handle, state: &Path, vault: Vault) -> anyhow::Result<Found> {
    let why = match &vault.policy {
        None => "no policy was signed yet".to_owned(),
        Some(policy) => match tpm.unseal_policy(&vault.sealed, policy).await {
            Ok(key) => {
                // Left by a crash, when the policy was put in force.
                remove(state)?;
                return Ok(Found::Open(array(&key, &state.join(FILE))?));
            }
            Err(error) if is_lasting(&error) => error.to_string(),
            Err(error) => return Err(error).context("unsealing the repository's key from the vault"),
        },
    };
    Ok(match plain(tpm, state).await {
        Ok(key) => Found::Open(key),
        Err(_) => Found::Locked(why),
    })
}

/// Whether it will not go away by itself.
const fn is_lasting(error: &tpm::Error) -> bool {
    matches!(
        error,
        tpm::Error::WrongPcr { .. }
            | tpm::Error::PolicyRevoked { .. }
            | tpm::Error::PolicyKey
            | tpm::Error::NvMissing { .. }
            | tpm::Error::NvForeign { .. }
            | tpm::Error::NvUnwritten { .. }
            | tpm::Error::ForeignBlob
            | tpm::Error::DamagedBlob { .. }
            | tpm::Error::Unsupported { .. }
    )
}

/// What is sealed to the TPM alone.
async fn plain(tpm: &tpm::Handle, state: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let path = state.join(NAME);
    let shown = path.display();
    let sealed = store::blob::read(&path, SEALED_MAX).with_context(|| format!("reading {shown}"))?;
    let key = tpm.unseal(&sealed).await.with_context(|| format!("unsealing the repository's key {shown}"))?;
    array(&key, &path)
}

fn array(bytes: &[u8], path: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        bail!("{} holds a key of {} bytes instead of 32", path.display(), bytes.len());
    }
    key.copy_from_slice(bytes);
    Ok(key)
}

/// Writes the public key that signs checkpoints into their folder, as the log has that of its heads: whoever verifies a copy needs it, and
/// those of earlier TPMs.
pub fn publish(dir: &Path, key: &tpm::PublicKey, retired: &[tpm::PublicKey]) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let write = |name: &str, key: &tpm::PublicKey| {
        let (path, pem) = (dir.join(name), PublicKey::from_der(&key.spki())?.to_pem());
        if std::fs::read_to_string(&path).ok().as_deref() != Some(&pem) {
            store::blob::replace(&path, pem.as_bytes())?;
        }
        anyhow::Ok(())
    };
    for before in retired.iter().filter(|before| *before != key) {
        let id: String = before.key_id().iter().map(|byte| format!("{byte:02x}")).collect();
        write(&format!("key-{id}.pem"), before)?;
    }
    write("key.pem", key).context("writing the public key of checkpoints")
}

/// Seals the key to the TPM alone.
pub async fn write(tpm: &tpm::Handle, state: &Path, key: &[u8; 32]) -> anyhow::Result<()> {
    let path = state.join(NAME);
    let sealed = tpm.seal(key).await.context("sealing the repository's key")?;
    store::blob::replace(&path, &sealed).with_context(|| format!("writing {}", path.display()))
}

/// Removes what is sealed to the TPM alone.
pub fn remove(state: &Path) -> anyhow::Result<()> {
    remove_file(&state.join(NAME))
}

/// Removes a file for good; where there is none that is no error.
pub fn remove_file(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        removed => removed.with_context(|| format!("removing {}", path.display()))?,
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.with_context(|| format!("flushing the folder of {}", path.display()))
}

#[cfg(test)]
mod tests;
