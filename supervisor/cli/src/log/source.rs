//! Where entries come from: the daemon, or a log's folder without it.

use std::path::{Path, PathBuf};

use api::wire::record::Entry;
use api::wire::{Answer, Command, FACTS_MAX};

use crate::fault::Fault;
use crate::progress::Show;
use crate::session::Context;

/// How often the line that tells how far it has come changes, entries.
const TOLD_EVERY: u64 = 10_000;

/// Whether more entries are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum More {
    /// The next one.
    Yes,
    /// It is enough.
    No,
}

/// Gives `see` the entries from `from` on, in order, until it has enough or the log ends. Entries that this release does not know
/// end it with an error that names them.
pub fn each(
    context: &Context,
    dir: Option<&Path>,
    from: u64,
    see: &mut dyn FnMut(Entry) -> Result<More, Fault>,
) -> Result<(), Fault> {
    match dir {
        Some(dir) => offline(context, dir, from, see),
        None => online(context, from, see),
    }
}

fn online(
    context: &Context,
    from: u64,
    see: &mut dyn FnMut(Entry) -> Result<More, Fault>,
) -> Result<(), Fault> {
    let mut session = context.connect()?;
    let mut next = from;
    loop {
        let doing = format!("read the log from entry {next}");
        let ask = Command::Facts { from: Some(next), limit: FACTS_MAX };
        let (Answer::Facts { records, size }, _) = session.ask(&doing, ask, Show::Late)? else {
            return Err(Fault::Unexpected);
        };
        let Some(last) = records.last().map(|entry| entry.index) else { return Ok(()) };
        for entry in records {
            if see(entry)? == More::No {
                return Ok(());
            }
        }
        next = last.saturating_add(1);
        if next >= size {
            return Ok(());
        }
    }
}

fn offline(
    context: &Context,
    dir: &Path,
    from: u64,
    see: &mut dyn FnMut(Entry) -> Result<More, Fault>,
) -> Result<(), Fault> {
    let progress = context.progress("read the log");
    for entry in store::log::read(dir, from)? {
        let (index, bytes) = entry?;
        if index.is_multiple_of(TOLD_EVERY) {
            progress.reach(&format!("entry {index}"));
        }
        let entry = Entry::decode(index, &bytes).map_err(|error| unknown(index, &error))?;
        if see(entry)? == More::No {
            break;
        }
    }
    Ok(())
}

/// What is said of an entry that this release does not know: no damage, a newer one may have written it.
pub fn unknown(index: u64, error: &impl std::fmt::Display) -> Fault {
    Fault::Failed(format!("entry {index} is intact, but what it says cannot be told: {error}"))
}

/// The bytes of an entry of the log in the folder `dir`; of one that was archived, out of the folder `archive`.
pub fn entry(dir: &Path, archive: Option<&Path>, index: u64) -> Result<Vec<u8>, Fault> {
    let until = store::log::archived(dir)?;
    let folder = match archive {
        Some(archive) if index < until => archive,
        None if index < until => {
            return Err(Fault::NotFound(format!(
                "entry {index} is archived, as are all before entry {until}: name the folder with them by --archive"
            )));
        }
        _ => dir,
    };
    // Where files are missing the first entry that is there is another.
    match store::log::read(folder, index)?.next().transpose()? {
        Some((found, bytes)) if found == index => Ok(bytes),
        _ => Err(Fault::NotFound(format!("there is no entry {index} in {}", folder.display()))),
    }
}

/// The folder of the log, where the daemon is not asked.
#[derive(Debug, clap::Args)]
pub struct Folder {
    /// Read this folder instead of asking the daemon.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}
