//! `dsmil tpm`
//!
//! - [`status`], [`quote`]: its subcommands

mod quote;
mod status;

use clap::Subcommand;

use crate::fault::Fault;
use crate::session::Context;

/// The TPM: what it offers, what it has cost, and how the log is anchored in it.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil tpm status
  dsmil tpm status --json | jq .answer.anchor
  dsmil tpm quote --nonce 6f1d0c22a97e4b58")]
pub enum Tpm {
    Status(status::Status),
    Quote(quote::Quote),
}

impl Tpm {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Status(status) => status.run(context),
            Self::Quote(quote) => quote.run(context),
        }
    }
}
