//! `dsmil tpm forget`

use api::wire::{Answer, Command};
use clap::Args;

use super::vault;
use crate::fault::Fault;
use crate::progress::Show;
use crate::session::Context;
use crate::{output, question};

/// Removes the vault and its revocation counter; with --anchor also the log's anchor.
///
/// The repository's key is sealed to the TPM alone again, so the checkpoints stay. What “dsmil tpm seal” made can never be opened again, and the recovery
/// key opens nothing any more. While the daemon relies on the anchor it does not forget that: start it with without = ["anchor"] first. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm forget
  dsmil tpm forget --anchor --yes")]
pub struct Forget {
    /// The anchor's three indices in the TPM too.
    #[arg(long)]
    anchor: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Forget {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        let report = vault::report(&mut session)?;
        if !report.standing.provisioned && !self.anchor {
            return Err(Fault::NotFound("there is no vault, so there is nothing to forget".to_owned()));
        }
        if !context.json {
            for line in self.named(&report.standing) {
                output::note(&line);
            }
        }
        if !self.yes {
            if !question::is_possible() {
                return Err(Fault::Usage("without a terminal nobody can be asked: give --yes".to_owned()));
            }
            question::confirm("Remove all of this for good?")?;
        }
        let command = Command::ForgetVault { anchor: self.anchor };
        let (answer, behind) = session.ask("forget the vault", command, Show::Late)?;
        let Answer::VaultChanged = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, "forgotten\n")
    }

    /// What goes, and what that means.
    fn named(&self, standing: &api::wire::vault::Standing) -> Vec<String> {
        let mut lines = Vec::new();
        if standing.provisioned {
            lines.push("the vault: policy, wrapped keys. The recovery key opens nothing any more".to_owned());
            lines.push(
                "the revocation counter in the TPM, 0x0180d513. What “dsmil tpm seal” made can never be opened again".to_owned(),
            );
            lines.push("not the checkpoints: their key is sealed to this TPM alone again".to_owned());
        }
        if self.anchor {
            lines.push(
                "the log's anchor in the TPM, 0x0180d510 to 0x0180d512. An older log that is put back is not noticed any more"
                    .to_owned(),
            );
        }
        lines
    }
}
