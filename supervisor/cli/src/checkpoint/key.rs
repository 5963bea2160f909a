//! `dsmil checkpoint key`

use std::path::PathBuf;

use clap::Args;

use super::offline::PEM_BYTES_MAX;
use crate::fault::Fault;
use crate::secret;

/// Writes the public key that signs checkpoints, as PEM, so that another machine can check them.
///
/// It is read from the state folder, where dsmild writes it at each start beside the checkpoints (key-ID.pem: those of earlier TPMs). Take it from a
/// machine that you trust at that moment: “export”, “mount” and “restore --offline” take it as --key. The key of the log is another one: log/key.pem.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil checkpoint key --out machine.pem
  dsmil checkpoint key | openssl pkey -pubin -noout -text")]
pub struct Key {
    /// The daemon's state folder, or a copy of it.
    #[arg(long, visible_alias = "state", default_value = "/var/lib/dsmil")]
    dir: PathBuf,
    /// A new file, instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Key {
    /// Runs it.
    pub fn run(&self) -> Result<(), Fault> {
        let path = self.dir.join("checkpoints").join("key.pem");
        let pem = secret::read(&path, "the public key", PEM_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&pem);
        // Not anything that lies there.
        recovery::vault::offline::public_key(&text)
            .map_err(|error| Fault::Failed(format!("{}: {error}", path.display())))?;
        match &self.out {
            Some(out) if !secret::is_stream(out) => crate::output::write_new(out, &text),
            _ => crate::output::raw(&pem),
        }
    }
}
