//! Reading ahead: while one entry is looked at, the disk brings others.

use std::ffi::{CStr, OsStr};
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};

use rustix::fs::{Advice, FileType, OFlags, Statx, StatxAttributes, fadvise};

use super::entry::STAGING;
use super::known::KnownRoot;
use super::read;
use super::rules::Rules;

/// So many names ahead of the one that is read.
pub(super) const NAMES: usize = 16;
/// Of each file at most so much, in bytes, so at most 16 MiB in all; behind that the kernel reads ahead by itself.
const BYTES_MAX: u64 = 1 << 20;
/// A walk tells how far it is after so many names.
pub(super) const TELL_EVERY: usize = 32;
/// What is brought from the end on, in bytes: it must still be in memory when the walk comes there.
const BUDGET: u64 = 64 << 20;
/// How deep that goes: each level holds a folder open.
const DEPTH_MAX: usize = 32;
/// Of larger folders it leaves the names to the walk: they are in memory once more.
const NAMES_MAX: usize = 1 << 16;

/// What the kernel says of a name that is there.
fn look(dir: impl AsFd, name: &CStr) -> Option<(Statx, FileType)> {
    let stat = read::stat(&dir, name).ok()?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    Some((stat, kind))
}

/// Has the kernel bring the beginning of a file, without waiting for it; gives how much. It is only a hint: what goes wrong here goes
/// wrong again when the file is read, and is told then.
fn bring(dir: impl AsFd, name: &CStr, stat: &Statx) -> u64 {
    let Some(bytes) = NonZeroU64::new(stat.stx_size.min(BYTES_MAX)) else { return 0 };
    if let Ok(file) = read::open(dir, name, OFlags::empty()) {
        let _ = fadvise(file, 0, Some(bytes), Advice::WillNeed);
    }
    bytes.get()
}

/// Has the kernel bring the beginning of a file that is wanted.
pub(super) fn fetch(dir: impl AsFd, name: &CStr, is_wanted: impl FnOnce(&Statx) -> bool) {
    if let Some((stat, FileType::RegularFile)) = look(&dir, name)
        && is_wanted(&stat)
    {
        bring(dir, name, &stat);
    }
}

/// Looks at a root from its end, while a walk looks at it from its beginning: a disk answers two almost as fast as one. What the walk
/// comes to later is in memory then. Where they meet it ends.
#[derive(Debug, Default)]
pub(super) struct Forerun {
    /// How far the walk is, below the root; nothing once it is over.
    walk: Mutex<Option<Vec<u8>>>,
}

/// The walk and what runs before it have met.
struct Met;

impl Forerun {
    /// Begins it in a thread of its own, until it meets the walk or the walk is over. It is only a help: without it the walk takes longer.
    pub(super) fn begin<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        top: &OwnedFd,
        (known, rules): (&'s KnownRoot<'_>, &'s Rules),
    ) {
        // Open once more: two that list a folder by the same descriptor would each get a part of it.
        let Ok(top) = read::open(top, c".", OFlags::DIRECTORY) else { return };
        self.tell(Some(b""));
        let run = move || {
            let _ = self.folder(&top, &[], (known, rules), &mut 0);
        };
        let _ = thread::Builder::new().name("read-ahead".into()).spawn_scoped(scope, run);
    }

    /// The walk is at this path below the root, or over.
    pub(super) fn tell(&self, path: Option<&[u8]>) {
        *self.walk.lock().unwrap_or_else(PoisonError::into_inner) = path.map(<[u8]>::to_vec);
    }

    fn has_met(&self, path: &[u8]) -> bool {
        let walk = self.walk.lock().unwrap_or_else(PoisonError::into_inner);
        let names = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        walk.as_ref().is_none_or(|walk| names(path) <= names(walk))
    }

    /// Goes only where the walk goes: what is mounted below may be far away, and what is left out is nobody's.
    fn folder(
        &self,
        dir: &OwnedFd,
        path: &[u8],
        (known, rules): (&KnownRoot<'_>, &Rules),
        brought: &mut u64,
    ) -> Result<(), Met> {
        let Ok(names) = read::names(dir, path) else { return Ok(()) };
        let depth = path.split(|byte| *byte == b'/').count();
        if names.len() > NAMES_MAX || depth > DEPTH_MAX {
            return Ok(());
        }
        for (count, name) in names.iter().rev().enumerate() {
            let child = read::join(path, name);
            if count % TELL_EVERY == 0 && self.has_met(&child) {
                return Err(Met);
            }
            let looked = look(dir, name).filter(|(stat, kind)| {
                let is_folder = *kind == FileType::Directory;
                let is_left = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
                    || (path.is_empty() && name.to_bytes() == STAGING)
                    || rules.leave_out(Path::new(OsStr::from_bytes(&child)), is_folder);
                !is_left
            });
            match looked {
                Some((_, FileType::Directory)) => {
                    if let Ok(folder) = read::open(dir, name, OFlags::DIRECTORY) {
                        self.folder(&folder, &child, (known, rules), brought)?;
                    }
                }
                Some((stat, FileType::RegularFile))
                    if *brought < BUDGET && known.unchanged(&child, &stat).is_none() =>
                {
                    *brought += bring(dir, name, &stat);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_meet_in_the_order_of_the_walk() {
        let forerun = Forerun::default();
        assert!(forerun.has_met(b"a"), "a walk that is over has met everything");
        forerun.tell(Some(b"a/b"));
        for (path, met) in [
            (&b"a"[..], true),
            (b"a/a", true),
            (b"a/b", true),
            (b"a/b/c", false),
            (b"a-c", false),
            (b"b", false),
        ] {
            assert_eq!(forerun.has_met(path), met, "{}", String::from_utf8_lossy(path));
        }
    }
}
