//! A stream into chunks, at places that its content and the key decide.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fastcdc::v2020::{Normalization, cut_gear, select_masks};

use super::CHUNK_BYTES_MAX;

/// How much is read ahead, in bytes: four of the largest chunks, so that what is left over is rarely moved.
const BUFFER_BYTES: usize = 4 * CHUNK_BYTES_MAX;

/// The sizes that chunks may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Only the last chunk of a stream is smaller.
    pub(super) min: usize,
    /// A power of two.
    pub(super) average: usize,
    /// None is larger.
    pub(super) max: usize,
}

impl Default for Cut {
    fn default() -> Self {
        // Small enough that a change in a large file costs little. Half of it would take a first checkpoint's repository past
        // restic's, by what each record takes besides its content and by what smaller pieces lose in compression.
        Self { min: 128 << 10, average: 512 << 10, max: CHUNK_BYTES_MAX }
    }
}

impl Cut {
    /// Whether the chunker works with these sizes: its masks exist for averages from 256 bytes to 4 MiB.
    pub(super) fn is_sane(&self) -> bool {
        let even = [self.min, self.average, self.max].iter().all(|size| size.is_multiple_of(2));
        let ordered = (64..=self.average).contains(&self.min) && self.average <= self.max;
        even && ordered && self.average.is_power_of_two() && (256..=4 << 20).contains(&self.average)
    }
}

/// The rolling hash that decides where a stream is cut.
pub(super) struct Gear {
    words: [u64; 256],
    /// Each word shifted by one: the cutter looks at two bytes at a time.
    shifted: [u64; 256],
}

impl Gear {
    pub(super) fn new(words: [u64; 256]) -> Self {
        Self { words, shifted: words.map(|word| word << 1) }
    }
}

/// What every stream needs, made once.
pub(super) struct Cutter {
    cut: Cut,
    gear: Gear,
    /// Memory of a splitter that has ended, for the next one.
    spare: Mutex<Option<Vec<u8>>>,
}

impl Cutter {
    pub(super) fn new(cut: &Cut, gear: Gear) -> Arc<Self> {
        Arc::new(Self { cut: *cut, gear, spare: Mutex::default() })
    }

    fn spare(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts what a reader gives into chunks of at most [`CHUNK_BYTES_MAX`] bytes. An empty stream has none.
pub struct Splitter<R> {
    source: R,
    cutter: Arc<Cutter>,
    buffer: Vec<u8>,
    /// What of the buffer is not cut yet.
    start: usize,
    end: usize,
    finished: bool,
}

impl<R> Drop for Splitter<R> {
    fn drop(&mut self) {
        *self.cutter.spare() = Some(std::mem::take(&mut self.buffer));
    }
}

impl<R: io::Read> Splitter<R> {
    pub(super) fn new(source: R, cutter: &Arc<Cutter>) -> Self {
        let spare = cutter.spare().take();
        let buffer = spare.unwrap_or_else(|| vec![0; BUFFER_BYTES]);
        Self { source, cutter: Arc::clone(cutter), buffer, start: 0, end: 0, finished: false }
    }

    /// The next chunk, or `None` at the end of the stream.
    ///
    /// # Errors
    ///
    /// - what the reader fails with
    pub fn next_chunk(&mut self) -> io::Result<Option<&[u8]>> {
        self.fill()?;
        let rest = self.buffer.get(self.start..self.end).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let Cut { min, average, max } = self.cutter.cut;
        let Gear { words, shifted } = &self.cutter.gear;
        let (mask_s, mask_l) = select_masks(average, Normalization::Level1);
        let (_, count) =
            cut_gear(rest, min, average, max, mask_s, mask_l, mask_s << 1, mask_l << 1, words, shifted);
        let chunk = rest.get(..count.max(1)).unwrap_or(rest);
        self.start += chunk.len();
        Ok(Some(chunk))
    }

    /// Reads until the largest chunk is there or the stream ends.
    fn fill(&mut self) -> io::Result<()> {
        let max = self.cutter.cut.max;
        if self.finished || self.end - self.start >= max {
            return Ok(());
        }
        if self.start + max > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < max && !self.finished {
            let Some(room) = self.buffer.get_mut(self.end..) else { break };
            match self.source.read(room) {
                Ok(0) => self.finished = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
