//! `dsmil tpm policy terms`

use std::path::PathBuf;

use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::secret;
use crate::session::Context;
use crate::tpm::vault::{self, failed};

/// Writes the terms that hold on the machine as it is, to be signed where the policy key is.
///
/// They hold nothing secret. Whoever signs them says: what this machine was started with now is in order.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm policy terms --out terms")]
pub struct Terms {
    /// The new file for the terms, instead of the standard output; “-” is that, also on a terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Terms {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let report = vault::report(&mut context.connect()?)?;
        vault::of(&report)?;
        let terms = vault::terms(&report)?;
        let bytes = terms.to_bytes().map_err(failed)?;
        if context.json {
            if let Some(path) = self.out.as_deref().filter(|path| !secret::is_stream(path)) {
                secret::write_new(path, &bytes)?;
            }
            return output::document(&serde_json::json!({"kind": "terms", "terms": report.terms}), None);
        }
        secret::put(self.out.as_deref(), "terms", &bytes)?;
        output::note(&vault::describe(&terms));
        Ok(())
    }
}
