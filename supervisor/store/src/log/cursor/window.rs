//! A part of a file in memory, so that small batches do not cost a read each.

use crate::bytes::size;
use crate::disk::File;

/// How much is read at once, in bytes.
pub(super) const WINDOW_BYTES: usize = 1 << 20;

/// What is held of a file.
#[derive(Default)]
pub(super) struct Window {
    buffer: Vec<u8>,
    start: u64,
    bytes: usize,
}

impl Window {
    /// Forgets what it holds; the file may have changed.
    pub(super) fn clear(&mut self) {
        self.bytes = 0;
    }

    /// The bytes at `offset`; fewer where the file ends.
    pub(super) fn read(&mut self, file: &dyn File, offset: u64, bytes: usize) -> std::io::Result<&[u8]> {
        let held = offset.checked_sub(self.start).map(size).filter(|skip| skip + bytes <= self.bytes);
        let skip = match held {
            Some(skip) => skip,
            None => {
                let wanted = bytes.max(WINDOW_BYTES);
                if self.buffer.len() < wanted {
                    self.buffer.resize(wanted, 0);
                }
                self.bytes = 0;
                self.bytes = file.read_at(offset, &mut self.buffer)?;
                self.start = offset;
                0
            }
        };
        let end = (skip + bytes).min(self.bytes);
        Ok(self.buffer.get(skip..end).unwrap_or_default())
    }
}
