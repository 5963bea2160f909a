//! `dsmil tpm policy renew`

use std::path::PathBuf;

use api::wire::secret::Secret;
use api::wire::{Answer, Command};
use clap::Args;
use recovery::vault::offline;

use crate::fault::Fault;
use crate::progress::Show;
use crate::session::Context;
use crate::tpm::vault::{self, failed};
use crate::{output, secret};

/// Signs the machine as it is now, with the policy key that the recovery key opens, and puts that policy in force.
///
/// After an update of firmware, boot loader or kernel, or after “dsmil tpm policy revoke”. The recovery key is asked for and stays in this
/// process. Be sure that the change was yours: what is signed opens everything that was sealed. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm policy renew
  dsmil tpm policy renew --recovery-key /media/stick/recovery")]
pub struct Renew {
    /// The recovery key's file, instead of typing it; “-” is the standard input.
    #[arg(long, value_name = "FILE")]
    recovery_key: Option<PathBuf>,
}

impl Renew {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        let report = vault::report(&mut session)?;
        let (made, terms) = (vault::of(&report)?, vault::terms(&report)?);
        if !made.has_policy_key() {
            return Err(failed(recovery::vault::Error::Offline));
        }
        let recovery = secret::recovery_key(self.recovery_key.as_deref())?;
        let key = made.policy_key(&recovery).map_err(failed)?;
        let signed = offline::sign(&key, &terms).map_err(failed)?;
        let command = Command::InstallPolicy { policy: Secret::new(&signed) };
        let (answer, behind) = session.ask("install the policy", command, Show::Late)?;
        let Answer::VaultChanged = &answer else { return Err(Fault::Unexpected) };
        let text = format!("a new policy is in force: {}\n", vault::describe(&terms));
        output::answer(context.json, &answer, &behind, &text)
    }
}
