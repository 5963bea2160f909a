//! `dsmil checkpoint delete`

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::progress::Show;
use crate::question;
use crate::session::Context;

/// Deletes a checkpoint; nothing brings it back.
///
/// Takes root or an owner. Its number is never used again; its name may be. The newest checkpoint is refused without --force,
/// and while a restore or a capture runs nothing is deleted. What it alone holds keeps its space until “dsmil checkpoint prune”. It asks first; where there is nobody to ask it needs --yes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint delete before
  dsmil checkpoint delete 3 --yes")]
pub struct Delete {
    /// Its name or number.
    #[arg(value_name = "NAME|NUMBER")]
    which: String,
    /// Also if it is the newest one.
    #[arg(long)]
    force: bool,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
}

impl Delete {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        if !self.yes {
            if !question::is_possible() {
                return Err(Fault::Usage("there is nobody to ask here: give --yes".to_owned()));
            }
            question::confirm(&output::clean(&format!("Delete checkpoint {} for good?", self.which)))?;
        }
        let command = Command::DeleteCheckpoint { which: self.which.clone(), force: self.force };
        let doing = format!("delete checkpoint {}", self.which);
        let (answer, behind) = context.connect()?.ask(&doing, command, Show::Phases)?;
        let Answer::Deleted { number, name } = &answer else { return Err(Fault::Unexpected) };
        let text = format!("deleted checkpoint {number} “{}”\n", output::clean(name));
        output::answer(context.json, &answer, &behind, &text)
    }
}
