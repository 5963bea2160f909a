//! A whole new root in place of the old one, so that who looks up paths finds either of the two and nothing between.
//!
//! The new root is built beside the old one: folders are made anew, and what stays in them gets a second name there, so that nothing
//! is copied. Then the two folders change places in one operation of the file system. What stands where shows in their inodes
//! alone, so exchanging and taking back can start over at any time.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Dir, FileType, IFlags, OFlags};
use rustix::io::Errno;

use super::effect::Step;
use super::journal::{Exchange, Record};
use super::stage::name;
use super::staging::{FOLDER, Staging};
use super::{beneath, meta, ops};
use crate::Error;
use crate::error::shown;
use crate::files::entry::Meta;
use crate::files::read;
use crate::files::root::{Place, Root};

/// The other root of the two.
pub(super) const TREE: &CStr = c"tree";
/// Flags that the file system gives by itself.
const OWN_FLAGS: IFlags = IFlags::from_bits_retain(0x0008_0000 | 0x0000_1000 | 0x1000_0000);

/// Where the folder of such a restore stands, and its name.
pub(super) fn folder(root: &Root) -> Result<(&Place, CString), Error> {
    let place = root.place().map_err(|why| impossible(root, why))?;
    let name = [FOLDER.to_bytes(), place.name.to_bytes()].join(&b'.');
    Ok((place, beneath::text(&name)?))
}

fn impossible(root: &Root, why: &str) -> Error {
    let path = root.path().display();
    Error::Refused(format!("{path} cannot be exchanged for another folder: {why}; restore it in place"))
}

/// Which of the two stands in the root's place.
#[derive(PartialEq, Eq)]
enum Standing {
    Old,
    New,
}

fn standing(root: &Root, place: &Place, pair: Exchange) -> Result<Standing, Error> {
    let path = || root.path().display().to_string();
    let stat =
        read::stat(&place.folder, &place.name).map_err(|e| Error::io("look at", path().as_bytes(), e))?;
    match stat.stx_ino {
        inode if inode == pair.old => Ok(Standing::Old),
        inode if inode == pair.new => Ok(Standing::New),
        _ => Err(Error::Refused(format!("{} was replaced meanwhile", path()))),
    }
}

fn inode(folder: impl AsFd) -> Result<u64, Error> {
    let stat = read::stat_open(folder).map_err(|e| Error::io("look at", TREE.to_bytes(), e))?;
    Ok(stat.stx_ino)
}

impl Staging {
    /// Builds the new root: everything of the old one that no step takes away, and what is staged. Of the steps those are
    /// kept that are done to files of both.
    pub(super) fn build(&mut self, root: &Root) -> Result<Exchange, Error> {
        let failed = |e: Errno| Error::io("make", TREE.to_bytes(), e);
        ops::mkdir(&self.dir, TREE).map_err(failed)?;
        let tree = read::open(&self.dir, TREE, OFlags::DIRECTORY).map_err(failed)?;
        let records = std::mem::take(&mut self.records);
        let anew: HashSet<&[u8]> = records
            .iter()
            .map(|record| &record.step)
            .filter(|step| !step.is_meta())
            .map(Step::path)
            .collect();
        let folders = mirror(root, &tree, &anew)?;
        let parts = self.parts()?;
        let mut wanted: HashMap<&[u8], &Meta> = HashMap::new();
        for record in &records {
            match &record.step {
                Step::Place { path, number } => {
                    let place = beneath::place(&tree, path)?;
                    ops::rename(&parts.new, &name(*number)?, &place.folder, &place.name)
                        .map_err(|e| Error::io("put in place", path, e))?;
                }
                Step::Remove { .. } => {}
                Step::Meta { path, meta } => drop(wanted.insert(path, meta)),
            }
        }
        // What is placed lies in folders that stay, and so comes first, as it was added: a folder after what it holds.
        for record in records.iter().filter(|record| record.before.is_none()) {
            if let Step::Meta { path, meta } = &record.step {
                meta::set(beneath::entry(&tree, path)?, meta, path)?;
            }
        }
        let mut stay = HashSet::new();
        for (path, before) in folders.iter().rev() {
            let meta = wanted.get(path.as_slice()).copied().unwrap_or(before);
            meta::set(beneath::entry(&tree, path)?, meta, path)?;
            stay.insert(path.as_slice());
        }
        let pair = Exchange { old: inode(root)?, new: inode(&tree)? };
        let of_files = |record: &Record| {
            record.step.is_meta() && record.before.is_some() && !stay.contains(record.step.path())
        };
        let kept = records.iter().filter(|record| of_files(record)).cloned().collect();
        self.records = kept;
        Ok(pair)
    }

    /// Puts the new root in place, if it is not there.
    pub(super) fn exchange(&self, root: &Root, pair: Exchange, records: &[Record]) -> Result<(), Error> {
        self.turn(root, pair, &Standing::New)?;
        times(root, records, |record| match &record.step {
            Step::Meta { meta, .. } => Some(meta),
            _ => None,
        })
    }

