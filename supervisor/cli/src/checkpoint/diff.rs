//! `dsmil checkpoint diff`

use std::path::PathBuf;

use api::wire::checkpoint::{self, Difference};
use api::wire::{Answer, Command};
use clap::Args;

use super::scope::absolute;
use crate::fault::Fault;
use crate::output::{self, count};
use crate::progress::Show;
use crate::session::Context;

/// Shows what two checkpoints differ in, or a checkpoint and what is there now.
///
/// One line for each difference, seen from the first: “created” is what only the second has. Access times do not count. The exit
/// code is that of diff(1): 0 where nothing differs, 1 where something does, and 2 or more where that could not be found out.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint diff before
  dsmil checkpoint diff before after
  dsmil checkpoint diff 3 7 --path /etc
  dsmil checkpoint diff before --json | jq -r '.answer.differences[].path'")]
pub struct Diff {
    /// Name or number of the first.
    #[arg(value_name = "NAME|NUMBER")]
    from: String,
    /// Of the second; without it what is there now.
    #[arg(value_name = "NAME|NUMBER")]
    to: Option<String>,
    /// Only what is at or below this path, and of files alone; more than once for several.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read every file that is there now, and recognise none as unchanged.
    #[arg(long, conflicts_with = "to")]
    paranoid: bool,
}

impl Diff {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self.differs(context) {
            Ok(false) => Ok(()),
            Ok(true) => Err(Fault::Differs),
            // What 1 says is that something differs.
            Err(fault) => Err(Fault::Trouble(Box::new(fault))),
        }
    }

    fn differs(&self, context: &Context) -> Result<bool, Fault> {
        let command = Command::Diff {
            from: self.from.clone(),
            to: self.to.clone(),
            paths: absolute(&self.paths)?,
            paranoid: self.paranoid,
        };
        let doing = format!("compare with checkpoint {}", self.from);
        let (answer, behind) = context.connect()?.ask(&doing, command, Show::Phases)?;
        let Answer::Diff(diff) = &answer else { return Err(Fault::Unexpected) };
        let checkpoint::Diff { created, removed, changed, tokens, settings, databases, services, .. } = *diff;
        let counts = [created, removed, changed, tokens, settings, databases, services];
        let differs = counts.iter().any(|count| *count > 0);
        output::answer(context.json, &answer, &behind, &text(diff))?;
        Ok(differs)
    }
}

/// Nothing where nothing differs, as of diff(1).
fn text(diff: &checkpoint::Diff) -> String {
    let mut text = String::new();
    for difference in &diff.differences {
        text.push_str(&output::clean(&line(difference)));
        text.push('\n');
    }
    if diff.more > 0 {
        text.push_str(&format!("… and {} more\n", diff.more));
    }
    if !text.is_empty() {
        text.push_str(&format!(
            "{} created, {} removed, {} changed; {}",
            count(diff.created, "file", "files"),
            diff.removed,
            diff.changed,
            count(diff.tokens, "token differs", "tokens differ")
        ));
        for (number, one, several) in [
            (diff.settings, "setting differs", "settings differ"),
            (diff.databases, "database differs", "databases differ"),
            (diff.services, "service differs", "services differ"),
        ] {
            if number > 0 {
                text.push_str(&format!("; {}", count(number, one, several)));
            }
        }
        text.push('\n');
    }
    text
}

fn line(difference: &Difference) -> String {
    let value = |value: &Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    match difference {
        Difference::Created { path } => format!("created  {path}"),
        Difference::Removed { path } => format!("removed  {path}"),
        Difference::Changed { path, aspects } => format!("changed  {path}: {}", aspects.join(", ")),
        Difference::Token { id, select, before, after } => {
            let select = if select == "current" { String::new() } else { format!(" ({select})") };
            format!("token    {id}{select}: {} -> {}", value(before), value(after))
        }
        Difference::Setting { path, before, after } => {
            let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
            format!("setting  {path}: {} -> {}", value(before), value(after))
        }
        Difference::Database { path, how } => format!("database {path}: {how}"),
        Difference::Service { unit, details } => format!("service  {unit}: {}", details.join(", ")),
    }
}
