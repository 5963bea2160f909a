//! `dsmil tokens list`

use api::wire::{Answer, Command, Token};
use clap::Args;

use crate::fault::Fault;
use crate::output::{self, Table};
use crate::session::Context;

/// Lists the tokens of the firmware's table.
///
/// ACCESS says what may be done: “writable” is on this machine's sealed allow-list, “never” is written by nobody and names
/// why, everything else is read only. ACTIVE AT is the value of the location at which the token counts as active, not the
/// present value; “tokens get” reads that. A location marked + is shared with another token.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tokens list
  dsmil tokens list --devices
  dsmil tokens list --writable --json | jq -r '.answer.tokens[].id'")]
pub struct List {
    /// Only DSMIL devices.
    #[arg(long)]
    devices: bool,
    /// Only tokens that may be written.
    #[arg(long)]
    writable: bool,
}

impl List {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let (answer, behind) = context.ask("list tokens", Command::Tokens)?;
        let Answer::Tokens { mut tokens } = answer else { return Err(Fault::Unexpected) };
        tokens
            .retain(|token| (!self.devices || token.device.is_some()) && (!self.writable || token.writable));
        let text = table(&tokens).to_string();
        output::answer(context.json, &Answer::Tokens { tokens }, &behind, &text)
    }
}

fn table(tokens: &[Token]) -> Table {
    let mut table = Table::new(&["ID", "DEVICE", "LOCATION", "ACTIVE AT", "ACCESS", "NAME"]);
    for token in tokens {
        table.row([
            token.id.clone(),
            token.device.clone().unwrap_or_else(|| "-".to_owned()),
            format!("0x{:04X}{}", token.location, if token.shared { "+" } else { "" }),
            token.table_value.to_string(),
            access(token),
            token.name.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn access(token: &Token) -> String {
    match &token.denied {
        Some(why) => format!("never ({why})"),
        None if token.writable => "writable".to_owned(),
        None => "read only".to_owned(),
    }
}
