//! `dsmil tpm policy sign`

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use recovery::vault::offline;
use serde::Serialize;

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

/// What was signed, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "policy_signed")]
struct Signed {
    /// In words.
    terms: String,
    /// The signed policy in base64, where it was not written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

impl Sign {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let terms = secret::read(&self.terms, "the terms", secret::READ_MAX)?;
        let terms = offline::Terms::from_bytes(&terms)
            .map_err(|error| failed(format!("{}: {error}", self.terms.display())))?;
        let key = secret::read(&self.key, "the policy key", secret::READ_MAX)?;
        let signed = offline::sign(&key, &terms).map_err(failed)?;
        let file = self.out.as_deref().filter(|path| !secret::is_stream(path));
        if context.json {
            if let Some(path) = file {
                secret::write_new(path, &signed)?;
            }
            let out = file.map(|path| path.display().to_string());
            let policy = out.is_none().then(|| STANDARD.encode(&signed));
            return output::document(&Signed { terms: vault::describe(&terms), policy, out }, None);
        }
        secret::put(self.out.as_deref(), "a signed policy", &signed)?;
        output::note(&format!("signed: {}", vault::describe(&terms)));
        Ok(())
    }
}
