//! `dsmil log export`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use store::head::SignedHead;

use super::prove::read_head;
use crate::fault::Fault;
use crate::output::{self, Table, count};
use crate::session::Context;

/// Writes the log up to its newest signed head as a static tree for tools of others, also while the daemon runs.
///
/// The tree follows c2sp.org/tlog-tiles: checkpoint, tiles of hashes, bundles of entries. Any web server can serve it. Every
/// entry is checked against the heads on the way. OUT must not exist or be empty.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log export /srv/www/log
  dsmil log export /srv/www/log --archive /srv/dsmil-archive")]
pub struct Export {
    /// The new folder.
    out: PathBuf,
    /// The log's folder.
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
    /// The folder with the entries that were archived; without it they are left out, and their hashes stay.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

/// What was exported, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_exported")]
struct Exported {
    out: String,
    origin: String,
    entries: u64,
    root: String,
    /// The first entry that is there; those before were archived.
    first: u64,
}

impl Export {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let progress = context.progress("export the log");
        let result = store::log::export(&self.dir, self.archive.as_deref(), &self.out, &mut |at| {
            progress.at_bytes(at)
        });
        drop(progress);
        let done = match result {
            Ok(done) => done,
            Err(error) => return Err(self.failed(context, error)),
        };
        let head: SignedHead = read_head(&self.out.join("checkpoint"))?;
        let exported = Exported {
            out: self.out.display().to_string(),
            origin: head.head().origin.clone(),
            entries: done.size,
            root: head.head().root.to_string(),
            first: done.first,
        };
        if context.json { output::document(&exported, None) } else { output::print(&text(&exported)) }
    }

    /// What it leaves has no checkpoint, so nobody takes it for a log; but it is in the way.
    fn failed(&self, context: &Context, error: store::Error) -> Fault {
        if matches!(&error, store::Error::Exists { path } if *path == self.out) {
            return Fault::Failed(format!(
                "{} is not empty, and nothing is ever overwritten: name another folder",
                self.out.display()
            ));
        }
        if self.out.join("tile").exists() && !context.json {
            output::note(&format!("{} is incomplete: remove it before another try", self.out.display()));
        }
        error.into()
    }
}

fn text(exported: &Exported) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("exported", exported.out.clone());
    row("log", exported.origin.clone());
    row("entries", format!("{}, root {}", exported.entries, exported.root));
    if exported.first > 0 {
        let entries = count(exported.first, "entry", "entries");
        row(
            "left out",
            format!("the first {entries}, since some are archived: give their folder with --archive"),
        );
    }
    table.to_string()
}
