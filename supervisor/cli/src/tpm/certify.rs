//! `dsmil tpm certify`

use std::path::PathBuf;

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::session::Context;

/// Has the TPM state what it knows of the log: how far it reached when it was anchored last, in answer to a nonce.
///
/// Who holds a copy of the log and trusts this machine's attestation key checks with it that the copy is not an older one:
/// “dsmil log verify --certification”. Who asks chooses the nonce, so that an old statement does not pass for a new one. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm certify --nonce 6f1d0c22a97e4b58 --out anchor.json")]
pub struct Certify {
    /// 1 to 32 bytes of the choice of whoever is to believe it, hexadecimal.
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// The new file that it is written to, instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Certify {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::Certify { nonce: self.nonce.clone() };
        let (answer, behind) = context.ask("ask the TPM for a certification", command)?;
        let Answer::Certification(word) = &answer else { return Err(Fault::Unexpected) };
        let Some(path) = &self.out else {
            return if context.json { output::document(&answer, Some(&behind)) } else { output::line(word) };
        };
        let text = serde_json::to_string(word).map_err(|error| Fault::Failed(error.to_string()))?;
        output::write_new(path, &format!("{text}\n"))?;
        if context.json { output::document(&answer, Some(&behind)) } else { Ok(()) }
    }
}
