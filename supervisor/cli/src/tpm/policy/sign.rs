//! `dsmil tpm policy sign`

use std::path::PathBuf;

use clap::Args;
use recovery::vault::offline;

use crate::fault::Fault;
use crate::session::Context;
use crate::tpm::vault::{self, failed};
use crate::{output, secret};

/// Signs terms with the policy key: on the machine where that is. Needs neither daemon nor TPM.
///
/// The key is P-256 in PKCS #8, as “openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256” makes it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm policy sign terms --key policy.pem --out signed")]
pub struct Sign {
    /// The terms, from “dsmil tpm policy terms”.
    terms: PathBuf,
    /// The policy key's private half, PEM or DER.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The new file for the signed policy, instead of the standard output; “-” is that, also on a terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Sign {
    /// Runs it.
    pub fn run(&self, _context: &Context) -> Result<(), Fault> {
        let terms = secret::read(&self.terms, "the terms", secret::READ_MAX)?;
        let terms = offline::Terms::from_bytes(&terms)
            .map_err(|error| failed(format!("{}: {error}", self.terms.display())))?;
        let key = secret::read(&self.key, "the policy key", secret::READ_MAX)?;
        let signed = offline::sign(&key, &terms).map_err(failed)?;
        secret::put(self.out.as_deref(), "a signed policy", &signed)?;
        output::note(&format!("signed: {}", vault::describe(&terms)));
        Ok(())
    }
}
