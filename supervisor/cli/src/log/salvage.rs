//! `dsmil log salvage`

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use store::log::Salvaged;

use crate::fault::{Damage, Fault};
use crate::output::{self, Table, count};
use crate::session::Context;

/// Copies what can be proven of a damaged log into a new folder; the damaged one is only read.
///
/// Entries are proven up to the last stored head whose root they have. Whole batches behind it whose checksums are right are
/// copied without a proof, as long as no head says that they are others. What is behind the first damage is not copied: in a
/// log in which entries are missing it could not keep its place. The daemon must be stopped. Exit code 7 says that something is
/// lost, 0 that everything was copied.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log salvage /var/lib/dsmil/log.salvaged
  dsmil log salvage /var/lib/dsmil/log.salvaged --archive /srv/dsmil-archive
  dsmil log salvage out --dir /mnt/copy/log --json")]
pub struct Salvage {
    /// The new folder.
    out: PathBuf,
    /// The damaged log's folder.
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
    /// The folder of archived entries: they are copied too. Without them nobody can start from the copy.
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

/// What was salvaged, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_salvaged")]
struct Answer {
    dir: String,
    out: String,
    id: String,
    /// Entries before this one are proven by a head.
    proven: u64,
    /// Entries before this one were copied, or were archived before.
    copied: u64,
    /// Of these were archived before, so that only their hashes were copied.
    archived: u64,
    /// Entries that are known to have been there and were not copied.
    lost: Option<Range<u64>>,
    found: Vec<Found>,
    /// Files that were not read.
    unread: Vec<String>,
    whole: bool,
}

/// What is wrong with the damaged log.
#[derive(Serialize)]
struct Found {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Damage>,
}

impl Salvage {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let is_same = matches!(
            (fs::canonicalize(&self.dir), fs::canonicalize(&self.out)),
            (Ok(from), Ok(to)) if from == to
        );
        if is_same {
            return Err(Fault::Usage("the new folder is the damaged log's: name another".to_owned()));
        }
        let _held = store::log::hold(&self.dir)?;
        let progress = context.progress("salvage the log");
        let salvaged = store::log::salvage(&self.dir, &self.out, self.archive.as_deref(), &mut |at| {
            progress.at_bytes(at)
        });
        drop(progress);
        let answer = self.answer(salvaged?, store::log::archived(&self.out)?);
        if context.json {
            output::document(&answer, None)?;
        } else {
            output::print(&text(&answer))?;
            if answer.archived > 0 {
                output::warning(
                    "dsmild does not start from the copy, which has only hashes of the archived entries: --archive copies them too",
                );
            }
        }
        if answer.whole { Ok(()) } else { Err(lost(answer)) }
    }

    fn answer(&self, salvaged: Salvaged, archived: u64) -> Answer {
        let Salvaged { id, proven, copied, lost, found, unread, is_whole } = salvaged;
        let found = found.into_iter().map(|error| match Fault::from(error) {
            Fault::Damaged { message, damage } => Found { message, damage },
            other => Found { message: other.to_string(), damage: None },
        });
        Answer {
            dir: self.dir.display().to_string(),
            out: self.out.display().to_string(),
            id: format!("{:032x}", u128::from_be_bytes(id)),
            proven,
            copied,
            archived,
            lost: (!lost.is_empty()).then_some(lost),
            found: found.collect(),
            unread: unread.iter().map(|path| path.display().to_string()).collect(),
            whole: is_whole,
        }
    }
}

/// What the exit code stands for.
fn lost(answer: Answer) -> Fault {
    let message = match &answer.lost {
        Some(lost) => format!("{} could not be copied", named(lost)),
        None => "all known entries were copied, but not all that was with them".to_owned(),
    };
    Fault::Damaged { message, damage: answer.found.into_iter().find_map(|found| found.damage) }
}

/// Entries, the last one included, as people count.
pub(super) fn named(range: &Range<u64>) -> String {
    match range.end.saturating_sub(range.start) {
        0 => "no entry".to_owned(),
        1 => format!("entry {}", range.start),
        _ => format!("entries {} to {}", range.start, range.end.saturating_sub(1)),
    }
}

fn text(answer: &Answer) -> String {
    let mut table = Table::new(&[]);
    let mut row = |name: &str, text: String| table.row([name.to_owned(), text]);
    row("log", format!("{}, id {}", answer.dir, answer.id));
    row("copied to", answer.out.clone());
    if answer.archived > 0 {
        row("archived", format!("{}: their hashes were copied", named(&(0..answer.archived))));
    }
    let proven = answer.archived..answer.proven.max(answer.archived);
    let by = if proven.is_empty() { "" } else { ", by the heads over them" };
    row("proven", format!("{}{by}", named(&proven)));
    let unproven = proven.end..answer.copied;
    if !unproven.is_empty() {
        row("not proven", format!("{}: copied, checksums are right, no head covers them", named(&unproven)));
    }
    match &answer.lost {
        Some(lost) => {
            let entries = count(lost.end.saturating_sub(lost.start), "entry", "entries");
            row("lost", format!("{}: {entries} at least, there may have been more", named(lost)));
        }
        None if answer.whole => row("lost", "nothing".to_owned()),
        None => row("lost", "no entry that is known of".to_owned()),
    }
    answer.found.iter().for_each(|found| row("found", found.message.clone()));
    answer.unread.iter().for_each(|file| row("not read", file.clone()));
    table.to_string()
}
