//! `dsmil tokens set`

use api::wire::{Answer, Change, Command, Reading};
use clap::Args;

use super::Select;
use crate::fault::Fault;
use crate::output::{self, Table};
use crate::session::Context;

/// Changes what tokens' locations hold: all of the changes or none.
///
/// Only tokens on the machine's sealed allow-list can be changed. Each value is read before it is written, read back after,
/// and the old one is in the log. With --expect a change is refused unless that value stands there now.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tokens set 0x8003=0
  dsmil tokens set 0x8003 0
  dsmil tokens set 0x8003=0 0x8005=0x1 --expect 1,0")]
pub struct Set {
    /// The changes, such as 0x8003=0.
    #[arg(required = true, value_name = "ID=VALUE")]
    changes: Vec<String>,
    /// What must stand there now: a value for each change, in their order.
    #[arg(long, value_name = "VALUE", value_delimiter = ',', value_parser = super::value)]
    expect: Vec<u32>,
    /// Which value.
    #[arg(long, value_enum, default_value_t = Select::Current)]
    select: Select,
}

impl Set {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let changes = self.changes().map_err(Fault::Usage)?;
        let (answer, behind) =
            context.ask("write tokens", Command::WriteTokens { changes: changes.clone() })?;
        let Answer::Written { before } = &answer else { return Err(Fault::Unexpected) };
        let text = table(before, &changes).to_string();
        output::answer(context.json, &answer, &behind, &text)
    }

    fn changes(&self) -> Result<Vec<Change>, String> {
        let pairs = match self.changes.as_slice() {
            [id, value] if !id.contains('=') && !value.contains('=') => vec![(id.as_str(), value.as_str())],
            changes => changes
                .iter()
                .map(|text| {
                    text.split_once('=').ok_or_else(|| format!("“{text}” is not a change: write ID=VALUE"))
                })
                .collect::<Result<_, _>>()?,
        };
        if !self.expect.is_empty() && self.expect.len() != pairs.len() {
            return Err(format!(
                "--expect names {} values for {} changes: give one for each, in their order",
                self.expect.len(),
                pairs.len()
            ));
        }
        let mut expected = self.expect.iter().copied();
        pairs
            .into_iter()
            .map(|(id, value)| {
                Ok(Change {
                    id: super::id(id)?.to_string(),
                    select: self.select.wire(),
                    value: super::value(value)?,
                    expected: expected.next(),
                })
            })
            .collect()
    }
}

fn table(before: &[Reading], changes: &[Change]) -> Table {
    let mut table = Table::new(&["ID", "SELECT", "BEFORE", "NOW"]);
    for reading in before {
        let change = changes.iter().find(|change| change.id == reading.id);
        table.row([
            reading.id.clone(),
            reading.select.clone(),
            reading.value.map_or_else(|| "-".to_owned(), |value| value.to_string()),
            change.map_or_else(|| "-".to_owned(), |change| change.value.to_string()),
        ]);
    }
    table
}
