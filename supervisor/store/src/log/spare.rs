//! The next file, made ready by another thread while the present one is filled.
//!
//! A batch must go to zeros that are flushed, and writing them takes as long as writing the batches. Done beside the batches, in a
//! file of its own, it delays none of them. Until it is needed the file has a name that no reader looks for; a crash leaves it
//! behind, and the next open removes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::segment;
use crate::blob;
use crate::disk::{Disk, File, Mode};
use crate::error::Error;

/// A file without a header and with zeros behind its place.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) file: Box<dyn File>,
    pub(super) temporary: PathBuf,
    /// How many bytes of zeros, the header's place included.
    pub(super) bytes: u64,
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// A chore was given out.
    Asked,
    /// It runs.
    Making,
    Ready(Spare),
    /// The log is closed.
    Closed,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    made: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        // Each change of the slot is one assignment, so no panic leaves it half done.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log's end of it.
#[derive(Debug)]
pub(super) struct Spares {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl Spares {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, path: dir.join("spare"), shared: Arc::default() }
    }

    /// The work of making a file of so many bytes; none while there is one, or it is being made.
    pub(super) fn chore(&self, bytes: u64, step_bytes: u64) -> Option<Chore> {
        let mut slot = self.shared.lock();
        if !matches!(*slot, Slot::Empty) {
            return None;
        }
        *slot = Slot::Asked;
        let shared = Arc::clone(&self.shared);
        let (disk, path) = (Arc::clone(&self.disk), self.path.clone());
        Some(Chore { disk, path, bytes, step_bytes: step_bytes.max(1), shared })
    }

    /// The file, if it is ready and has at least so many bytes.
    pub(super) fn take(&self, bytes: u64) -> Option<Spare> {
        let mut slot = self.shared.lock();
        match std::mem::take(&mut *slot) {
            Slot::Ready(spare) if spare.bytes >= bytes => Some(spare),
            other => {
                *slot = other;
                None
            }
        }
    }
}

impl Drop for Spares {
    /// Nobody writes to the log's folder any more after this.
    fn drop(&mut self) {
        let mut slot = self.shared.lock();
        while matches!(*slot, Slot::Making) {
            slot = self.shared.made.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
        if let Slot::Ready(spare) = std::mem::replace(&mut *slot, Slot::Closed) {
            // What is left over is removed by the next open.
            let _ = self.disk.remove(&spare.temporary);
        }
    }
}

/// The work of making the next file ready: for another thread than the one that appends.
pub struct Chore {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    bytes: u64,
    step_bytes: u64,
    shared: Arc<Shared>,
}

impl fmt::Debug for Chore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chore").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Chore {
    /// Does it. Without the file the log makes one in small steps when it needs it, so that a failure does no harm.
    ///
    /// # Errors
    ///
    /// - [`Error::Full`], [`Error::Flush`], [`Error::Io`]: there is no file, and what was written of it is removed
    pub fn run(self) -> Result<(), Error> {
        {
            let mut slot = self.shared.lock();
            if !matches!(*slot, Slot::Asked) {
                return Ok(());
            }
            *slot = Slot::Making;
        }
        let temporary = blob::temporary_name(&self.path);
        let made = self.make(&temporary);
        let (slot, done) = match made {
            Ok(file) => (Slot::Ready(Spare { file, temporary, bytes: self.bytes }), Ok(())),
            Err(error) => {
                // Its space is what may be missing; should this fail, the next open removes it.
                let _ = self.disk.remove(&temporary);
                (Slot::Empty, Err(error))
            }
        };
        *self.shared.lock() = slot;
        self.shared.made.notify_all();
        done
    }

    /// In steps with a flush each: a flush of everything at once would hold up those of the log.
    fn make(&self, temporary: &Path) -> Result<Box<dyn File>, Error> {
        let fail = |e| Error::io("create", &self.path, e);
        let file = self.disk.open(temporary, Mode::CreateAppend).map_err(fail)?;
        file.allocate(0, self.bytes).map_err(fail)?;
        let mut at = 0;
        while at < self.bytes {
            let end = self.bytes.min(at.saturating_add(self.step_bytes));
            segment::zero(&*file, &self.path, at, end, None)?;
            at = end;
        }
        Ok(file)
    }
}

impl Drop for Chore {
    /// One that is dropped instead of being run can be asked for again.
    fn drop(&mut self) {
        let mut slot = self.shared.lock();
        if matches!(*slot, Slot::Asked | Slot::Making) {
            *slot = Slot::Empty;
            self.shared.made.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Log};
    use super::*;
    use crate::disk::sim::Sim;

    const SMALL: Config = Config { segment_bytes: 8 << 10, step_bytes: 2048, reserve_bytes: 256 };

    fn dir() -> &'static Path {
        Path::new("/log")
    }

    fn log(disk: &Sim) -> Log {
        Log::create_on(Arc::new(disk.clone()), dir(), [7; 16], &SMALL).unwrap()
    }

