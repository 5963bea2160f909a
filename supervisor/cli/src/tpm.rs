//! `dsmil tpm`
//!
//! - [`status`]: its subcommand

mod status;

use clap::Subcommand;

use crate::fault::Fault;
use crate::session::Context;

/// The TPM: what it offers, what it has cost, and how the log is anchored in it.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil tpm status
  dsmil tpm status --json | jq .answer.anchor")]
pub enum Tpm {
    Status(status::Status),
}

impl Tpm {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Status(status) => status.run(context),
        }
    }
}
