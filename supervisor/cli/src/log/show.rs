//! `dsmil log show`

use std::path::PathBuf;

use api::wire::record::Entry;
use clap::Args;
use serde::Serialize;
use store::head::Head;
use store::merkle::leaf_hash;
use store::tiles::prover::Prover;
use types::hash::Hash;

use super::source;
use crate::fault::Fault;
use crate::output::{self, Table, count};
use crate::session::Context;

/// Shows one entry of the log wholly, without the daemon.
///
/// What it says, its bytes in the diagnostic notation of CBOR, its leaf hash in the Merkle tree, and the head that covers it. An
/// entry that a newer release wrote is shown, too, by its notation alone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log show 4711
  dsmil log show 4711 --json
  dsmil log show 4711 --raw > entry.cbor
  dsmil log show 17 --archive /srv/dsmil-archive")]
pub struct Show {
    /// The entry's index.
    index: u64,
    /// Write the bytes of the entry as they are, and nothing else.
    #[arg(long)]
    raw: bool,
    /// The log's folder.
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
    /// The folder with the entries that were archived.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

/// One entry, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_entry")]
struct Shown {
    index: u64,
    /// What it says; none where this release does not know it.
    entry: Option<Entry>,
    bytes: usize,
    leaf: String,
    cbor: String,
    /// The first head that covers it; none where none does yet.
    first_head: Option<Covering>,
    /// The newest head, in whose tree it was proven to be; none where none covers it yet.
    newest_head: Option<Covering>,
}

/// A head that covers an entry.
#[derive(Serialize, Clone)]
struct Covering {
    entries: u64,
    root: String,
}

impl From<&Head> for Covering {
    fn from(head: &Head) -> Self {
        Self { entries: head.size, root: head.root.to_string() }
    }
}

impl Show {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        if self.raw && context.json {
            return Err(Fault::Usage("--raw writes bytes, --json a document: give one of them".to_owned()));
        }
        let bytes = source::entry(&self.dir, self.archive.as_deref(), self.index)?;
        if self.raw {
            return output::raw(&bytes);
        }
        let leaf = leaf_hash(&bytes);
        // An entry is shown also where the log around it is damaged; that is said behind it.
        let (heads, failed) = match self.heads(leaf) {
            Ok(heads) => (heads, None),
            Err(fault) => (None, Some(fault)),
        };
        let shown = Shown {
            index: self.index,
            entry: Entry::decode(self.index, &bytes).ok(),
            bytes: bytes.len(),
            leaf: leaf.to_string(),
            cbor: minicbor::display(&bytes).to_string(),
            first_head: heads.as_ref().map(|(first, _)| first.clone()),
            newest_head: heads.map(|(_, newest)| newest),
        };
        if context.json {
            output::document(&shown, None)?;
        } else {
            output::print(&text(&shown, failed.is_some()))?;
        }
        failed.map_or(Ok(()), Err)
    }

    /// The first head that covers it, and the newest, in whose tree it is proven to be.
    fn heads(&self, leaf: Hash) -> Result<Option<(Covering, Covering)>, Fault> {
        let mut prover = match Prover::open(&self.dir) {
            // No head is stored yet; an archive has none at all.
            Err(store::Error::Invalid(_)) => return Ok(None),
            prover => prover?,
        };
        let newest = prover.newest().clone();
        if self.index >= newest.head().size {
            return Ok(None);
        }
        let proof = prover.inclusion(self.index, newest.head().size)?;
        if proof.leaf != leaf {
            return Err(Fault::Damaged {
                message: format!(
                    "entry {} is another than the one that the heads of this log cover, whose leaf hash is {}",
                    self.index, proof.leaf
                ),
                damage: None,
            });
        }
        let first = store::log::covering(&self.dir, self.index)?;
        let first = first.as_ref().map_or_else(|| newest.head(), |first| first.head());
        Ok(Some((first.into(), newest.head().into())))
    }
}

fn text(shown: &Shown, is_damaged: bool) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("entry", shown.index.to_string());
    match &shown.entry {
        None => row("text", "(an entry that this release does not know)".to_owned()),
        Some(entry) => {
            row("time", entry.time.clone());
            row("fact", entry.fact.clone());
            if let Some(work) = entry.work {
                row("work", work.to_string());
            }
            if let Some(asker) = entry.asker {
                row("asked by", format!("user {}, process {}", asker.uid, asker.pid));
            }
            row("text", entry.text.clone());
        }
    }
    row("bytes", shown.bytes.to_string());
    row("leaf hash", shown.leaf.clone());
    let of = |head: &Covering| format!("of {}, root {}", count(head.entries, "entry", "entries"), head.root);
    match (&shown.first_head, &shown.newest_head) {
        (Some(first), Some(newest)) => {
            row("first head", of(first));
            row("newest head", format!("{}: the entry is proven to be in it", of(newest)));
        }
        _ if is_damaged => row("head", "unknown: the log is damaged".to_owned()),
        _ => row("head", "none covers it yet".to_owned()),
    }
    row("cbor", shown.cbor.clone());
    table.to_string()
}
