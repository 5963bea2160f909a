//! `dsmil checkpoint plan`

use api::wire::{Answer, Command};
use clap::Args;

use super::scope::Scope;
use crate::fault::Fault;
use crate::output;
use crate::progress::Show;
use crate::session::{Context, Session};

/// Shows what a restore of a checkpoint would change, and changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint plan before
  dsmil checkpoint plan before --path /etc/ssh --path /etc/fstab
  dsmil checkpoint plan before --json | jq .answer.changed")]
pub struct Plan {
    /// Its name or number.
    #[arg(value_name = "NAME|NUMBER")]
    which: String,
    #[command(flatten)]
    scope: Scope,
}

impl Plan {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        show(context, &self.which, &self.scope)
    }
}

/// Asks for the plan.
pub fn ask(
    session: &mut Session<'_>,
    which: &str,
    scope: &Scope,
) -> Result<(Answer, api::wire::Behind), Fault> {
    let which = which.to_owned();
    let doing = format!("plan a restore of checkpoint {which}");
    let Scope { paranoid, in_place, .. } = *scope;
    let command = Command::PlanRestore { which, paranoid, scope: scope.wire()?, in_place };
    session.ask(&doing, command, Show::Phases)
}

/// Asks for the plan and shows it.
pub fn show(context: &Context, which: &str, scope: &Scope) -> Result<(), Fault> {
    let (answer, behind) = ask(&mut context.connect()?, which, scope)?;
    let Answer::Plan(plan) = &answer else { return Err(Fault::Unexpected) };
    let text = if super::is_empty(plan) {
        format!("nothing differs from checkpoint {}{}\n", plan.number, output::clean(&scope.within()))
    } else {
        format!("{}{}\n", super::differences(plan), super::summary(plan))
    };
    output::answer(context.json, &answer, &behind, &text)
}
