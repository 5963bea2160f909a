//! `dsmil checkpoint create`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::progress::Show;
use crate::session::Context;

/// Takes a checkpoint of the configured tokens and folders, signed by the TPM.
///
/// When the command ends with 0, the checkpoint is durable and signed. A name is 1 to 64 letters, digits, “.”, “_” and “-”,
/// not digits alone, and each names one checkpoint for ever.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  dsmil checkpoint create before")]
pub struct Create {
    /// Its name.
    name: String,
}

impl Create {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::CreateCheckpoint { name: self.name.clone() };
        let doing = format!("create checkpoint {}", self.name);
        let (answer, behind) = context.connect()?.ask(&doing, command, Show::Phases)?;
        let Answer::Created { checkpoint } = &answer else { return Err(Fault::Unexpected) };
        let text = super::table([checkpoint]).to_string();
        output::answer(context.json, &answer, &behind, &text)
    }
}
