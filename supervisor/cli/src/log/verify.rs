//! `dsmil log verify`

use std::ops::Range;
use std::path::{Path, PathBuf};

use api::wire::record;
use clap::Args;
use serde::Serialize;
use store::head::{Head, PublicKey};
use store::verify::Report;

use super::certified::{Certified, Point};
use super::clock::{Clock, SetBack};
use super::salvage::named;
use crate::fault::Fault;
use crate::output::{self, Table, count};
use crate::progress::{Progress, Unit};
use crate::session::Context;

/// After how many entries it is told how far it has come: some milliseconds of work.
const ENTRIES_TOLD: u64 = 4096;

/// Checks the log in a folder, without the daemon and also while it runs.
///
/// Every entry must be intact and a fact, and every stored head must be the Merkle root of the entries that it covers. With
/// --key each head must be signed by that key too: without it somebody who can write the disk can rewrite the whole log
/// unseen. The key alone cannot tell an older copy of the log, or one that was cut back to an older head: with --head, a head that
/// was kept somewhere else, or --certification, a fresh word of the TPM on the anchor, the log must go on from there. Entries after the newest head are covered by none yet. Exit code 7
/// names the entry that is damaged.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log verify
  dsmil log verify --key machine.pem
  cp /var/lib/dsmil/log/checkpoint kept; dsmil log verify --key machine.pem --head kept
  dsmil log verify --certification anchor.json --nonce 6f1d0c22 --attestation-key key.pem
  dsmil log verify --dir /mnt/copy/log --json")]
pub struct Verify {
    /// The log's folder.
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
    /// The machine's public key, PEM, from a place that the machine cannot write. More than once for a machine that had another TPM before.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// A signed head that you trust: the file “checkpoint” of this log as it once was, kept where the machine cannot write.
    #[arg(long, value_name = "FILE")]
    head: Option<PathBuf>,
    #[command(flatten)]
    certified: Certified,
}

/// What was checked, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_verified")]
struct Verified {
    dir: String,
    id: String,
    entries: u64,
    /// How many of them, the first ones, were archived: their hashes were checked.
    archived: u64,
    heads: u64,
    covered: u64,
    root: Option<String>,
    signed: bool,
    key: Option<String>,
    /// The newest head says that no TPM has signed it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    software_key: bool,
    torn_bytes: u64,
    /// Entries of the head that the verifier trusts; none where none was given, and then nothing is known of later ones.
    trusted: Option<u64>,
    /// The anchor whose certification that head is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    certified: Option<String>,
    /// That the wall clock was set back while the log was written; absent where it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    set_back: Option<SetBack>,
}

impl Verify {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let keys = self.key.iter().map(|path| read_key(path)).collect::<Result<Vec<_>, _>>()?;
        let head = self.head.as_deref().map(|path| read_head(path, &keys)).transpose()?;
        let point = self.certified.believe()?;
        let head = head.or_else(|| point.as_ref().map(Point::head));
        let progress = context.progress("verify the log");
        let report =
            store::verify::verify_by(&self.dir, &keys, head.as_ref(), &mut |at| progress.at_bytes(at))
                .map_err(|error| self.damaged(error, !keys.is_empty() || head.is_some()))?;
        if let Some(point) = &point {
            point.is_of(report.id)?;
        }
        progress.reach("what its entries say");
        let set_back = facts(&self.dir, report.archived..report.entries, &progress)?;
        drop(progress);
        let trusted = head.map(|head| head.size);
        let certified = point.map(|point| point.anchor);
        let verified = Verified { trusted, certified, set_back, ..verified(&self.dir, &report, &keys) };
        if context.json {
            output::document(&verified, None)?;
        } else {
            output::print(&text(&verified))?;
        }
        // Asked for signatures, “there were none” must not look like “they are right”.
        if !keys.is_empty() && !report.signed && report.entries > 0 {
            let why = "the log has no signed head, so the key proves nothing: wait for the first, or find out who removed it";
            return Err(Fault::Failed(why.to_owned()));
        }
        Ok(())
    }
}

impl Verify {
    /// Names the next step where there is one. A log that is not the one that a key or a head speaks of may well be sound in
    /// itself, and is salvaged to nothing else.
    fn damaged(&self, error: store::Error, is_given: bool) -> Fault {
        let is_damaged = |error: &store::Error| match error {
            store::Error::Damaged(damage) => damage.file != self.dir,
            _ => false,
        };
        let is_next = if is_given {
            store::verify::verify(&self.dir, None, None).as_ref().is_err_and(is_damaged)
        } else {
            is_damaged(&error)
        };
        match Fault::from(error) {
            Fault::Damaged { message, damage } if is_next => Fault::Damaged {
                message: format!("{message}; next, “dsmil log salvage OUT” copies what can be proven"),
                damage,
            },
            fault => fault,
        }
    }
}

