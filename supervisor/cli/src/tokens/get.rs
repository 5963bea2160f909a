//! `dsmil tokens get`

use api::wire::{Answer, Command, Item};
use clap::Args;
use types::token::TokenId;

use super::Select;
use crate::fault::Fault;
use crate::output::{self, Table, count};
use crate::session::Context;

/// Reads what tokens' locations hold, from the firmware.
///
/// A location that cannot be read says why; the others are shown all the same, and the exit code is 1.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tokens get 0x8000
  dsmil tokens get 0x8000 0x8001 0x0481 --select battery
  dsmil tokens get 0x8000 --json | jq .answer.values[0].value")]
pub struct Get {
    /// The tokens, such as 0x8000.
    #[arg(required = true, value_name = "ID", value_parser = super::id)]
    ids: Vec<TokenId>,
    /// Which value.
    #[arg(long, value_enum, default_value_t = Select::Current)]
    select: Select,
}

impl Get {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let item = |id: &TokenId| Item { id: id.to_string(), select: self.select.wire() };
        let command = Command::ReadTokens { items: self.ids.iter().map(item).collect() };
        let (answer, behind) = context.ask("read tokens", command)?;
        let Answer::Read { values } = &answer else { return Err(Fault::Unexpected) };
        let mut table = Table::new(&["ID", "SELECT", "VALUE", "HEX"]);
        values.iter().for_each(|value| super::reading(&mut table, value));
        output::answer(context.json, &answer, &behind, &table.to_string())?;
        match values.iter().filter(|reading| reading.value.is_none()).count() {
            0 => Ok(()),
            unread => {
                let of = count(values.len().try_into().unwrap_or(u64::MAX), "token", "tokens");
                Err(Fault::Failed(format!("{unread} of {of} could not be read")))
            }
        }
    }
}
