//! `dsmil checkpoint show`

use api::wire::{self, Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table, bytes};
use crate::session::Context;

/// Shows a checkpoint: what it holds, and the statement that the TPM signed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint show before
  dsmil checkpoint show 3 --json | jq -r '.answer.entries[]'")]
pub struct Show {
    /// Its name or number.
    #[arg(value_name = "NAME|NUMBER")]
    which: String,
}

impl Show {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::Checkpoint { which: self.which.clone() };
        let (answer, behind) = context.ask("show checkpoint", command)?;
        let Answer::Checkpoint { checkpoint, statement, entries, more } = &answer else {
            return Err(Fault::Unexpected);
        };
        let mut text = fields(checkpoint).to_string();
        text.push_str("\nsigned statement\n");
        statement.lines().for_each(|line| text.push_str(&format!("  {}\n", output::clean(line))));
        text.push_str("\nentries\n");
        entries.iter().for_each(|entry| text.push_str(&format!("  {}\n", output::clean(entry))));
        if *more > 0 {
            text.push_str(&format!("  … and {more} more\n"));
        }
        output::answer(context.json, &answer, &behind, &text)
    }
}

fn fields(checkpoint: &wire::Checkpoint) -> Table {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("number", checkpoint.number.to_string());
    row("name", checkpoint.name.clone());
    row("created", checkpoint.created.clone());
    row("kind", checkpoint.kind.clone());
    row("files", format!("{}, {} of content", checkpoint.files, bytes(checkpoint.bytes)));
    row("tokens", checkpoint.tokens.to_string());
    for (name, count) in [
        ("settings", checkpoint.settings),
        ("databases", checkpoint.databases),
        ("services", checkpoint.services),
    ] {
        if count > 0 {
            row(name, count.to_string());
        }
    }
    row("manifest", checkpoint.manifest.clone());
    row("key", checkpoint.key.clone());
    table
}