/// The machine's public key.
pub(super) fn read_key(path: &Path) -> Result<PublicKey, Fault> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Fault::Failed(format!("cannot read the key {}: {error}", path.display())))?;
    PublicKey::from_pem(&text).map_err(|error| Fault::Failed(format!("{}: {error}", path.display())))
}

/// A head that the verifier kept. With the key it must be signed by it: a file that came back from the machine may be forged.
fn read_head(path: &Path, keys: &[PublicKey]) -> Result<Head, Fault> {
    let signed = super::prove::read_head(path)?;
    if let Some((last, others)) = keys.split_last()
        && !others.iter().any(|key| signed.verify(key).is_ok())
    {
        let verified = signed.verify(last);
        verified.map_err(|error| Fault::Failed(format!("the head {}: {error}", path.display())))?;
    }
    Ok(signed.head().clone())
}

/// Checks that each entry is a fact that this release knows, and says whether their clock was set back.
fn facts(dir: &Path, entries: Range<u64>, progress: &Progress) -> Result<Option<SetBack>, Fault> {
    let log = store::log::read(dir, 0)?;
    let mut clock = Clock::default();
    for entry in log {
        let (index, bytes) = entry?;
        if index >= entries.end {
            break;
        }
        if index.is_multiple_of(ENTRIES_TOLD) {
            let (done, total) =
                (index.saturating_sub(entries.start), entries.end.saturating_sub(entries.start));
            progress.at(Unit::Entries, done, total);
        }
        // No damage: a newer release may have written it.
        let time = record::time(&bytes).map_err(|error| {
            Fault::Failed(format!("entry {index} is intact, but what it says cannot be checked: {error}"))
        })?;
        clock.see(index, time);
    }
    Ok(clock.found())
}

fn verified(dir: &Path, report: &Report, keys: &[PublicKey]) -> Verified {
    let ids: Vec<_> = keys.iter().map(|key| format!("{:08x}", u32::from_be_bytes(key.id()))).collect();
    Verified {
        dir: dir.display().to_string(),
        id: format!("{:032x}", u128::from_be_bytes(report.id)),
        entries: report.entries,
        archived: report.archived,
        heads: report.heads,
        covered: report.covered,
        root: report.head.as_ref().map(|head| head.root.to_string()),
        signed: report.signed,
        key: report.signed.then(|| ids.join(" or ")),
        software_key: report.head.as_ref().is_some_and(Head::is_by_software_key),
        torn_bytes: report.torn_bytes,
        trusted: None,
        certified: None,
        set_back: None,
    }
}

fn text(verified: &Verified) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("log", format!("{}, id {}", verified.dir, verified.id));
    if verified.archived > 0 {
        row("entries", format!("{}, each that is here intact and a fact", verified.entries));
        let archived = named(&(0..verified.archived));
        row("archived", format!("{archived} are archived: their hashes are those that the heads cover"));
    } else {
        row("entries", format!("{}, each intact and a fact", verified.entries));
    }
    match &verified.root {
        Some(root) => row("heads", format!("{}, each right; the newest has root {root}", verified.heads)),
        None => row("heads", "none".to_owned()),
    }
    row(
        "signatures",
        match &verified.key {
            Some(key) => format!("each head is signed by key {key}"),
            None => "not checked: give the machine's public key with --key".to_owned(),
        },
    );
    if verified.software_key {
        row(
            "without TPM",
            "a key in software signs: who can read that machine's disk can sign, too".to_owned(),
        );
    }
    row(
        "rewound",
        match verified.trusted {
            Some(size) if verified.certified.is_some() => format!(
                "no: the log goes on from the {} that the TPM says were anchored last; later ones are unknown to it",
                count(size, "entry", "entries")
            ),
            Some(size) => format!("no: the log goes on from the {} of the trusted head", count(size, "entry", "entries")),
            None => "later entries unknown: an older copy of this log looks the same; give a head that you kept with --head".to_owned(),
        },
    );
    if let Some(SetBack { times, entry, by_ns }) = verified.set_back {
        let times = count(times, "time", "times");
        row(
            "clock",
            format!(
                "set back {times}, first by {:.1} s before entry {entry}: times before and after do not compare",
                by_ns as f64 / 1e9
            ),
        );
    }
    let after = verified.entries.saturating_sub(verified.covered);
    if after > 0 {
        let entries = count(after, "entry", "entries");
        row("not covered", format!("{entries} after the newest head: a change of them could go unseen"));
    }
    if verified.torn_bytes > 0 {
        let bytes = count(verified.torn_bytes, "byte", "bytes");
        row("incomplete", format!("{bytes} of a batch that was never acknowledged"));
    }
    table.to_string()
}
