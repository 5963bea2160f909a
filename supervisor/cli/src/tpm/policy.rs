//! `dsmil tpm policy`
//!
//! - [`show`], [`terms`], [`sign`], [`install`], [`renew`], [`revoke`]: its subcommands

mod install;
mod renew;
mod revoke;
mod show;
mod sign;
mod terms;

use clap::Subcommand;

use crate::fault::Fault;
use crate::session::Context;

/// The policy under which sealed data opens: PCRs and a revocation counter, signed by the policy key.
///
/// With the policy key in the vault, “renew” does it all after an update. With one that stays elsewhere: “terms” here, “sign” there, “install” here.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  dsmil tpm policy show
  dsmil tpm policy renew
  dsmil tpm policy terms --out terms
  dsmil tpm policy sign terms --key policy.pem --out signed
  dsmil tpm policy install signed")]
pub enum Policy {
    Show(show::Show),
    Terms(terms::Terms),
    Sign(sign::Sign),
    Install(install::Install),
    Renew(renew::Renew),
    Revoke(revoke::Revoke),
}

impl Policy {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match self {
            Self::Show(show) => show.run(context),
            Self::Terms(terms) => terms.run(context),
            Self::Sign(sign) => sign.run(context),
            Self::Install(install) => install.run(context),
            Self::Renew(renew) => renew.run(context),
            Self::Revoke(revoke) => revoke.run(context),
        }
    }
}
