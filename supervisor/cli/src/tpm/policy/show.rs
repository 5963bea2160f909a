//! `dsmil tpm policy show`

use api::wire::vault::Standing;
use clap::Args;
use serde::Serialize;

use crate::fault::Fault;
use crate::output::{self, Table};
use crate::session::Context;
use crate::tpm::vault;

/// Shows the policy in force, and whether data would open now.
///
/// Nothing is opened for it: PCRs and the revocation counter are compared with what the policy says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm policy show
  dsmil tpm policy show --json | jq .answer.policy_holds")]
pub struct Show {}

/// What is shown, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "policy")]
struct Shown<'a> {
    #[serde(flatten)]
    standing: &'a Standing,
}

impl Show {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let report = vault::report(&mut context.connect()?)?;
        if context.json {
            return output::document(&Shown { standing: &report.standing }, None);
        }
        let mut table = Table::new(&[]);
        vault::rows(&report.standing, &mut |name, text| table.row([name.to_owned(), text]));
        if let Ok(made) = vault::of(&report)
            && let Some(policy) = &made.policy
        {
            table.row(["signed".to_owned(), vault::describe(&policy.terms)]);
        }
        output::print(&table.to_string())
    }
}
