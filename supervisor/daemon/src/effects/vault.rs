//! Effects on the vault and on what is sealed under its policy. The vault's file is replaced as a whole or not at all.
//!
//! The repository's key lies sealed under the policy once one is in force, and sealed to the TPM alone before that:
//!
//! | there is | the key is in |
//! |---|---|
//! | no vault | `repository.key` |
//! | a vault without a policy | `repository.key` |
//! | a vault with a policy | the vault |

use std::path::{Path, PathBuf};

use engine::order::VaultChange;
use engine::reply::Prepared;
use engine::{RequestId, StepResult};
use policy::Permit;
use recovery::vault::{FILE, REPOSITORY_KEY, VAULT_MAX, Vault};
use tpm::{PcrSelection, PublicKey, Reuse, SignedPolicy, Terms};
use zeroize::Zeroizing;

use super::beside::Bytes;
use super::{World, lock};
use crate::keys;
use crate::run::failed;

/// Text for people.
type Refused = String;

const NONE: &str = "there is no vault: “dsmil tpm provision” makes one";

/// Reads the vault; none where there is none.
pub fn read(state: &Path) -> Result<Option<Vault>, Refused> {
    let path = state.join(FILE);
    let shown = path.display();
    let bytes = match store::blob::read(&path, u64::try_from(VAULT_MAX).unwrap_or(u64::MAX)) {
        Err(store::Error::Absent { .. }) => return Ok(None),
        bytes => bytes.map_err(|error| format!("reading the vault {shown}: {error}"))?,
    };
    let vault = Vault::from_bytes(&bytes).map_err(|error| format!("the vault {shown}: {error}"))?;
    vault.check().map_err(|error| format!("the vault {shown}: {error}"))?;
    Ok(Some(vault))
}

impl World {
    fn state(&self) -> PathBuf {
        self.config.state.clone()
    }

    /// The vault as it is on the disk.
    pub(super) fn vault(&self) -> Result<Option<Vault>, Refused> {
        read(&self.config.state)
    }

    fn some_vault(&self) -> Result<Vault, Refused> {
        self.vault()?.ok_or_else(|| NONE.to_owned())
    }

    fn given(&self, request: RequestId) -> Result<Bytes, Refused> {
        let gone = || "what was handed over is no longer there: ask again as a new request".to_owned();
        self.beside.given(request).ok_or_else(gone)
    }

    pub(super) async fn seal(&self, request: RequestId, _permit: Permit) -> StepResult {
        step(self.sealing(request).await)
    }

    async fn sealing(&self, request: RequestId) -> Result<StepResult, Refused> {
        let data = self.given(request)?;
        let vault = self.some_vault()?;
        let blob = self.tpm.seal_policy(&data, &vault.policy_key).await.map_err(text)?;
        Ok(StepResult::Sealed(blob))
    }

    pub(super) async fn unseal(&self, request: RequestId, hash: [u8; 32], _permit: Permit) -> StepResult {
        step(self.unsealing(request, hash).await)
    }

    async fn unsealing(&self, request: RequestId, hash: [u8; 32]) -> Result<StepResult, Refused> {
        let blob = self.given(request)?;
        if engine::order::digest(&blob).0 != hash {
            return Err("the sealed data is not what was asked for".to_owned());
        }
        let vault = self.some_vault()?;
        let policy = vault.policy.as_ref().ok_or(
            "no policy is in force: have the terms of “dsmil tpm policy terms” signed, and install them",
        )?;
        let data = self.tpm.unseal_policy(&blob, policy).await.map_err(text)?;
        self.beside.answer(request, data);
        Ok(StepResult::Done)
    }

    pub(super) async fn change_vault(
        &self,
        request: RequestId,
        change: VaultChange,
        _permit: Permit,
    ) -> StepResult {
        step(match change {
            VaultChange::Prepare { registers, anew, .. } => {
                self.prepare_vault(request, registers, anew).await
            }
            VaultChange::Install { .. } => self.install_vault(request).await,
            VaultChange::InstallPolicy { .. } => self.install_policy(request).await,
            VaultChange::Revoke => self.revoke().await,
            VaultChange::Forget { anchor } => self.forget(anchor).await,
        })
    }

