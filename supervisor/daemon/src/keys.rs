//! The repository's key: 32 random bytes that exist on the disk only sealed by the TPM.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

/// A sealed key is some hundred bytes.
const SEALED_MAX: u64 = 4096;

/// Unseals the key, or makes it at the first start.
pub async fn repository(tpm: &tpm::Handle, state: &Path) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let path = state.join("repository.key");
    let shown = path.display();
    let bytes = if path.exists() {
        let sealed = store::blob::read(&path, SEALED_MAX).with_context(|| format!("reading {shown}"))?;
        tpm.unseal(&sealed).await.with_context(|| format!("unsealing the repository's key {shown}"))?
    } else {
        if state.join("chunks").exists() {
            bail!(
                "{shown} is gone, and without it the checkpoints in {} cannot be read: bring it back",
                state.display()
            );
        }
        let mut fresh = tpm.random(32).await.context("asking the TPM for random bytes")?;
        // Neither a chip's generator nor the kernel's is trusted alone.
        let mut other = Zeroizing::new([0; 32]);
        let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(other.as_mut()));
        read.context("asking the kernel for random bytes")?;
        fresh.iter_mut().zip(*other).for_each(|(byte, other)| *byte ^= other);
        let sealed = tpm.seal(&fresh).await.context("sealing the repository's key")?;
        store::blob::create(&path, &sealed).with_context(|| format!("writing {shown}"))?;
        fresh
    };
    let mut key = Zeroizing::new([0; 32]);
    if bytes.len() != key.len() {
        bail!("{shown} holds a key of {} bytes instead of 32", bytes.len());
    }
    key.copy_from_slice(&bytes);
    Ok(key)
}
