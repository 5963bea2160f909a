//! `dsmil tpm seal`

use std::path::PathBuf;

use api::wire::secret::Secret;
use api::wire::{Answer, Command};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use crate::fault::Fault;
use crate::session::Context;
use crate::{output, secret};

/// Most bytes that are sealed at once.
const SEAL_MAX: usize = 128;

/// Seals 1 to 128 bytes: only this TPM opens them again, and only while a policy that you signed holds.
///
/// For a key or a passphrase; encrypt what is longer with such a key. It is read from FILE or the standard input, byte for byte, also a
/// newline at its end. Needs a vault (“dsmil tpm provision”). The log keeps the hash of the result, nothing of the data. Takes root or an owner.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm seal --out disk.sealed /root/disk.key
  head -c 32 /dev/urandom | dsmil tpm seal --out key.sealed")]
pub struct Seal {
    /// The new file for the sealed data, instead of the standard output; “-” is that, also on a terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// What is to be sealed.
    #[arg(default_value = "-")]
    file: PathBuf,
}

impl Seal {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let data = secret::read(&self.file, "the data", SEAL_MAX)?;
        if data.is_empty() {
            return Err(Fault::Usage("there is nothing to seal: give 1 to 128 bytes".to_owned()));
        }
        let (answer, behind) = context.ask("seal", Command::Seal { data: Secret::new(&data) })?;
        let Answer::Sealed { blob, .. } = &answer else { return Err(Fault::Unexpected) };
        let bytes = STANDARD.decode(blob).map_err(|_| Fault::Unexpected)?;
        if !context.json {
            return secret::put(self.out.as_deref(), "sealed data", &bytes);
        }
        if let Some(path) = self.out.as_deref().filter(|path| !secret::is_stream(path)) {
            secret::write_new(path, &bytes)?;
        }
        output::document(&answer, Some(&behind))
    }
}
