//! `dsmil checkpoint confirm`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::progress::Show;
use crate::session::Context;

/// Keeps what a restore that waits to be confirmed has put in place, or takes it back.
///
/// Takes root or an owner. “dsmil checkpoint schedule” shows whether one waits, and how long.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint restore before --confirm-within 5m
  dsmil checkpoint confirm
  dsmil checkpoint confirm --undo")]
pub struct Confirm {
    /// Take it back now, instead of at its deadline.
    #[arg(long)]
    undo: bool,
}

impl Confirm {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::Confirm { undo: self.undo };
        let (answer, behind) = context.connect()?.ask("confirm the restore", command, Show::Phases)?;
        let text = match &answer {
            Answer::Restored(plan) => format!("checkpoint {} stays restored\n", plan.number),
            Answer::TakenBack { number } => {
                format!("the restore of checkpoint {number} is taken back: everything is as it was before\n")
            }
            _ => return Err(Fault::Unexpected),
        };
        output::answer(context.json, &answer, &behind, &text)
    }
}
