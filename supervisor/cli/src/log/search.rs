//! `dsmil log search`

use api::wire::Answer;
use api::wire::record::{Entry, FACTS};
use clap::Args;
use clap::builder::PossibleValuesParser;

use super::source::{self, Folder, More};
use super::tail::lines;
use crate::fault::Fault;
use crate::output;
use crate::session::Context;
use crate::time::Moment;

/// Finds entries of the log; all conditions that are given must hold.
///
/// Nothing found is exit code 6. With --json the entries are one document.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log search --fact denied --since 2h
  dsmil log search --work 17
  dsmil log search --user 1000 0x8060
  dsmil log search --dir /mnt/copy/log --since 2026-11-01 --until 2026-11-08 restore")]
pub struct Search {
    /// What the entry's text must contain, in upper or lower case.
    text: Option<String>,
    /// This kind of fact; several times for several kinds.
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(FACTS))]
    fact: Vec<String>,
    /// What belongs to this work.
    #[arg(long, value_name = "NUMBER")]
    work: Option<u64>,
    /// What this user, by number, asked for.
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
    /// At this moment or later: 2026-11-21T08:00:00Z, “2026-11-21 08:00”, or how long ago, as 2h.
    #[arg(long, value_name = "MOMENT")]
    since: Option<Moment>,
    /// Before this moment.
    #[arg(long, value_name = "MOMENT")]
    until: Option<Moment>,
    /// From this entry on.
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    from: u64,
    /// At most so many, the first of them.
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 1000)]
    lines: usize,
    #[command(flatten)]
    folder: Folder,
}

impl Search {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        let wanted = Wanted {
            text: self.text.as_deref().map(str::to_lowercase),
            since: self.since.map(Moment::text),
            until: self.until.map(Moment::text),
            search: self,
        };
        let (mut found, mut seen) = (Vec::new(), 0);
        source::each(context, self.folder.dir.as_deref(), self.from, &mut |entry| {
            if found.len() >= self.lines {
                return Ok(More::No);
            }
            seen = entry.index.saturating_add(1);
            if wanted.is(&entry) {
                found.push(entry);
            }
            Ok(More::Yes)
        })?;
        let is_empty = found.is_empty();
        if context.json {
            output::document(&Answer::Facts { records: found, size: seen }, None)?;
        } else {
            output::print(&lines(&found))?;
        }
        if is_empty {
            return Err(Fault::NotFound(format!("no entry of {seen} is like that")));
        }
        Ok(())
    }
}

struct Wanted<'a> {
    text: Option<String>,
    since: Option<String>,
    until: Option<String>,
    search: &'a Search,
}

impl Wanted<'_> {
    fn is(&self, entry: &Entry) -> bool {
        let Search { fact, work, user, .. } = self.search;
        (fact.is_empty() || fact.contains(&entry.fact))
            && work.is_none_or(|work| entry.work == Some(work))
            && user.is_none_or(|user| entry.asker.is_some_and(|asker| asker.uid == user))
            && self.since.as_ref().is_none_or(|since| entry.time >= *since)
            && self.until.as_ref().is_none_or(|until| entry.time < *until)
            && self.text.as_ref().is_none_or(|text| entry.text.to_lowercase().contains(text))
    }
}