    /// Appends until there is work to do.
    fn until_chore(log: &mut Log) -> Chore {
        for _ in 0..64 {
            if let Some(chore) = log.chore() {
                return chore;
            }
            log.append(&[[1; 200]]).unwrap();
        }
        panic!("never half full");
    }

    fn fill(log: &mut Log, files: usize, disk: &Sim) {
        while disk.files(".log").len() < files {
            log.append(&[[2; 200]]).unwrap();
        }
    }

    #[test]
    fn the_next_file_is_the_one_that_was_made_ready() {
        let disk = Sim::default();
        let mut log = log(&disk);
        until_chore(&mut log).run().unwrap();
        assert_eq!(disk.files(".tmp").len(), 1);
        assert!(log.chore().is_none());
        fill(&mut log, 2, &disk);
        assert!(disk.files(".tmp").is_empty());
        let size = log.size();
        drop(log);
        let mut seen = 0;
        Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| seen += 1).unwrap();
        assert_eq!(seen, size);
    }

    #[test]
    fn a_snapshot_leaves_it_alone() {
        let disk = Sim::default();
        let mut log = log(&disk);
        until_chore(&mut log).run().unwrap();
        let snapshot =
            |log: &Log| crate::snapshot::write_on(&disk, dir(), &log.start().unwrap(), b"state").unwrap();
        snapshot(&log);
        assert_eq!(disk.files("spare.tmp").len(), 1);
        fill(&mut log, 2, &disk);
        snapshot(&log);
        assert!(disk.files(".tmp").is_empty());
    }

    #[test]
    fn without_it_the_log_goes_on() {
        let disk = Sim::default();
        let mut log = log(&disk);
        until_chore(&mut log).run().unwrap();
        disk.remove(&dir().join("spare.tmp")).unwrap();
        fill(&mut log, 3, &disk);
        let size = log.size();
        drop(log);
        let mut seen = 0;
        Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| seen += 1).unwrap();
        assert_eq!(seen, size);
    }

    #[test]
    fn at_no_moment_of_making_and_taking_it_does_a_crash_lose_what_was_acknowledged() {
        let whole = |disk: &Sim, acknowledged: &mut u64| -> Result<(), Error> {
            let mut log = Log::create_on(Arc::new(disk.clone()), dir(), [7; 16], &SMALL)?;
            for _ in 0..90 {
                if let Some(chore) = log.chore() {
                    chore.run()?;
                }
                *acknowledged = log.append(&[[3; 200]])?.end;
            }
            Ok(())
        };
        let quiet = Sim::default();
        whole(&quiet, &mut 0).unwrap();
        assert!(quiet.files(".log").len() > 2);
        for cut in 1..quiet.operations() {
            let (disk, mut acknowledged) = (Sim::default(), 0);
            disk.cut_power_after(cut);
            whole(&disk, &mut acknowledged).unwrap_err();
            for keeps in [false, true] {
                let crashed = disk.crash(&mut || keeps);
                let mut seen = 0;
                match Log::open_on(Arc::new(crashed.clone()), dir(), &SMALL, &mut |_, _| seen += 1) {
                    Ok(_) => {
                        assert!(seen == acknowledged || seen == acknowledged + 1, "{seen} of {acknowledged}")
                    }
                    Err(Error::Absent { .. }) => assert_eq!(acknowledged, 0),
                    Err(error) => panic!("after {cut} operations: {error}"),
                }
                assert!(crashed.files(".tmp").is_empty() || acknowledged == 0);
            }
        }
    }

    #[test]
    fn without_space_for_it_the_log_goes_on_in_steps() {
        let disk = Sim::default();
        let mut log = log(&disk);
        let chore = until_chore(&mut log);
        disk.set_capacity(Some(disk.used() + 5000));
        assert!(matches!(chore.run(), Err(Error::Full { .. })));
        assert!(disk.files(".tmp").is_empty());
        // Once is enough for one file: asking again and again would keep the disk busy.
        assert!(log.chore().is_none());
        disk.set_capacity(None);
        fill(&mut log, 2, &disk);
        until_chore(&mut log).run().unwrap();
    }

    #[test]
    fn a_log_that_closes_leaves_nothing_and_nobody_writes_to_it_afterwards() {
        let disk = Sim::default();
        let mut log = log(&disk);
        until_chore(&mut log).run().unwrap();
        drop(log);
        assert!(disk.files(".tmp").is_empty());
        let mut log = Log::open_on(Arc::new(disk.clone()), dir(), &SMALL, &mut |_, _| ()).unwrap();
        let late = log.chore().unwrap();
        drop(log);
        let operations = disk.operations();
        late.run().unwrap();
        assert_eq!(disk.operations(), operations);
    }

    #[test]
    fn one_that_is_dropped_can_be_had_again() {
        let spares = Spares::new(Arc::new(Sim::default()), dir());
        drop(spares.chore(8192, 2048).unwrap());
        spares.chore(8192, 2048).unwrap().run().unwrap();
        assert!(spares.chore(8192, 2048).is_none());
        assert!(spares.take(8193).is_none());
        assert!(spares.take(8192).is_some());
        assert!(spares.chore(8192, 2048).is_some());
    }
}