    /// Puts the old root back, if it is not there.
    pub(super) fn exchange_back(&self, root: &Root, pair: Exchange, records: &[Record]) -> Result<(), Error> {
        self.turn(root, pair, &Standing::Old)?;
        times(root, records, |record| record.before.as_ref())
    }

    fn turn(&self, root: &Root, pair: Exchange, wanted: &Standing) -> Result<(), Error> {
        let (place, _) = folder(root)?;
        let path = root.path().as_os_str().as_encoded_bytes();
        if standing(root, place, pair)? != *wanted {
            ops::exchange(&place.folder, &place.name, &self.dir, TREE)
                .map_err(|e| Error::io("exchange", path, e))?;
        }
        let failed = |e: Errno| Error::io("flush the folder of", path, e);
        // What is held open is for look-ups alone.
        let above = read::open(&place.folder, c".", OFlags::DIRECTORY).map_err(failed)?;
        ops::sync(above).and_then(|()| ops::sync(&self.dir)).map_err(failed)
    }
}

/// Sets times of files that both roots hold.
fn times<'r>(
    root: &Root,
    records: &'r [Record],
    meta: impl Fn(&'r Record) -> Option<&'r Meta>,
) -> Result<(), Error> {
    if records.is_empty() {
        return Ok(());
    }
    let now = root.again()?;
    for record in records {
        let (path, Some(meta)) = (record.step.path(), meta(record)) else { continue };
        let file = beneath::entry(&now, path)?;
        if record.inode != Some(inode(&file)?) {
            return Err(Error::Refused(format!("{} was replaced meanwhile", shown(path))));
        }
        ops::times_open(&file, &meta.times()).map_err(|e| Error::io("set the times of", path, e))?;
    }
    Ok(())
}

/// Makes the folders of a root anew, and gives what is in them a second name there, but for what comes or goes. Gives the folders with
/// their metadata, which is not set yet, each before those in it.
fn mirror(root: &Root, tree: &OwnedFd, anew: &HashSet<&[u8]>) -> Result<Vec<(Vec<u8>, Meta)>, Error> {
    let mut folders = Vec::new();
    let mut next = vec![Vec::new()];
    while let Some(path) = next.pop() {
        let from = beneath::entry(root, &path).map_err(|error| of_one_file_system(root, error))?;
        let to = beneath::entry(tree, &path)?;
        check_flags(root, &from, &path)?;
        let (meta, _) = meta::get(&from, &path)?;
        for (name, kind) in names(&from, &path)? {
            let child = read::join(&path, &name);
            if anew.contains(child.as_slice()) || (path.is_empty() && *name == *FOLDER) {
                continue;
            }
            if kind == FileType::Directory {
                ops::mkdir(&to, &name).map_err(|e| Error::io("make", &child, e))?;
                next.push(child);
            } else {
                link(root, (&from, &to), &name, &child)?;
            }
        }
        folders.push((path, meta));
    }
    Ok(folders)
}

fn link(root: &Root, (from, to): (&OwnedFd, &OwnedFd), name: &CStr, path: &[u8]) -> Result<(), Error> {
    match ops::link(from, name, to, name) {
        // Taken away while we look is as good as before.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e @ (Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP)) => {
            let error = Error::io("give a second name to", path, e);
            Err(impossible(root, &error.to_string()))
        }
        Err(e) => Err(Error::io("give a second name to", path, e)),
    }
}

fn of_one_file_system(root: &Root, error: Error) -> Error {
    match error.errno() {
        Some(Errno::XDEV) => impossible(root, &format!("another file system begins in it: {error}")),
        _ => error,
    }
}

/// A folder that the file system treats in a special way would become an ordinary one.
fn check_flags(root: &Root, folder: &OwnedFd, path: &[u8]) -> Result<(), Error> {
    match rustix::fs::ioctl_getflags(folder) {
        Ok(flags) if !(flags - OWN_FLAGS).is_empty() => {
            Err(impossible(root, &format!("the folder “{}” has flags (chattr)", shown(path))))
        }
        // No flags on this file system, or unknown ones.
        _ => Ok(()),
    }
}

/// What stands in a folder, and of what kind it is.
fn names(folder: &OwnedFd, path: &[u8]) -> Result<Vec<(CString, FileType)>, Error> {
    let failed = |e: Errno| Error::io("list the folder", path, e);
    let handle = read::open(folder, c".", OFlags::DIRECTORY).map_err(failed)?;
    let mut names = Vec::new();
    for entry in Dir::new(handle).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match read::stat(folder, &name) {
                Ok(stat) => FileType::from_raw_mode(stat.stx_mode.into()),
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(failed(e)),
            },
            kind => kind,
        };
        names.push((name, kind));
    }
    Ok(names)
}
