//! How far a long work has come.

use std::io::ErrorKind;
use std::path::Path;

use super::segment::{self, Kind};
use crate::disk::{Disk, Mode};
use crate::error::Error;

/// How far a long work on a log has come: the bytes of its files that were gone through, each as often as the work does that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// So many are done.
    pub done: u64,
    /// Of so many. What was prepared at the end of a file and holds nothing is passed over.
    pub total: u64,
}

/// How much is done between two calls, in bytes: a moment of work.
const STEP_BYTES: u64 = 1 << 20;

/// Tells of it.
pub(crate) struct Meter<'a> {
    watcher: &'a mut dyn FnMut(Position),
    position: Position,
    /// What was told last.
    told: u64,
}

impl<'a> Meter<'a> {
    /// Tells `watcher`, in the thread that works and often: it must be quick.
    pub(crate) fn new(watcher: &'a mut dyn FnMut(Position)) -> Self {
        Self { watcher, position: Position::default(), told: 0 }
    }

    /// So many more bytes are to be gone through.
    pub(crate) fn expect(&mut self, bytes: u64) {
        self.position.total += bytes;
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.position.done = self.position.total.min(self.position.done.saturating_add(bytes));
        if self.position.done - self.told >= STEP_BYTES {
            self.tell();
        }
    }

    /// A part of the work has ended, after which so many bytes are done in all.
    pub(crate) fn reach(&mut self, bytes: u64) {
        self.position.done = self.position.total.min(bytes).max(self.position.done);
        self.tell();
    }

    fn tell(&mut self) {
        self.told = self.position.done;
        (self.watcher)(self.position);
    }
}

/// The bytes of the files in which entries before `end` are.
pub(crate) fn bytes_before(disk: &dyn Disk, dir: &Path, end: u64) -> Result<u64, Error> {
    let mut bytes = 0;
    for first in segment::list(disk, dir, Kind::Entries)?.into_iter().take_while(|first| *first < end) {
        let path = Kind::Entries.path(dir, first);
        let file = match disk.open(&path, Mode::Read) {
            Ok(file) => file,
            // Archived since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("open", &path, error)),
        };
        bytes += file.len().map_err(|e| Error::io("read", &path, e))?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::tests::Signer;
    use crate::log::{Config, Log, archive, export, salvage};
    use crate::verify::verify_by;

    /// Tells whom it is given where it is.
    type Work<'a> = dyn FnMut(&mut dyn FnMut(Position)) + 'a;

    const CONFIG: Config = Config { segment_bytes: 1 << 20, step_bytes: 256 << 10, reserve_bytes: 256 };

    /// Each work tells where it is, of a whole that it knows from its beginning, and comes near its end.
    #[test]
    fn every_long_work_tells_how_far_it_has_come() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let (dir, signer) = (place("log"), Signer::new());
        let mut log = Log::create(&dir, [7; 16], &CONFIG).unwrap();
        for round in 0..120_u8 {
            log.append(&[vec![round; 60_000]]).unwrap();
        }
        signer.store(&mut log).unwrap();
        drop(log);
        let check = |name: &str, passes: u64, work: &mut Work<'_>| {
            let mut seen: Vec<Position> = Vec::new();
            work(&mut |position| seen.push(position));
            let last = seen.last().unwrap_or_else(|| panic!("{name} told nothing"));
            assert!(last.total > passes * 120 * 60_000, "{name}: {last:?}");
            assert!(seen.iter().all(|position| position.total == last.total), "{name}: {seen:?}");
            assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{name}: {seen:?}");
            assert!(last.done <= last.total && last.done > last.total / 10 * 7, "{name}: {last:?}");
            assert!(seen.len() >= 5, "{name}: {seen:?}");
        };
        check("verify", 1, &mut |watcher| assert!(verify_by(&dir, &[], None, watcher).is_ok()));
        check("export", 1, &mut |watcher| assert!(export(&dir, None, &place("tree"), watcher).is_ok()));
        check("salvage", 2, &mut |watcher| assert!(salvage(&dir, &place("new"), None, watcher).is_ok()));
        let whole = place("archive");
        // All but the last file, so a little less than three times.
        check("archive", 2, &mut |watcher| assert!(archive(&dir, &whole, 120, watcher).is_ok()));
        check("export with an archive", 1, &mut |watcher| {
            assert!(export(&dir, Some(&whole), &place("again"), watcher).is_ok());
        });
    }
}
