//! `dsmil tpm policy install`

use std::path::PathBuf;

use api::wire::secret::Secret;
use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::session::Context;
use crate::{output, secret};

/// Longest signed policy, bytes.
const SIGNED_MAX: usize = 1024;

/// Puts a signed policy in force, once it has opened the repository's key.
///
/// Refused where it does not open now: signed by another key, for another state of the machine, or revoked. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm policy install signed")]
pub struct Install {
    /// The signed policy, from “dsmil tpm policy sign”; “-” is the standard input.
    file: PathBuf,
}

impl Install {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let policy = secret::read(&self.file, "the signed policy", SIGNED_MAX)?;
        let command = Command::InstallPolicy { policy: Secret::new(&policy) };
        let (answer, behind) = context.ask("install the policy", command)?;
        let Answer::VaultChanged = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, "the policy is in force\n")
    }
}
