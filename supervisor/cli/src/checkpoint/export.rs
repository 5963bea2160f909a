//! `dsmil checkpoint export`

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use recovery::export;
use recovery::manifest::stored::Stored;
use recovery::vault::offline;
use serde::Serialize;
use store::chunk::Chunks;
use zeroize::Zeroizing;

use super::scope::absolute;
use crate::fault::Fault;
use crate::output::{self, bytes, count};
use crate::secret;
use crate::session::Context;

/// The repository's key, bytes.
const KEY_BYTES: usize = 32;
/// The largest public key that is read, bytes.
const PEM_BYTES_MAX: usize = 16 << 10;

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
    /// The repository's key, 32 bytes; “-” is the standard input.
    #[arg(long, value_name = "FILE")]
    repository_key: PathBuf,
    /// Only this folder of the checkpoint.
    #[arg(long, value_name = "PATH")]
    root: Option<PathBuf>,
    /// The daemon's state folder, or a copy of it.
    #[arg(long, default_value = "/var/lib/dsmil")]
    dir: PathBuf,
    /// The public key that signed the checkpoint, PEM. More than once for a machine that had another TPM before.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
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
        let stored = self.find()?;
        let signed = self.check(&stored)?;
        let key = self.repository_key()?;
        let chunks = Chunks::open_read_only(&self.dir.join("chunks"), &key)?;
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

    /// By its number, or by its name, which no two have at a time.
    fn find(&self) -> Result<Stored, Fault> {
        let dir = self.dir.join("checkpoints");
        let read = |number| Stored::decode(number, &store::manifest::get(&dir, number)?).map_err(fault);
        if let Ok(number) = self.which.parse() {
            return read(number);
        }
        for number in store::manifest::list(&dir)? {
            let stored = read(number)?;
            if stored.statement.name == self.which {
                return Ok(stored);
            }
        }
        Err(Fault::NotFound(format!("there is no checkpoint “{}” in {}", self.which, dir.display())))
    }

    /// Whether the signature was asked for, and then holds.
    fn check(&self, stored: &Stored) -> Result<bool, Fault> {
        for path in &self.key {
            let pem = secret::read(path, "the public key", PEM_BYTES_MAX)?;
            let key = offline::public_key(&String::from_utf8_lossy(&pem))
                .map_err(|error| Fault::Failed(format!("{}: {error}", path.display())))?;
            if stored.is_signed_by(&key) {
                return Ok(true);
            }
        }
        if self.key.is_empty() {
            return Ok(false);
        }
        let number = stored.statement.number;
        let message = format!(
            "checkpoint {number} is not signed by the given key: it was changed, or comes from elsewhere"
        );
        Err(Fault::Damaged { message, damage: None })
    }

    fn repository_key(&self) -> Result<Zeroizing<[u8; KEY_BYTES]>, Fault> {
        let bytes = secret::read(&self.repository_key, "the repository's key", KEY_BYTES)?;
        let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice());
        key.map(Zeroizing::new).map_err(|_| {
            Fault::Usage(format!(
                "{} is no repository's key: it has not {KEY_BYTES} bytes",
                self.repository_key.display()
            ))
        })
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

fn fault(error: recovery::Error) -> Fault {
    match error {
        recovery::Error::Store(error) => error.into(),
        recovery::Error::Damaged(_) => Fault::Damaged { message: error.to_string(), damage: None },
        recovery::Error::Refused(_) => Fault::NotFound(error.to_string()),
        error => Fault::Failed(error.to_string()),
    }
}

fn text(exported: &Exported) -> String {
    let signed =
        if exported.signed { "its signature holds" } else { "its signature was not checked: give --key" };
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