    async fn prepare_vault(
        &self,
        request: RequestId,
        registers: u32,
        anew: bool,
    ) -> Result<StepResult, Refused> {
        let given = self.given(request)?;
        let (spki, key) = given
            .split_at_checked(given.len().saturating_sub(if anew { REPOSITORY_KEY } else { 0 }))
            .ok_or("a policy key was expected")?;
        let policy_key = PublicKey::from_spki(spki).ok_or("the policy key is no P-256 key")?;
        let registers = PcrSelection::from_mask(registers).ok_or("a policy names one or more PCRs")?;
        let key = if anew {
            let key = array(key)?;
            self.unlock(&key)?;
            key
        } else {
            if self.vault()?.is_some() {
                return Err("there is a vault already: “dsmil tpm policy renew” signs new terms for it, “dsmil tpm recover” makes it \
                            anew with its recovery key, “dsmil tpm forget” removes it"
                    .to_owned());
            }
            self.repository_key()?
        };
        let revocation =
            self.tpm.make_revocation(if anew { Reuse::Renew } else { Reuse::Keep }).await.map_err(text)?;
        let sealed = self.tpm.seal_policy(key.as_slice(), &policy_key).await.map_err(text)?;
        let terms = self.terms(registers, &revocation).await?;
        self.beside.answer(request, Zeroizing::new(key.to_vec()));
        Ok(StepResult::Prepared(Prepared {
            terms: terms.to_bytes().map_err(text)?,
            machine: self.tpm.head_key().fingerprint(),
            sealed,
            counter: revocation.name.0,
            value: revocation.value,
        }))
    }

    /// The terms that hold on the machine as it is.
    pub(super) async fn terms(
        &self,
        pcrs: PcrSelection,
        revocation: &tpm::Revocation,
    ) -> Result<Terms, Refused> {
        Ok(Terms {
            pcrs,
            pcr_digest: self.tpm.pcr_read(pcrs).await.map_err(text)?.digest(),
            revocation: revocation.index,
            revocation_name: revocation.name,
            counter_max: revocation.value,
        })
    }

    async fn install_vault(&self, request: RequestId) -> Result<StepResult, Refused> {
        let bytes = self.given(request)?;
        let vault = Vault::from_bytes(&bytes).map_err(text)?;
        vault.check().map_err(text)?;
        if vault.machine != self.tpm.head_key().fingerprint() {
            return Err(
                "the vault is for another machine: “dsmil tpm recover” makes it anew for this one".to_owned()
            );
        }
        if let Ok(Some(present)) = self.vault()
            && present.authority != vault.authority
        {
            return Err(
                "the vault that is there has another recovery key: use that one, or “dsmil tpm forget” first"
                    .to_owned(),
            );
        }
        let revocation = self.tpm.revocation().await.map_err(text)?;
        if revocation.map(|found| (found.index, found.name))
            != Some((vault.revocation, vault.revocation_name))
        {
            return Err("the vault names another revocation counter than the TPM has: begin again".to_owned());
        }
        match vault.policy.clone() {
            Some(policy) => self.put_in_force(vault, policy).await?,
            None => {
                // Until a policy comes, the TPM alone holds the key.
                let key = self.repository_key()?;
                keys::write(&self.tpm, &self.state(), &key).await.map_err(|error| format!("{error:#}"))?;
                self.write_vault(&vault)?;
            }
        }
        Ok(StepResult::Done)
    }

    async fn install_policy(&self, request: RequestId) -> Result<StepResult, Refused> {
        let bytes = self.given(request)?;
        let policy = SignedPolicy::from_bytes(&bytes).map_err(text)?;
        self.put_in_force(self.some_vault()?, policy).await?;
        Ok(StepResult::Done)
    }

