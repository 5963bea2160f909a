//! `dsmil tpm unseal`

use std::path::PathBuf;

use api::wire::secret::Secret;
use api::wire::{Answer, Command};
use clap::Args;
use serde::Serialize;

use crate::fault::Fault;
use crate::session::Context;
use crate::{output, secret};

/// The longest sealed data, bytes.
const BLOB_MAX: usize = 4096;

/// Opens what “dsmil tpm seal” made: on the TPM that sealed it, while a policy that you signed holds.
///
/// Where it does not open the message says why: PCRs that changed (have the new state signed: “dsmil tpm policy renew”), a policy that was revoked,
/// data of another TPM, or damage. The log keeps the hash of the sealed data, nothing of what it holds. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm unseal disk.sealed --out /run/disk.key
  dsmil tpm unseal disk.sealed | cryptsetup open --key-file - /dev/sdb backup")]
pub struct Unseal {
    /// The sealed data; “-” is the standard input.
    file: PathBuf,
    /// The new file for what was sealed, readable for you alone, instead of the standard output; “-” is that, also on a terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was opened into a file, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "unsealed")]
struct Unsealed {
    bytes: usize,
}

impl Unseal {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let blob = secret::read(&self.file, "the sealed data", BLOB_MAX)?;
        let (answer, behind) = context.ask("unseal", Command::Unseal { blob: Secret::new(&blob) })?;
        let Answer::Unsealed { data } = &answer else { return Err(Fault::Unexpected) };
        let data = data.bytes().ok_or(Fault::Unexpected)?;
        let is_file = self.out.as_deref().is_some_and(|path| !secret::is_stream(path));
        if !context.json {
            return secret::put(self.out.as_deref(), "what was sealed", &data);
        }
        if is_file {
            secret::put(self.out.as_deref(), "what was sealed", &data)?;
            return output::document(&Unsealed { bytes: data.len() }, Some(&behind));
        }
        // The document holds it: the same rule as for the bare bytes.
        let text = output::document_text(&answer, Some(&behind))?;
        secret::put(self.out.as_deref(), "what was sealed", &text)
    }
}
