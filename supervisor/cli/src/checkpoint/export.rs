//! `dsmil checkpoint export`

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use recovery::export;
use serde::Serialize;
use store::chunk::Chunks;

use super::offline::{Offline, Signers, fault};
use super::scope::absolute;
use crate::fault::Fault;
use crate::output::{self, bytes, count};
use crate::secret;
use crate::session::Context;

/// Writes the files of a checkpoint as a tar archive, without daemon and TPM.
///
/// It reads the daemon's state folder, also beside a running daemon, or a copy of it, and needs the repository's key: “dsmil tpm
/// recover --offline” opens it with the recovery key. The archive is in the pax format, with owners, times in nanoseconds,
/// attributes and hard links; names are absolute paths without the first slash. Every content is authenticated as it is read; with
/// --key the TPM's signature on the checkpoint is checked too.
///
/// GNU tar: tar -xpf FILE --xattrs --xattrs-include='*'
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil tpm recover --offline --dir /var/lib/dsmil --out /run/repository.key
  dsmil checkpoint export before --repository-key /run/repository.key --out before.tar
  dsmil checkpoint export 3 --repository-key key --dir /mnt/copy --root /srv/work --out - | tar -tv")]
pub struct Export {
    /// Its name or number.
    #[arg(value_name = "NAME|NUMBER")]
    which: String,
    /// The new file, readable for you alone; “-” is the standard output.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only this folder of the checkpoint.
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
    #[command(flatten)]
    offline: Offline,
}

/// What was written, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "checkpoint_exported")]
struct Exported {
    number: u64,
    name: String,
    out: String,
    entries: u64,
    bytes: u64,
    signed: bool,
}

impl Export {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let stored = self.offline.find(&self.which)?;
        let signed = self.offline.signers()?.check(&stored)?;
        let key = self.offline.repository_key()?;
        let chunks = Chunks::open_read_only(&self.offline.chunks(), &key)?;
        let manifest = stored.manifest(&chunks).map_err(fault)?;
        let root = match &self.root {
            Some(root) => absolute(std::slice::from_ref(root))?.pop(),
            None => None,
        };
        let mut out = self.open()?;
        let progress = context.progress("export the checkpoint");
        let done = export::tar(&manifest, root.as_deref().map(str::as_bytes), &chunks, &mut out);
        drop(progress);
        let done = done.map_err(|error| self.failed(error))?;
        if secret::is_stream(&self.out) {
            return Ok(());
        }
        let exported = Exported {
            number: stored.statement.number,
            name: stored.statement.name,
            out: self.out.display().to_string(),
            entries: done.entries,
            bytes: done.bytes,
            signed,
        };
        if context.json { output::document(&exported, None) } else { output::print(&text(&exported)) }
    }

    fn open(&self) -> Result<Box<dyn Write>, Fault> {
        if secret::is_stream(&self.out) {
            if io::stdout().is_terminal() {
                return Err(Fault::Usage(
                    "an archive is not written to a terminal: name a file with --out".to_owned(),
                ));
            }
            return Ok(Box::new(BufWriter::new(io::stdout().lock())));
        }
        let file: io::Result<File> =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.out);
        let file =
            file.map_err(|error| Fault::Failed(format!("cannot write {}: {error}", self.out.display())))?;
        Ok(Box::new(BufWriter::new(file)))
    }

    /// An archive that is not whole looks like one.
    fn failed(&self, error: recovery::Error) -> Fault {
        if let recovery::Error::Io { cause, .. } = &error
            && secret::is_stream(&self.out)
        {
            return Fault::Output(io::Error::from(cause.kind()));
        }
        if !secret::is_stream(&self.out) {
            remove(&self.out);
        }
        fault(error)
    }
}

fn remove(path: &Path) {
    if fs::remove_file(path).is_err() {
        output::note(&format!("{} is incomplete: remove it", path.display()));
    }
}

fn text(exported: &Exported) -> String {
    let signed = Signers::said(exported.signed);
    let text = format!(
        "{}: checkpoint {} “{}”, {}, {}; {signed}",
        exported.out,
        exported.number,
        exported.name,
        count(exported.entries, "entry", "entries"),
        bytes(exported.bytes)
    );
    output::clean(&text) + "\n"
}
