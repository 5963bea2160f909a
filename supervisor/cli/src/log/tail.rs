//! `dsmil log tail`

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::wire::record::Entry;
use api::wire::{Answer, Command, FACTS_MAX};
use clap::Args;
use store::log::Reader;

use crate::fault::Fault;
use crate::output;
use crate::progress::Show;
use crate::session::Context;

/// How often a followed log is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Shows the last entries of the log, and with -f those that follow.
///
/// Asks the daemon, or with --dir reads a log's folder without it. With --json the entries are one document; with --json
/// and -f each entry is a document on a line of its own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dsmil log tail -n 50
  dsmil log tail -f
  dsmil log tail --dir /var/lib/dsmil/log --json | jq -r '.answer.records[].text'")]
pub struct Tail {
    /// How many entries, at most 10000.
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(0..=i64::from(FACTS_MAX)))]
    lines: u32,
    /// Go on with entries as they are appended.
    #[arg(short, long)]
    follow: bool,
    /// Read this folder instead of asking the daemon.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Tail {
    /// Runs it.
    pub fn run(&self, context: &Context) -> Result<(), Fault> {
        match &self.dir {
            Some(dir) => self.offline(context, dir),
            None => self.online(context),
        }
    }

    fn online(&self, context: &Context) -> Result<(), Fault> {
        let mut session = context.connect()?;
        let mut ask = |from, limit| session.ask("read the log", Command::Facts { from, limit }, Show::Late);
        let (answer, behind) = ask(None, self.lines)?;
        let Answer::Facts { records, size } = &answer else { return Err(Fault::Unexpected) };
        if !self.follow {
            return output::answer(context.json, &answer, &behind, &lines(records));
        }
        let mut next = after(records).unwrap_or(*size);
        each(context, records)?;
        loop {
            std::thread::sleep(INTERVAL);
            let (Answer::Facts { records, .. }, _) = ask(Some(next), FACTS_MAX)? else {
                return Err(Fault::Unexpected);
            };
            each(context, &records)?;
            next = after(&records).unwrap_or(next);
        }
    }

    fn offline(&self, context: &Context, dir: &Path) -> Result<(), Fault> {
        let mut log = store::log::read(dir, 0)?;
        let mut last =
            Last { entries: VecDeque::new(), max: usize::try_from(self.lines).unwrap_or(usize::MAX) };
        let mut size = 0;
        // What could be read is shown before what could not.
        let read = log.try_for_each(|entry| {
            let (index, bytes) = entry?;
            size = index.saturating_add(1);
            last.push((index, bytes));
            Ok::<_, store::Error>(())
        });
        let (records, undecoded): (Vec<_>, Vec<_>) = decode(last.entries);
        if self.follow {
            each(context, &records)?;
        } else if context.json {
            output::document(&Answer::Facts { records, size }, None)?;
        } else {
            output::print(&lines(&records))?;
        }
        read?;
        if self.follow {
            warn(context, &undecoded);
            return follow(context, &mut log);
        }
        match undecoded.first() {
            None => Ok(()),
            Some(why) => Err(Fault::Failed(why.clone())),
        }
    }
}

fn follow(context: &Context, log: &mut Reader) -> Result<(), Fault> {
    loop {
        std::thread::sleep(INTERVAL);
        for entry in log.by_ref() {
            let (records, undecoded) = decode([entry?]);
            each(context, &records)?;
            warn(context, &undecoded);
        }
    }
}

/// The last entries that were pushed.
struct Last {
    entries: VecDeque<(u64, Vec<u8>)>,
    max: usize,
}

impl Last {
    fn push(&mut self, entry: (u64, Vec<u8>)) {
        self.entries.push_back(entry);
        if self.entries.len() > self.max {
            self.entries.pop_front();
        }
    }
}

/// Entries, and why others are none.
fn decode(entries: impl IntoIterator<Item = (u64, Vec<u8>)>) -> (Vec<Entry>, Vec<String>) {
    let (mut records, mut undecoded) = (Vec::new(), Vec::new());
    for (index, bytes) in entries {
        match Entry::decode(index, &bytes) {
            Ok(entry) => records.push(entry),
            Err(error) => undecoded.push(format!("entry {index} cannot be shown: {error}")),
        }
    }
    (records, undecoded)
}

fn warn(context: &Context, undecoded: &[String]) {
    if !context.json {
        undecoded.iter().for_each(|why| output::warning(why));
    }
}

/// The index after the last entry.
fn after(records: &[Entry]) -> Option<u64> {
    records.last().map(|entry| entry.index.saturating_add(1))
}

/// Writes entries of a followed log.
fn each(context: &Context, records: &[Entry]) -> Result<(), Fault> {
    if context.json { records.iter().try_for_each(output::line) } else { output::print(&lines(records)) }
}

/// A line for each entry.
pub(super) fn lines(records: &[Entry]) -> String {
    records.iter().map(line).collect()
}

fn line(entry: &Entry) -> String {
    let work = entry.work.map_or_else(String::new, |work| format!("work {work}: "));
    let asker = entry
        .asker
        .map_or_else(String::new, |asker| format!(" (asked by user {}, process {})", asker.uid, asker.pid));
    let text = format!("{:>6}  {}  {:<10}  {work}{}{asker}", entry.index, entry.time, entry.fact, entry.text);
    output::clean(text.trim_end()) + "\n"
}
