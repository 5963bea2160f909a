//! `dsmil log prove` and `dsmil log verify-proof`

use std::fs;
use std::path::{Path, PathBuf};

use api::wire::record::Entry;
use clap::Args;
use serde::Serialize;
use store::head::{PublicKey, SignedHead};
use store::proof::{Proof, TEXT_BYTES_MAX};
use store::tiles::prover::Prover;

use super::source;
use super::tail::lines;
use super::verify::read_key;
use crate::fault::Fault;
use crate::output::{self, Table};
use crate::session::Context;

/// Proves that an entry is in the log, or that the log goes on from a head that was kept.
///
/// The proof of an entry is a text file (C2SP tlog-proof) with the entry and a signed head in it: “dsmil log verify-proof” checks
/// it on any machine with nothing but the public key. With --since the answer is the consistency proof of RFC 6962 as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log prove 4711 --out entry.tlog-proof
  dsmil log prove --since kept-checkpoint")]
pub struct Prove {
    /// The entry's index.
    #[arg(required_unless_present = "since", conflicts_with = "since")]
    index: Option<u64>,
    /// A signed head of this log, kept from an earlier time.
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Write the proof into this file, which must not exist, instead of the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The log's folder.
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
    /// The folder with the entries that were archived.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

/// The proof of an entry, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_proof")]
struct Proved {
    index: u64,
    /// How many entries the head has under which it is proven.
    entries: u64,
    root: String,
    /// The file, where it was not written to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

/// That a log goes on from an earlier head, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_consistency")]
struct Consistent {
    from: u64,
    from_root: String,
    to: u64,
    to_root: String,
    hashes: Vec<String>,
    /// The file that it was written to, which is without this.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
}

impl Prove {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let mut prover = Prover::open(&self.dir)?;
        match (self.index, &self.since) {
            (Some(index), _) => self.entry(context, &mut prover, index),
            (None, Some(kept)) => self.since(context, &mut prover, kept),
            (None, None) => Err(Fault::Usage("name an entry, or --since with a kept head".to_owned())),
        }
    }

    fn entry(&self, context: &Context, prover: &mut Prover, index: u64) -> Result<(), Fault> {
        let head = prover.newest().clone();
        let size = head.head().size;
        if index >= size {
            let why = format!(
                "entry {index} is not covered yet: the newest signed head covers {size} entries; ask again in a second"
            );
            return Err(Fault::NotFound(why));
        }
        let entry = source::entry(&self.dir, self.archive.as_deref(), index)?;
        let root = head.head().root.to_string();
        let text = Proof::new(entry, prover.inclusion(index, size)?, head)?.text()?;
        if let Some(path) = &self.out {
            output::write_new(path, &text)?;
        }
        if context.json {
            let out = self.out.as_deref().map(|path| path.display().to_string());
            let proof = out.is_none().then_some(text);
            return output::document(&Proved { index, entries: size, root, proof, out }, None);
        }
        match &self.out {
            None => output::raw(text.as_bytes()),
            Some(path) => {
                let said = format!("{}: entry {index} in the log of {size} entries", path.display());
                output::print(&(output::clean(&said) + "\n"))
            }
        }
    }

    fn since(&self, context: &Context, prover: &mut Prover, kept: &Path) -> Result<(), Fault> {
        let from = read_head(kept)?;
        let to = prover.newest().head().size;
        let proof = prover.consistency(from.head().size, to)?;
        if proof.from_root != from.head().root {
            return Err(Fault::Damaged {
                message: format!(
                    "the log does not go on from this head: its first {} entries have another root",
                    proof.from
                ),
                damage: None,
            });
        }
        let hashes = proof.path.iter().map(ToString::to_string).collect();
        let mut consistent = Consistent {
            from: proof.from,
            from_root: proof.from_root.to_string(),
            to: proof.to,
            to_root: proof.to_root.to_string(),
            hashes,
            out: None,
        };
        let Some(path) = &self.out else { return output::document(&consistent, None) };
        let text = serde_json::to_string(&consistent).map_err(|error| Fault::Failed(error.to_string()))?;
        output::write_new(path, &(text + "\n"))?;
        if context.json {
            consistent.out = Some(path.display().to_string());
            return output::document(&consistent, None);
        }
        let Consistent { from, to, .. } = consistent;
        let from = output::count(from, "entry", "entries");
        let said = format!("{}: the log of {to} entries goes on from its first {from}", path.display());
        output::print(&(output::clean(&said) + "\n"))
    }
}

/// Checks the proof of an entry, without the log and on any machine.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log verify-proof entry.tlog-proof --key machine.pem")]
pub struct VerifyProof {
    /// The proof.
    file: PathBuf,
    /// The machine's public key, PEM, from a place that the machine cannot write.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// What a proof proves, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "proof_verified")]
struct Proven {
    index: u64,
    entries: u64,
    origin: String,
    key: String,
    /// The entry; none where this release does not know it.
    entry: Option<Entry>,
}

impl VerifyProof {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let key = read_key(&self.key)?;
        let proof = read_proof(&self.file)?;
        proof.verify(&key).map_err(|error| Fault::Damaged { message: error.to_string(), damage: None })?;
        let proven = proven(&proof, &key);
        if context.json { output::document(&proven, None) } else { output::print(&text(&proven)) }
    }
}

fn proven(proof: &Proof, key: &PublicKey) -> Proven {
    Proven {
        index: proof.index(),
        entries: proof.head().head().size,
        origin: proof.head().head().origin.clone(),
        key: format!("{:08x}", u32::from_be_bytes(key.id())),
        entry: Entry::decode(proof.index(), proof.entry()).ok(),
    }
}

fn text(proven: &Proven) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("log", proven.origin.clone());
    row("entry", format!("{} of {}, proven", proven.index, proven.entries));
    row("signed", format!("by key {}", proven.key));
    let entry = proven.entry.as_ref().map(std::slice::from_ref);
    format!(
        "{table}{}",
        entry.map_or_else(|| "(an entry that this release does not know)\n".to_owned(), lines)
    )
}

fn read_proof(path: &Path) -> Result<Proof, Fault> {
    let at = |error: &dyn std::fmt::Display| Fault::Failed(format!("the proof {}: {error}", path.display()));
    let length = fs::metadata(path).map_err(|error| at(&error))?.len();
    if usize::try_from(length).map_or(true, |length| length > TEXT_BYTES_MAX) {
        return Err(at(&"it is too long for a proof"));
    }
    Proof::parse(&fs::read_to_string(path).map_err(|error| at(&error))?).map_err(|error| at(&error))
}

/// A signed head from a file.
pub(super) fn read_head(path: &Path) -> Result<SignedHead, Fault> {
    let at = |error: &dyn std::fmt::Display| Fault::Failed(format!("the head {}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| at(&error))?;
    SignedHead::parse(&text).map_err(|error| at(&error))
}
