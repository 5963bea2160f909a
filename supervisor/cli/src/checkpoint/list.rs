//! `dsmil checkpoint list`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::session::Context;
use crate::time::Point;

/// Lists the checkpoints that can be restored, by number.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint list
  dsmil checkpoint list --at 2026-11-01
  dsmil checkpoint list --json | jq -r '.answer.checkpoints[-1].name'")]
pub struct List {
    /// Those of a point of the past instead: after this fact, or up to this moment (as 2026-11-21T08:00:00Z, or 2h ago as 2h).
    #[arg(long, value_name = "POINT")]
    at: Option<Point>,
}

impl List {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = self.at.map_or(Ok(Command::Checkpoints), Point::command)?;
        let (answer, behind) = context.ask("list checkpoints", command)?;
        let checkpoints = match &answer {
            Answer::Checkpoints { checkpoints } => checkpoints,
            Answer::Past(past) => &past.checkpoints,
            _ => return Err(Fault::Unexpected),
        };
        output::answer(context.json, &answer, &behind, &super::table(checkpoints).to_string())
    }
}
