//! `dsmil checkpoint`
//!
//! - [`create`], [`list`], [`show`], [`diff`], [`verify`], [`plan`], [`restore`], [`confirm`], [`delete`],
//!   [`prune`], [`schedule`], [`export`], [`mount`], [`key`]: its subcommands; [`guard`]: what `mount` starts beside itself
//! - [`offline`]: a state folder without daemon and TPM
//! - [`rescue`]: a restore without the daemon
//! - [`scope`]: of what a restore is, on the command line

mod confirm;
mod create;
mod delete;
mod diff;
mod export;
mod guard;
mod key;
mod list;
mod mount;
mod offline;
mod plan;
mod prune;
mod rescue;
mod restore;
mod schedule;
mod scope;
mod show;
mod verify;

use api::wire;
use clap::Subcommand;

use crate::fault::Fault;
use crate::output::{self, Table, bytes, count};
use crate::session::Context;

/// Checkpoints of tokens and folders: take them, check them, go back to them.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil checkpoint create before
  dsmil checkpoint diff before
  dsmil checkpoint plan before
  dsmil checkpoint restore before")]
pub enum Checkpoint {
    Create(create::Create),
    List(list::List),
    Show(show::Show),
    Diff(diff::Diff),
    Verify(verify::Verify),
    Plan(plan::Plan),
    Restore(restore::Restore),
    Confirm(confirm::Confirm),
    Delete(delete::Delete),
    Prune(prune::Prune),
    Schedule(schedule::Schedule),
    Export(export::Export),
    Mount(mount::Mount),
    Key(key::Key),
    #[command(hide = true)]
    Guard(guard::Guard),
}

impl Checkpoint {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Create(create) => create.run(context),
            Self::List(list) => list.run(context),
            Self::Show(show) => show.run(context),
            Self::Diff(diff) => diff.run(context),
            Self::Verify(verify) => verify.run(context),
            Self::Plan(plan) => plan.run(context),
            Self::Restore(restore) => restore.run(context),
            Self::Confirm(confirm) => confirm.run(context),
            Self::Delete(delete) => delete.run(context),
            Self::Prune(prune) => prune.run(context),
            Self::Schedule(schedule) => schedule.run(context),
            Self::Export(export) => export.run(context),
            Self::Mount(mount) => mount.run(context),
            Self::Key(key) => key.run(),
            Self::Guard(guard) => guard.run(),
        }
    }
}

/// A table for checkpoints, with its rows.
fn table<'a>(checkpoints: impl IntoIterator<Item = &'a wire::Checkpoint>) -> Table {
    let mut table = Table::new(&["NUMBER", "NAME", "CREATED", "FILES", "TOKENS", "SIZE", "KIND", "KEY"]);
    for checkpoint in checkpoints {
        table.row([
            checkpoint.number.to_string(),
            checkpoint.name.clone(),
            checkpoint.created.clone(),
            checkpoint.files.to_string(),
            checkpoint.tokens.to_string(),
            bytes(checkpoint.bytes),
            checkpoint.kind.clone(),
            checkpoint.key.clone(),
        ]);
    }
    table
}

/// The differences of a plan, one for each line.
fn differences(plan: &wire::Plan) -> String {
    let total = counts(plan).into_iter().fold(0, u64::saturating_add);
    let shown = u64::try_from(plan.lines.len()).unwrap_or(u64::MAX);
    let mut text: String = plan.lines.iter().map(|line| output::clean(line) + "\n").collect();
    if let Some(more) = total.checked_sub(shown).filter(|more| *more > 0) {
        text.push_str(&format!("… and {more} more\n"));
    }
    for folder in &plan.in_place {
        text.push_str(&format!("in place, not at once: {}\n", output::clean(folder)));
    }
    text
}

/// A plan in one line.
fn summary(plan: &wire::Plan) -> String {
    let files = |number| count(number, "file", "files");
    let mut text = format!(
        "{} to add, {} to change, {} to remove, {} to write",
        files(plan.added),
        files(plan.changed),
        files(plan.removed),
        count(plan.tokens, "token", "tokens")
    );
    text.push_str(&others(plan));
    if plan.denied > 0 {
        let denied = count(plan.denied, "place differs", "places differ");
        text.push_str(&format!("; {denied} and cannot be restored (--leave-denied leaves them as they are)"));
    }
    text
}

/// What is written of the other components, where there is something.
fn others(plan: &wire::Plan) -> String {
    let others = [
        (plan.settings, "setting", "settings"),
        (plan.databases, "database", "databases"),
        (plan.services, "service", "services"),
    ];
    let others = others.into_iter().filter(|(number, ..)| *number > 0);
    others.map(|(number, one, several)| format!(", {}", count(number, one, several))).collect()
}

/// All that a plan counts.
const fn counts(plan: &wire::Plan) -> [u64; 8] {
    let wire::Plan { added, changed, removed, tokens, denied, settings, databases, services, .. } = *plan;
    [added, changed, removed, tokens, denied, settings, databases, services]
}

/// Whether nothing differs.
fn is_empty(plan: &wire::Plan) -> bool {
    counts(plan) == [0; 8]
}
