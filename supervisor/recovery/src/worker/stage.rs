//! New entries, made complete out of sight before anything is moved.

use std::ffi::CString;
use std::fs::File;

use rustix::fs::FileType;

use super::effect::{Body, DATA_BYTES_MAX};
use super::staging::Staging;
use super::{beneath, meta, ops};
use crate::Error;
use crate::error::length;
use crate::files::entry::Meta;
use crate::files::read;
use crate::files::root::Root;
use crate::files::scan::ENTRIES_MAX;

/// A file of so many bytes is worth a write of its own.
const SOON_BYTES: u64 = 256 << 10;

/// A regular file whose bytes are coming.
#[derive(Debug)]
pub(super) struct Growing {
    file: File,
    name: CString,
    meta: Meta,
    size: u64,
    at: u64,
}

impl Staging {
    /// Makes one entry under its number.
    pub(super) fn stage(&mut self, root: &Root, number: u64, meta: &Meta, body: &Body) -> Result<(), Error> {
        self.check_uncommitted()?;
        if let Some(why) = meta.fault() {
            return Err(Error::Refused(why.into()));
        }
        if self.growing.is_some() {
            return Err(Error::Refused("the file before is not sealed".into()));
        }
        let limit = length(ENTRIES_MAX);
        if length(self.staged.len()) >= limit {
            return Err(Error::Limit { what: "staged entries", found: limit + 1, limit });
        }
        if self.staged.contains_key(&number) {
            return Err(Error::Refused(format!("entry {number} is staged already")));
        }
        let name = name(number)?;
        self.make(root, &name, meta, body)?;
        self.staged.insert(number, false);
        Ok(())
    }

    fn make(&mut self, root: &Root, name: &CString, meta: &Meta, body: &Body) -> Result<(), Error> {
        let new = &self.parts()?.new;
        let failed = |e| Error::io("stage entry", name.to_bytes(), e);
        match body {
            Body::Regular { size } => {
                let file = File::from(ops::create(new, name).map_err(failed)?);
                let growing = Growing { file, name: name.clone(), meta: meta.clone(), size: *size, at: 0 };
                self.growing = Some(growing);
            }
            Body::Directory => ops::mkdir(new, name).map_err(failed)?,
            Body::Symlink { target } => {
                ops::symlink(&beneath::text(target)?, new, name).map_err(failed)?;
                meta::set_at(new, name, meta, true)?;
            }
            Body::Fifo => {
                ops::fifo(new, name).map_err(failed)?;
                meta::set_at(new, name, meta, false)?;
            }
            Body::LinkStaged { number } => {
                if !self.staged.contains_key(number) {
                    return Err(Error::Refused(format!("entry {number} is not staged")));
                }
                ops::link(new, &self::name(*number)?, new, name).map_err(failed)?;
            }
            Body::LinkPresent { path } => {
                let place = beneath::place(root, path)?;
                let stat =
                    read::stat(&place.folder, &place.name).map_err(|e| Error::io("look at", path, e))?;
                let kind = FileType::from_raw_mode(stat.stx_mode.into());
                if !matches!(kind, FileType::RegularFile | FileType::Symlink | FileType::Fifo) {
                    return Err(Error::Refused(format!(
                        "{} cannot have a second name",
                        crate::error::shown(path)
                    )));
                }
                ops::link(&place.folder, &place.name, new, name).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Appends to the file that is being staged. Runs of zeros become holes.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let growing = self.growing.as_mut().ok_or_else(no_file)?;
        let after = growing.at.saturating_add(length(bytes.len()));
        if bytes.len() > DATA_BYTES_MAX || after > growing.size {
            return Err(Error::Refused("more bytes than a message or the file may have".into()));
        }
        if bytes.iter().any(|byte| *byte != 0) {
            ops::write(&growing.file, growing.at, bytes)
                .map_err(|e| Error::io("write staged entry", growing.name.to_bytes(), e))?;
        }
        growing.at = after;
        Ok(())
    }

    /// Ends the file that is being staged and gives it its metadata.
    pub(super) fn seal(&mut self) -> Result<(), Error> {
        let growing = self.growing.take().ok_or_else(no_file)?;
        if growing.at != growing.size {
            return Err(Error::Refused(format!("the file has {} of {} bytes", growing.at, growing.size)));
        }
        let failed = |e| Error::io("finish staged entry", growing.name.to_bytes(), e);
        ops::truncate(&growing.file, growing.size).map_err(failed)?;
        if growing.size >= SOON_BYTES {
            ops::write_soon(&growing.file);
        }
        meta::set(&growing.file, &growing.meta, growing.name.to_bytes())
    }

    /// Nothing is added to a restore that can already be executed.
    pub(super) fn check_uncommitted(&self) -> Result<(), Error> {
        match self.progress()? {
            super::effect::Progress::Loose => Ok(()),
            _ => Err(Error::Refused("the restore is committed: execute it or undo it".into())),
        }
    }
}

/// The name of a staged entry, or of one that is kept aside.
pub(super) fn name(number: u64) -> Result<CString, Error> {
    beneath::text(number.to_string().as_bytes())
}

fn no_file() -> Error {
    Error::Refused("no file is being staged".into())
}