    /// Writes the vault with this policy, once it has opened the repository's key; that then lies nowhere else.
    async fn put_in_force(&self, mut vault: Vault, policy: SignedPolicy) -> Result<(), Refused> {
        if policy.key != vault.policy_key {
            return Err(tpm::Error::PolicyKey.to_string());
        }
        let opened = self.tpm.unseal_policy(&vault.sealed, &policy).await.map_err(text)?;
        self.unlock(&array(&opened)?)?;
        vault.policy = Some(policy);
        self.write_vault(&vault)?;
        keys::remove(&self.state()).map_err(|error| format!("{error:#}"))
    }

    async fn revoke(&self) -> Result<StepResult, Refused> {
        self.some_vault()?;
        let revocation = self.tpm.revoke().await.map_err(text)?;
        Ok(StepResult::Counted { counter: revocation.name.0, value: revocation.value })
    }

    async fn forget(&self, anchor: bool) -> Result<StepResult, Refused> {
        if anchor && !self.config.may_lack("anchor") {
            return Err("this daemon relies on the log's anchor: start it with without = [\"anchor\"] in its configuration, then ask again"
                .to_owned());
        }
        if self.vault().is_ok_and(|vault| vault.is_some()) || self.config.state.join(FILE).exists() {
            let key = self.repository_key()?;
            keys::write(&self.tpm, &self.state(), &key).await.map_err(|error| format!("{error:#}"))?;
            keys::remove_file(&self.config.state.join(FILE)).map_err(|error| format!("{error:#}"))?;
        }
        self.tpm.forget_revocation().await.map_err(text)?;
        if anchor {
            self.tpm.forget_anchor(tpm::AnchorHandles::default()).await.map_err(text)?;
        }
        Ok(StepResult::Done)
    }

    fn write_vault(&self, vault: &Vault) -> Result<(), Refused> {
        let path = self.config.state.join(FILE);
        let written = store::blob::replace(&path, &vault.to_bytes().map_err(text)?);
        written.map_err(|error| format!("writing the vault {}: {error}", path.display()))
    }

    /// The repository's key, where it is open.
    fn repository_key(&self) -> Result<Zeroizing<[u8; REPOSITORY_KEY]>, Refused> {
        let key = lock(&self.key).clone();
        key.ok_or_else(|| {
            format!(
                "the repository's key is not open ({}): “dsmil tpm recover” opens it with the recovery key. If that is lost, the \
                 checkpoints are too: stop dsmild, and move vault, chunks and checkpoints out of {}",
                self.repository.locked().unwrap_or_default(),
                self.config.state.display()
            )
        })
    }

    /// Takes this key as the repository's: it must be the one that is open, or open it.
    fn unlock(&self, key: &Zeroizing<[u8; REPOSITORY_KEY]>) -> Result<(), Refused> {
        let mut open = lock(&self.key);
        match open.as_ref() {
            // What the hashes of secrets differ in says nothing about the secrets.
            Some(open) if engine::order::digest(open.as_slice()) == engine::order::digest(key.as_slice()) => {
                Ok(())
            }
            Some(_) => Err("this is the key of another repository: nothing was changed".to_owned()),
            None => {
                self.repository.unlock(key).map_err(|error| {
                    format!("the key does not open the repository, so nothing was changed: {error:#}")
                })?;
                *open = Some(key.clone());
                tracing::info!("the repository is open");
                Ok(())
            }
        }
    }
}

fn array(bytes: &[u8]) -> Result<Zeroizing<[u8; REPOSITORY_KEY]>, Refused> {
    let mut key = Zeroizing::new([0; REPOSITORY_KEY]);
    if bytes.len() != key.len() {
        return Err(format!("a repository's key has {REPOSITORY_KEY} bytes, this has {}", bytes.len()));
    }
    key.copy_from_slice(bytes);
    Ok(key)
}

/// What the owner is told of an error: none of them holds what is sealed.
fn text(error: impl std::fmt::Display) -> Refused {
    error.to_string()
}

fn step(result: Result<StepResult, Refused>) -> StepResult {
    result.unwrap_or_else(|reason| failed(&reason))
}
