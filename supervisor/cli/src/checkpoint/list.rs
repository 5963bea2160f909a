//! `dsmil checkpoint list`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::session::Context;

/// Lists the checkpoints that can be restored, by number.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint list
  dsmil checkpoint list --json | jq -r '.answer.checkpoints[-1].name'")]
pub struct List {}

impl List {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("list checkpoints", Command::Checkpoints)?;
        let Answer::Checkpoints { checkpoints } = &answer else { return Err(Fault::Unexpected) };
        output::answer(context.json, &answer, &behind, &super::table(checkpoints).to_string())
    }
}
