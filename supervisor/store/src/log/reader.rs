//! The entries for others, beside the process that writes.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::audit::Heads;
use super::cursor::{Cursor, Step};
use super::require;
use super::segment::{self, Kind};
use crate::disk::Disk;
use crate::disk::real::Real;
use crate::error::Error;
use crate::head::SignedHead;

/// Reads a log's entries from index `from` on, beside a process that writes it; those that were archived are left out. An
/// archive is read in the same way.
///
/// # Errors
///
/// - [`Error::Absent`]: there is no log
/// - [`Error::Damaged`], [`Error::Version`], [`Error::Io`]: its first file cannot be read
pub fn read(dir: &Path, from: u64) -> Result<Reader, Error> {
    let disk: Arc<dyn Disk> = Arc::new(Real);
    require(&*disk, dir)?;
    Ok(Reader { cursor: Cursor::new(disk, dir, Kind::Entries, from, true)?, from, queue: VecDeque::new() })
}

/// The first stored head that covers the entry of this index; `None` where none does.
///
/// # Errors
///
/// - [`Error::Damaged`], [`Error::Version`], [`Error::Io`]: the stored heads cannot be read
pub fn covering(dir: &Path, index: u64) -> Result<Option<SignedHead>, Error> {
    let disk: Arc<dyn Disk> = Arc::new(Real);
    let mut found = None;
    // From the last file back, since nothing but the heads says which of them it is in.
    for first in segment::list(&*disk, dir, Kind::Heads)?.into_iter().rev() {
        let mut cursor = Cursor::new(Arc::clone(&disk), dir, Kind::Heads, first, true)?;
        let mut heads = Heads::new(&mut cursor);
        let Some(begin) = heads.next()? else { continue };
        if begin.head().size > index {
            found = Some(begin.signed().clone());
            continue;
        }
        while let Some(stored) = heads.next()? {
            if stored.head().size > index {
                return Ok(Some(stored.signed().clone()));
            }
        }
        break;
    }
    Ok(found)
}

/// The entries of a log in order, as index and bytes. After `None` it can be asked again: more may have been appended.
/// It checks the CRCs; proofs are for [`crate::verify`].
pub struct Reader {
    cursor: Cursor,
    from: u64,
    /// The rest of a batch.
    queue: VecDeque<(u64, Vec<u8>)>,
}

impl Iterator for Reader {
    type Item = Result<(u64, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.queue.is_empty() {
            match self.cursor.step() {
                Ok(Step::Batch(batch)) => {
                    let wanted = batch.entries().filter(|entry| entry.index >= self.from);
                    self.queue.extend(wanted.map(|entry| (entry.index, entry.bytes.to_vec())));
                }
                Ok(Step::End(_)) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.queue.pop_front().map(Ok)
    }
}
