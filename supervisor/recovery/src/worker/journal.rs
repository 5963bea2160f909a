//! The steps of a restore on the disk.
//!
//! CBOR of [`Journal`], written to another name, flushed with everything that is staged, then renamed: it is there whole
//! or not at all.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use minicbor::{Decode, Encode};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::effect::{Step, Way};
use super::staging::{JOURNAL, JOURNAL_NEW, Staging, Times};
use super::{beneath, meta, ops};
use crate::Error;
use crate::error::length;
use crate::files::entry::{Meta, split};
use crate::files::read;
use crate::files::root::Root;
use crate::files::scan::ENTRIES_MAX;

/// The version that is written.
const VERSION: u32 = 1;
/// Largest journal, in bytes.
const BYTES_MAX: u64 = 1 << 30;
/// The most steps: each entry can come, go and have its metadata set.
const STEPS_MAX: usize = 3 * ENTRIES_MAX;

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Journal {
    #[n(0)]
    version: u32,
    #[n(1)]
    pub(super) records: Vec<Record>,
    /// The root's times before the restore.
    #[n(2)]
    pub(super) times_before: Option<Times>,
    /// Which folders change places, where the root is exchanged.
    #[n(3)]
    pub(super) exchange: Option<Exchange>,
}

/// Two folders, by their inodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Exchange {
    /// The root before.
    #[n(0)]
    pub(super) old: u64,
    /// The root after.
    #[n(1)]
    pub(super) new: u64,
}

/// A step and what it found.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Record {
    #[n(0)]
    pub(super) step: Step,
    /// Whether something stood at the path of a `Place` or `Remove`.
    #[n(1)]
    pub(super) had: bool,
    /// For a `Meta` of something that stays where it is: its metadata before.
    #[n(2)]
    pub(super) before: Option<Meta>,
    /// Its inode.
    #[n(3)]
    pub(super) inode: Option<u64>,
}

impl Staging {
    /// Checks a step, notes what it finds, and adds it.
    pub(super) fn add(&mut self, root: &Root, step: &Step) -> Result<(), Error> {
        self.check_uncommitted()?;
        let limit = length(STEPS_MAX);
        if length(self.records.len()) >= limit {
            return Err(Error::Limit { what: "steps of a restore", found: limit + 1, limit });
        }
        let refused = |why: &str| Error::Refused(format!("{why}: {}", crate::error::shown(step.path())));
        let mut record = Record { step: step.clone(), had: false, before: None, inode: None };
        match step {
            Step::Place { path, number } => {
                if self.placed.contains(path) {
                    return Err(refused("two entries for one path"));
                }
                record.had = self.stands(root, path)?;
                match self.staged.get_mut(number) {
                    Some(used @ false) => *used = true,
                    _ => return Err(refused("the entry is not staged, or placed already")),
                }
                self.placed.insert(path.clone());
            }
            Step::Remove { path } => {
                record.had = self.stands(root, path)?;
                if !record.had {
                    return Err(refused("there is nothing to remove"));
                }
            }
            Step::Meta { path, meta } => {
                if let Some(why) = meta.fault() {
                    return Err(refused(why));
                }
                if !self.comes_anew(path) {
                    let file = beneath::entry(root, path)?;
                    meta::check_alone(&file, path)?;
                    let (before, inode) = meta::get(&file, path)?;
                    (record.before, record.inode) = (Some(before), Some(inode));
                }
            }
        }
        self.records.push(record);
        Ok(())
    }

    /// Whether something stands at a path that this restore does not itself put there.
    fn stands(&self, root: &Root, path: &[u8]) -> Result<bool, Error> {
        let found = beneath::place(root, path);
        if split(path).is_some_and(|(parent, _)| self.comes_anew(parent)) {
            return Ok(false);
        }
        match found {
            Ok(place) => match read::stat(&place.folder, &place.name) {
                Ok(_) => Ok(true),
                Err(Errno::NOENT) => Ok(false),
                Err(e) => Err(Error::io("look at", path, e)),
            },
            Err(error) if beneath::is_absent(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a path, or a folder on the way to it, is put there by an earlier step.
    fn comes_anew(&self, path: &[u8]) -> bool {
        let mut path = path;
        loop {
            if self.placed.contains(path) {
                return true;
            }
            let Some((parent, _)) = split(path) else { return false };
            path = parent;
        }
    }

    /// Makes everything that is staged, and the steps, durable.
    pub(super) fn commit(&mut self, root: &Root) -> Result<(), Error> {
        self.check_uncommitted()?;
        if self.growing.is_some() {
            return Err(Error::Refused("the last file is not sealed".into()));
        }
        self.parts()?;
        let exchange = match self.way {
            Way::InPlace => None,
            Way::Exchange => Some(self.build(root)?),
        };
        let failed = |e: std::io::Error| Error::io("write", JOURNAL.to_bytes(), e);
        let journal = Journal {
            version: VERSION,
            records: std::mem::take(&mut self.records),
            times_before: self.times,
            exchange,
        };
        let bytes = minicbor::to_vec(&journal).map_err(|e| Error::Invalid(e.to_string()))?;
        if length(bytes.len()) > BYTES_MAX {
            return Err(Error::Limit { what: "a journal", found: length(bytes.len()), limit: BYTES_MAX });
        }
        let file = ops::create(&self.dir, JOURNAL_NEW).map_err(|e| failed(e.into()))?;
        ops::write(&file.into(), 0, &bytes).map_err(failed)?;
        ops::sync_all(&self.dir).map_err(|e| failed(e.into()))?;
        ops::replace(&self.dir, JOURNAL_NEW, JOURNAL).map_err(|e| failed(e.into()))?;
        ops::sync(&self.dir).map_err(|e| failed(e.into()))
    }
}

/// Reads the steps.
pub(super) fn load(dir: &OwnedFd) -> Result<Journal, Error> {
    let failed = |e: std::io::Error| Error::io("read", JOURNAL.to_bytes(), e);
    let file = File::from(read::open(dir, JOURNAL, OFlags::empty()).map_err(|e| failed(e.into()))?);
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    let journal: Journal =
        minicbor::decode(&bytes).map_err(|e| Error::Damaged(format!("the journal of a restore: {e}")))?;
    if journal.version != VERSION {
        return Err(Error::Version { found: journal.version, known: VERSION });
    }
    Ok(journal)
}

impl Journal {
    /// The times that the root has when every step is done.
    pub(super) fn times_after(&self) -> Option<Times> {
        self.records.iter().find_map(|record| match &record.step {
            Step::Meta { path, meta } if path.is_empty() => {
                Some(Times { mtime: meta.mtime, atime: meta.atime })
            }
            _ => None,
        })
    }
}
