//! `dsmil tpm`
//!
//! - [`status`], [`provision`], [`seal`], [`unseal`], [`policy`], [`recover`], [`forget`], [`quote`], [`certify`]: its subcommands
//! - [`vault`]: what those about the vault share

mod certify;
mod forget;
mod policy;
mod provision;
mod quote;
mod recover;
mod seal;
mod status;
mod unseal;
mod vault;

use clap::Subcommand;

use crate::fault::Fault;
use crate::session::Context;

/// The PCRs of a policy, unless told otherwise: firmware, its extensions, the boot loader, the state of Secure Boot.
const PCRS: &str = "0,2,4,7";

/// The TPM: what it offers, what is sealed by it, and how the log is anchored in it.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil tpm status
  dsmil tpm status --json | jq .answer.anchor
  dsmil tpm provision
  dsmil tpm seal --out key.sealed key
  dsmil tpm quote --nonce 6f1d0c22a97e4b58")]
pub enum Tpm {
    Status(status::Status),
    Provision(provision::Provision),
    Seal(seal::Seal),
    Unseal(unseal::Unseal),
    #[command(subcommand)]
    Policy(policy::Policy),
    Recover(recover::Recover),
    Forget(forget::Forget),
    Quote(quote::Quote),
    Certify(certify::Certify),
}

impl Tpm {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Status(status) => status.run(context),
            Self::Provision(provision) => provision.run(context),
            Self::Seal(seal) => seal.run(context),
            Self::Unseal(unseal) => unseal.run(context),
            Self::Policy(policy) => policy.run(context),
            Self::Recover(recover) => recover.run(context),
            Self::Forget(forget) => forget.run(context),
            Self::Quote(quote) => quote.run(context),
            Self::Certify(certify) => certify.run(context),
        }
    }
}
