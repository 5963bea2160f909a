//! `dsmil tpm policy revoke`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::progress::Show;
use crate::session::Context;
use crate::{output, question};

/// Voids every policy that was signed so far, copies of them included.
///
/// For a state of the machine that must not open anything any more: a boot loader with a hole, a kernel that was replaced. Nothing that is sealed
/// opens then until new terms are signed; the running daemon keeps the checkpoints open until it stops. There is no way back. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm policy revoke
  dsmil tpm policy revoke --yes && dsmil tpm policy renew")]
pub struct Revoke {
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Revoke {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let ask =
            "Void every policy that was signed so far? Nothing sealed opens until new terms are signed.";
        let mut session = context.connect()?;
        if !self.yes {
            if !question::is_possible() {
                return Err(Fault::Usage("without a terminal nobody can be asked: give --yes".to_owned()));
            }
            question::confirm(ask)?;
        }
        let (answer, behind) = session.ask("revoke all policies", Command::RevokePolicy, Show::Late)?;
        let Answer::Revoked { counter } = &answer else { return Err(Fault::Unexpected) };
        let text = format!(
            "revoked: the counter stands at {counter}, so sign new terms now (“dsmil tpm policy renew”, or terms, sign, install)\n"
        );
        output::answer(context.json, &answer, &behind, &text)
    }
}
