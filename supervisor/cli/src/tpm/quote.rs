//! `dsmil tpm quote`

use std::path::PathBuf;

use api::wire::{Answer, Command};
use clap::Args;

use crate::fault::Fault;
use crate::output;
use crate::session::Context;

/// Has the TPM state what its PCRs hold: what was started on this machine, in answer to a nonce.
///
/// The answer is one JSON document: the statement (TPMS_ATTEST) and its signature in hexadecimal, the attestation key that signed it,
/// and the values of the PCRs, of which the statement has the hash. Who asks from elsewhere chooses the nonce, so that an old quote
/// does not pass for a new one, and compares the key with the one that this machine's owner told. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm quote --nonce 6f1d0c22a97e4b58
  dsmil tpm quote --nonce 6f1d0c22a97e4b58 --pcr 0,7 --out quote.json")]
pub struct Quote {
    /// 1 to 32 bytes of the choice of whoever is to believe the quote, hexadecimal.
    #[arg(long, value_name = "HEX")]
    nonce: String,
    /// Which PCRs of the SHA-256 bank, 0 to 23.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,1,2,3,7")]
    pcr: Vec<u8>,
    /// The new file that it is written to, instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Quote {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let command = Command::Quote { nonce: self.nonce.clone(), pcrs: self.pcr.clone() };
        let (answer, behind) = context.ask("ask the TPM for a quote", command)?;
        let Answer::Quote(quote) = &answer else { return Err(Fault::Unexpected) };
        let Some(path) = &self.out else {
            // People get what programs get: there is nothing in it to read.
            return if context.json { output::document(&answer, Some(&behind)) } else { output::line(quote) };
        };
        let text = serde_json::to_string(quote).map_err(|error| Fault::Failed(error.to_string()))?;
        output::write_new(path, &format!("{text}\n"))?;
        if context.json { output::document(&answer, Some(&behind)) } else { Ok(()) }
    }
}
