//! Doing the steps of a restore, and taking them back.
//!
//! ```text
//!   path   old/I   new/N                  a step that replaces
//!   old      –      new    nothing done
//!    –      old     new    moved aside
//!   new     old      –     done
//! ```

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::effect::{Progress, Step};
use super::journal::{self, Record};
use super::stage::name;
use super::staging::{DONE, JOURNAL, Parts, Staging, exists};
use super::{beneath, meta, ops};
use crate::Error;
use crate::error::length;
use crate::files::entry::Meta;
use crate::files::root::Root;

impl Staging {
    /// Does every step that is not done. After an error, take them back.
    pub(super) fn execute(&self, root: &Root) -> Result<(), Error> {
        match self.progress()? {
            Progress::Executed | Progress::Finished => return Ok(()),
            Progress::Committed => {}
            _ => return Err(Error::Refused("the restore is not committed".into())),
        }
        let parts = self.parts()?;
        let journal = journal::load(&self.dir)?;
        if let Some(pair) = journal.exchange {
            self.exchange(root, pair, &journal.records)?;
            return self.mark(DONE);
        }
        for (index, record) in journal.records.iter().enumerate() {
            match &record.step {
                Step::Place { path, number } => forward(root, parts, index, record, path, Some(*number))?,
                Step::Remove { path } => forward(root, parts, index, record, path, None)?,
                Step::Meta { path, meta } => set(root, record, path, meta)?,
            }
        }
        ops::sync_all(&self.dir).map_err(|e| Error::io("flush", b"", e))?;
        self.mark(DONE)
    }

    /// Takes back every step that is done. Goes on after an error as far as it can, then reports the first.
    pub(super) fn undo(&self, root: &Root) -> Result<(), Error> {
        match self.progress()? {
            Progress::Finished => {
                return Err(Error::Refused("the restore is finished and cannot be undone".into()));
            }
            Progress::Loose | Progress::None => return Ok(()),
            Progress::Committed | Progress::Executed => {}
        }
        let parts = self.parts()?;
        let journal = journal::load(&self.dir)?;
        let records = &journal.records;
        self.unmark(DONE)?;
        if let Some(pair) = journal.exchange {
            self.exchange_back(root, pair, records)?;
            return self.unmark(JOURNAL);
        }
        let mut first = Ok(());
        for (index, record) in records.iter().enumerate().rev() {
            let result = match &record.step {
                Step::Place { path, number } => backward(root, parts, index, record, path, Some(*number)),
                Step::Remove { path } => backward(root, parts, index, record, path, None),
                Step::Meta { .. } => Ok(()),
            };
            first = first.and(result);
        }
        // Only now, when everything is where it was, and a folder after what it holds, as they were added.
        for record in records {
            if let (Step::Meta { path, .. }, Some(before)) = (&record.step, &record.before) {
                first = first.and(set(root, record, path, before));
            }
        }
        first?;
        if let Some(times) = journal.times_before {
            self.note_times(root, times)?;
        }
        ops::sync_all(&self.dir).map_err(|e| Error::io("flush", b"", e))?;
        self.unmark(JOURNAL)
    }
}

fn forward(
    root: &Root,
    parts: &Parts,
    index: usize,
    record: &Record,
    path: &[u8],
    number: Option<u64>,
) -> Result<(), Error> {
    let aside = name(length(index))?;
    let place = beneath::place(root, path)?;
    if record.had && !exists(&parts.old, &aside)? {
        ops::rename(&place.folder, &place.name, &parts.old, &aside)
            .map_err(|e| Error::io("move aside", path, e))?;
    }
    match number {
        Some(number) => move_if_there(&parts.new, &name(number)?, &place.folder, &place.name)
            .map_err(|e| Error::io("put in place", path, e)),
        None => Ok(()),
    }
}

fn backward(
    root: &Root,
    parts: &Parts,
    index: usize,
    record: &Record,
    path: &[u8],
    number: Option<u64>,
) -> Result<(), Error> {
    let aside = name(length(index))?;
    let staged = number.map(name).transpose()?;
    let placed = match &staged {
        Some(staged) => !exists(&parts.new, staged)?,
        None => false,
    };
    let moved = record.had && exists(&parts.old, &aside)?;
    // What stood here is moved aside before anything is put in its place: if it is not aside, nothing is done, or
    // everything is taken back already.
    if (record.had && !moved) || (!record.had && !placed) {
        return Ok(());
    }
    let place = beneath::place(root, path)?;
    if let Some(staged) = staged.filter(|_| placed) {
        match ops::rename(&place.folder, &place.name, &parts.new, &staged) {
            // Somebody has taken away what we had put there.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(Error::io("take back", path, e)),
        }
    }
    if !moved {
        return Ok(());
    }
    match ops::rename(&parts.old, &aside, &place.folder, &place.name) {
        // Somebody has put something there in between: what was there before comes first.
        Err(Errno::EXIST) => {
            let intruder = beneath::text(format!("intruder{index}").as_bytes())?;
            ops::rename(&place.folder, &place.name, &parts.new, &intruder)
                .and_then(|()| ops::rename(&parts.old, &aside, &place.folder, &place.name))
        }
        result => result,
    }
    .map_err(|e| Error::io("put back", path, e))
}

fn move_if_there(
    from: &OwnedFd,
    name: &std::ffi::CStr,
    to: &OwnedFd,
    new: &std::ffi::CStr,
) -> Result<(), Errno> {
    match ops::rename(from, name, to, new) {
        // It was moved before.
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn set(root: &Root, record: &Record, path: &[u8], meta: &Meta) -> Result<(), Error> {
    let file = beneath::entry(root, path)?;
    meta::check_alone(&file, path)?;
    let (_, inode) = meta::get(&file, path)?;
    if record.inode.is_some_and(|expected| expected != inode) {
        return Err(Error::Refused(format!("{} was replaced meanwhile", crate::error::shown(path))));
    }
    meta::set(&file, meta, path)
}
