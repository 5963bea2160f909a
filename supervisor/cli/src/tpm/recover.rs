//! `dsmil tpm recover`

use std::path::PathBuf;

use clap::Args;
use recovery::vault::{Vault, offline};
use serde::Serialize;

use super::provision::short;
use super::vault::{self, failed};
use crate::fault::Fault;
use crate::session::Context;
use crate::{output, secret};

/// Opens the repository's key with the recovery key, and makes the vault anew for this machine.
///
/// After a new mainboard (“dsmild run --new-machine WHY” first), a cleared TPM, a lost revocation counter, or where no policy opens any more. The key is
/// sealed to this TPM, the revocation counter goes on or is made, new terms are signed where the policy key is in the vault; the recovery key
/// authorises machine and counter with its signature, and the log keeps that. Older policies are void. Takes root or an owner.
///
/// With --offline nothing is asked and nothing changed: in a rescue shell the key is opened from a copy of the state folder (or of its file “vault”).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm recover
  dsmil tpm recover --recovery-key /media/stick/recovery --vault /mnt/backup/vault
  dsmil tpm recover --offline --dir /mnt/var/lib/dsmil --out /run/repository.key")]
pub struct Recover {
    /// The recovery key's file, instead of typing it; “-” is the standard input.
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
    /// A copy of the vault, where the daemon has none or a damaged one.
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    vault: Option<PathBuf>,
    /// Which PCRs the new terms name, instead of those of the vault.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "offline")]
    pcrs: Vec<u8>,
    /// Without daemon and TPM: write the repository's key.
    #[arg(long, requires = "dir", requires = "out")]
    offline: bool,
    /// The daemon's state folder, a copy of it, or of its file “vault”.
    #[arg(long, value_name = "COPY", requires = "offline")]
    dir: Option<PathBuf>,
    /// The new file for the repository's key, 32 bytes, readable for you alone; “-” is the standard output.
    #[arg(long, value_name = "FILE", requires = "offline")]
    out: Option<PathBuf>,
}

/// What was made, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "recovered")]
struct Recovered {
    policy_key: String,
    machine: String,
    pcrs: Vec<u8>,
    policy: bool,
}

impl Recover {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        if let (true, Some(dir)) = (self.offline, &self.dir) {
            let made = offline::read(dir).map_err(failed)?;
            let key = self.repository(&made)?.1;
            return secret::put(self.out.as_deref(), "the repository's key", &key);
        }
        let mut session = context.connect()?;
        let present = vault::of(&vault::report(&mut session)?);
        let made = match &self.vault {
            Some(path) => offline::read(path).map_err(failed)?,
            None => present
                .as_ref()
                .map_err(|_| failed("the daemon has no vault that can be read: give a copy with --vault"))?
                .clone(),
        };
        // The daemon would refuse it too, after the revocation counter went on.
        if present.is_ok_and(|present| present.authority != made.authority) {
            return Err(failed(
                "the vault that is there has another recovery key: use that one, or “dsmil tpm forget” first",
            ));
        }
        let (recovery, repository) = self.repository(&made)?;
        let signer = made.signer(&recovery).map_err(failed)?;
        let pcrs =
            if self.pcrs.is_empty() { made.registers.registers().collect() } else { self.pcrs.clone() };
        let made = vault::make(&mut session, &recovery, (&signer, &pcrs), Some(&repository))?;
        let recovered = Recovered {
            policy_key: short(&made),
            machine: made.machine.to_string(),
            pcrs,
            policy: made.policy.is_some(),
        };
        if context.json {
            return output::document(&recovered, None);
        }
        let next = if recovered.policy {
            "a new policy is signed and in force"
        } else {
            "sign new terms where the policy key is: “dsmil tpm policy terms”, sign, install"
        };
        output::print(&format!("recovered: the repository is open on this machine; {next}\n"))
    }

    fn repository(&self, made: &Vault) -> Result<(offline::Key, zeroize::Zeroizing<Vec<u8>>), Fault> {
        let recovery = secret::recovery_key(self.recovery_key.as_deref())?;
        let repository = made.repository(&recovery).map_err(failed)?;
        Ok((recovery, repository))
    }
}
