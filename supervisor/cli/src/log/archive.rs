//! `dsmil log archive`

use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use store::tiles::prover::Prover;

use super::salvage::named;
use super::source::{self, More};
use crate::fault::Fault;
use crate::output::{self, count};
use crate::question;
use crate::session::Context;
use crate::time::{Moment, Point};

/// Moves old files of the log to another folder; their hashes stay, and with them every proof.
///
/// Whole files alone are moved, those with nothing but entries before INDEX or MOMENT, and only what a signed head covers. They
/// are copied, compared, and then removed. The daemon must be stopped, and starts afterwards from its snapshots: so nothing
/// behind the older one is moved. The archive is read by the same commands, with --dir or --archive. It asks before it
/// moves anything; where there is nobody to ask it needs --yes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log archive /srv/dsmil-archive --before 90d
  dsmil log archive /srv/dsmil-archive --before 1000000 --yes")]
pub struct Archive {
    /// The folder for them; it is made if it is not there.
    to: PathBuf,
    /// The first entry that stays, or when it was written: 4711, 2026-01-01, “90d” for 90 days ago.
    #[arg(long, value_name = "INDEX|MOMENT")]
    before: Point,
    /// Do not ask.
    #[arg(long, short)]
    yes: bool,
    /// The log's folder.
    #[arg(long, default_value = super::DIR)]
    dir: PathBuf,
}

/// What was archived, as JSON.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "log_archived")]
struct Archived {
    dir: String,
    to: String,
    entries: Range<u64>,
    files: Vec<String>,
}

impl Archive {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let _held = store::log::hold(&self.dir)?;
        let before = match self.before {
            Point::Fact(index) => index,
            Point::Moment(moment) => first_at(context, &self.dir, moment)?,
        };
        let wanted = store::log::archivable(&self.dir, before)?;
        if wanted.is_empty() {
            return self.say(context, wanted, &[]);
        }
        as_owner(&self.dir)?;
        let range = store::log::archivable(&self.dir, before.min(startable(context, &self.dir)?))?;
        if range.end < wanted.end && !context.json {
            output::warning(&format!(
                "{} stay: dsmild starts from a snapshot before them",
                named(&(range.end..wanted.end))
            ));
        }
        if !range.is_empty() {
            self.confirm(&range)?;
        }
        let progress = context.progress("archive the log");
        let done = store::log::archive(&self.dir, &self.to, range.end, &mut |at| progress.at_bytes(at));
        drop(progress);
        let done = done?;
        self.say(context, done.entries, &done.files)
    }

    fn confirm(&self, range: &Range<u64>) -> Result<(), Fault> {
        if self.yes {
            return Ok(());
        }
        if !question::is_possible() {
            return Err(Fault::Usage("there is nobody to ask here: give --yes".to_owned()));
        }
        let (what, to) = (named(range), self.to.display());
        question::confirm(&output::clean(&format!("Move {what} of {} to {to} now?", self.dir.display())))
    }

    fn say(&self, context: &Context, entries: Range<u64>, files: &[PathBuf]) -> Result<(), Fault> {
        if context.json {
            let archived = Archived {
                dir: self.dir.display().to_string(),
                to: self.to.display().to_string(),
                entries,
                files: files.iter().map(|file| file.display().to_string()).collect(),
            };
            return output::document(&archived, None);
        }
        let text = if entries.is_empty() {
            "nothing to archive: no file has only entries before that, covered by a signed head".to_owned()
        } else {
            let length = u64::try_from(files.len()).unwrap_or(u64::MAX);
            format!(
                "archived {} in {}, {}",
                named(&entries),
                self.to.display(),
                count(length, "file", "files")
            )
        };
        output::print(&(output::clean(&text) + "\n"))
    }
}

/// The first entry of that moment or later; behind the last one where there is none.
fn first_at(context: &Context, dir: &Path, moment: Moment) -> Result<u64, Fault> {
    let (moment, mut first) = (moment.text(), 0);
    source::each(context, Some(dir), 0, &mut |entry| {
        let is_before = entry.time < moment;
        first = if is_before { entry.index.saturating_add(1) } else { entry.index };
        Ok(if is_before { More::Yes } else { More::No })
    })?;
    Ok(first)
}

/// Files that somebody else makes the daemon could neither read nor replace.
fn as_owner(dir: &Path) -> Result<(), Fault> {
    let uid = |path: &Path| {
        let metadata = fs::metadata(path);
        metadata
            .map(|data| data.uid())
            .map_err(|e| Fault::Failed(format!("cannot look at {}: {e}", path.display())))
    };
    let owner = uid(dir)?;
    if uid(Path::new("/proc/self"))? == owner {
        return Ok(());
    }
    Err(Fault::Failed(format!(
        "the log belongs to user {owner}, and what another user writes into it the daemon could not read: run this as that user, by “sudo -u '#{owner}' dsmil log archive …”"
    )))
}

/// How many entries may go at most so that the daemon can start from either of its two newest snapshots: it takes one that is
/// whole and that a fact under a signed head names.
fn startable(context: &Context, dir: &Path) -> Result<u64, Fault> {
    let covered = Prover::open(dir)?.newest().head().size;
    let mut found = Vec::new();
    for entries in store::snapshot::list(dir)?.into_iter().rev() {
        let Ok(snapshot) = store::snapshot::read(dir, entries) else { continue };
        if is_named(context, dir, entries..covered, &snapshot.hash.to_string())? {
            found.push(entries);
        }
        if found.len() == store::snapshot::KEPT {
            break;
        }
    }
    found.last().copied().ok_or_else(|| {
        Fault::Failed(
            "the log has no snapshot that dsmild would start from, and without its first entries it opens from snapshots alone: run dsmild until it has written one"
                .to_owned(),
        )
    })
}

/// Whether one of these facts names the snapshot of this hash.
fn is_named(context: &Context, dir: &Path, facts: Range<u64>, hash: &str) -> Result<bool, Fault> {
    let mut is_named = false;
    source::each(context, Some(dir), facts.start, &mut |entry| {
        let is_in = entry.index < facts.end;
        is_named = is_in && entry.fact == "snapshot" && entry.text.contains(hash);
        Ok(if is_in && !is_named { More::Yes } else { More::No })
    })?;
    Ok(is_named)
}
