//! `dsmil tokens`
//!
//! - [`list`], [`get`], [`set`]: its subcommands

mod get;
mod list;
mod set;

use api::wire::Reading;
use clap::{Subcommand, ValueEnum};
use types::token::{self, TokenId};

use crate::fault::Fault;
use crate::output::Table;
use crate::session::Context;

/// Firmware tokens: list them, read them, change those that may be changed.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil tokens list --devices
  dsmil tokens get 0x8000
  dsmil tokens set 0x8003=0")]
pub enum Tokens {
    List(list::List),
    Get(get::Get),
    Set(set::Set),
}

impl Tokens {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::List(list) => list.run(context),
            Self::Get(get) => get.run(context),
            Self::Set(set) => set.run(context),
        }
    }
}

/// Which of a location's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Select {
    /// The value in force now
    Current,
    /// The value on mains power
    Ac,
    /// The value on battery
    Battery,
}

impl Select {
    fn wire(self) -> String {
        match self {
            Self::Current => token::Select::Current,
            Self::Ac => token::Select::Ac,
            Self::Battery => token::Select::Battery,
        }
        .to_string()
    }
}

/// A token's id on the command line.
fn id(text: &str) -> Result<TokenId, String> {
    text.parse().map_err(|_| {
        format!("“{text}” is not a token's id: write 0x0000 to 0xFFFF, or a decimal number up to 65535")
    })
}

/// A value on the command line.
fn value(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("“{text}” is not a value: write 0 to 4294967295, or 0x0 to 0xFFFFFFFF"))
}

/// Adds what a location holds.
fn reading(table: &mut Table, reading: &Reading) {
    let (value, hex) = match (reading.value, &reading.error) {
        (Some(value), _) => (value.to_string(), format!("0x{value:08X}")),
        (None, Some(error)) => ("-".to_owned(), error.clone()),
        (None, None) => ("-".to_owned(), "no value".to_owned()),
    };
    table.row([reading.id.clone(), reading.select.clone(), value, hex]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decimal_or_hexadecimal() {
        assert_eq!(value("10"), Ok(10));
        assert_eq!(value("0x10"), Ok(16));
        assert_eq!(value("0xFFFFFFFF"), Ok(u32::MAX));
        for text in ["", "0x", "4294967296", "-1", "ten"] {
            assert!(value(text).is_err(), "{text}");
        }
    }
}
