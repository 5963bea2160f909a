//! What is told of the vault, and the TPM's word on the anchor.

use api::wire::vault::{Certification, Report, Standing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::reply::Refusal;
use recovery::vault::Vault;
use tpm::{AnchorHandles, Priority, Revocation};

use super::chip::{PATIENCE, hex};
use super::{World, key_id};

impl World {
    /// How the vault stands, for everybody.
    pub(super) async fn standing(&self) -> Standing {
        let vault = self.vault();
        let locked = self.repository.locked();
        let mut standing = Standing { open: locked.is_none(), locked, ..Standing::default() };
        let vault = match vault {
            Ok(Some(vault)) => vault,
            Ok(None) => return standing,
            Err(why) => return Standing { provisioned: true, failure: Some(why), ..standing },
        };
        standing.provisioned = true;
        standing.policy_key = Some(key_id(&vault.policy_key));
        standing.wrapped = vault.has_policy_key();
        let pcrs = vault.policy.as_ref().map_or(vault.registers, |policy| policy.terms.pcrs);
        standing.pcrs = pcrs.registers().collect();
        standing.counter_max = vault.policy.as_ref().map(|policy| policy.terms.counter_max);
        let tpm = self.tpm.within(PATIENCE).at(Priority::Background);
        let revocation = tpm.revocation().await;
        standing.counter = revocation.as_ref().ok().copied().flatten().map(|found| found.value);
        match self.holds(&tpm, &vault, revocation).await {
            Ok(()) => standing.policy_holds = true,
            Err(why) => standing.failure = Some(why),
        }
        standing
    }

    /// Whether the policy in force would open now: what the chip would look at, without opening anything.
    async fn holds(
        &self,
        tpm: &tpm::Handle,
        vault: &Vault,
        revocation: Result<Option<Revocation>, tpm::Error>,
    ) -> Result<(), String> {
        let index = vault.revocation;
        let policy = vault.policy.as_ref().ok_or("no policy was signed yet")?;
        let terms = &policy.terms;
        let found = revocation.and_then(|found| found.ok_or(tpm::Error::NvMissing { index }));
        let found = found.map_err(|error| error.to_string())?;
        if vault.machine != self.tpm.head_key().fingerprint() {
            return Err(tpm::Error::ForeignBlob.to_string());
        }
        if found.name != terms.revocation_name {
            return Err(tpm::Error::NvForeign { index }.to_string());
        }
        if found.value > terms.counter_max {
            return Err(tpm::Error::PolicyRevoked { counter_max: terms.counter_max }.to_string());
        }
        let pcrs = tpm.pcr_read(terms.pcrs).await.map_err(|error| error.to_string())?;
        if pcrs.digest() != terms.pcr_digest {
            return Err(tpm::Error::WrongPcr { registers: terms.pcrs.registers().collect() }.to_string());
        }
        Ok(())
    }

    /// The vault, for its owner.
    pub async fn vault_report(&self) -> Result<Report, Refusal> {
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        let standing = self.standing().await;
        let Some(vault) = self.vault().map_err(Refusal::Failed)? else {
            return Ok(Report { standing, ..Report::default() });
        };
        let bytes = vault.to_bytes().map_err(|error| failed(&error))?;
        let tpm = self.tpm.within(PATIENCE);
        let terms = match tpm.revocation().await {
            Ok(Some(revocation)) => {
                let pcrs = vault.policy.as_ref().map_or(vault.registers, |policy| policy.terms.pcrs);
                let terms = self.terms(pcrs, &revocation).await.map_err(Refusal::Failed)?;
                Some(STANDARD.encode(terms.to_bytes().map_err(|error| failed(&error))?))
            }
            _ => None,
        };
        Ok(Report { standing, vault: Some(STANDARD.encode(bytes)), terms })
    }

    /// The TPM's word on the anchor, in answer to a nonce.
    pub async fn certify(&self, nonce: &[u8]) -> Result<Certification, Refusal> {
        let failed = |error: &dyn std::fmt::Display| Refusal::Failed(error.to_string());
        let tpm = self.tpm.within(PATIENCE);
        let key = self.tpm.attestation_key();
        let key = key.ok_or_else(|| Refusal::Failed("a key in software cannot certify".to_owned()))?;
        let word =
            tpm.certify_anchor(AnchorHandles::default(), nonce).await.map_err(|error| failed(&error))?;
        let claim = tpm::verify_certification(key, nonce, &word).map_err(|why| {
            Refusal::Failed(format!("the certification is not given away: {why}; ask again"))
        })?;
        let pem = store::head::PublicKey::from_der(&key.spki()).map_err(|error| failed(&error))?.to_pem();
        Ok(Certification {
            counter: hex(&word.counter.bytes),
            counter_signature: hex(&word.counter.signature),
            record: hex(&word.record.bytes),
            record_signature: hex(&word.record.signature),
            key: pem,
            anchor: recovery::vault::offline::anchor_name(&claim.counter_name, &claim.record_name)
                .to_string(),
        })
    }
}
